"""Writing the notebook of a run: at sensible moments, and never with a secret in it."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Any

import nbformat
from nbformat import NotebookNode
from papermill.engines import NotebookExecutionManager
from papermill.iorw import write_ipynb

from labkit.runbook.presenting import presentable
from labkit.runbook.redaction import assert_clean, write_clean
from labkit.runbook.sweeps import look_again

__all__ = ["EVERY", "Saving"]

EVERY = 1.0
"""Seconds between two saves; papermill saves twice a cell, which costs more than most cells."""


class Saving(NotebookExecutionManager):  # type: ignore[misc]  # papermill publishes no types
    """Keeps the marks on a notebook's cells as papermill does, and saves it when a second has passed.

    It is saved at its start and at its end whatever the time.  The journal holds what happens in between.
    """

    last_save_time: datetime
    _saved = False
    _written: NotebookNode | None = None

    def save(self, nb: NotebookNode | None = None, **_: Any) -> None:
        """Write the notebook, if the last time is long enough ago."""
        if nb is not None:
            self.nb = nb
        if self._saved and (self.now() - self.last_save_time).total_seconds() < EVERY:
            return
        if self._saved:
            look_again()  # the cells may have made what carries a secret
        self._saved = True
        if self.output_path:
            self._written = self.presentable()
            _write(self._written, self.output_path)
        self.last_save_time = self.now()

    def notebook_complete(self, **options: Any) -> None:
        """Finish the marks, and save the notebook."""
        self._saved = False
        super().notebook_complete(**options)

    def last(self) -> NotebookNode:
        """The notebook as it was written last, which papermill writes once more."""
        return self._written or self.presentable()

    def presentable(self) -> NotebookNode:
        """A copy of the notebook as it may be written: secrets are masked."""
        return presentable(self.nb)


def _write(notebook: NotebookNode, place: str) -> None:
    """Write it to the file *place*, or to wherever else papermill can write."""
    text = nbformat.writes(notebook)  # type: ignore[no-untyped-call]
    if "://" in place or place == "-":
        assert_clean(text, place)
        write_ipynb(notebook, place)
    else:
        write_clean(Path(place), text + "\n")
