"""A check: conditions that together say whether an exercise is done.  It follows the engine; nobody presses a button."""

from __future__ import annotations

import html
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Protocol

from labkit.errors import UsageError, no_such
from labkit.lab.checking import hints
from labkit.lab.checking.following import Following
from labkit.lab.checking.hints import Help, Hint, Solution, markdown
from labkit.lab.checking.rounds import Rounds, Watch
from labkit.lab.conditions import Condition, Reading
from labkit.lab.conditions.others import originals, standing
from labkit.lab.showing import Shown

if TYPE_CHECKING:
    from labkit.engine import Engine
    from labkit.lab.notebooks.exercises import Exercise

__all__ = ["Check", "Checks"]

NO_ANSWER = "the engine does not answer"
LATER = "checked again later"
GONE = "the engine is gone; run this cell again once there is one"


class Notes(hints.Notes, Protocol):
    """Who notes what a learner does: a `labkit.lab.progress.Progress`."""

    def checked(self, exercise: str, passed: bool) -> None:
        """A check turned."""


class Check(Shown):
    """The check of the exercise *name*.  Made, it has looked once; *noted* is told each time it turns.

    ``readings`` has one for each condition; *help* has the exercise's hints.  Raises `UsageError` without conditions.
    """

    def __init__(
        self,
        rounds: Rounds,
        name: str,
        *conditions: Condition,
        help: Help | None = None,
        noted: Callable[[str, bool], None] = lambda name, done: None,
    ) -> None:
        _look_at(name, conditions)
        self.name, self.help = name, help
        self._rounds, self._noted = rounds, noted
        self._watch = Watch(conditions, self._changed)
        self._stopped = False
        self._shown: list[Callable[[], None]] = []
        self._rounds.read(self._watch)
        self._last = self.done
        noted(name, self.done)

    @property
    def readings(self) -> tuple[Reading, ...]:
        """What was seen the last time, a reading a condition; none where no engine has answered yet."""
        return tuple(self._watch.readings)

    @property
    def answered(self) -> bool:
        """Whether the engine answered the last time."""
        return self._watch.answered

    @property
    def done(self) -> bool:
        """Whether every condition holds."""
        return self.answered and all(reading.ok for reading in self.readings)

    @property
    def verdict(self) -> str:
        """In a word or two: ``done``, ``not yet``, or why neither is known."""
        if self._stopped:
            return LATER
        if not self.answered:
            return GONE if self._rounds.following.gone else NO_ANSWER
        return "done" if self.done else "not yet"

    def look(self) -> bool:
        """Look now; whether it is `done`."""
        self._rounds.read(self._watch)
        self._changed()  # who follows may have heard nothing yet, and then finds nothing new
        return self.done

    def follow(self, changed: Callable[[], None] = lambda: None) -> None:
        """Stay up to date from now on, and call *changed* (in another thread) when a reading is another one."""
        self._shown.append(changed)
        self._rounds.add(self._watch)

    def stop(self) -> None:
        """Stay as it is, and say so: another check of the exercise follows the engine now."""
        self._rounds.remove(self._watch)
        self._stopped = True
        for shown in self._shown:
            shown()

    def _changed(self) -> None:
        self._turn()
        for shown in list(self._shown):
            shown()

    def _turn(self) -> None:
        if self.answered and self.done != self._last:
            self._last = self.done
            self._noted(self.name, self.done)

    # -- how it looks

    def __repr__(self) -> str:
        lines = [f"{self.name}: {self.verdict}"]
        if self.answered:
            lines += [f"{'✓' if reading.ok else '✗'} {reading}" for reading in self.readings]
        if not self.done and self.help:
            lines.append(f'hint: lab.hint("{self.name}")')
        return "\n".join(lines)

    def _static(self) -> str:
        given = self.help.hints() if self.help and not self.done else []
        folded = [
            f"<details><summary>{html.escape(hint.title)}</summary>{markdown(hint.text)}</details>"
            for hint in given
            if hint.general
        ]
        return "\n".join([f"<pre style='white-space: pre-wrap'>{html.escape(repr(self))}</pre>", *folded])


def _look_at(name: object, conditions: tuple[object, ...]) -> None:
    """Raise `UsageError` for a check without a name, and for one that would look at nothing."""
    if not isinstance(name, str) or not name.strip():
        raise UsageError("a check has a name", seen=repr(name), expected="the exercise's, as text")
    wrong = [each for each in conditions if not isinstance(each, Condition)]
    if not conditions or wrong:
        raise UsageError(
            f"the check {name!r} has nothing that it could look at"
            if not wrong
            else f"the check {name!r} has no such condition",
            seen=", ".join(map(repr, wrong)) or "no conditions",
            expected="conditions, such as container('web').is_state('running')",
        )


class Checks:
    """The checks of one session on *engine*, with the help that is recorded for its *exercises*; *notes* hears of it all."""

    def __init__(
        self,
        engine: Engine,
        exercises: Callable[[], Mapping[str, Exercise]] = dict,
        notes: Notes | None = None,
    ) -> None:
        self.following = Following(engine)
        others = frozenset() if engine.owned else standing(engine)
        self.rounds = Rounds(self.following, others, originals(engine))
        self._exercises, self._notes = exercises, notes
        self._latest: dict[str, Check] = {}
        self._helps: dict[str, Help] = {}

    def check(self, exercise: str, *conditions: Condition) -> Check:
        """A check that takes the place of the former one of this *exercise*.

        Raises `UsageError` for one that is not among the lab's, where it has any and its notebook can be read.
        """
        help = (
            self._help(exercise) if isinstance(exercise, str) and exercise.strip() and self._any() else None
        )
        noted = self._notes.checked if self._notes else lambda name, done: None
        check = Check(self.rounds, exercise, *conditions, help=help, noted=noted)
        if exercise in self._latest:
            self._latest[exercise].stop()
        self._latest[exercise] = check
        return check

    def hint(self, exercise: str) -> Hint:
        """The next hint for this *exercise*.  Raises `UsageError` where there is no such exercise."""
        help = self._help(exercise)
        if exercise in self._latest:
            self._latest[exercise].look()
        return help.next()

    def solution(self, exercise: str) -> Solution:
        """The solution of this *exercise*.  Raises `UsageError` where there is no such exercise."""
        return self._help(exercise).solution()

    def _help(self, exercise: str) -> Help:
        known = self._exercises()
        if not isinstance(exercise, str) or exercise not in known:
            raise no_such("exercise", exercise, known, otherwise="this lab has no exercises", try_="{!r}")
        return self._helps.setdefault(
            exercise, Help(known[exercise], lambda: self._text(exercise), self._notes)
        )

    def _any(self) -> bool:
        with suppress(UsageError):
            return bool(self._exercises())
        return False

    def _text(self, exercise: str) -> str:
        """What the check says now; nothing where it has not been run."""
        return repr(self._latest[exercise]) if exercise in self._latest else ""

    def close(self) -> None:
        """Follow the engine no more."""
        self.following.stop()
