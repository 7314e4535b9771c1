"""``python -m tests.execute NOTEBOOK…``: execute notebooks as the tests do, and keep their outputs in them.

A runbook meets its fault on a fresh engine; a lab opens its own.  Only what repeats is kept: no times, no counts of a
session, no metadata of a viewer.
"""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
from contextlib import nullcontext
from pathlib import Path

import nbformat
from nbclient import NotebookClient

from labkit import paths
from labkit.lab.notebooks.book import load
from tests.notebooks import RUNBOOKS, jupyter_environ
from tests.test_notebooks import incident

LIVE = "application/vnd.jupyter.widget-view+json"
"""A view without its kernel is an error to a reader; beside it is the still, or the text."""


def execute(path: Path) -> None:
    """Execute the notebook at *path* and write it back with its outputs."""
    notebook = load(path)
    with (
        tempfile.TemporaryDirectory() as folder,
        contextlib.chdir(folder),  # where a fault leaves its files
        incident(path) if path in RUNBOOKS else nullcontext() as engine,
    ):
        os.environ.update(jupyter_environ(Path(folder)), LABKIT_HOME=str(paths.home()))
        os.environ.update(engine.environ if engine else {})
        where = {"metadata": {"path": folder if path in RUNBOOKS else str(path.parent)}}
        NotebookClient(notebook, kernel_name="python3", resources=where, coalesce_streams=True).execute()
    for cell in notebook.cells:
        cell.metadata = {key: value for key, value in cell.metadata.items() if key in ("tags", "labkit")}
        for output in cell.get("outputs", []):
            output.get("data", {}).pop(LIVE, None)
            if "metadata" in output:
                output.metadata = {}
            # a live view belongs to the kernel that has gone; its text and its still are kept
            output.get("data", {}).pop("application/vnd.jupyter.widget-view+json", None)
    kept = ("kernelspec", "language_info", "labkit")
    notebook.metadata = {key: value for key, value in notebook.metadata.items() if key in kept}
    notebook.metadata["language_info"] = {"name": "python"}
    nbformat.write(notebook, path)


if __name__ == "__main__":
    for name in sys.argv[1:]:
        execute(Path(name).resolve())
