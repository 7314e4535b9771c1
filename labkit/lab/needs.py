"""Cells that need something of the engine that not every engine has."""

from __future__ import annotations

from typing import TYPE_CHECKING

from labkit.errors import no_such

if TYPE_CHECKING:
    from labkit.engine import Engine

__all__ = ["able"]


def able(engine: Engine, *capabilities: str) -> bool:
    """Whether *engine* has all *capabilities*; if not, print which is missing and why, for a cell that is skipped.

    Raises `UsageError` for a capability that there is not.
    """
    for name in capabilities:
        if name not in engine.capabilities:
            raise no_such("capability", name, engine.capabilities)
        found = engine.capabilities[name]
        if not found:
            print(f"Skipped: this engine lacks {name} ({found.reason}).")
            return False
    return True
