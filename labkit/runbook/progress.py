"""Telling how far a run is: a live line on a terminal, a line a section elsewhere; on stderr, never on stdout."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol, TextIO

__all__ = ["Progress", "Silent", "showing"]


class Progress(Protocol):
    """What a run tells while it goes on."""

    def begin(self, steps: int) -> None:
        """It begins, and will have so many steps."""

    def step(self, section: str) -> None:
        """The next step begins, in this section of the notebook."""

    def event(self, event: str) -> None:
        """The engine says that something has happened."""


class Silent:
    """Tells nothing."""

    def begin(self, steps: int) -> None:
        """Say nothing."""

    def step(self, section: str) -> None:
        """Say nothing."""

    def event(self, event: str) -> None:
        """Say nothing."""


class Plain(Silent):
    """One line a section, with the seconds since the beginning."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._began = time.monotonic()
        self._section: str | None = None

    def step(self, section: str) -> None:
        """Name the section when it is a new one."""
        if section != self._section:
            self._section = section
            print(f"{time.monotonic() - self._began:6.1f} s  {section}", file=self._stream, flush=True)


@contextmanager
def showing(*, quiet: bool = False) -> Iterator[Progress]:
    """How a run's progress is shown here: not at all when *quiet*."""
    if quiet:
        yield Silent()
    elif sys.stderr.isatty():
        yield from _live()
    else:
        yield Plain(sys.stderr)


def _live() -> Iterator[Progress]:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, SpinnerColumn, TextColumn, TimeElapsedColumn
    from rich.progress import Progress as Bar

    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(bar_width=20),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("[dim]{task.fields[event]}"),
    )
    with Bar(*columns, console=Console(stderr=True), transient=True) as bar:
        yield Live(bar)


class Live:
    """A line that changes in place: section, steps done of all, time passed, the engine's last event."""

    def __init__(self, bar: object) -> None:
        from rich.progress import Progress as Bar

        assert isinstance(bar, Bar)
        self._bar = bar
        self._task = bar.add_task("starting", total=None, event="")
        self._steps = 0

    def begin(self, steps: int) -> None:
        """Know how many steps there are."""
        self._bar.update(self._task, total=steps)

    def step(self, section: str) -> None:
        """Count the steps that are done."""
        from rich.markup import escape

        self._bar.update(self._task, description=escape(section), completed=self._steps)
        self._steps += 1

    def event(self, event: str) -> None:
        """Show the last event."""
        from rich.markup import escape

        self._bar.update(self._task, event=escape(event))
