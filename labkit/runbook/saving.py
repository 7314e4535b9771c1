"""Writing the notebook of a run: at sensible moments, and never with a secret in it."""

from __future__ import annotations

from datetime import datetime
from itertools import groupby
from typing import Any

from nbformat import NotebookNode, from_dict
from papermill.engines import NotebookExecutionManager
from papermill.iorw import write_ipynb

from labkit.runbook.redaction import mask

__all__ = ["EVERY", "Saving"]

EVERY = 1.0
"""Seconds between two saves; papermill saves twice a cell, which costs more than most cells."""


class Saving(NotebookExecutionManager):  # type: ignore[misc]  # papermill publishes no types
    """Keeps the marks on a notebook's cells as papermill does, and saves it when a second has passed.

    It is saved at its start and at its end whatever the time.  The journal holds what happens in between.
    """

    last_save_time: datetime
    _saved = False

    def save(self, nb: NotebookNode | None = None, **_: Any) -> None:
        """Write the notebook, if the last time is long enough ago."""
        if nb is not None:
            self.nb = nb
        if self._saved and (self.now() - self.last_save_time).total_seconds() < EVERY:
            return
        self._saved = True
        if self.output_path:
            write_ipynb(self.presentable(), self.output_path)
        self.last_save_time = self.now()

    def notebook_complete(self, **options: Any) -> None:
        """Finish the marks, and save the notebook."""
        self._saved = False
        super().notebook_complete(**options)

    def presentable(self) -> NotebookNode:
        """A copy of the notebook as it may be written: secrets are masked."""
        notebook = from_dict(mask(self.nb, shapes=False))  # type: ignore[no-untyped-call]
        for cell in notebook.cells:
            if cell.get("outputs"):
                cell.outputs = _without_split_secrets(cell.outputs)
        return notebook  # type: ignore[no-any-return]


def _without_split_secrets(outputs: list[NotebookNode]) -> list[NotebookNode]:
    """Streams that hold a secret across two messages are joined, and masked then; all others stay as they are."""
    kept = []
    for name, group in groupby(outputs, key=lambda output: output.get("name", id(output))):
        pieces = list(group)
        text = "".join(str(piece.get("text", "")) for piece in pieces)
        if len(pieces) > 1 and mask(text) != text:
            pieces = [from_dict({"output_type": "stream", "name": name, "text": mask(text)})]  # type: ignore[no-untyped-call]
        kept += pieces
    return kept
