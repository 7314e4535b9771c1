"""What helps with an exercise: hints, of which the later ones depend on what the check sees, and the solution when asked for."""

from __future__ import annotations

import html
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Protocol

from labkit.lab.showing import Shown

if TYPE_CHECKING:
    from labkit.lab.notebooks.exercises import Exercise

__all__ = ["Help", "Hint", "Solution", "markdown"]

NO_MORE = 'no further hint for what the check sees now; one solution: lab.solution("{}")'


class Notes(Protocol):
    """Who notes what help was used: a `labkit.lab.progress.Progress`."""

    def hinted(self, exercise: str, number: int) -> None:
        """The hint with this *number* was read."""

    def gave_solution(self, exercise: str) -> None:
        """The solution was looked at."""


@lru_cache
def markdown(text: str) -> str:
    """Markdown as HTML, in which no HTML of its own is left."""
    import mistune

    return str(mistune.create_markdown(escape=True)(text)).strip()


@dataclass(frozen=True, repr=False)
class Hint(Shown):
    """The hint *number* of an exercise, counted from 1 in the order of the notebook; 0 where there is none to give.

    *general*: it is for everybody, and not only for who sees what the check sees now.
    """

    exercise: str
    number: int
    text: str
    general: bool

    @property
    def title(self) -> str:
        """What is shown of it before it is read."""
        return "Hint" if self.general else "Hint for what the check sees now"

    def __repr__(self) -> str:
        return f"{self.exercise}: {self.text}"

    def _static(self) -> str:
        return markdown(self.text)


@dataclass(frozen=True, repr=False)
class Solution(Shown):
    """The *source* that solves an exercise, and why (*because*, Markdown)."""

    exercise: str
    source: str
    because: str

    def __repr__(self) -> str:
        return f"one solution of {self.exercise}:\n\n{self.source}\n\n{self.because}"

    def _static(self) -> str:
        return f"<pre><code>{html.escape(self.source)}</code></pre>\n{markdown(self.because)}"


class Help:
    """The help that is recorded beside the check of *exercise*.  *seen* gives the check's text now, *notes* what was used."""

    def __init__(self, exercise: Exercise, seen: Callable[[], str], notes: Notes | None = None) -> None:
        self.exercise, self.seen = exercise, seen
        self._notes = notes
        self._given: set[int] = set()

    def hints(self) -> list[Hint]:
        """The hints there are now: those for everybody, then the first whose condition what the check sees now meets."""
        numbered = [
            Hint(self.exercise.name, number, each.hint, general=not each.when)
            for number, each in enumerate(self.exercise.hints, 1)
        ]
        text = self.seen()
        fitting = [
            hint
            for hint, recorded in zip(numbered, self.exercise.hints, strict=True)
            if recorded.when and recorded.when in text
        ]
        return [*(hint for hint in numbered if hint.general), *fitting[:1]]

    def next(self) -> Hint:
        """The next hint: one of those for everybody each time, then what fits what the check sees at that time; each once."""
        fresh = [hint for hint in self.hints() if hint.number not in self._given]
        if not fresh:
            return Hint(self.exercise.name, 0, NO_MORE.format(self.exercise.name), general=False)
        self._given.add(fresh[0].number)
        self.read(fresh[0].number)
        return fresh[0]

    def read(self, number: int) -> None:
        """Note that the hint with this *number* was read."""
        if self._notes:
            self._notes.hinted(self.exercise.name, number)

    def solution(self) -> Solution:
        """The solution; that it was asked for is noted."""
        if self._notes:
            self._notes.gave_solution(self.exercise.name)
        recorded = self.exercise.recorded
        return Solution(self.exercise.name, recorded.solution, recorded.because)
