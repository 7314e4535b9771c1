"""The ``labkit`` command.  No logic of its own: each command calls one function and shows what it returns."""

from __future__ import annotations

import io
import sys
from contextlib import suppress
from typing import Annotated, NoReturn

import typer

from labkit import __version__
from labkit.cli import engines, faults, images, labs, packs, plans, progress, runbooks, runs, ways_in
from labkit.engine.failures import translated
from labkit.errors import LabkitError

__all__ = ["app", "main"]

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
app.add_typer(ways_in.commands)
app.add_typer(runbooks.commands)
app.add_typer(plans.commands)
app.add_typer(runs.commands)
app.add_typer(runs.listing, name="runs")
app.add_typer(labs.commands)
app.add_typer(progress.commands)
app.add_typer(labs.making, name="new")
app.add_typer(engines.commands, name="engine")
app.add_typer(packs.commands, name="pack")
app.add_typer(images.commands, name="images")
app.add_typer(faults.commands, name="fault")


def _tell_version(wanted: bool) -> None:
    if wanted:
        print(f"labkit {__version__}")
        raise typer.Exit()


@app.callback()
def everywhere(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_tell_version, is_eager=True, help="Print the version and exit."),
    ] = False,
) -> None:
    """Docker, by hand: labs and runbooks against a live engine."""


def main() -> NoReturn:
    """Run the command line; an error that is not a bug becomes its message and its exit code.

    Typer itself ends with 130 when it is interrupted, and without a word when nobody reads its output any more.
    """
    if isinstance(sys.stdout, io.TextIOWrapper):
        # a terminal that knows no `…`, a file's name that is no text
        sys.stdout.reconfigure(errors="replace")
    try:
        with translated():
            _run()
    except LabkitError as error:
        from labkit.runbook.redaction import mask

        print(f"labkit: {mask(str(error))}", file=sys.stderr)
        sys.exit(error.exit_code)
    except OSError as error:
        # a full disk, a folder that cannot be written: the user's machine, not our code
        if error.filename is None and error.errno is None:
            raise
        place = error.filename2 or error.filename  # of a copy, where to
        print(f"labkit: {error.strerror or error}" + (f": {place}" if place else ""), file=sys.stderr)
        sys.exit(1)
    raise AssertionError("unreachable")


def _run() -> None:
    try:
        app(standalone_mode=True)
    except SystemExit:
        with suppress(BrokenPipeError):  # nobody reads it any more, which is no error
            sys.stdout.flush()  # now, while a full disk can still be told
        raise
