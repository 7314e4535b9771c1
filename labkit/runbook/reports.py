"""The report of a run: one HTML file that needs nothing else, and the outcome as JSON."""

from __future__ import annotations

from pathlib import Path

import nbformat

from labkit.runbook import folders
from labkit.runbook.executed import outcome_of
from labkit.runbook.outcomes import FILE, Outcome

__all__ = ["REPORT", "report", "write"]

REPORT = "report.html"
_TEMPLATE = Path(__file__).parent / "report.html.j2"


def report(executed: Path, out_dir: Path | None = None) -> Outcome:
    """Make report and JSON from a notebook that plain papermill, or a person, has executed.

    They are put with a copy of it into a new folder in *out_dir* (default: ``runs`` in labkit's folder),
    which ``outcome.folder`` names.  Raises `UsageError` when *executed* is not a notebook.
    """
    notebook = folders.load(executed)
    name = outcome_of(notebook).runbook or executed.stem
    folder = folders.new_run(name, out_dir)
    copy = folder / f"{name}.ipynb"
    nbformat.write(notebook, copy)  # type: ignore[no-untyped-call]
    return write(copy, folder, name=name)


def write(executed: Path, folder: Path, *, name: str, interrupted: str = "", engine: str = "") -> Outcome:
    """Write the report and the JSON of the notebook *executed* into *folder*, each whole or not at all."""
    notebook = folders.load(executed)
    outcome = outcome_of(notebook, name=name, interrupted=interrupted).model_copy(
        update={"folder": str(folder)}
    )
    _write(folder / FILE, outcome.model_dump_json(indent=2) + "\n")
    _write(folder / REPORT, render(notebook, outcome))
    return outcome


def _write(path: Path, text: str) -> None:
    aside = path.with_name(f".{path.name}.new")
    aside.write_text(text)
    aside.replace(path)


def render(notebook: nbformat.NotebookNode, outcome: Outcome) -> str:
    """The report as HTML: what happened, then the executed notebook.  It loads nothing."""
    from jinja2 import Environment

    title = notebook.metadata.get("labkit", {}).get("title") or outcome.runbook
    template = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True).from_string(
        _TEMPLATE.read_text()
    )
    return template.render(title=title, outcome=outcome, cells=_cells(notebook), styles=_styles())


def _cells(notebook: nbformat.NotebookNode) -> list[str]:
    """Each cell as HTML, without the scripts and styles of a whole page."""
    from markupsafe import Markup
    from nbconvert import HTMLExporter

    exporter = HTMLExporter(template_name="basic", embed_images=True)  # type: ignore[no-untyped-call]
    pages = [nbformat.from_dict({**notebook, "cells": [cell]}) for cell in notebook.cells]  # type: ignore[no-untyped-call]
    return [Markup(exporter.from_notebook_node(page)[0]) for page in pages]


def _styles() -> str:
    """The colours of highlighted code."""
    from markupsafe import Markup
    from pygments.formatters import HtmlFormatter  # type: ignore[import-untyped]  # it publishes no types

    return Markup(HtmlFormatter(style="default").get_style_defs(".highlight"))
