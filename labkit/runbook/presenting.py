"""A notebook as it may be written: without secrets, and with what stopped it told in plain words."""

from __future__ import annotations

from itertools import groupby
from typing import Any

from nbformat import NotebookNode, from_dict

from labkit.runbook.redaction import known, mask

__all__ = ["ERROR_MARK", "presentable"]

ERROR_MARK = "papermill-error-cell-tag"
"""papermill's tag on the two cells that it adds when another fails."""


def presentable(notebook: NotebookNode) -> NotebookNode:
    """A copy of *notebook* in which every secret is masked.

    Prose and source code are masked by value alone, outputs and metadata also by shape.  Nothing else is changed.
    """
    _learn_parameters(notebook)
    rest = mask({key: value for key, value in notebook.items() if key != "cells"})
    return from_dict({**rest, "cells": [_cell(cell) for cell in notebook.cells]})  # type: ignore[no-any-return, no-untyped-call]


def _learn_parameters(notebook: NotebookNode) -> None:
    """A parameter with the name of a secret holds one, though its type does not say so."""
    given = notebook.metadata.get("papermill", {}).get("parameters", {})
    known.add_named({name: str(value) for name, value in given.items()})


def _cell(cell: NotebookNode) -> dict[str, Any]:
    told = {key: value for key, value in cell.items() if key not in ("source", "outputs")}
    masked: dict[str, Any] = {**mask(told), "source": mask(cell.source, shapes=False)}
    if "outputs" in cell:
        masked["outputs"] = _streams_joined([mask(output) for output in cell.outputs])
    return masked


def _streams_joined(outputs: list[NotebookNode]) -> list[NotebookNode]:
    """Streams that hold a secret across two messages are joined, and masked then; all others stay as they are."""
    kept: list[NotebookNode] = []
    for name, group in groupby(outputs, key=lambda output: output.get("name", id(output))):
        pieces = list(group)
        text = "".join(str(piece.get("text", "")) for piece in pieces)
        if len(pieces) > 1 and mask(text) != text:
            pieces = [from_dict({"output_type": "stream", "name": name, "text": mask(text)})]  # type: ignore[no-untyped-call]
        kept += pieces
    return kept
