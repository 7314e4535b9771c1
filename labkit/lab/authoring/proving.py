"""The proof that a lab's checks cannot be fooled: every answer that is recorded, tried in a private engine of its own.

What must hold for each exercise: nothing done, the starter, and each recorded wrong answer fail the check, without an exception
and the wrong ones with their message; the solution passes it, in a fresh kernel and engine, and after the wrong answers in
another fresh engine; once the engine is empty again, the check fails again; the solution of one exercise does not pass the check
of another; no message or hint tells the solution.  Besides, each condition of the check is taken away in turn, which some wrong
answer has to notice.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from labkit.lab.authoring import mutants
from labkit.lab.authoring.sittings import CellFailed, Sitting
from labkit.lab.notebooks.exercises import Exercise, foundation, read

if TYPE_CHECKING:
    from nbformat import NotebookNode

__all__ = ["Proof", "Trial", "prove"]

WAIT_SECONDS = 30.0
"""How long the engine may take to be in the state that an answer ends in."""
OTHER_NAME = "somebody"
"""A reader's own, in place of the lab's: nothing of a check may hang on the name that its author has used."""


@dataclass(frozen=True)
class Trial:
    """Something that was tried on an *exercise*, and the *problem* that it showed, if it did.

    *counts*: whether it is a mistake that the check has to reject, and so a part of the mutation score.
    """

    exercise: str
    what: str
    problem: str = ""
    counts: bool = False


@dataclass(frozen=True)
class Proof:
    """What was tried in a *lab*; *notes* are worth a look, and no failure."""

    lab: str
    trials: list[Trial]
    notes: list[str] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def problems(self) -> list[str]:
        """What does not hold, a sentence each."""
        return [f"{trial.exercise}: {trial.what} {trial.problem}" for trial in self.trials if trial.problem]

    @property
    def tried(self) -> int:
        """How many mistakes were tried: wrong answers, and checks without one of their conditions."""
        return sum(trial.counts for trial in self.trials)

    @property
    def rejected(self) -> int:
        """How many of them were rejected, with the right message."""
        return sum(trial.counts and not trial.problem for trial in self.trials)


def prove(path: Path, notebook: NotebookNode, tell: Callable[[Trial], None] = lambda _: None) -> Proof:
    """Try all that the *notebook* at *path* records; *tell* is called with each trial.

    An exercise that is not recorded as it should be is passed over (`labkit.lab.notebooks.exercises.flaws`).
    """
    began = time.monotonic()
    proof = Proof(path.stem, [])
    exercises = read(notebook)
    try:
        for trial in _trials(path, notebook, exercises, proof.notes) if exercises else ():
            proof.trials.append(trial)
            tell(trial)
    except CellFailed as error:  # of ours, between two answers
        proof.trials.append(Trial("the lab", f"the cell {error.seen!r}", error.what))
    return Proof(proof.lab, proof.trials, proof.notes, round(time.monotonic() - began, 1))


def _trials(
    path: Path, notebook: NotebookNode, exercises: list[Exercise], notes: list[str]
) -> Iterator[Trial]:
    grounds = foundation(notebook)
    with Sitting(path) as sitting:
        if problem := _failure(sitting.begin, grounds):
            yield Trial("the lab", "its parameters and setup", problem)
            return
        desks = [_Desk(sitting, exercise, notes) for exercise in exercises]
        for desk in desks:  # before anything has been done in any of them
            yield desk.untouched()
        for desk in desks:
            yield from desk.trials()
    renamed = _renamed(grounds)
    for exercise in exercises:
        with Sitting(path) as sitting:
            problem = _failure(sitting.begin, renamed) or _Desk(sitting, exercise, notes).solved()[0]
            yield Trial(exercise.name, "the solution, at once and under another name,", problem)
            if not problem:
                yield from (
                    _Desk(sitting, other, notes).beside(exercise)
                    for other in exercises
                    if other is not exercise
                )


def _renamed(grounds: list[str]) -> list[str]:
    """The cells on which all stands, with another value for the parameter ``name``, as papermill would give it."""
    if not grounds or not re.search(r"^name\b.*=", grounds[0], re.M):
        return grounds
    return [grounds[0], f"name = {OTHER_NAME!r}", *grounds[1:]]


def _failure(run: Callable[[Sequence[str]], None], sources: Sequence[str]) -> str:
    """What goes wrong when these cells are run, or nothing."""
    try:
        run(sources)
    except CellFailed as error:
        return error.what
    return ""


class _Desk:
    """One exercise in a sitting, where one answer after the other is tried."""

    def __init__(self, sitting: Sitting, exercise: Exercise, notes: list[str]) -> None:
        self._sitting, self._exercise, self._notes = sitting, exercise, notes
        self._decisive = mutants.decisive(exercise.starter, exercise.recorded.solution)
        self._rejected: list[tuple[str, str]] = []
        self._shown: list[str] = []

    # -- one answer

    def _answered(self, source: str) -> str:
        """Run what the exercise needs, and *source* in place of its starter; returns what goes wrong, or nothing."""
        self._sitting.touched = True
        if problem := _failure(self._sitting.run_all, self._exercise.needs):
            return f"cannot be tried: a cell that the exercise needs {problem}"
        return _failure(self._sitting.run_all, [source])

    def _checked(self, until: Callable[[str], bool]) -> tuple[str, str]:
        """What is wrong with the check, if it fails with an exception, and its text once it is as wanted, or after a while."""
        deadline = time.monotonic() + WAIT_SECONDS
        while True:
            try:
                text = self._sitting.show(self._exercise.check)
            except CellFailed as error:
                return f"is checked, and the check {error.what}", ""
            if until(text) or time.monotonic() > deadline:
                return "", text
            time.sleep(0.05)

    def _passes(self, text: str) -> bool:
        return mutants.is_done(self._exercise.name, text)

    def _rejection(self, text: str) -> str:
        """What is wrong with the *text* of a check that has to fail, or nothing."""
        self._shown.append(text)
        if self._passes(text):
            return "passes the check"
        if f"{self._exercise.name}: not yet" not in text.splitlines() or not mutants.conditions(text):
            return f"is shown no check of {self._exercise.name}, but: {text or 'nothing'}"
        return self._told(text)

    def _told(self, text: str) -> str:
        """What of the solution the *text* gives away, or nothing."""
        told = (phrase for phrase in self._decisive if mutants.tells(text, phrase))
        return next((f"is told the solution: {phrase}" for phrase in told), "")

    def _trial(self, what: str, problem: str = "", *, counts: bool = False) -> Trial:
        return Trial(self._exercise.name, what, problem, counts)

    # -- what is tried

    def untouched(self) -> Trial:
        """Nothing was done: the check fails, and not by an exception."""
        problem, text = self._checked(lambda _: True)
        return self._trial("a learner who has done nothing", problem or self._rejection(text))

    def beside(self, solved: Exercise) -> Trial:
        """Another exercise was *solved*, and this one was not: the check fails, for an exercise is a leaf."""
        problem, text = self._checked(lambda _: True)
        return self._trial(f"who has solved only {solved.name}", problem or self._rejection(text))

    def trials(self) -> Iterator[Trial]:
        """Starter, wrong answers, the solution, and what follows from their texts; each in an engine that was reset."""
        recorded = self._exercise.recorded
        yield self._trial("the starter", self._mistaken(self._exercise.starter))
        for answer in recorded.wrong:
            yield self._trial(
                f"the wrong answer {answer.name!r}", self._mistaken(answer.source, answer.says), counts=True
            )
        self._sitting.reset()
        problem, passing = self.solved()
        yield self._trial("the solution, after wrong answers,", problem)
        yield self._left()
        if not problem:
            yield from self._conditions(passing)
            yield from self._messages(passing)
            self._note_idle_lines()

    def solved(self) -> tuple[str, str]:
        """Try the solution; returns what is wrong with it, or nothing, and the text of the check."""
        problem = self._answered(self._exercise.recorded.solution)
        if problem:
            return problem, ""
        problem, text = self._checked(self._passes)
        if problem or self._passes(text):
            return problem, text
        return f"does not pass the check, which says:\n{text}", text

    def _mistaken(self, source: str, says: str = "") -> str:
        """Try an answer that has to be rejected, and told what the check *says*; returns what is wrong, or nothing."""
        self._sitting.reset()
        problem, text = self._answered(source), ""
        if not problem:
            problem, text = self._checked(lambda text: says in text or self._passes(text))
        problem = problem or self._rejection(text)
        if not problem and says not in text:
            problem = f"is not told {says!r}, but:\n{text}"
        if not problem and says:
            self._rejected.append((says, text))
        return problem

    def _left(self) -> Trial:
        """The engine is empty again, and a check that looks at the engine sees that."""
        self._sitting.reset()
        problem, text = self._checked(lambda text: not self._passes(text))
        return self._trial("a learner who has undone the solution", problem or self._rejection(text))

    def _conditions(self, passing: str) -> Iterator[Trial]:
        """A condition that could be taken away unnoticed is one that no wrong answer tests."""
        for place, condition in enumerate(mutants.conditions(passing)):
            noticed = mutants.is_noticed(place, self._rejected)
            problem = "" if noticed else "could be taken away, and no wrong answer would notice"
            yield self._trial(f"the condition {condition.name!r}", problem, counts=True)

    def _messages(self, passing: str) -> Iterator[Trial]:
        """What is said to wrong answers is not said to the right one; hints can be met, and leave something to do."""
        for answer in self._exercise.recorded.wrong:
            problem = f"is told {answer.says!r}, and so is the solution" if answer.says in passing else ""
            yield self._trial(f"the message to {answer.name!r}", problem)
        for number, hint in enumerate(self._exercise.hints, start=1):
            met = any(hint.when in text for text in self._shown)
            problem = "" if met else f"is never shown: no check has said {hint.when!r}"
            yield self._trial(f"who reads hint {number}", self._told(hint.hint) or problem)

    def _note_idle_lines(self) -> None:
        """Lines that are the solution's own, and that the check does not need."""
        for line, source in mutants.shorter(self._exercise.starter, self._exercise.recorded.solution):
            self._sitting.reset()
            if not self._answered(source) and self._passes(self._checked(lambda _: True)[1]):
                self._notes.append(f"{self._exercise.name}: the solution passes without its line {line}")
