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
    variant: Annotated[str | None, typer.Option(help="In which way [default: the first].")] = None,
    container: Annotated[str, typer.Option(help="The container that it happens to.")] = "web",
) -> None:
    """Make a real incident in a private engine, to practise on."""
    from labkit import faults
    from labkit.engine import open_engine

    with open_engine("attach", engine=engine) as opened:
        chosen = faults.inject(opened, name, variant, container)
    print(f"{name} ({chosen}) has happened to {container} on {engine}")


@commands.command("undo")
def fault_undo(
    name: Annotated[str, typer.Argument(help="The fault, from `labkit fault list`.")],
    engine: Annotated[str, typer.Option(help="The private engine that it was made in.")],
    container: Annotated[str, typer.Option(help="The container that it happened to.")] = "web",
) -> None:
    """Remove everything that a fault made."""
    from labkit import faults
    from labkit.engine import open_engine

    with open_engine("attach", engine=engine) as opened:
        faults.get(name).undo(opened, container)
    print(f"nothing of {name} is left on {engine}")
