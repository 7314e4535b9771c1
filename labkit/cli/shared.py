"""What the commands share: options that many have, and tables."""

from __future__ import annotations

import sys
from typing import Annotated, Any

import typer

__all__ = ["AsJson", "EngineName", "show_table"]

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
EngineName = Annotated[str, typer.Argument(help="An engine's name or id, from `labkit engine list`.")]


def show_table(columns: list[str], rows: list[list[Any]], empty: str) -> None:
    """Print *rows* under *columns*, or the sentence *empty* when there are none."""
    if not rows:
        print(empty)
        return
    from rich.console import Console
    from rich.table import Table

    table = Table(*columns, box=None, header_style="bold", pad_edge=False)
    for row in rows:
        table.add_row(*(str(cell) for cell in row))
    Console(width=None if sys.stdout.isatty() else 160, highlight=False).print(table)
