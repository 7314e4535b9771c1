"""Predict, then run: a guess committed before the engine shows what is the case."""

from __future__ import annotations

from collections.abc import Sequence

from labkit.errors import UsageError

__all__ = ["Prediction", "predict"]


class Prediction:
    """An *answer* to a *question*, given before the engine's; ``right`` is None until `saw` has been called."""

    def __init__(self, question: str, answer: object) -> None:
        self.question, self.answer = question, answer
        self.right: bool | None = None

    def saw(self, actual: object) -> None:
        """Grade the prediction by what the engine did, and print the result."""
        self.right = _same(self.answer, actual)
        if self.right:
            print(f"Right: {actual}, as you predicted.")
        else:
            print(f"Not so: you predicted {self.answer}, the engine says {actual}.")

    def __repr__(self) -> str:
        return f"{self.question}\n  you predict: {self.answer}"


def predict(question: str, answer: object, *, among: Sequence[object] = ()) -> Prediction:
    """Commit *answer* to *question* before looking.  *among*: the answers that make sense, when they can be listed.

    Upper and lower case are the same, and so are ``"125"`` and 125.  Raises `UsageError` for an answer that is not among
    them.
    """
    meant = [possible for possible in among if _same(answer, possible)]
    if among and not meant:
        raise UsageError("no such answer", seen=repr(answer), expected=" or ".join(map(repr, among)))
    return Prediction(question, meant[0] if meant else answer)


def _same(one: object, other: object) -> bool:
    """Whether a reader would take them for the same; True is not 1."""
    return str(one).strip().casefold() == str(other).strip().casefold()
