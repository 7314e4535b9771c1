"""The way that one container walked through its states, read from the engine's events."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from labkit.lifecycle import DELAY, DELETED, ENDS, RESISTS
from labkit.observe import Event

__all__ = ["Step", "walk"]

FORCED_WITHIN = 0.2
"""Seconds between ``die`` and ``destroy`` up to which a killed container is taken to have gone by ``rm -f``: the
events of ``kill`` followed by ``rm`` are the same, and two commands take longer."""


@dataclass(frozen=True)
class Step:
    """One move from *source* to *target*.  *note*: the exit code of a process that ended.  *again*: it was repeated."""

    cause: str
    source: str
    target: str
    note: str = ""
    again: bool = False


def walk(events: Iterable[Event], present: str, *, policy: str = "no", origin: str = "removed") -> list[Step]:
    """The steps from the state *origin*, or since the container was created, up to its *present* state.

    *events*: those of this container, in order.  *policy*: its restart policy, which no event tells.
    """
    reader = _Reader(policy, origin)
    for event in events:
        reader.read(event)
    return reader.up_to(present)


class _Reader:
    """Turns one event after the other into steps; remembers only what a later event explains."""

    def __init__(self, policy: str, origin: str) -> None:
        self.policy = policy
        self.origin = origin
        self.steps: list[Step] = []
        self.signals: set[int] = set()  # sent to the process that runs
        self.stopped = False  # told so before its end is
        self.woken = False  # unpaused by the engine, on account of a signal
        self.died = 0  # when, in nanoseconds

    @property
    def at(self) -> str:
        return self.steps[-1].target if self.steps else self.origin

    def go(self, cause: str, target: str, note: str = "") -> None:
        self.steps.append(Step(cause, self.at, target, note))

    def read(self, event: Event) -> None:
        handler = getattr(self, f"_{event.action}", None)
        if handler:
            handler(event)

    def up_to(self, present: str) -> list[Step]:
        """The steps, and what events do not tell: that the last end was (no) restart, that it is being removed, dead."""
        if {self.at, present} == {"exited", "restarting"} and self.steps:
            self.steps[-1] = replace(self.steps[-1], target=present)
        if present in ("removing", "dead") and self.at != present:
            self._removing()
        if present == "dead" and self.at != present:
            self.go(RESISTS, present)
        return self.steps

    def _create(self, event: Event) -> None:
        self.origin, self.steps = "removed", []
        self.go("create", "created")

    def _start(self, event: Event) -> None:
        self.signals = set()
        self.go(DELAY if self.at == "restarting" else "start", "running")
        self._fold()

    def _kill(self, event: Event) -> None:
        self.signals.add(event.signal or 0)
        self.woken = self.at == "paused"

    def _stop(self, event: Event) -> None:
        if self.at == "restarting":
            self.go("stop", "exited")
        elif self.at == "exited" and self.steps:  # the end was written before this event
            self.steps[-1] = replace(self.steps[-1], cause="stop")
        else:
            self.stopped = True

    def _die(self, event: Event) -> None:
        cause = "stop" if self.stopped else "kill" if self._deadly(event.exit_code) else ENDS
        if self.woken and cause != ENDS and self.steps and self.steps[-1].cause == "unpause":
            self.steps.pop()  # it was unpaused so that it can end: one move, not two
        again = (
            self.policy != "no"
            and cause == ENDS
            and not (self.policy == "on-failure" and event.exit_code == 0)
        )
        self.go(cause, "restarting" if again else "exited", f"exit code {event.exit_code}")
        self.died, self.signals, self.stopped = event.nano, set(), False

    def _deadly(self, exit_code: int | None) -> bool:
        """Whether a signal that was sent explains the end."""
        return bool(self.signals & {9, 15, (exit_code or 0) - 128})

    def _pause(self, event: Event) -> None:
        self.go("pause", "paused")

    def _unpause(self, event: Event) -> None:
        self.go("unpause", "running")

    def _restart(self, event: Event) -> None:
        if self.steps:  # its events are those of stop and start, and then its own
            self.steps[-1] = replace(self.steps[-1], cause="restart")

    def _destroy(self, event: Event) -> None:
        if self.steps and self.steps[-1].cause == "kill" and event.nano - self.died < FORCED_WITHIN * 1e9:
            self.steps[-1] = replace(self.steps[-1], cause="rm -f", target="removing")
        self._removing()
        self.go(DELETED, "removed")

    def _removing(self) -> None:
        if self.at != "removing":
            self.go("rm -f" if self.at in ("running", "paused", "restarting") else "rm", "removing")

    def _fold(self) -> None:
        """Walk a crash loop once: the second round, and every later one, only marks the first as repeated."""
        if len(self.steps) < 4 or self.at != "running" or self.steps[-1].cause != DELAY:
            return
        first, second = self.steps[-4:-2], self.steps[-2:]
        if [replace(step, again=False) for step in first] == second:
            self.steps[-4:] = [replace(step, again=True) for step in first]
