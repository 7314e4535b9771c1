"""The live forms of checks and predictions, in a real browser: what is seen, pressed and unfolded, and what it leads to."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from typing import Any, cast

import pytest
from playwright.sync_api import Page

from labkit.engine import Engine
from labkit.lab import container
from labkit.lab.checking.checks import Checks
from labkit.lab.notebooks.exercises import Exercise
from labkit.lab.predictions import Prediction, predict
from labkit.widgets import marks, predictions
from tests.browser import SECONDS
from tests.lab.checking.test_checks import RECORDED, Notes, create
from tests.widgets.mounting import mount, page, received, refresh

__all__ = ["page"]


@pytest.fixture
def checks(engine: Engine) -> Iterator[tuple[Checks, Notes]]:
    notes = Notes()
    made = Checks(engine, lambda: {"ending": Exercise(RECORDED, "", "", ())}, notes)
    yield made, notes
    made.close()


@pytest.mark.parametrize("module_engine", ["debian-13"], indirect=True)
def test_a_check_in_the_page(page: Page, engine: Engine, checks: tuple[Checks, Notes]) -> None:
    """The mark turns while an unfolded hint stays so; hints are noted when unfolded; the solution comes when asked for."""
    made, notes = checks
    create(engine, "ada")
    widget = marks.view(made.check("ending", container("ada").is_state("running"), container("ada").exists()))
    mount(page, widget)
    region = page.get_by_role("region", name="check ending")
    assert region.get_by_role("status").inner_text() == "○ending: not yet"
    assert [item.inner_text() for item in region.get_by_role("listitem").all()] == [
        "✗ container ada, state: created, expected running",
        "✓ container ada, state: created",
    ]
    assert "docker stop" not in page.content() and "docker stop" not in json.dumps(widget.shown)
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    region.get_by_text("Ask kindly.").wait_for()
    wait(page, lambda: any(told[0] == "hinted" for told in notes.told))
    assert [told for told in notes.told if told[0] == "hinted"] == [("hinted", "ending", 1)]
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    page.wait_for_function("() => document.querySelector('button').disabled")
    wait(page, lambda: ("solution", "ending") in notes.told)
    refresh(page, widget)
    assert "!docker stop ada" in region.get_by_role("region", name="one solution").inner_text()
    engine.client.api.start("ada")
    wait(page, lambda: bool(widget.shown["state"] == "done"))
    refresh(page, widget)
    assert region.get_by_role("status").inner_text() == "✓ending: done"
    engine.client.api.kill("ada")
    wait(page, lambda: bool(widget.shown["state"] == "not-yet"))
    refresh(page, widget)
    assert region.get_by_text("Ask kindly.").is_visible(), "it was unfolded before"
    assert [told for told in notes.told if told[0] == "hinted"] == [("hinted", "ending", 1)]


def wait(page: Page, holds: Callable[[], bool]) -> None:
    end = time.monotonic() + SECONDS
    while not holds():
        assert time.monotonic() < end, "it did not happen"
        page.wait_for_timeout(20)  # what the page sends is heard meanwhile


def test_a_prediction_in_the_page(page: Page, capsys: pytest.CaptureFixture[str]) -> None:
    """One answer is chosen with the keyboard and committed; then nothing can be changed, and the grade is shown."""
    guess = predict("Which exit code?", among=[0, 137, 143])
    widget = predictions.view(guess)
    mount(page, widget)
    button = page.get_by_role("button", name="This is my prediction")
    button.click()
    refresh_until(page, widget, "Choose or type 0 or 137 or 143.")
    page.get_by_role("radio", name="137").focus()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    wait(page, lambda: guess.committed)
    assert guess.answer == 143
    refresh_until(page, widget, "You predict: 143.")
    assert page.get_by_role("radio", name="0", exact=True).is_disabled() and not button.is_visible()
    guess.saw(137)
    refresh_until(page, widget, "✗ Not so: you predicted 143, the engine says 137.")
    assert capsys.readouterr().out == "Not so: you predicted 143, the engine says 137.\n"


def refresh_until(page: Page, widget: Any, words: str) -> None:
    wait(page, lambda: widget.shown["words"] == words)
    refresh(page, widget)
    assert page.get_by_role("status").inner_text() == words


def test_a_typed_prediction_in_the_page(page: Page) -> None:
    """Where the answers cannot be listed, one is typed; what is typed is text, never part of the page."""
    guess = predict("What does it say? <b>Exactly</b>")
    widget = predictions.view(guess)
    mount(page, widget)
    page.get_by_label("your prediction").fill("<img src=x onerror=alert(1)>")
    page.keyboard.press("Enter")
    wait(page, lambda: guess.committed)
    refresh(page, widget)
    assert page.locator("img, b").count() == 0
    assert guess.answer == "<img src=x onerror=alert(1)>"
    guess.saw("hello")


def test_what_comes_from_a_page_is_not_trusted() -> None:
    """A place that is not on the list commits nothing."""
    guess = predict("Which?", among=["a", "b"])
    widget = predictions.view(guess)
    for message in ({"chosen": 7}, {"chosen": -1}, {"typed": "c"}, {}):
        received(widget, message)
        assert not guess.committed
    assert cast("Prediction", widget.prediction) is guess
