"""What the commands share: options that many have, and tables."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

if TYPE_CHECKING:
    from labkit.runbook import Outcome

__all__ = ["AsJson", "EngineName", "Quiet", "seconds", "show_outcome", "show_table"]

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Quiet = Annotated[bool, typer.Option("--quiet", help="Print nothing but errors; the exit code tells.")]
EngineName = Annotated[str, typer.Argument(help="An engine's name or id, from `labkit engine list`.")]


def show_table(columns: list[str], rows: list[list[Any]], empty: str) -> None:
    """Print *rows* under *columns*, or the sentence *empty* when there are none."""
    if not rows:
        print(empty)
        return
    from rich.console import Console
    from rich.table import Column, Table

    # on a narrow terminal a name is folded, never cut: it is to be typed
    table = Table(
        *(Column(name, overflow="fold") for name in columns), box=None, header_style="bold", pad_edge=False
    )
    for row in rows:
        table.add_row(*(str(cell) for cell in row))
    Console(width=None if sys.stdout.isatty() else 160, highlight=False).print(table)


def show_outcome(outcome: Outcome, as_json: bool, *, quiet: bool = False) -> NoReturn:
    """Print how a run ended, and exit with its code."""
    if as_json:
        print(outcome.model_dump_json(indent=1))
    elif not quiet:
        print(outcome.model_copy(update={"failure": None}))  # it follows, whole
        _show_folder(Path(outcome.folder))
        if outcome.status == "incident" and outcome.plan:
            print(f"plan    {outcome.plan_hash}; to carry it out: labkit apply {outcome.plan_hash}")
    if outcome.failure and not as_json:
        print(f"\nlabkit: {outcome.failure}", file=sys.stderr)
    raise typer.Exit(outcome.exit_code)


def _show_folder(folder: Path) -> None:
    """Print where a run's files are, and what each is for."""
    from labkit.runbook.reports import CONTENTS

    found = [(path.name, told) for pattern, told in CONTENTS.items() for path in sorted(folder.glob(pattern))]
    width = max((len(name) for name, _ in found), default=0)
    print(f"\n{folder}")
    for name, told in found:
        print(f"  {name.ljust(width)}  {told}")


def seconds(option: str, given: str | None) -> float | None:
    """A time above zero that was *given* as text, such as ``90s`` or ``10m``.  Raises `UsageError` for any other text."""
    if given is None:
        return None
    from labkit.errors import UsageError
    from labkit.observe.quantities import Duration

    try:
        told = float(Duration.parse(given))
    except ValueError as error:
        raise UsageError(f"{option} is not a time", seen=repr(given), expected=str(error)) from None
    if told <= 0:
        raise UsageError(f"{option} is no time", seen=repr(given), expected="a time above zero")
    return told
