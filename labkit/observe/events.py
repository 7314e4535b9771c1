"""What happened on an engine, from its own event log.

The engine keeps its last 256 events in memory and loses them when its daemon restarts (moby, ``daemon/events``), so an
event that is not there is only evidence where the log goes back far enough: see `labkit.observe.lives`.
A container's labels are among the attributes of its events, and take the place of the engine's own (measured on 20.10
and 26.1: of a container labelled ``signal=USR1`` no event tells which signal was sent).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from signal import SIGRTMIN, Signals
from typing import TYPE_CHECKING, Any, Self, overload

from labkit.observe.containers import Container, moment
from labkit.observe.tables import Table, Tabular

if TYPE_CHECKING:
    from labkit.engine import Engine

__all__ = ["Event", "EventLog", "by_cause", "engine_time", "events"]


@dataclass(frozen=True)
class Event:
    """One event: *action* on the object *id*, at *nano* (nanoseconds since 1970), with its *attributes*."""

    nano: int
    kind: str
    action: str
    id: str
    attributes: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def read(cls, raw: Mapping[str, Any], labels: Collection[str] = ()) -> Self:
        """An event as the engine's API gives it, without the *labels* that stand among its attributes."""
        actor = raw["Actor"]
        told = {key: value for key, value in (actor.get("Attributes") or {}).items() if key not in labels}
        return cls(raw["timeNano"], raw["Type"], raw["Action"], actor["ID"], told)

    @property
    def at(self) -> datetime:
        """When it happened, in UTC."""
        return datetime.fromtimestamp(self.nano / 1e9, UTC)

    @property
    def signal(self) -> int | None:
        """The signal that a ``kill`` event sent; None where it does not say."""
        return _signal(self.attributes.get("signal", "")) if self.action == "kill" else None

    @property
    def signal_name(self) -> str:
        """The name of `signal`, such as ``SIGTERM`` or ``SIGRTMIN+3``; empty where there is none."""
        number = self.signal
        if number is None:
            return ""
        known = {int(each): each.name for each in Signals}
        return known.get(number) or f"SIGRTMIN+{number - SIGRTMIN}"

    @property
    def exit_code(self) -> int | None:
        """The exit code that a ``die`` event reports; None where it does not say."""
        told = self.attributes.get("exitCode", "") if self.action == "die" else ""
        return int(told) if told.isdecimal() else None

    def __str__(self) -> str:
        if self.signal is not None:
            return f"{self.action} (signal {self.signal})"
        return self.action if self.exit_code is None else f"{self.action} (exit code {self.exit_code})"


def _signal(told: str) -> int | None:
    """Engines give the number; names are taken too."""
    if told.isdecimal():
        return int(told)
    return int(Signals[told]) if told in Signals.__members__ else None


@dataclass(frozen=True, repr=False)
class EventLog(Tabular, Sequence[Event]):
    """Events in their order."""

    events: tuple[Event, ...]

    @overload
    def __getitem__(self, index: int) -> Event: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[Event, ...]: ...
    def __getitem__(self, index: int | slice) -> Event | tuple[Event, ...]:
        return self.events[index]

    def __len__(self) -> int:
        return len(self.events)

    def __iter__(self) -> Iterator[Event]:
        return iter(self.events)

    def table(self) -> Table:
        rows = [[str(event)] for event in by_cause(self.events) if not event.action.startswith("exec_")]
        return Table(["event"], rows, empty="the engine has no events of it (any more)")

    def details(self) -> Table:
        return Table(["time", "event"], [[event.at.isoformat(), event] for event in self.events])


def by_cause(events: Iterable[Event]) -> list[Event]:
    """*events* as they are told to a person: a shortage of memory before the death of the same life.

    Two watchers report the two, so that the engine can hear of the death first (seen with version 2 of control groups).
    """
    told: list[Event] = []
    for event in events:
        own = [n for n, each in enumerate(told) if each.id == event.id and each.action in ("start", "die")]
        late = event.action == "oom" and own and told[own[-1]].action == "die"
        told.insert(own[-1] if late else len(told), event)
    return told


def events(engine: Engine, of: Container | None = None, *, since: float = 0) -> EventLog:
    """The events that *engine* still has, of the container *of* or of everything, *since* seconds since 1970.

    Asks for a past, bounded stretch by the engine's own clock, so it returns at once.
    """
    stream = engine.client.api.events(since="1", until=engine_time(engine), decode=True)
    labels = of.labels if of else {}
    return EventLog(
        tuple(
            event
            for event in (Event.read(raw, labels) for raw in stream)
            if event.nano >= since * 1e9 and (of is None or (event.kind == "container" and event.id == of.id))
        )
    )


def engine_time(engine: Engine) -> str:
    """The engine's clock now, in seconds since 1970, as its API takes it."""
    now = moment(engine.client.info()["SystemTime"])
    assert now is not None, "an engine's clock does not show the year 1"
    return f"{now.timestamp():.6f}"
