"""``labkit run``, ``report`` and ``runbooks``: what an on-call engineer types."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from labkit.cli.parameters import SETTINGS, RunCommand, given
from labkit.cli.shared import AsJson, Quiet, seconds, show_outcome, show_table

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


@commands.command(cls=RunCommand, context_settings=SETTINGS)
def run(
    ctx: typer.Context,
    name: Annotated[
        str,
        typer.Argument(
            help="The runbook, from `labkit runbooks`; `labkit run NAME --help` tells its parameters."
        ),
    ],
    parameter: Annotated[
        list[str] | None,
        typer.Option("--parameter", "-p", help="NAME=VALUE (may be repeated); --NAME VALUE does the same."),
    ] = None,
    params_file: Annotated[
        Path | None, typer.Option(help="Parameters in a file, YAML or JSON; those of the command line win.")
    ] = None,
    apply: Annotated[
        bool, typer.Option("--apply", help="Carry the plan out; without it nothing is changed.")
    ] = False,
    out: Annotated[
        Path | None, typer.Option(help="Folder for the run's own folder (default: labkit's own).")
    ] = None,
    engine: Annotated[
        str | None, typer.Option(help="A private engine of yours (default: DOCKER_HOST, else the context).")
    ] = None,
    limit: Annotated[
        str | None, typer.Option(help="Time for the whole run, such as 10m (default: none).")
    ] = None,
    step_limit: Annotated[str | None, typer.Option(help="Time for each step, such as 90s.")] = None,
    kernel: Annotated[
        str | None,
        typer.Option(help="A Jupyter kernel for the cells (default: a fork, which starts at once)."),
    ] = None,
    expires: Annotated[
        str, typer.Option(help="How long the plan that it shows can be approved, such as 30m.")
    ] = "1h",
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Run a runbook against an engine: evidence, diagnosis, plan and, with --apply, action and verification."""
    from labkit.runbook import ahead

    ahead.prepare_lane(name)  # before anything has started a thread, and while the imports below go on
    from labkit import runbook
    from labkit.engine import commandline, records
    from labkit.runbook.progress import showing

    environ = commandline.environ(records.find(engine).folder) if engine is not None else {}
    chosen = given(name, ctx.args, parameter or [], params_file, environ)
    with showing(quiet=quiet or as_json, engine=environ.get("DOCKER_HOST")) as progress:
        outcome = runbook.run(
            name,
            chosen,
            apply=apply or None,
            out_dir=out,
            environ=environ,
            limit=seconds("--limit", limit),
            step_limit=seconds("--step-limit", step_limit),
            expires=seconds("--expires", expires) or 0,
            progress=progress,
            kernel=kernel,
        )
    show_outcome(outcome, as_json, quiet=quiet)


@commands.command()
def report(
    executed: Annotated[Path, typer.Argument(help="A runbook's notebook that papermill, or you, executed.")],
    out: Annotated[Path | None, typer.Option(help="Folder for the report's own folder.")] = None,
    as_json: AsJson = False,
) -> None:
    """Make report and JSON from a runbook's notebook that was executed in another way."""
    from labkit import runbook

    show_outcome(runbook.report(executed, out), as_json)
