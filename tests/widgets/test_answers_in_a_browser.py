"""Widgets that a person answers, in a real browser: the form typed into and a plan decided on, in JupyterLab."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import nbformat
import pytest
from playwright.sync_api import Page, sync_playwright

from labkit import observe
from labkit.engine import Engine
from tests.notebooks import PAGES
from tests.runbook.test_actions import down
from tests.test_browser import CHROMIUM, LAB, SHOTS, await_kernel, lab
from tests.test_lab_server import Lab

__all__ = ["lab"]

FORM = [
    "from labkit import runbook",
    'times: int = 3  # how often\nlabel: str = "web"  # what to look for',
    "p = runbook.check(globals())\np",
    "print(f'used: {p.times} {times}')",
]
PLANS = [
    "import labkit\nfrom labkit import observe, widgets\nfrom labkit.runbook import Plan, actions\n"
    "engine = labkit.open_engine('attach', url='URL')",
    "rejected = widgets.decision(Plan.of(actions.start_again(observe.container(engine, 'web'))), engine)\nrejected",
    "approved = widgets.decision(Plan.of(actions.start_again(observe.container(engine, 'web'))), engine)\napproved",
    "print('next:', len(rejected.applied.done), [each.action for each in approved.applied.done])",
]
RUN = "n => {{ {select}; return window.jupyterapp.commands.execute('notebook:run-cell'); }}".format(
    select="window.jupyterapp.shell.currentWidget.content.activeCellIndex = n"
)


@contextmanager
def opened(lab: Lab, folder: Path, cells: list[str]) -> Iterator[Page]:
    """A notebook of these *cells*, the second of them tagged as parameters, open in headless Chromium."""
    made = [nbformat.v4.new_code_cell(source) for source in cells]
    made[1].metadata["tags"] = ["parameters"]
    copy = LAB.with_name(f"answers-{os.getpid()}-test.ipynb")
    spec = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    nbformat.write(nbformat.v4.new_notebook(cells=made, metadata=spec), copy)
    chromium = shutil.which("chromium")
    try:
        with sync_playwright() as playwright:
            context = playwright.chromium.launch_persistent_context(
                folder, executable_path=chromium, headless=True, args=CHROMIUM
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
def test_a_person_types_and_the_cells_below_use_it(lab: Lab, tmp_path: Path) -> None:
    """A wrong value is told beside its field, in words; a right one is what the next cell has."""
    with opened(lab, tmp_path, FORM) as page:
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


@pytest.mark.timeout(300)
@pytest.mark.parametrize("module_engine", ["debian-13"], indirect=True)
def test_a_person_rejects_a_plan_and_approves_another(lab: Lab, engine: Engine, tmp_path: Path) -> None:
    """Rejected, nothing is changed; approved, it is carried out; no button can be pressed twice, and the cells go on."""
    down(engine)
    with opened(lab, tmp_path, [PLANS[0].replace("URL", engine.url), *PLANS[1:]]) as page:
        for n in range(3):
            page.evaluate(RUN, n)
        reject, approve = (page.get_by_role("button", name=name) for name in ("Reject", "Approve"))
        approve.nth(1).wait_for(timeout=60_000)
        assert (reject.count(), approve.count()) == (2, 2)
        SHOTS.mkdir(exist_ok=True)
        page.screenshot(path=SHOTS / "plan.png")

        reject.first.click()
        page.get_by_text("was rejected; nothing was changed").wait_for(timeout=15_000)
        assert not observe.container(engine, "web").running
        assert approve.first.is_disabled() and reject.first.is_disabled()
        assert approve.nth(1).is_enabled(), "the other plan still waits"

        approve.nth(1).click()
        page.get_by_text("was approved and carried out; run the cells below").wait_for(timeout=30_000)
        assert observe.container(engine, "web").running
        assert approve.nth(1).is_disabled() and reject.nth(1).is_disabled()
        page.evaluate(RUN, 3)
        page.get_by_text("next: 0 ['start container web']").wait_for(timeout=15_000)
