"""``labkit check-labs`` and ``new lab``: what an author of labs types."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from labkit.cli.shared import AsJson
from labkit.progress import telling

if TYPE_CHECKING:
    from labkit.lab.authoring.inspection import Report
    from labkit.lab.authoring.proving import Trial

__all__ = ["commands", "making"]

commands = typer.Typer()
making = typer.Typer(help="Begin something of your own.", no_args_is_help=True)


@commands.command("check-labs")
def check_labs(
    labs: Annotated[
        list[str] | None, typer.Argument(help="Labs by name, or paths of notebooks (default: all labs).")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Prove that the checks of labs cannot be fooled, and that the labs keep the house rules; exit code 1 if not."""
    from labkit.lab.authoring.inspection import every, find, inspect
    from labkit.lab.authoring.sittings import need_engine

    paths = [find(name) for name in labs] if labs else every()
    need_engine()
    reports = []
    for path in paths:
        if not as_json:
            print(path.stem)
        reports.append(inspect(path, tell=(lambda _: None) if as_json else _show_trial))
        if not as_json:
            _show_report(reports[-1])
    if as_json:
        print(json.dumps([report.as_json() for report in reports], indent=1, ensure_ascii=False))
    raise typer.Exit(not all(report.ok for report in reports))


@making.command("lab")
def new_lab(
    name: Annotated[str, typer.Argument(help="What it is called, such as image-layers or 25-image-layers.")],
    folder: Annotated[
        Path | None, typer.Option(help="Folder for the notebook (default: that of the labs).")
    ] = None,
) -> None:
    """Make a lab that works and keeps every house rule; its prose tells what belongs where.

    Among labkit's own labs, README.md and the page 00-start-here get a row for it.
    """
    from labkit.lab.authoring.skeletons import new

    with telling() as tell:
        path, *lists = new(name, folder, tell)
    print(f"made:      {path}")
    for each in lists:
        print(f"rewritten: {each}   (its table of labs has a row for it)")
    print("\nIt runs, and its checks hold; make it yours piece by piece. To see whether they still do:\n")
    print(f"    labkit check-labs {path if folder else path.stem}")


def _show_trial(trial: Trial) -> None:
    mark = "✗" if trial.problem else "✓"
    problem = trial.problem.replace("\n", "\n        ")
    print(f"  {mark} {trial.exercise}: {trial.what} {problem or 'ok'}", flush=True)


def _show_report(report: Report) -> None:
    for broken in report.broken_rules:
        print(f"  ✗ house rule: {broken}")
    if report.proof:
        for note in report.proof.notes:
            print(f"  note: {note}")
        if report.proof.tried:
            share = 100 * report.proof.rejected // report.proof.tried
            print(
                f"  mutation score {share} %: {report.proof.rejected} of {report.proof.tried} mistakes rejected"
            )
        print(f"  {'holds' if report.ok else 'does not hold'}, {report.proof.seconds} s\n")
    else:
        print(f"  {'holds' if report.ok else 'does not hold'}\n")
