"""A check: conditions that together say whether an exercise is done.  It follows the engine; nobody presses a button."""

from __future__ import annotations

import html
from collections.abc import Callable
from typing import TYPE_CHECKING

from labkit.errors import UsageError
from labkit.lab.conditions import Condition, Reading
from labkit.lab.following import Following
from labkit.lab.rounds import Rounds, Watch
from labkit.lab.showing import Shown

if TYPE_CHECKING:
    from labkit.engine import Engine

__all__ = ["Check", "Checks"]

NO_ANSWER = "the engine does not answer"
GONE = "the engine is gone; run this cell again once there is one"


class Check(Shown):
    """The check of the exercise *name*.  Made, it has looked once; *noted* is told each time it turns.

    ``readings`` has one for each condition.  Raises `UsageError` where there is nothing to check.
    """

    def __init__(
        self,
        rounds: Rounds,
        name: str,
        *conditions: Condition,
        noted: Callable[[str, bool], None] = lambda name, done: None,
    ) -> None:
        if not isinstance(name, str) or not name.strip():
            raise UsageError("a check has a name", seen=repr(name), expected="the exercise's, as text")
        if not conditions or not all(isinstance(each, Condition) for each in conditions):
            wrong = [each for each in conditions if not isinstance(each, Condition)]
            raise UsageError(
                f"the check {name!r} has nothing that it could look at",
                seen=", ".join(map(repr, wrong)) or "no conditions",
                expected="conditions, such as container('web').is_state('running')",
            )
        self.name, self._rounds, self._noted = name, rounds, noted
        self._watch = Watch(conditions, self._changed)
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
        """In a word or two: ``done``, ``not yet``, or that the engine does not answer."""
        if not self.answered:
            return GONE if self._rounds.following.gone else NO_ANSWER
        return "done" if self.done else "not yet"

    def look(self) -> bool:
        """Look now; whether it is `done`."""
        self._rounds.read(self._watch)
        self._turn()
        return self.done

    def follow(self, changed: Callable[[], None] = lambda: None) -> None:
        """Stay up to date from now on, and call *changed* (in another thread) when a reading is another one."""
        self._shown.append(changed)
        self._rounds.add(self._watch)

    def stop(self) -> None:
        """Stay as it is."""
        self._rounds.remove(self._watch)

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
        if not self.done:
            lines.append(f'hint: lab.hint("{self.name}")')
        return "\n".join(lines)

    def _static(self) -> str:
        return f"<pre style='white-space: pre-wrap'>{html.escape(repr(self))}</pre>"


class Checks:
    """The checks of one session on *engine*, by exercise; *noted* is told each time one turns."""

    def __init__(self, engine: Engine, noted: Callable[[str, bool], None] = lambda name, done: None) -> None:
        self.following = Following(engine)
        self._rounds, self._noted = Rounds(self.following), noted
        self._latest: dict[str, Check] = {}

    def open(self, exercise: str, *conditions: Condition) -> Check:
        """A check that takes the place of the former one of this *exercise*."""
        check = Check(self._rounds, exercise, *conditions, noted=self._noted)
        if exercise in self._latest:
            self._latest[exercise].stop()
        self._latest[exercise] = check
        return check

    def latest(self, exercise: str) -> Check | None:
        """The check of this *exercise*, if there was one."""
        return self._latest.get(exercise)

    def close(self) -> None:
        """Follow the engine no more."""
        self.following.stop()
