"""Live conditions: looked at again when an event concerns their objects, or from time to time where no event tells.

In a round each object is asked for once, however many conditions need it.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from types import MappingProxyType

from labkit.lab.checking.following import Following
from labkit.lab.conditions import Condition, Facts, Key, Reading, Unanswered
from labkit.lab.conditions.facts import ANY
from labkit.observe import Event

__all__ = ["Rounds", "Watch", "concerns"]

SETTLED = 0.3
"""Seconds after an event: what it changes is written down by then, a count of restarts for example."""

POLL = 0.5
"""Seconds between looks at what has no events; more where a look takes long: it never takes more than a fifth of the time."""

BIRTHS = ("create", "rename")


@dataclass(eq=False)
class Watch:
    """*conditions* that are watched, and what was read of each; *changed* is called when a reading is another one.

    ``answered`` is False where the last look got no answer, and the readings are those of before.
    """

    conditions: Sequence[Condition]
    changed: Callable[[], None] = field(default=lambda: None)
    readings: list[Reading] = field(default_factory=list)
    answered: bool = False

    def look(self, facts: Facts, only: Callable[[Condition], bool] = lambda condition: True) -> bool:
        """Read the conditions again, or *only* some; whether anything is another than before."""
        before = (list(self.readings), self.answered)
        if not self.answered or len(self.readings) != len(self.conditions):
            only = _every
        try:
            for number, condition in enumerate(self.conditions):
                if only(condition):
                    self.readings[number : number + 1] = [condition.read(facts)]
            self.answered = True
        except Unanswered:
            self.answered = False
        return before != (self.readings, self.answered)


def _every(condition: Condition) -> bool:
    return True


class Rounds:
    """Looks at all that is watched on the engine of *following*.  ``looks`` counts the rounds that have asked the engine.

    *standing*: what somebody else has there.  *originals*: the images of the lab's start, see `Facts`.
    """

    def __init__(
        self,
        following: Following,
        standing: frozenset[Key] = frozenset(),
        originals: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        self.following, self.standing, self.originals = following, standing, originals
        self.looks = 0
        self._watches: list[Watch] = []
        self._lock = threading.RLock()
        self._ids: dict[Key, str | None] = {}
        self._unsettled: set[Key] = set()
        self._later: dict[Key, float] = {}
        self._next_poll, self._polls = 0.0, 0
        self._unsubscribe: Callable[[], None] | None = None

    def read(self, watch: Watch) -> None:
        """Look at all conditions of *watch* now."""
        with self._lock:
            facts = self._facts(self.following.events)
            facts.asked = True
            watch.answered = False
            watch.look(facts)
            self._learn(facts)

    def add(self, watch: Watch) -> None:
        """Keep *watch* up to date from now on."""
        with self._lock:
            if watch not in self._watches:
                self._watches.append(watch)
                keys = [key for condition in watch.conditions for key in condition.keys]
                self._later |= dict.fromkeys(keys, 0.0)  # what happened since it was read
            if self._unsubscribe is None or self.following.gone:
                self._unsubscribe = self.following.subscribe(self._told)

    def remove(self, watch: Watch) -> None:
        """Look at *watch* no more."""
        with self._lock, suppress(ValueError):
            self._watches.remove(watch)
            if not self._watches and self._unsubscribe:
                self._unsubscribe()
                self._unsubscribe = None

    @property
    def waiting(self) -> bool:
        """Whether something is still to be looked at on account of an event."""
        with self._lock:
            return bool(self._later)

    def _facts(self, history: Callable[[], Iterable[Event]]) -> Facts:
        self.looks += 1
        return Facts(self.following.engine, history, self.standing, self.originals)

    def _learn(self, facts: Facts) -> None:
        self._ids |= facts.ids
        self._unsettled = (self._unsettled - facts.ids.keys()) | facts.unsettled

    # -- in the thread that follows the engine

    def _told(self, batch: Sequence[Event], turned: bool) -> None:
        with self._lock:
            now = time.monotonic()
            keys = {
                key for watch in self._watches for condition in watch.conditions for key in condition.keys
            }
            touched = {
                key for key in keys if any(concerns(event, key, self._ids.get(key)) for event in batch)
            }
            due = {key for key, at in self._later.items() if at <= now}
            self._later = {key: at for key, at in self._later.items() if at > now}
            self._later |= dict.fromkeys(touched, now + SETTLED)
            self._round(_every if turned else lambda condition: bool(condition.keys & (touched | due)))
            if now >= self._next_poll:
                self._poll()

    def _poll(self) -> None:
        """Look at what changes without events, and at all where the engine did not answer."""
        began = time.monotonic()
        if all(watch.answered for watch in self._watches):
            self._polls += 1
            self._round(self._due)
        else:
            self._round(_every)
        ended = time.monotonic()
        self._next_poll = ended + max(POLL, 4 * (ended - began))

    def _due(self, condition: Condition) -> bool:
        often = bool(condition.polled) and self._polls % condition.polled == 0
        return often or not self._unsettled.isdisjoint(condition.keys)

    def _round(self, only: Callable[[Condition], bool]) -> None:
        concerned = [watch for watch in self._watches if any(map(only, watch.conditions))]
        if not concerned:
            return
        facts = self._facts(self.following.heard)
        gone = self.following.gone
        changed = [watch for watch in concerned if watch.look(facts, only) or gone]
        self._learn(facts)
        for watch in changed:
            watch.changed()


def concerns(event: Event, key: Key, known: str | None) -> bool:
    """Whether *event* may have changed the object *key*, whose full id is *known* (None: it was not there).

    By the id: a label called ``name`` takes the place of the name among an event's attributes (measured on 20.10 and 26.1).
    """
    kind, name = key
    if event.kind == "network" and kind == "container":
        return known is not None and event.attributes.get("container") == known
    if event.kind != kind:
        return False
    if name == ANY or kind == "image":
        return True
    if kind == "volume":
        return event.id == name
    return event.id == known or (known is None and event.action in BIRTHS)
