"""Predict, then run."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from labkit import lab
from labkit.errors import LabkitError, UsageError


def test_prediction_is_graded_by_what_was_seen(capsys: pytest.CaptureFixture[str]) -> None:
    """A right and a wrong prediction are told apart, and both name what the engine did."""
    right, wrong = lab.predict("exit code?", 125), lab.predict("exit code?", 0, among=[0, 125])
    right.saw(125)
    wrong.saw(125)
    assert (right.right, wrong.right) == (True, False)
    assert capsys.readouterr().out == (
        "Right: 125, as you predicted.\nNot so: you predicted 0, the engine says 125.\n"
    )
    wrong.saw(0)
    assert (wrong.right, wrong.actual) == (False, 125), "the first time counts"
    assert capsys.readouterr().out == (
        "'exit code?' is graded already. Not so: you predicted 0, the engine says 125.\n"
        "For a new prediction, run the cell that asks it.\n"
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


def test_a_long_answer_is_compared_whole_and_shown_in_part(capsys: pytest.CaptureFixture[str]) -> None:
    """Somebody who pastes a whole log gets a grade, and not the log again; its end counts all the same."""
    log = "ünï ☃\n" * 20_000
    guess = lab.predict("What does it say?", log)
    guess.saw(log + "the end")
    assert guess.right is False and guess.answer == log
    told = capsys.readouterr().out
    assert told.startswith("Not so: you predicted ünï ☃") and len(told) < 1000 and len(repr(guess)) < 1500
    with pytest.raises(UsageError, match="no such answer") as caught:
        lab.predict("What does it say?", log, among=["nothing", "something"])
    assert len(str(caught.value)) < 1000


def test_a_wrong_answer_shows_its_message_alone_in_a_notebook() -> None:
    """IPython shows what to expect, and none of the library's source."""
    with pytest.raises(UsageError) as caught:
        lab.predict("which?", 3, among=[0, 1])
    shown = "\n".join(caught.value._render_traceback_())
    assert "expected: 0 or 1" in shown and "Traceback" not in shown and "predictions.py" not in shown


def test_without_an_answer_it_stays_open_until_one_is_committed(capsys: pytest.CaptureFixture[str]) -> None:
    """What could be answered is listed; an answer is given once, and not after the engine has spoken."""
    told: list[tuple[str, bool]] = []
    guess = lab.predict(
        "which?", among=["a", "b"], noted=lambda question, right: told.append((question, right))
    )
    assert repr(guess) == "which?\n  you predict: (not yet)\n  one of: a, b"
    guess.commit("B")
    with pytest.raises(LabkitError, match="is made"):
        guess.commit("a")
    guess.saw("b")
    assert guess.right and told == [("which?", True)]
    late = lab.predict("which?", noted=lambda question, right: told.append((question, right)))
    late.saw(137)
    with pytest.raises(LabkitError, match="answered already"):
        late.commit(137)
    assert late.right is None and len(told) == 1, "who has not predicted is neither right nor wrong"
    assert capsys.readouterr().out.endswith("You have not predicted it; the engine says 137.\n")


@pytest.mark.parametrize(
    "mistake",
    [
        lambda: lab.predict(""),
        lambda: lab.predict(7),  # type: ignore[arg-type]
        lambda: lab.predict("which?", among="ab"),
        lambda: lab.predict("which?", among=[1, "1"]),
        lambda: lab.predict("which?", " "),
        lambda: lab.predict("which?", None, among=["a"]),
    ],
    ids=range(6),
)
def test_a_question_that_cannot_be_answered_is_refused(mistake: Callable[[], object]) -> None:
    """No question, answers that are the same, an empty answer: one clear message."""
    with pytest.raises(UsageError):
        mistake()


def test_nothing_is_an_answer_too() -> None:
    """None can be predicted, and it is not the same as no prediction."""
    guess = lab.predict("which signal?", None)
    guess.saw(None)
    assert guess.right
