"""Predict, then run: a guess committed before the engine shows what is the case, and graded by what it did."""

from __future__ import annotations

import html
from collections.abc import Callable, Sequence
from typing import Any

from labkit.errors import LabkitError, UsageError
from labkit.lab.arguments import learners, made
from labkit.lab.showing import Shown

__all__ = ["OPEN", "Prediction", "predict"]


class _Open:
    """In place of an answer that is not given yet: None is one that could be."""

    def __repr__(self) -> str:
        return "(not yet)"


OPEN: Any = _Open()

SHOWN = 300
"""Letters of an answer that are shown; it is compared whole."""


@made("labkit.lab.Prediction")
@learners("guess")
class Prediction(Shown):
    """An *answer* to a *question*, given before the engine's; ``right`` is None until `saw` has been called.

    *among*: the answers that make sense, when they can be listed.  *noted* is told the question and whether it was right.
    """

    def __init__(
        self,
        question: str,
        answer: object = OPEN,
        among: Sequence[object] = (),
        noted: Callable[[str, bool], None] = lambda question, right: None,
    ) -> None:
        self.question, self.among = question, tuple(among)
        self.answer: object = OPEN
        self.right: bool | None = None
        self.actual: object = OPEN
        self._noted = noted
        self._shown: list[Callable[[], None]] = []
        if answer is not OPEN:
            self.commit(answer)

    @property
    def committed(self) -> bool:
        """Whether an answer was given; then it stays."""
        return self.answer is not OPEN

    def commit(self, answer: object) -> None:
        """Give the *answer*, once, before the engine has given its own.

        Raises `UsageError` for one that is not among those that make sense, and `LabkitError` where it is too late.
        """
        if self.committed or self.actual is not OPEN:
            raise LabkitError(
                "the prediction is made" if self.committed else "the engine has answered already",
                seen=_short(self.answer if self.committed else self.actual),
                try_="run the cell that asks again, for a new one",
            )
        meant = [possible for possible in self.among if _same(answer, possible)]
        if (self.among and not meant) or not str(answer).strip():
            expected = " or ".join(map(repr, self.among)) or "an answer"
            raise UsageError("no such answer", seen=_short(repr(answer)), expected=expected)
        self.answer = meant[0] if meant else answer
        self._tell()

    def saw(self, actual: object) -> None:
        """Grade the prediction by what the engine did, and print the result.  The first time counts."""
        if self.actual is not OPEN:
            print(f"{self.question!r} is graded already. {self.grade}")
            print("For a new prediction, run the cell that asks it.")
            return
        self.actual = actual
        if self.committed:
            self.right = _same(self.answer, actual)
            self._noted(self.question, self.right)
        print(self.grade)
        self._tell()

    @property
    def grade(self) -> str:
        """In a sentence: right or not, and what the engine says; nothing before it has spoken."""
        if self.actual is OPEN:
            return ""
        if self.right is None:
            return f"You have not predicted it; the engine says {_short(self.actual)}."
        if self.right:
            return f"Right: {_short(self.actual)}, as you predicted."
        return f"Not so: you predicted {_short(self.answer)}, the engine says {_short(self.actual)}."

    def on_change(self, shown: Callable[[], None]) -> None:
        """Call *shown* when an answer was given, or graded."""
        self._shown.append(shown)

    def _tell(self) -> None:
        for shown in list(self._shown):
            shown()

    def __repr__(self) -> str:
        lines = [self.question, f"  you predict: {_short(self.answer)}"]
        if not self.committed and self.among:
            lines.append(f"  one of: {', '.join(map(str, self.among))}")
        return "\n".join([*lines, *([f"  {self.grade}"] if self.grade else [])])

    def _static(self) -> str:
        return f"<pre style='white-space: pre-wrap'>{html.escape(repr(self))}</pre>"


def predict(
    question: str,
    answer: object = OPEN,
    *,
    among: Sequence[object] = (),
    noted: Callable[[str, bool], None] = lambda question, right: None,
) -> Prediction:
    """Commit *answer* to *question* before looking; without one, the notebook shows a form to answer in.

    *among*: the answers that make sense, when they can be listed.  Upper and lower case are the same, and so are ``"125"`` and
    125.  Raises `UsageError` for an answer that is not among them.
    """
    if not isinstance(question, str) or not question.strip():
        raise UsageError("what is asked?", seen=repr(question), expected="a question, as text")
    if isinstance(among, str) or len({_plain(each) for each in among}) != len(among):
        raise UsageError(
            "no such choice of answers", seen=repr(among), expected="a list of different answers"
        )
    return Prediction(question, answer, among, noted)


def _same(one: object, other: object) -> bool:
    """Whether a reader would take them for the same; True is not 1."""
    return _plain(one) == _plain(other)


def _short(answer: object) -> str:
    """*answer* as far as somebody reads it."""
    told = str(answer)
    return told if len(told) <= SHOWN else f"{told[:SHOWN]}…"


def _plain(answer: object) -> str:
    return str(answer).strip().casefold()
