"""The cells that ran in this notebook: their numbers, first lines and times."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

from labkit.lab.notebooks import cells
from labkit.observe.timelines import Cell
from labkit.shapes import hide

__all__ = ["ran", "record"]

KEPT = 1000
"""So many cells are remembered."""
LONGEST = 72
"""Letters of a title."""


class _Record:
    """Hears of each cell that IPython runs; of cells that run within another, only the outer one counts."""

    def __init__(self, shell: Any) -> None:
        self.cells: list[Cell] = []
        self._shell, self._depth = shell, 1  # who asks for a record does so in a cell
        self._begin("")
        cells.hear(before=self._before, after=self._after)

    def _begin(self, source: str) -> None:
        number = self._shell.displayhook.prompt_count  # the shell counts on before a cell runs, or after it
        self.cells = [*self.cells[-KEPT:], Cell(number, _title(source), time.time_ns())]

    def _before(self, info: Any) -> None:
        self._depth += 1
        if self._depth == 1:
            self._begin(info.raw_cell or "")

    def _after(self, result: Any) -> None:
        self._depth = max(0, self._depth - 1)
        if self._depth == 0:
            source = getattr(getattr(result, "info", None), "raw_cell", None)
            last = self.cells[-1]
            self.cells[-1] = replace(last, ended=time.time_ns(), title=last.title or _title(source or ""))


def _title(source: str) -> str:
    """The first command of the shell, else the first line that is not blank; without secrets, cut where it is very long."""
    lines = [line.strip() for line in source.splitlines() if line.strip()]
    line = hide(next((line for line in lines if line.startswith("!")), next(iter(lines), "")))
    return line if len(line) <= LONGEST else line[: LONGEST - 1] + "…"


_record: _Record | None = None


def record() -> None:
    """Remember each cell from now on, the one that runs included; outside IPython there is none."""
    global _record  # noqa: PLW0603 - there is one shell in a process
    from IPython import get_ipython

    shell = get_ipython()
    if shell is not None and (_record is None or _record._shell is not shell):
        _record = _Record(shell)


def ran() -> list[Cell]:
    """The cells that ran since `record` was called first, oldest first; the last may still run."""
    return list(_record.cells) if _record else []
