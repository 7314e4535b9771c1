"""``labkit lab``, ``setup``, ``doctor`` and ``uninstall``: from a bare machine to a lab, and back."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from typing import Annotated

import typer

from labkit.cli.shared import AsJson
from labkit.progress import telling

__all__ = ["commands"]

commands = typer.Typer()


@commands.command()
def setup(tests: Annotated[bool, typer.Option("--tests", help="Also what the tests need.")] = False) -> None:
    """Make the engine pack and the lab images, if they are not there yet, and anew those whose recipe has changed."""
    from labkit import setup as steps

    with telling() as tell:
        steps.for_labs(tell, refresh=True, programs=steps.TEST_PROGRAMS if tests else ())
        if tests:
            steps.for_tests(tell)


@commands.command()
def lab(
    port: Annotated[
        int | None, typer.Option(help="Port on 127.0.0.1 (default: 8888, or the next free one).")
    ] = None,
    with_parent: Annotated[
        bool, typer.Option("--with-parent", help="End when the calling process ends.")
    ] = False,
) -> None:
    """Start a private engine and JupyterLab, and print their URL.  Ctrl-C ends both."""
    from labkit import server
    from labkit import setup as steps

    running = server.running_lab()
    if running is not None:
        running.check()
        print(f"A lab runs here already, with {running}:\n\n    {running.url}\n", flush=True)
        return
    with telling() as tell:
        steps.for_labs(tell)
        serving = server.serve(tell, port=port, with_parent=with_parent)
        started = next(serving)
    print(
        f"\nOpen this in a browser; its notebooks use {started} (Ctrl-C here ends the lab):\n\n    {started.url}\n",
        flush=True,
    )
    try:
        for _ in serving:
            pass
    except KeyboardInterrupt:
        serving.close()
        print("\nThe lab has ended.", file=sys.stderr)


@commands.command()
def doctor(as_json: AsJson = False) -> None:
    """Say what labkit needs of this machine, what is missing, what that costs, and the remedy."""
    from labkit import doctor as needs

    findings = needs.examine()
    if as_json:
        print(
            json.dumps(
                {"verdict": needs.verdict(findings), "findings": [asdict(f) for f in findings]}, indent=1
            )
        )
    else:
        for f in findings:
            print(f"{f.status:<9} {f.name:<15} {f.found}")
            if f.status != needs.OK:
                for label, text in (("costs", f.cost), ("try", f.remedy)):
                    for line in text.splitlines():
                        print(f"{'':25}  {label}: {line}")
        print(f"\n{needs.verdict(findings)}")
    if any(f.status == needs.MISSING for f in findings):
        raise typer.Exit(3)


@commands.command()
def uninstall(yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False) -> None:
    """End every lab and engine of yours and delete everything that labkit keeps on this machine."""
    from labkit import uninstall as removal

    home, runtime = removal.folders().values()
    if not yes and not typer.confirm(
        f"End all engines and delete what labkit keeps in {home} and {runtime}?"
    ):
        raise typer.Exit(1)
    removal.uninstall(print)
