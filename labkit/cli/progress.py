"""``labkit progress``: what a learner has done in the labs, as a table, as a page, for other programs."""

from __future__ import annotations

import json
import os
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from labkit import texts
from labkit.cli.shared import AsJson, show_table
from labkit.errors import UsageError

__all__ = ["commands"]

commands = typer.Typer()
OUTPUT = Path("-")


@commands.command()
def progress(
    csv: Annotated[
        Path | None,
        typer.Option("--csv", metavar="FILE", help="Write a table to FILE; - is standard output."),
    ] = None,
    html: Annotated[
        Path | None,
        typer.Option(
            "--html",
            metavar="FILE",
            help="Write a page that needs nothing else to FILE; - is standard output.",
        ),
    ] = None,
    learner: Annotated[
        str | None, typer.Option(help="Whose (default: LABKIT_LEARNER, else this user).")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Show a learner's progress: predictions, checks, hints, solutions and time, a row a lab."""
    from labkit.lab.transcripts import COLUMNS, NOTHING, transcript

    told = transcript(learner)
    wanted = [(file, text) for file, text in ((csv, told.csv), (html, told.page)) if file is not None]
    to_output = [file for file, _ in wanted if file == OUTPUT]
    if len(to_output) + as_json > 1:
        raise UsageError(
            "standard output holds one thing at a time", expected="one of --csv -, --html - and --json"
        )
    for file, _ in wanted:
        _look_at(file)
    for file, text in wanted:
        _write(file, text())
    if to_output:
        return
    if as_json:
        print(json.dumps([asdict(tally) for tally in told.tallies], indent=1))
    else:
        show_table(COLUMNS, told.rows() if told.begun else [], NOTHING)


def _look_at(given: Path) -> None:
    """Raise `UsageError` if what is written there would take the place of the progress itself."""
    from labkit.lab.acts import file

    kept = file()
    places = [os.path.realpath(kept.with_name(kept.name + part)) for part in ("", "-wal", "-shm")]
    if os.path.realpath(given) in places:
        raise UsageError(f"{given} is where progress is kept", expected="another file")


def _write(file: Path, text: str) -> None:
    if file == OUTPUT:
        typer.echo(text.encode(), nl=False)  # in UTF-8, whatever the terminal knows
        return
    try:
        if file.exists() and not file.is_file():  # /dev/stdout, say
            file.write_text(text, encoding="utf-8")
        else:
            texts.write({file: text})
    except OSError as error:
        raise UsageError(f"cannot write {file}", seen=error.strerror or str(error)) from None
