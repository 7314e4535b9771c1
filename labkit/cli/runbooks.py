"""``labkit run``, ``report`` and ``runbooks``: what an on-call engineer types."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer

from labkit.cli.shared import AsJson, show_table

__all__ = ["commands"]

commands = typer.Typer()


@commands.command("runbooks")
def runbooks_list(as_json: AsJson = False) -> None:
    """List the runbooks."""
    from labkit import runbook

    rows = [runbook.about(name) for name in runbook.names()]
    if as_json:
        print(
            json.dumps(
                [
                    {"name": r.name, "summary": r.summary, "risk": r.risk, "covers": list(r.covers)}
                    for r in rows
                ],
                indent=1,
            )
        )
    else:
        show_table(["NAME", "RISK", "WHAT FOR"], [[r.name, r.risk, r.summary] for r in rows], "No runbooks.")


@commands.command()
def run(
    name: Annotated[str, typer.Argument(help="The runbook, from `labkit runbooks`.")],
    parameter: Annotated[
        list[str] | None, typer.Option("--parameter", "-p", help="NAME=VALUE (may be repeated).")
    ] = None,
    apply: Annotated[
        bool, typer.Option("--apply", help="Carry the plan out; without it nothing is changed.")
    ] = False,
    out: Annotated[
        Path | None, typer.Option(help="Folder for the run's own folder [default: labkit's own].")
    ] = None,
    engine: Annotated[
        str | None, typer.Option(help="A private engine of yours [default: DOCKER_HOST, else the context].")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Run a runbook against an engine: evidence, diagnosis, plan and, with --apply, action and verification."""
    from labkit import runbook
    from labkit.engine import commandline, records

    environ = commandline.environ(records.find(engine).folder) if engine else {}
    outcome = runbook.run(
        name, runbook.assignments(parameter or []), apply=apply or None, out_dir=out, environ=environ
    )
    _show_outcome(outcome, as_json)


@commands.command()
def report(
    executed: Annotated[Path, typer.Argument(help="A runbook's notebook that papermill, or you, executed.")],
    out: Annotated[Path | None, typer.Option(help="Folder for the report's own folder.")] = None,
    as_json: AsJson = False,
) -> None:
    """Make report and JSON from a runbook's notebook that was executed in another way."""
    from labkit import runbook

    _show_outcome(runbook.report(executed, out), as_json)


def _show_outcome(outcome: Any, as_json: bool) -> NoReturn:
    if as_json:
        print(outcome.model_dump_json(indent=1))
    else:
        print(outcome)
        print(f"\nreport  {outcome.folder}/report.html")
        if outcome.failure:
            print(f"\nlabkit: {outcome.failure.message}", file=sys.stderr)
    raise typer.Exit(outcome.exit_code)
