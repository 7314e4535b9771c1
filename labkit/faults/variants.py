"""One way of making a fault, and what the rest of the kit must make of it."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Variant"]


@dataclass(frozen=True)
class Variant:
    """What happens (*title*), what the diagnosis must name (*code*), and whether the plan cures it."""

    title: str
    code: str
    cured: bool
