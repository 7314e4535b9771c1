"""The first lab in a real browser: JupyterLab opens it, runs it, and the picture of the states moves."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, sync_playwright

from tests.notebooks import PAGES, ROOT
from tests.test_lab_server import Lab, gone

CHROMIUM = [
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"),
    *("--disable-component-update", "--disable-sync"),
]
LAB = ROOT / "notebooks/30-container-states.ipynb"
SHOTS = ROOT / "test-results"

READY = """async () => {
  const app = window.jupyterapp;
  if (!app) return false;
  await app.restored;
  const panel = app.shell.currentWidget;
  if (!panel || !panel.context) return false;
  await panel.context.ready;
  await panel.sessionContext.ready;
  const kernel = panel.sessionContext.session && panel.sessionContext.session.kernel;
  return !!kernel && kernel.connectionStatus === 'connected' && kernel.status === 'idle';
}"""


def await_kernel(page: Page, seconds: float = 90) -> None:
    """Wait until the notebook is open and its kernel idle (waiting for the idle icon alone is not enough)."""
    end = time.monotonic() + seconds
    while not page.evaluate(READY):
        assert time.monotonic() < end, "the notebook did not become ready"
        time.sleep(0.1)


RUN_ALL = """async () => {
  const panel = window.jupyterapp.shell.currentWidget;
  await window.jupyterapp.commands.execute('notebook:run-all-cells');
  const code = panel.content.widgets.filter(cell => cell.model.type === 'code' && cell.model.sharedModel.source.trim());
  return code.filter(cell => !cell.model.executionCount).length;
}"""


FAILED = """() => window.jupyterapp.shell.currentWidget.content.widgets
  .filter(cell => cell.model.type === 'code' && cell.model.outputs.toJSON().some(output => output.output_type === 'error'))
  .filter(cell => !(cell.model.getMetadata('tags') || []).includes('raises-exception'))
  .map(cell => cell.model.sharedModel.source)"""


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    """A `labkit lab` for all tests of this module."""
    running = Lab()
    yield running
    running.end(signal.SIGTERM)
    assert gone(running)


@pytest.fixture(params=["light", "dark"])
def page(request: pytest.FixtureRequest, lab: Lab, tmp_path: Path) -> Iterator[Page]:
    """The lab in a page of headless Chromium, in either theme, on a copy of the notebook that may be changed."""
    chromium = shutil.which("chromium")
    assert chromium, "chromium is missing: `labkit setup --tests` installs it"
    copy = LAB.with_name(f"{LAB.stem}-{request.param}-{os.getpid()}-test.ipynb")
    shutil.copy(LAB, copy)
    try:
        with sync_playwright() as playwright:
            context = playwright.chromium.launch_persistent_context(
                tmp_path,
                executable_path=chromium,
                headless=True,
                args=CHROMIUM,
                viewport={"width": 1280, "height": 900},
            )
            page = context.new_page()
            page.errors, page.theme = [], request.param  # type: ignore[attr-defined]
            page.on("pageerror", lambda error: page.errors.append(str(error)))  # type: ignore[attr-defined]
            page.goto(lab.url.replace(PAGES[0].name, copy.name))
            await_kernel(page)
            theme = f"JupyterLab {request.param.title()}"
            page.evaluate(
                "theme => window.jupyterapp.commands.execute('apputils:change-theme', {theme})", theme
            )
            yield page
            page.evaluate("() => window.jupyterapp.shell.currentWidget.sessionContext.shutdown()")
            SHOTS.mkdir(exist_ok=True)
            page.screenshot(path=SHOTS / f"lab-{request.param}.png")
            context.close()
    finally:
        copy.unlink()


def docker(lab: Lab, *words: str) -> None:
    """A docker command from outside the notebook, to the engine that this lab's kernel has opened."""
    command = [sys.executable, "-m", "labkit", "engine", "exec", LAB.stem, "docker", *words]
    subprocess.run(command, env=lab.environ, check=True, capture_output=True)


RUN_TO_MAP = """async () => {
  const {content: notebook, sessionContext} = window.jupyterapp.shell.currentWidget;
  const cells = notebook.widgets;
  const last = cells.findIndex(cell => cell.model.sharedModel.source.includes('StateMachine(lab.engine'));
  notebook.activeCellIndex = last + 1;
  await window.jupyterapp.commands.execute('notebook:run-all-above');
  return last;
}"""

LIVE = "div.jp-OutputArea-output svg[aria-label]"


MATCHES = """([where, state]) => [...document.querySelectorAll(where)]
  .some(svg => svg.getAttribute('aria-label').includes(state))"""


@pytest.mark.timeout(400)
def test_picture_follows_what_is_done_from_outside(page: Page, lab: Lab) -> None:
    """The live picture shows running, then paused, when that is done from outside the notebook, with nothing run in it."""
    assert page.evaluate(RUN_TO_MAP) > 0
    page.wait_for_selector(LIVE, timeout=60_000)
    for words, state in (
        (["run", "--detach", "--name", "ada", "busybox:lab", "sleep", "1000"], "ada is running"),
        (["pause", "ada"], "ada is paused"),
        (["rm", "--force", "ada"], "ada is removed"),
    ):
        docker(lab, *words)
        page.wait_for_function(
            MATCHES,
            arg=[LIVE, state],
            timeout=15_000,
        )
        SHOTS.mkdir(exist_ok=True)
        page.locator(LIVE).first.scroll_into_view_if_needed()
        page.screenshot(path=SHOTS / f"{state.replace(' ', '-')}-{page.theme}.png")  # type: ignore[attr-defined]
    assert page.errors == []  # type: ignore[attr-defined]


@pytest.mark.timeout(400)
def test_lab_runs_and_its_picture_moves(page: Page) -> None:
    """Run all cells: none fails, the live picture follows the container's states, and the browser reports no error."""
    assert page.evaluate(RUN_ALL) == 0
    await_kernel(page)
    assert page.evaluate(FAILED) == []
    assert page.errors == []  # type: ignore[attr-defined]
