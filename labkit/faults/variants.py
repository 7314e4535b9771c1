"""One way of making a fault, and what the rest of the kit must make of it."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Variant"]


@dataclass(frozen=True)
class Variant:
    """*title* says what happens; *code* is what the diagnosis must name; *cured*: whether its runbook's
    plan cures it.
    """

    title: str
    code: str
    cured: bool
