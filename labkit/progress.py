"""Telling what a long step is doing: a live line on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

__all__ = ["Tell", "telling"]

Tell = Callable[[str], None]
"""Told one line at a time; lines that start with a blank are details of the step before."""


@contextmanager
def telling() -> Iterator[Tell]:
    """A function to tell progress to.  On a terminal details share one live line with the time passed."""
    if sys.stderr.isatty():
        yield from _live()
    else:
        yield _plain


def _plain(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _live() -> Iterator[Tell]:
    from rich.console import Console
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    console = Console(stderr=True)
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        TimeElapsedColumn(),
        TextColumn("[dim]{task.fields[detail]}"),
    )
    with Progress(*columns, console=console, transient=True) as progress:
        running: list[tuple[str, float]] = []
        task = progress.add_task("", total=None, detail="", visible=False)

        def finish() -> None:
            for step, began in running:
                console.print(f"[green]✓[/] {step} [dim]{time.monotonic() - began:.0f} s[/]")
            running.clear()

        def tell(line: str) -> None:
            if line.startswith(" "):
                progress.update(task, detail=line.strip()[:60])
                return
            finish()
            running.append((line, time.monotonic()))
            progress.reset(task)
            progress.update(task, description=line, detail="", visible=True)

        yield tell
        finish()
