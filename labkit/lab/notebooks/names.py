"""Names that a cell has from another one: a cell that is run before that other one is told which to run first."""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from nbformat import NotebookNode

__all__ = ["advice", "maker"]


def advice(notebook: NotebookNode, error: object, cell: str | None = None) -> str:
    """What to run first, if *error* is that a name is missing which a cell of the *notebook* makes; else nothing.

    *cell*: the id of the one that failed, where that is known.
    """
    name = error.name if isinstance(error, NameError) else None
    made = maker(notebook, name, cell) if name else None
    if made is None:
        return ""
    first = next(line for line in made.source.splitlines() if line.strip())
    return f"{name} is made by a cell of this lab that has not run; run it first. It begins with:\n  {first}"


def maker(notebook: NotebookNode, name: str, cell: str | None = None) -> NotebookNode | None:
    """The code cell that gives *name* to what is run after it: the last one above *cell*, or the first of all."""
    codes = [each for each in notebook.cells if each.cell_type == "code"]
    ids = [each.id for each in codes]
    above = codes[: ids.index(cell)] if cell in ids else []
    found = [each for each in above or codes if name in _made(each.source)]
    return (found[-1] if above else found[0]) if found else None


def _made(source: str) -> set[str]:
    """The names that the cell *source* makes, also by ``!…``; none of a cell that cannot be read."""
    from IPython.core.inputtransformer2 import TransformerManager

    try:
        tree = ast.parse(TransformerManager().transform_cell(source))  # type: ignore[no-untyped-call]
    except SyntaxError:
        return set()
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            found.add(node.id)
        elif isinstance(node, ast.FunctionDef | ast.ClassDef):
            found.add(node.name)
        elif isinstance(node, ast.alias):
            found.add((node.asname or node.name).partition(".")[0])
    return found
