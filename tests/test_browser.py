"""A lab as a learner has it: JupyterLab in a real browser, in light and dark, with somebody at work on the engine outside."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import nbformat
import pytest
from playwright.sync_api import Browser, Locator, expect

from labkit.lab.notebooks.book import load
from tests.browser import SECONDS, SHOTS, VIEWPORT, Tab, contrasts, notebook, opened
from tests.notebooks import PAGES, ROOT
from tests.test_lab_server import Lab

pytestmark = pytest.mark.timeout(1200)

LAB = ROOT / "notebooks/30-container-states.ipynb"
NEEDED = ["parameters", "live-picture", "ending-check"]
"""Cells of the lab that stand in the notebook of these tests, beside those of its own."""

OWN = {
    "learner": "%env LABKIT_LEARNER={theme}",
    "listed": 'guess = lab.predict("Exit code of a container that is killed?", among=[0, 137, 143])\nguess',
    "typed": 'said = lab.predict("State of a container that was killed?")\nsaid',
    "late": 'late = lab.predict("Is it still there?", among=["yes", "no"])\nlate',
    "kill": "!docker run -d --name {name}-k {image} sleep 1000 >/dev/null; docker kill {name}-k; docker wait {name}-k\n"
    'guess.saw(lab.inspected(f"{name}-k")["State"]["ExitCode"])\nsaid.saw(lab.state(f"{name}-k"))\nlate.saw("yes")',
    "changed": "!docker run -d --name {name}-c --memory 64m {image} sleep 1000\nlab.changed()",
    "trace": 'lab.trace(f"docker run -d --name {name}-t -p 8080:80 {image} sleep 1000")',
    "layers": 'lab.layers(f"{name}-c")',
    "committed": 'from IPython.display import SVG\nSVG(lab.layers(f"{name}-c").svg)',
    "network": "lab.network_map()",
    "usage": 'lab.usage(f"{name}-c")',
    "timeline": "lab.timeline()",
    "engine": "print(lab.engine.id)",
}
LIVE = "div.jp-OutputArea-output svg[aria-label]"
READABLE = 4.5
"""The contrast that WCAG 2.2 asks of text."""


@pytest.fixture(scope="module", params=["light", "dark"])
def tab(request: pytest.FixtureRequest, browser: Browser, lab: Lab) -> Iterator[Tab]:
    """A notebook of that lab in either theme, with the lab open and nothing done yet."""
    theme = request.param
    lent = [cell for cell in load(LAB).cells if cell.id in NEEDED]
    own = [nbformat.v4.new_code_cell(source.replace("{theme}", theme), id=id_) for id_, source in OWN.items()]
    with (
        notebook(f"seen-{theme}", [*own[:1], *lent, *own[1:]]) as path,
        opened(browser, lab, path, theme) as tab,
    ):
        assert "private: it ends with the notebook server" in begin(tab)
        yield tab


@pytest.fixture(autouse=True)
def silent(request: pytest.FixtureRequest) -> Iterator[None]:
    """The browser complains of nothing, in no test."""
    yield
    if "tab" in request.fixturenames:
        assert request.getfixturevalue("tab").errors == []


def begin(tab: Tab) -> str:
    """Run the cells that open the lab, and return what they print."""
    return "".join(map(tab.run, ("learner", *NEEDED[:2])))


def docker(tab: Tab, *words: str) -> str:
    """What a docker command prints, typed outside the notebook."""
    return tab.labkit("engine", "exec", LAB.stem, "docker", *words)


def wait(holds: Callable[[], bool]) -> None:
    """Look until it *holds*."""
    end = time.monotonic() + SECONDS
    while not holds():
        assert time.monotonic() < end, "it did not happen"


def progress(tab: Tab) -> dict[str, int]:
    """Of this theme's learner in this lab, as the command line tells it."""
    told = json.loads(tab.labkit("progress", "--learner", tab.theme, "--json"))
    return dict(next(tally for tally in told if tally["lab"] == LAB.stem))


def cell(tab: Tab, id_: str) -> Locator:
    """What the cell shows."""
    number = tab.page.evaluate(
        "id => window.jupyterapp.shell.currentWidget.content.widgets.findIndex(cell => cell.model.id === id)",
        id_,
    )
    return tab.page.locator(".jp-NotebookPanel .jp-Cell").nth(number)


def test_a_check_turns_by_itself(tab: Tab) -> None:
    """Done from outside, the mark turns; undone, it turns back; nothing is run in the notebook."""
    tab.run("ending-check")
    check = tab.page.get_by_role("region", name="check ending")
    status = check.get_by_role("status")
    expect(status).to_have_text("○ending: not yet")
    tab.shoot("check-not-yet", "ending-check")
    readable(check)
    docker(tab, "run", "--detach", "--init", "--name", "ada-x1", "busybox:lab", "sleep", "1000")
    # sent to an init that has not forked yet, the signal would be lost
    wait(lambda: any("init" not in line for line in docker(tab, "top", "ada-x1").splitlines()[1:]))
    docker(tab, "stop", "ada-x1")
    docker(tab, "start", "ada-x1")
    expect(status).to_have_text("✓ending: done")
    tab.shoot("check-done", "ending-check")
    readable(check)
    docker(tab, "rm", "--force", "ada-x1")
    expect(status).to_have_text("○ending: not yet")
    assert progress(tab)["checks_passed"] == 1


def test_a_hint_unfolds_and_the_solution_comes_when_asked_for(tab: Tab) -> None:
    """Both are in the page from then on, and not before, can be read, and are counted."""
    tab.run("ending-check")
    check = tab.page.get_by_role("region", name="check ending")
    hint, solution = (
        check.get_by_text("PID 1 is special"),
        check.get_by_role("region", name="one solution"),
    )
    expect(hint).to_be_hidden()
    expect(solution).to_be_hidden()
    before = progress(tab)
    check.get_by_text("Hint", exact=True).click()
    expect(hint).to_be_visible()
    tab.shoot("hint", "ending-check")
    assert "exit 143" not in check.inner_html()
    check.get_by_role("button", name="Show one solution").click()
    expect(solution).to_contain_text("exit 143")
    expect(solution).to_be_focused()
    tab.shoot("solution", "ending-check")
    readable(check)
    told = progress(tab)
    assert [told[what] - before[what] for what in ("hints", "solutions")] == [1, 1]


def test_predictions_are_graded_by_what_the_engine_did(tab: Tab) -> None:
    """One is chosen with the mouse, one typed; both are fixed then, and graded; an answer that comes late counts for nothing."""
    for asked in ("listed", "typed", "late"):
        tab.run(asked)
    listed, typed, late = (form_of(tab, asked) for asked in ("Exit code", "State of", "Is it still"))
    tab.shoot("prediction-open", "listed")
    readable(listed)
    listed.get_by_role("radio", name="137").check()
    listed.get_by_role("button").click()
    expect(listed.get_by_role("status")).to_have_text("You predict: 137.")
    expect(listed.get_by_role("radio", name="0", exact=True)).to_be_disabled()
    tab.shoot("prediction-made", "listed")
    typed.get_by_role("textbox").fill("running")
    typed.get_by_role("textbox").press("Enter")
    expect(typed.get_by_role("status")).to_have_text("You predict: running.")
    tab.run("kill")
    grades = {
        listed: "✓ Right: 137, as you predicted.",
        typed: "✗ Not so: you predicted running, the engine says exited.",
        late: "You have not predicted it; the engine says yes.",
    }
    for form, grade in grades.items():
        expect(form.get_by_role("status")).to_have_text(grade)
        expect(form.get_by_role("button")).to_be_hidden()
        readable(form)
    for name, asked in {"right": "listed", "wrong": "typed", "late": "late"}.items():
        tab.shoot(f"prediction-{name}", asked)
    late.evaluate(PUSH)
    expect(late.get_by_role("status")).to_contain_text("the engine has answered already")
    told = progress(tab)
    assert (told["predictions_right"], told["predictions_made"]) == (1, 2)


PUSH = """form => {
  for (const input of form.querySelectorAll("input")) input.disabled = false;
  form.querySelector("input").checked = true;
  form.closest("form").requestSubmit();
}"""
"""An answer sent all the same, as by a form that has not yet heard that it is too late."""


def form_of(tab: Tab, question: str) -> Locator:
    return tab.page.locator("fieldset").filter(has_text=question)


def test_the_picture_follows_what_is_done_from_outside(tab: Tab) -> None:
    """It shows running, paused, removed as that happens outside the notebook, with nothing run in it."""
    tab.run("live-picture")
    for words, state in (
        (["run", "--detach", "--name", "ada", "busybox:lab", "sleep", "1000"], "ada is running"),
        (["pause", "ada"], "ada is paused"),
        (["rm", "--force", "ada"], "ada is removed"),
    ):
        docker(tab, *words)
        expect(tab.page.locator(f'{LIVE}[aria-label*="{state}"]')).to_be_visible()
        tab.shoot(state.replace(" ", "-"), "live-picture")


def test_a_restart_of_the_kernel_keeps_progress_and_engine(tab: Tab) -> None:
    """The setup cell run again takes up the lab, says so, and its checks follow the engine again."""
    docker(tab, "run", "--detach", "--name", "ada-kept", "busybox:lab", "sleep", "1000")
    engine, before = tab.run("engine"), progress(tab)
    tab.restart()
    told = begin(tab)
    assert "taken up again, with what is on it: containers" in told and "ada-kept" in told
    assert tab.run("engine") == engine
    after = progress(tab)
    assert {**after, "seconds": 0} == {**before, "seconds": 0} and after["seconds"] >= before["seconds"]
    tab.run("ending-check")
    check = tab.page.get_by_role("region", name="check ending")
    expect(check.get_by_role("listitem").first).to_contain_text("no such container")
    docker(tab, "create", "--name", "ada-x1", "busybox:lab")
    expect(check.get_by_role("listitem").last).to_contain_text("created")
    docker(tab, "rm", "--force", "ada-kept", "ada-x1")
    tab.shoot("taken-up", "live-picture")


def test_every_view_is_shown(tab: Tab) -> None:
    """What changed, the three views of a command, and each picture, whole in a narrow window too."""
    tab.run("changed")
    expect(cell(tab, "changed").get_by_role("row").filter(has_text="container ada-c").first).to_be_visible()
    tab.shoot("changed", "changed")
    tab.run("trace")
    trace = cell(tab, "trace")
    views, panel = trace.get_by_role("tab"), trace.get_by_role("tabpanel")
    expect(views).to_have_count(3)
    for number, words in enumerate(("exit code 0", "/containers/create?name=ada-t", "create_container")):
        views.nth(number).click()
        expect(panel).to_contain_text(words)
        tab.shoot(f"trace-{number}", "trace")
    for view in ("layers", "committed", "network", "usage", "timeline"):
        tab.run(view)
        picture = cell(tab, view).locator(".jp-OutputArea-output :is(svg[role=img], img)")
        expect(picture).to_be_visible()
        if view == "usage":
            expect(cell(tab, view).locator("svg[aria-label*='readings']")).to_have_count(0)  # there are some
        if view in ("layers", "committed"):
            whole_when_narrow(tab, picture)
        tab.shoot(view, view)


@pytest.mark.parametrize(("path", "theme"), [(PAGES[0], "dark"), (LAB, "light")], ids=["page", "lab"])
def test_a_lab_runs_from_top_to_bottom(path: Path, theme: str, browser: Browser, lab: Lab) -> None:
    """Run all cells: none fails, and the browser complains of nothing."""
    with notebook(f"whole-{path.stem}", load(path).cells) as copy, opened(browser, lab, copy, theme) as tab:
        tab.run_all()
        SHOTS.mkdir(exist_ok=True)
        tab.page.screenshot(path=SHOTS / f"{path.stem}-{theme}.png")
        assert tab.errors == []


def whole_when_narrow(tab: Tab, picture: Locator) -> None:
    """The *picture* becomes as wide as the place where it is shown."""
    tab.page.set_viewport_size({"width": 700, "height": 900})
    tab.page.evaluate("() => window.jupyterapp.shell.collapseLeft()")
    place = "picture => picture.getBoundingClientRect().width <= picture.closest('.jp-OutputArea-output').clientWidth"
    tab.page.wait_for_function(place, arg=picture.element_handle())
    tab.page.set_viewport_size(VIEWPORT)


def readable(box: Locator) -> None:
    """All words in the *box* that are seen stand out from what is behind them."""
    told = contrasts(box)
    assert told and min(told.values()) >= READABLE, told
