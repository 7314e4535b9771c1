"""Widgets that a person answers, in a real browser: the form typed into and a plan decided on, in JupyterLab."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import nbformat
import pytest
from playwright.sync_api import Browser

from labkit import observe
from labkit.engine import Engine
from tests.browser import SHOTS, Tab, notebook, opened
from tests.runbook.test_actions import down
from tests.test_lab_server import Lab

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


pytestmark = pytest.mark.timeout(600)


@contextmanager
def answers(browser: Browser, lab: Lab, cells: list[str]) -> Iterator[Tab]:
    """A notebook of these *cells*, the second of them tagged as parameters, whose ids are their places."""
    made = [nbformat.v4.new_code_cell(source, id=str(n)) for n, source in enumerate(cells)]
    made[1].metadata["tags"] = ["parameters"]
    with notebook("answers", made) as path, opened(browser, lab, path) as tab:
        yield tab


def test_a_person_types_and_the_cells_below_use_it(browser: Browser, lab: Lab) -> None:
    """A wrong value is told beside its field, in words; a right one is what the next cell has."""
    with answers(browser, lab, FORM) as tab:
        page = tab.page
        for n in range(3):
            tab.run(str(n))
        field = page.get_by_label("times")
        field.wait_for()
        field.fill("many")
        field.press("Enter")
        page.get_by_text(
            "✗ the parameter times has a value that does not fit; expected: a valid integer"
        ).wait_for()
        SHOTS.mkdir(exist_ok=True)
        page.screenshot(path=SHOTS / "form.png")
        field.fill("7")
        field.press("Enter")
        page.get_by_text("✓ how often").wait_for()
        tab.run("3")
        page.get_by_text("used: 7 7").wait_for()


@pytest.mark.parametrize("module_engine", ["debian-13"], indirect=True)
def test_a_person_rejects_a_plan_and_approves_another(browser: Browser, lab: Lab, engine: Engine) -> None:
    """Rejected, nothing is changed; approved, it is carried out; no button can be pressed twice, and the cells go on."""
    down(engine)
    with answers(browser, lab, [PLANS[0].replace("URL", engine.url), *PLANS[1:]]) as tab:
        page = tab.page
        for n in range(3):
            tab.run(str(n))
        reject, approve = (page.get_by_role("button", name=name) for name in ("Reject", "Approve"))
        approve.nth(1).wait_for()
        assert (reject.count(), approve.count()) == (2, 2)
        SHOTS.mkdir(exist_ok=True)
        page.screenshot(path=SHOTS / "plan.png")

        reject.first.click()
        page.get_by_text("was rejected; nothing was changed").wait_for()
        assert not observe.container(engine, "web").running
        assert approve.first.is_disabled() and reject.first.is_disabled()
        assert approve.nth(1).is_enabled(), "the other plan still waits"

        approve.nth(1).click()
        page.get_by_text("was approved and carried out; run the cells below").wait_for()
        assert observe.container(engine, "web").running
        assert approve.nth(1).is_disabled() and reject.nth(1).is_disabled()
        tab.run("3")
        page.get_by_text("next: 0 ['start container web']").wait_for()
