"""A reading that could not be taken, and why: never an empty result that looks like good news."""

from __future__ import annotations

from dataclasses import dataclass

from labkit.observe.tables import Table, Tabular

__all__ = ["Unreadable"]


@dataclass(frozen=True, repr=False)
class Unreadable(Tabular):
    """*source* could not be read here, for *reason*.  It is false where a reading is true."""

    source: str
    reason: str

    def __bool__(self) -> bool:
        return False

    def table(self) -> Table:
        return Table([], [], empty=f"{self.source}: not readable ({self.reason})")
