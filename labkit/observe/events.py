"""What happened on an engine, from its own event log, and how far back that log reaches.

The engine keeps its last 256 events in memory and loses them when its daemon restarts (moby,
``daemon/events``), so an event that is not there is only evidence when the log reaches back far enough: see
`EventLog.reaches`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, overload

from labkit.observe.containers import Container, moment
from labkit.observe.tables import Table, Tabular

if TYPE_CHECKING:
    from labkit.engine import Engine

__all__ = ["KEPT", "Event", "EventLog", "engine_time", "events"]

KEPT = 256
"""How many events the engine keeps."""


@dataclass(frozen=True)
class Event:
    """One event: *action* on the object *id*, at *nano* (nanoseconds since 1970), with its *attributes*."""

    nano: int
    kind: str
    action: str
    id: str
    attributes: Mapping[str, str] = field(default_factory=dict)

    @property
    def at(self) -> datetime:
        """When it happened, in UTC."""
        return datetime.fromtimestamp(self.nano / 1e9, UTC)

    @property
    def signal(self) -> int | None:
        """The signal that a ``kill`` event sent."""
        return int(self.attributes["signal"]) if "signal" in self.attributes else None

    @property
    def exit_code(self) -> int | None:
        """The exit code that a ``die`` event reports."""
        return int(self.attributes["exitCode"]) if "exitCode" in self.attributes else None

    def __str__(self) -> str:
        extra = {"kill": f" (signal {self.signal})", "die": f" (exit code {self.exit_code})"}
        return self.action + extra.get(self.action, "")


@dataclass(frozen=True, repr=False)
class EventLog(Tabular, Sequence[Event]):
    """Events in their order.  *oldest*: when the first happened that the engine still has, of any object."""

    events: tuple[Event, ...]
    oldest: datetime | None = None

    def reaches(self, when: datetime | None) -> bool:
        """Whether the log goes back to *when*, so that what is missing from it since then did not happen."""
        return when is not None and self.oldest is not None and self.oldest <= when

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
        rows = [[str(event)] for event in self.events if not event.action.startswith("exec_")]
        return Table(["event"], rows, empty="the engine has no events of it (any more)")

    def details(self) -> Table:
        return Table(["time", "event"], [[event.at.isoformat(), event] for event in self.events])


def events(engine: Engine, of: Container | None = None, *, since: float = 0) -> EventLog:
    """The events that *engine* still has, of the container *of* or of everything, *since* seconds since 1970.

    Asks for a past, bounded stretch by the engine's own clock, so it returns at once.
    """
    stream = engine.client.api.events(since="1", until=engine_time(engine), decode=True)
    everything = [_event(raw) for raw in stream]
    kept = [
        event
        for event in everything
        if event.nano >= since * 1e9 and (of is None or (event.kind == "container" and event.id == of.id))
    ]
    return EventLog(tuple(kept), everything[0].at if everything else None)


def engine_time(engine: Engine) -> str:
    """The engine's clock now, in seconds since 1970, as its API takes it."""
    now = moment(engine.client.info()["SystemTime"])
    assert now is not None, "an engine's clock does not show the year 1"
    return f"{now.timestamp():.6f}"


def _event(raw: dict[str, Any]) -> Event:
    actor = raw["Actor"]
    return Event(raw["timeNano"], raw["Type"], raw["Action"], actor["ID"], actor.get("Attributes") or {})
