"""``labkit fault``: real incidents in a private engine, to practise on."""

from __future__ import annotations

from typing import Annotated

import typer

from labkit.cli.shared import show_table

__all__ = ["commands"]

commands = typer.Typer(help="Real incidents in a private engine, to practise on.", no_args_is_help=True)


@commands.command("list")
def fault_list() -> None:
    """List the faults, and the ways in which each can be made."""
    from labkit import faults

    rows = [
        [name, variant, told.title]
        for name in faults.names()
        for variant, told in faults.get(name).VARIANTS.items()
    ]
    show_table(["FAULT", "VARIANT", "WHAT HAPPENS"], rows, "No faults.")


@commands.command("inject")
def fault_inject(
    name: Annotated[str, typer.Argument(help="The fault, from `labkit fault list`.")],
    engine: Annotated[str, typer.Option(help="The private engine to make it in.")],
    variant: Annotated[str | None, typer.Option(help="In which way (default: the first).")] = None,
    container: Annotated[str, typer.Option(help="The container that it happens to.")] = "web",
) -> None:
    """Make a real incident in a private engine, to practise on."""
    from labkit import faults, runbook
    from labkit.engine import open_engine

    with open_engine("attach", engine=engine) as opened:
        chosen = faults.inject(opened, name, variant, container)
    of = "" if container == "web" else f" --container {container}"
    print(f"{name} ({chosen}) has happened to {container} on {engine}\n")
    for book in runbook.names():
        if book.endswith(f"-{name}"):
            print(f"    labkit run {book} --engine {engine}{of}")
    print(
        f"    labkit engine exec {engine} docker ps --all\n    labkit fault undo {name} --engine {engine}{of}"
    )


@commands.command("undo")
def fault_undo(
    name: Annotated[str, typer.Argument(help="The fault, from `labkit fault list`.")],
    engine: Annotated[str, typer.Option(help="The private engine that it was made in.")],
    container: Annotated[str, typer.Option(help="The container that it happened to.")] = "web",
) -> None:
    """Remove what a fault made for a container, and say what of the fault is left."""
    from labkit import faults, labels
    from labkit.engine import open_engine

    with open_engine("attach", engine=engine) as opened:
        gone, still = faults.undo(opened, name, container), faults.left(opened, name)
    print(f"removed: {', '.join(gone) or f'nothing; {name} has made no {container} on {engine}'}")
    print(f"left with the label {labels.FAULT}={name} on {engine}: {', '.join(still) or 'nothing'}")
