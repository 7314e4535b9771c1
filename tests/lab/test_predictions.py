"""Predict, then run."""

from __future__ import annotations

import pytest

from labkit import lab
from labkit.errors import UsageError


def test_prediction_is_graded_by_what_was_seen(capsys: pytest.CaptureFixture[str]) -> None:
    """A right and a wrong prediction are told apart, and both name what the engine did."""
    right, wrong = lab.predict("exit code?", 125), lab.predict("exit code?", 0, among=[0, 125])
    right.saw(125)
    wrong.saw(125)
    assert (right.right, wrong.right) == (True, False)
    assert capsys.readouterr().out == (
        "Right: 125, as you predicted.\nNot so: you predicted 0, the engine says 125.\n"
    )


def test_prediction_is_open_until_the_engine_has_spoken() -> None:
    """Before it is graded it is neither right nor wrong, and shows question and answer."""
    guess = lab.predict("exit code?", 0)
    assert guess.right is None
    assert repr(guess) == "exit code?\n  you predict: 0"


def test_answer_must_be_one_of_those_offered() -> None:
    """An answer that is not among those offered is an error that lists them."""
    with pytest.raises(UsageError, match="'SIGTERM' or 'SIGKILL'"):
        lab.predict("which signal?", "SIGHUP", among=["SIGTERM", "SIGKILL"])


@pytest.mark.parametrize(
    ("answer", "among", "meant"),
    [("125", [0, 125], 125), ("sigkill", ["SIGTERM", "SIGKILL"], "SIGKILL"), ("YES", ["yes", "no"], "yes")],
)
def test_an_answer_is_taken_as_it_is_meant(answer: object, among: list[object], meant: object) -> None:
    """Neither quotation marks nor capital letters make an answer wrong."""
    guess = lab.predict("which?", answer, among=among)
    guess.saw(meant)
    assert (guess.answer, guess.right) == (meant, True)


def test_a_wrong_answer_shows_its_message_alone_in_a_notebook() -> None:
    """IPython shows what to expect, and none of the library's source."""
    with pytest.raises(UsageError) as caught:
        lab.predict("which?", 3, among=[0, 1])
    shown = "\n".join(caught.value._render_traceback_())
    assert "expected: 0 or 1" in shown and "Traceback" not in shown and "predictions.py" not in shown
