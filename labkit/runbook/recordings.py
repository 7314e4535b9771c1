"""The engine's events of a stretch of time, recorded as they come: its own memory holds only the last 256."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Self

from labkit import observe
from labkit.labels import LOOKS, OWNER
from labkit.observe.events import Event, engine_time
from labkit.runbook import locks
from labkit.runbook.actions.base import Effect
from labkit.runbook.effects import Comparison, compare, key, missing

if TYPE_CHECKING:
    from labkit.engine import Engine

__all__ = ["Recording"]

PATIENCE = 5.0
"""Seconds that an expected event may come late: ``die`` may follow the answer to a stop."""
_SKEW = 5.0
"""Seconds by which the engine's clock and ours may differ."""
_ENDING = {"status": ["created", "running", "paused", "restarting"]}


class Recording:
    """Records from now, by the engine's own clock, until it is closed; a context manager.

    A run that was interrupted records from the time *since* when it had begun, as far back as the engine
    remembers; what others did after *until* and before now is left out.
    """

    def __init__(self, engine: Engine, since: str = "", until: float = 0) -> None:
        self.engine = engine
        now = engine_time(engine)
        self.since = since or now
        self._gap = (until, float(now)) if since else None
        self._passing = set(_passing(engine))
        self._standing = {("volume", each["Name"]) for each in engine.client.api.volumes()["Volumes"] or []}
        self._events: list[Event] = []
        self._came = threading.Condition()
        self._broken = self._closed = False
        self._stream: Any = None

    def __enter__(self) -> Self:
        self._thread = threading.Thread(target=self._record, name="labkit-events", daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._closed = True
        self._let_go()
        self._thread.join(2)

    def _let_go(self) -> None:
        with suppress(Exception):
            self._stream.close()

    def _record(self) -> None:
        try:
            self._stream = self.engine.client.api.events(since=self.since, decode=True)
            if self._closed:  # before there was a stream that could be closed
                self._let_go()
            for raw in self._stream:
                with self._came:
                    self._events.append(Event.read(raw))
                    self._came.notify_all()
        except Exception:  # whatever a daemon that goes away makes of a stream
            pass
        with self._came:
            self._broken = not self._closed
            self._came.notify_all()

    def compare(self, planned: Sequence[Effect]) -> Comparison:
        """What was planned against what happened, as soon as all that is needed has come."""
        self._wait(lambda events: not missing(planned, events))
        events, complete = self._all()
        objects = {(effect.kind, effect.id) for effect in planned}
        judged = [event for event in events if not self._in_gap(event) or key(event)[:2] in objects]
        lost = "" if complete else "before the run was interrupted" if self._gap else "of that time"
        resumed = self._gap is not None
        return compare(
            planned,
            judged,
            by_us=self._by_us,
            passing={*self._passing, *self._of_others()},
            standing=self._standing,
            lost=lost,
            resumed=resumed,
        )

    def _of_others(self) -> set[tuple[str, str]]:
        """Objects (kind, id) of this engine that other runs of labkit were at: what befell them was their plan."""
        here = self.engine.client.info().get("ID") or self.engine.url
        claimed = (key.split(" ", 2) for key in locks.others(float(self.since) - _SKEW))
        return {(kind, id) for where, kind, id in claimed if where == here}

    def _in_gap(self, event: Event) -> bool:
        return bool(self._gap and self._gap[0] < event.nano / 1e9 < self._gap[1])

    def _wait(self, done: Callable[[Sequence[Event]], bool]) -> None:
        deadline = time.monotonic() + PATIENCE
        while (left := deadline - time.monotonic()) > 0:
            with self._came:
                if done(self._events):
                    return
                if not self._broken:
                    self._came.wait(left)
                    continue
            if done(self._all()[0]):
                return
            time.sleep(0.05)

    def _all(self) -> tuple[list[Event], bool]:
        """Every event so far, also those that the engine has told of and the stream has not yet brought.

        And whether they are all: when the stream broke off, or began in the past, only the engine's memory
        tells, as far back as it reaches.
        """
        remembered = self._remembered()
        with self._came:
            everything = [*self._events, *remembered]
        start = float(self.since)
        known = {(event.nano, event.kind, event.id, event.action): event for event in everything}
        events = sorted((e for e in known.values() if e.nano >= start * 1e9), key=lambda event: event.nano)
        reaches = bool(remembered) and remembered[0].nano <= start * 1e9
        return events, reaches or not (self._broken or self._gap)

    def _remembered(self) -> observe.EventLog:
        import docker.errors
        import requests

        try:
            return observe.events(self.engine)
        except (docker.errors.APIError, requests.exceptions.RequestException):
            return observe.EventLog(())  # an engine that does not answer has told nothing

    def _by_us(self, event: Event) -> bool:
        """Whether this run made the object: containers carry their labels, the others are asked."""
        if event.kind == "container":
            looks = LOOKS in event.attributes  # a run that is resumed reads again before it goes on
            return event.attributes.get(OWNER) == self.engine.id and not looks
        if event.action != "create" or event.kind not in ("volume", "network"):
            return False
        from labkit.runbook.actions import facts

        labels = facts.read(self.engine, event.kind, event.id).get("labels") or {}
        return bool(labels.get(OWNER) == self.engine.id)


def _passing(engine: Engine) -> Iterator[tuple[str, str]]:
    """What goes by itself: containers that were run with ``--rm``, and their volumes without a name."""
    for found in _up(engine):
        with suppress(Exception):  # gone between the list and the look
            facts = observe.container(engine, found["Id"])
            if facts.auto_remove:
                yield "container", facts.id
                yield from (("volume", name) for name in facts.unnamed)


def _up(engine: Engine) -> Iterable[dict[str, Any]]:
    found: list[dict[str, Any]] = engine.client.api.containers(all=True, filters=_ENDING)
    return found
