"""JupyterLab in headless Chromium, as a person has it: one server for all tests, a browser a module, notebooks open in tabs."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import nbformat
import pytest
from playwright.sync_api import Browser, Locator, Page, ViewportSize, expect, sync_playwright

from tests.notebooks import PAGES, ROOT
from tests.test_lab_server import Lab, gone

__all__ = ["CHROMIUM", "SHOTS", "VIEWPORT", "Tab", "browser", "contrasts", "lab", "notebook", "opened"]

CHROMIUM = [
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"),
    *("--disable-component-update", "--disable-sync"),
]
SHOTS = ROOT / "test-results"
VIEWPORT: ViewportSize = {"width": 1280, "height": 900}
SECONDS = 180
"""For what is certain to come, on a machine that is busy."""

HASTY = """() => {
  const timeout = AbortSignal.timeout.bind(AbortSignal);
  AbortSignal.timeout = () => timeout(0);
}"""
"""Whatever gives up after some seconds does so at once, as in a browser that is so busy: our views must live with that."""

PANEL = "const panel = window.jupyterapp.shell.currentWidget, cells = panel.content.widgets;"

READY = """async () => {
  const app = window.jupyterapp;
  if (!app) return false;
  await app.restored;
  const panel = app.shell.currentWidget;
  if (!panel || !panel.context || !panel.sessionContext) return false;
  await panel.context.ready;
  await panel.sessionContext.ready;
  const kernel = panel.sessionContext.session && panel.sessionContext.session.kernel;
  return !!kernel && kernel.connectionStatus === 'connected' && kernel.status === 'idle';
}"""

RUN = (
    "async id => {"
    + PANEL
    + """
  panel.content.activeCellIndex = cells.findIndex(cell => cell.model.id === id);
  panel.content.deselectAll();
  const cell = panel.content.activeCell;
  if (cell.model.id !== id) throw new Error(`no cell ${id}`);
  await window.jupyterapp.commands.execute('notebook:run-cell');
  return cell.model.outputs.toJSON();
}"""
)

RUN_ALL = (
    "async () => {"
    + PANEL
    + """
  await window.jupyterapp.commands.execute('notebook:run-all-cells');
  const code = cells.filter(cell => cell.model.type === 'code' && cell.model.sharedModel.source.trim());
  const failed = cell => !(cell.model.getMetadata('tags') || []).includes('raises-exception')
    && cell.model.outputs.toJSON().some(output => output.output_type === 'error');
  const called = cells => cells.map(cell => cell.model.id);
  return [called(code.filter(cell => !cell.model.executionCount)), called(code.filter(failed))];
}"""
)

SHOW = (
    "async id => {"
    + PANEL
    + """
  const cell = cells.find(cell => cell.model.id === id);
  await panel.content.scrollToItem(cells.indexOf(cell), 'start', 0);
  cell.node.dataset.shown = id;
}"""
)

CONTRASTS = """box => {
  const canvas = document.createElement('canvas').getContext('2d', { willReadFrequently: true });
  function parts(colour) {  // whatever CSS calls it
    canvas.clearRect(0, 0, 1, 1);
    canvas.fillStyle = colour;
    canvas.fillRect(0, 0, 1, 1);
    const [r, g, b, a] = canvas.getImageData(0, 0, 1, 1).data;
    return [r, g, b, a / 255];
  }
  const over = ([r, g, b, a], below) => [r, g, b].map((part, n) => part * a + below[n] * (1 - a));
  const light = parts => parts.map(part => part / 255)
    .map(part => part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4)
    .reduce((sum, part, n) => sum + part * [0.2126, 0.7152, 0.0722][n], 0);
  function contrast(node) {
    const layers = [];
    for (let at = node; at; at = at.parentElement) layers.unshift(parts(getComputedStyle(at).backgroundColor));
    const paper = layers.reduce((below, layer) => over(layer, below), [255, 255, 255]);
    const [low, high] = [light(over(parts(getComputedStyle(node).color), paper)), light(paper)].sort((a, b) => a - b);
    return (high + 0.05) / (low + 0.05);
  }
  const own = node => [...node.childNodes].filter(child => child.nodeType === 3).map(child => child.data).join('').trim();
  const seen = [...box.querySelectorAll('*')].filter(node => own(node) && node.checkVisibility());
  return seen.map(node => [own(node), contrast(node)]);
}"""
"""The contrast of a text to what is behind it is as WCAG 2.2 defines it: 1 for none, 21 for black on white."""


class Tab:
    """A notebook that is open in JupyterLab.  *errors*: what the browser has complained of since."""

    def __init__(self, page: Page, lab: Lab) -> None:
        self.page, self.lab = page, lab
        self.theme = "light"
        self.errors: list[str] = []
        page.set_default_timeout(SECONDS * 1000)
        expect.set_options(timeout=SECONDS * 1000)
        page.add_init_script(f"({HASTY})()")
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        page.on("console", self._complains)

    def _complains(self, message: Any) -> None:
        if message.type == "error":
            self.errors.append(f"{message.text} ({message.location.get('url', '')})")

    def open(self, notebook: Path) -> None:
        """Open *notebook* and nothing else, and wait for its kernel."""
        first, there = (path.relative_to(ROOT).as_posix() for path in (PAGES[0], notebook))
        self.page.goto(self.lab.url.replace(first, there) + "&reset")
        self.await_kernel()

    def await_kernel(self) -> None:
        """Wait until the notebook is open and its kernel idle (waiting for the idle icon alone is not enough)."""
        end = time.monotonic() + SECONDS
        while not self.page.evaluate(READY):
            assert time.monotonic() < end, "the notebook did not become ready"
            self.page.wait_for_timeout(50)

    def paint(self, theme: str) -> None:
        """Have JupyterLab in its *theme* ``light`` or ``dark``."""
        self.theme = theme
        command = "theme => window.jupyterapp.commands.execute('apputils:change-theme', { theme })"
        self.page.evaluate(command, f"JupyterLab {theme.title()}")
        self.page.wait_for_function(
            "light => document.body.dataset.jpThemeLight === light", arg=str(theme == "light").lower()
        )

    def run(self, cell: str) -> str:
        """Run the cell with this id, and return what it prints; an error is one of the test's."""
        outputs = self.page.evaluate(RUN, cell)
        assert not [each for each in outputs if each["output_type"] == "error"], outputs
        return "".join("".join(each.get("text", "")) for each in outputs)

    def run_all(self) -> None:
        """Run all cells: each has run, and none has failed."""
        assert self.page.evaluate(RUN_ALL) == [[], []]

    def restart(self) -> None:
        """Restart the kernel, as a person does: by the menu's command, and its question answered."""
        self.page.evaluate("() => void window.jupyterapp.commands.execute('notebook:restart-kernel')")
        self.page.get_by_role("dialog").get_by_role("button", name="Confirm").click()
        self.page.get_by_role("dialog").wait_for(state="detached")
        self.await_kernel()

    def shoot(self, name: str, cell: str) -> None:
        """Keep a picture of the *cell*, to be looked at."""
        SHOTS.mkdir(exist_ok=True)
        self.page.evaluate(SHOW, cell)
        shown = self.page.locator(f'[data-shown="{cell}"]')
        shown.screenshot(path=SHOTS / f"{name}-{self.theme}.png")

    def labkit(self, *words: str) -> str:
        """What a labkit command prints, typed in a terminal beside the browser."""
        command = [sys.executable, "-m", "labkit", *words]
        done = subprocess.run(
            command, env=self.lab.environ, check=False, capture_output=True, text=True, timeout=SECONDS
        )
        assert done.returncode == 0, done.stderr
        return done.stdout


def contrasts(box: Locator) -> dict[str, float]:
    """Of each text in the *box* that is seen: its contrast to what is behind it."""
    return dict(box.evaluate(CONTRASTS))


@contextmanager
def notebook(name: str, cells: Sequence[nbformat.NotebookNode]) -> Iterator[Path]:
    """A notebook of these *cells* beside the screenshots, for a while: in the folder of the labs it would be one."""
    SHOTS.mkdir(exist_ok=True)
    path = SHOTS / f"{name}-{os.getpid()}.ipynb"
    spec = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    nbformat.write(nbformat.v4.new_notebook(cells=list(cells), metadata=spec), path)
    try:
        yield path
    finally:
        path.unlink()


@contextmanager
def opened(browser: Browser, lab: Lab, path: Path, theme: str = "light") -> Iterator[Tab]:
    """A *tab* with the notebook of *path*, for a while; its kernel ends with it."""
    tab = Tab(browser.new_page(viewport=VIEWPORT), lab)
    tab.open(path)
    tab.paint(theme)
    yield tab
    tab.paint("light")  # JupyterLab keeps it for next time
    tab.page.evaluate("() => window.jupyterapp.shell.currentWidget.sessionContext.shutdown()")
    tab.page.close()


@pytest.fixture(scope="session")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """A `labkit lab` for all tests that need one, with a progress of its own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LABKIT_PROGRESS", str(tmp_path_factory.mktemp("browser") / "progress.sqlite"))
        running = Lab()
    yield running
    running.end(signal.SIGTERM)
    assert gone(running)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Headless Chromium; not for longer than a module, since it keeps the thread's event loop running."""
    chromium = shutil.which("chromium")
    assert chromium, "chromium is missing: `labkit setup --tests` installs it"
    with sync_playwright() as playwright:
        running = playwright.chromium.launch(
            executable_path=chromium, headless=True, args=CHROMIUM, timeout=SECONDS * 1000
        )
        yield running
        running.close()
