"""Cells that need something of the engine that not every engine has."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from labkit.engine import Engine

__all__ = ["able"]


def able(engine: Engine, *capabilities: str) -> bool:
    """Whether *engine* has all *capabilities*; if not, print which is missing and why, for a cell that is skipped."""
    for name in capabilities:
        found = engine.capabilities[name]
        if not found:
            print(f"Skipped: this engine lacks {name} ({found.reason}).")
            return False
    return True
