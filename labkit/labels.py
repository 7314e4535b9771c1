"""Which objects on an engine are ours: reserved labels, put on everything that labkit creates."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

__all__ = ["FAULT", "KIT", "OWNER", "RUN", "is_ours", "of_run", "ours"]

KIT = "labkit"
"""Present on every object that labkit created; its value is the kit's version."""

OWNER = "labkit.engine"
"""The id of the Engine handle through which the object was created."""

FAULT = "labkit.fault"
"""On what a fault has made; its value is the fault's name."""

LOOKS = "labkit.looks"
"""On a container that is made, never started, and removed so that something can be read through it: no change."""

RUN = "labkit.run"
"""On a container that does work for a run and goes with it; its value is the run's name."""


def ours(engine_id: str) -> dict[str, str]:
    """Labels for a new object made through the engine handle *engine_id*."""
    from labkit import __version__

    return {KIT: __version__, OWNER: engine_id}


def of_run() -> dict[str, str]:
    """The label for a container that must not outlive the run this process belongs to; none outside of a run."""
    folder = os.environ.get("LABKIT_RUN_DIR")
    return {RUN: Path(folder).name} if folder else {}


def is_ours(labels: Mapping[str, str] | None) -> bool:
    """Whether an object with these labels was made by labkit."""
    return bool(labels) and KIT in (labels or {})
