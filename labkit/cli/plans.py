"""``labkit plans`` and ``apply``: plans that were shown, and a person's word that one is carried out."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from labkit.cli.shared import AsJson, Quiet, seconds, show_outcome, show_table

if TYPE_CHECKING:
    from labkit.runbook.approvals import Waiting

__all__ = ["commands"]

commands = typer.Typer()


@commands.command("plans")
def plans_list(as_json: AsJson = False) -> None:
    """List the plans that wait to be approved."""
    from labkit.runbook import approvals

    waiting = approvals.waiting()
    if as_json:
        print(json.dumps([{"hash": each.hash, **each.model_dump(mode="json")} for each in waiting], indent=1))
        return
    rows = [
        [
            each.hash,
            Path(each.runbook).stem,
            ", ".join(map(str, each.plan.actions)),
            f"{each.expires.astimezone():%H:%M:%S}",
            each.engine,
        ]
        for each in waiting
    ]
    show_table(["HASH", "RUNBOOK", "ACTIONS", "UNTIL", "ENGINE"], rows, "No plan waits.")


@commands.command()
def apply(
    hash: Annotated[str, typer.Argument(help="The plan's hash, or how it begins, from `labkit plans`.")],
    yes: Annotated[bool, typer.Option("--yes", help="Approve it without being asked.")] = False,
    parameter: Annotated[
        list[str] | None,
        typer.Option("--parameter", "-p", help="NAME=VALUE of a secret parameter, which was not kept."),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder for the run's own folder (default: labkit's own).")
    ] = None,
    limit: Annotated[
        str | None, typer.Option(help="Time for the whole run, such as 10m (default: none).")
    ] = None,
    step_limit: Annotated[str | None, typer.Option(help="Time for each step, such as 90s.")] = None,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Carry out a plan that a run has shown: it is made again, and must be the same one on the same engine."""
    from labkit import runbook
    from labkit.runbook import approvals, parameters
    from labkit.runbook.progress import showing

    shown = approvals.find(hash)
    shown.need_time()
    chosen = shown.complete(runbook.assignments(parameter or []))
    chosen = parameters.answered(runbook.about(shown.runbook).parameters, chosen, shown.environ)
    whole, each = seconds("--limit", limit), seconds("--step-limit", step_limit)
    if not yes:
        _ask(shown)
    with showing(quiet=quiet or as_json, engine=shown.environ.get("DOCKER_HOST")) as progress:
        outcome = runbook.run(
            shown.runbook,
            chosen,
            apply=True,
            approved=shown.hash,
            out_dir=out,
            environ=shown.environ,
            limit=whole,
            step_limit=each,
            progress=progress,
        )
    show_outcome(outcome, as_json, quiet=quiet)


def _ask(shown: Waiting) -> None:
    """Ask on the terminal.  Raises `Refused` when the answer is not yes, or when nobody can answer."""
    from labkit.errors import Refused

    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        raise Refused(
            f"the plan {shown.hash} has to be approved, and nobody can answer",
            seen="no terminal",
            try_=f"labkit apply {shown.hash} --yes",
        )
    print(f"{shown.plan}\n\non {shown.engine}\n", file=sys.stderr)
    print(f"Carry out the plan {shown.hash}? [y/N]: ", end="", file=sys.stderr, flush=True)
    answer = sys.stdin.readline()  # Typer's own question makes exit code 1 of an interruption
    if answer.strip().lower() not in ("y", "yes"):
        seen = answer.strip() if answer else "the end of the input"
        raise Refused(f"the plan {shown.hash} was not approved, and nothing was done", seen=seen)
