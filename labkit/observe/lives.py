"""A container's lives: each from one start to its death, as the engine's events tell them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from labkit.observe.events import Event

__all__ = ["Life", "lives"]


@dataclass(frozen=True)
class Life:
    """The events of one life.  *complete*: its start is among them, so nothing of it is missing."""

    events: tuple[Event, ...]
    complete: bool

    @property
    def death(self) -> Event | None:
        """Its ``die`` event; None while it lasts, or when the engine has forgotten it."""
        return next((event for event in self.events if event.action == "die"), None)

    def named(self, action: str) -> list[Event]:
        """Its events with this *action*, oldest first."""
        return [event for event in self.events if event.action == action]


def lives(log: Iterable[Event]) -> list[Life]:
    """The lives in the events of one container, oldest first; of the oldest, the start may be forgotten."""
    chunks: list[list[Event]] = [[]]
    for event in log:
        if event.action == "start":
            chunks.append([])
        chunks[-1].append(event)
    forgotten, *known = chunks
    found = [Life(tuple(chunk), complete=True) for chunk in known]
    if {"die", "oom", "kill"} & {event.action for event in forgotten}:
        found.insert(0, Life(tuple(forgotten), complete=False))
    return found
