"""Which objects on an engine are ours: reserved labels, put on everything that labkit creates."""

from __future__ import annotations

from collections.abc import Mapping

__all__ = ["KIT", "OWNER", "is_ours", "ours"]

KIT = "labkit"
"""Present on every object that labkit created; its value is the kit's version."""

OWNER = "labkit.engine"
"""The id of the Engine handle through which the object was created."""


def ours(engine_id: str) -> dict[str, str]:
    """Labels for a new object made through the engine handle *engine_id*."""
    from labkit import __version__

    return {KIT: __version__, OWNER: engine_id}


def is_ours(labels: Mapping[str, str] | None) -> bool:
    """Whether an object with these labels was made by labkit."""
    return bool(labels) and KIT in (labels or {})
