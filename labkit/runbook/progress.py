"""Telling how far a run is: a live line on a terminal, a line a section elsewhere; on stderr, never on stdout."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Protocol, TextIO

from labkit.runbook.redaction import mask

if TYPE_CHECKING:
    from rich.progress import Progress as Bar

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
            with suppress(OSError):  # nobody listens any more; the run goes on
                print(f"{time.monotonic() - self._began:6.1f} s  {section}", file=self._stream, flush=True)


class Live:
    """A line that changes in place: section, steps done of all, time passed, the engine's last event."""

    def __init__(self, bar: Bar) -> None:
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

        self._bar.update(self._task, event=escape(mask(event)[:60]))


@contextmanager
def showing(*, quiet: bool = False, engine: str | None = None) -> Iterator[Progress]:
    """How a run's progress is shown here, on stderr: not at all when *quiet*.

    On a terminal the events of the *engine* (a URL; default: as the command line finds it) are followed too.
    """
    if quiet:
        yield Silent()
    elif sys.stderr.isatty():
        yield from _live(engine)
    else:
        yield Plain(sys.stderr)


def _live(url: str | None) -> Iterator[Progress]:
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
        live = Live(bar)
        # a thread that ends with the process: it waits for an event that may never come
        threading.Thread(target=_follow, args=(live, url), daemon=True).start()
        yield live


def _follow(live: Live, url: str | None) -> None:
    from labkit.engine import open_engine

    # an engine that cannot be reached is told by the run itself
    with suppress(Exception), open_engine("attach", url=url) as engine:
        for event in engine.client.api.events(decode=True):
            name = event["Actor"].get("Attributes", {}).get("name", event["Actor"]["ID"][:12])
            live.event(f"{event['Type']} {name}: {event['Action']}")
