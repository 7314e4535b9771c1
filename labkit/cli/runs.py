"""``labkit runs``, ``show`` and ``resume``: the runs that were made, and going on with one that was cut off."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Annotated

import typer

from labkit.cli.shared import AsJson, Quiet, show_outcome, show_table

__all__ = ["commands", "listing"]

commands = typer.Typer()
listing = typer.Typer(help="List the runs, or check their journals.", invoke_without_command=True)

Named = Annotated[str, typer.Argument(metavar="RUN", help="Its name, the beginning of it, or `last`.")]


@listing.callback()
def runs_list(context: typer.Context, as_json: AsJson = False) -> None:
    """List the runs, the newest last."""
    if context.invoked_subcommand:
        return
    from labkit.runbook import runs

    known = runs.everything()
    if as_json:
        print(json.dumps([asdict(run) for run in known], indent=1, default=str))
        return
    rows = [
        [
            run.name,
            run.began.astimezone().strftime("%Y-%m-%d %H:%M:%S") if run.began else "-",
            run.status + (f" (process {run.pid})" if run.pid else ""),
            "-" if run.exit_code is None else run.exit_code,
            run.engine or "-",
        ]
        for run in known
    ]
    show_table(["NAME", "WHEN", "STATUS", "EXIT", "ENGINE"], rows, "No runs.")


@listing.command("verify")
def runs_verify(run: Annotated[str | None, typer.Argument(metavar="[RUN]")] = None) -> None:
    """Check that the journal of a run, or of every run, is whole and was not changed."""
    from pathlib import Path

    from labkit.errors import LabkitError
    from labkit.runbook import runs
    from labkit.runbook.journal import Journal

    folders = [runs.find(run)] if run else [Path(each.folder) for each in runs.everything()]
    broken = []
    for folder in folders:
        journal = Journal.open(folder)
        try:
            told = f"whole, {len(journal.verify())} entries"
        except LabkitError as error:
            broken.append(error)
            told = "BROKEN"
        torn = f" and {journal.torn} bytes of half a line, from a crash" if journal.torn else ""
        print(f"{folder.name}  {told}{torn}")
    if broken:
        raise broken[0]


@commands.command()
def show(run: Named, as_json: AsJson = False) -> None:
    """Show what the journal of a run says: what happened, its steps and how long they took."""
    from labkit.runbook import runs
    from labkit.runbook.journal import Journal

    folder = runs.find(run)
    journal, about = Journal.open(folder), runs.read(folder)
    entries = journal.entries()
    if as_json:
        told = {**asdict(about), "entries": [asdict(entry) for entry in entries]}
        print(json.dumps(told, indent=1, default=str))
        return
    print(f"{about.name}: {about.status}\n{about.folder}\n")
    print(runs.timeline(entries), runs.steps(entries), sep="\n\n")


@commands.command()
def resume(run: Named, quiet: Quiet = False, as_json: AsJson = False) -> None:
    """Go on with a run that was cut off; what its journal says is done is not done again."""
    from labkit.kernels import lane

    lane.prepare()
    from labkit import runbook
    from labkit.runbook.progress import showing

    with showing(quiet=quiet or as_json) as progress:
        outcome = runbook.resume(run, progress=progress)
    show_outcome(outcome, as_json, quiet=quiet)
