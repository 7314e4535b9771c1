"""The form for parameters in a real browser: typed into as a person does, in JupyterLab."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import nbformat
import pytest
from playwright.sync_api import Page, sync_playwright

from tests.notebooks import PAGES
from tests.test_browser import CHROMIUM, LAB, SHOTS, await_kernel, lab
from tests.test_lab_server import Lab

__all__ = ["lab"]

CELLS = [
    "from labkit import runbook",
    'times: int = 3  # how often\nlabel: str = "web"  # what to look for',
    "p = runbook.check(globals())\np",
    "print(f'used: {p.times} {times}')",
]
RUN = "n => {{ {select}; return window.jupyterapp.commands.execute('notebook:run-cell'); }}".format(
    select="window.jupyterapp.shell.currentWidget.content.activeCellIndex = n"
)


@pytest.fixture
def page(lab: Lab, tmp_path: Path) -> Iterator[Page]:
    """A notebook with parameters, open in JupyterLab in headless Chromium."""
    cells = [nbformat.v4.new_code_cell(source) for source in CELLS]
    cells[1].metadata["tags"] = ["parameters"]
    copy = LAB.with_name(f"form-{os.getpid()}-test.ipynb")
    spec = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata=spec), copy)
    chromium = shutil.which("chromium")
    try:
        with sync_playwright() as playwright:
            context = playwright.chromium.launch_persistent_context(
                tmp_path, executable_path=chromium, headless=True, args=CHROMIUM
            )
            page = context.new_page()
            page.goto(lab.url.replace(PAGES[0].name, copy.name))
            await_kernel(page)
            yield page
            page.evaluate("() => window.jupyterapp.shell.currentWidget.sessionContext.shutdown()")
            context.close()
    finally:
        copy.unlink()


@pytest.mark.timeout(300)
def test_a_person_types_and_the_cells_below_use_it(page: Page) -> None:
    """A wrong value is told beside its field, in words; a right one is what the next cell has."""
    for n in range(3):
        page.evaluate(RUN, n)
    field = page.get_by_label("times")
    field.wait_for(timeout=60_000)
    field.fill("many")
    field.press("Enter")
    page.get_by_text(
        "✗ the parameter times has a value that does not fit; expected: a valid integer"
    ).wait_for(timeout=15_000)
    SHOTS.mkdir(exist_ok=True)
    page.screenshot(path=SHOTS / "form.png")
    field.fill("7")
    field.press("Enter")
    page.get_by_text("✓ how often").wait_for(timeout=15_000)
    page.evaluate(RUN, 3)
    page.get_by_text("used: 7 7").wait_for(timeout=15_000)
