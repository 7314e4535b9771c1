"""Planned equals done: the events that a plan foresees against those that the engine told of.

What other people's containers do meanwhile (start, end, run commands) is theirs; but whatever is removed,
renamed, updated or untagged, or made by us, without being planned, is a fault, whoever did it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict

from labkit.observe.events import Event
from labkit.observe.records import Record
from labkit.observe.tables import Table
from labkit.runbook.actions.base import Effect

__all__ = ["Comparison", "Key", "compare", "key", "missing"]

Key = tuple[str, str, str]
"""Kind, id and action."""

CHANGES = {
    "container": {
        *("create", "start", "restart", "stop", "die", "kill", "pause", "unpause", "rename", "update"),
        *("destroy", "extract-to-dir", "network connect", "network disconnect"),
    },
    "image": {"tag", "untag", "delete"},
    "volume": {"create", "destroy"},
    "network": {"create", "destroy", "update"},
    "builder": {"prune"},
}
"""Events that tell of a change, by kind of object.  A mount is no change: it comes with a start or a copy."""

LOSSES = {"destroy", "delete", "remove", "rename", "update", "untag", "prune", "disable"}
"""Actions after which something is gone, or not what it was."""

_ONCE = {"update"}
"""What is told once for each time that it is done: once more, and somebody else has done it too."""

_SHOWN = 50
"""How many of other people's events are kept."""


class Line(BaseModel):
    """What was *planned* (empty: nothing) and what happened (*actual*; empty: nothing), with its *detail*."""

    model_config = ConfigDict(frozen=True)

    planned: str = ""
    actual: str = ""
    detail: str = ""


class Comparison(Record):
    """Planned and actual effects, line by line; *meanwhile*: what others did, which is their affair.

    *lost* says of which time events are missing; *resumed*: the run had been interrupted.
    """

    kind: ClassVar[str] = "effects"

    lines: tuple[Line, ...] = ()
    meanwhile: tuple[str, ...] = ()
    lost: str = ""
    resumed: bool = False

    @property
    def faults(self) -> tuple[Line, ...]:
        """Lines in which planned and actual differ."""
        return tuple(line for line in self.lines if not (line.planned and line.actual))

    @property
    def ok(self) -> bool:
        """Whether what was planned was done, and nothing else.

        Events that are lost leave it open; that is accepted only of a time before the run was resumed.
        """
        return not self.faults and (self.resumed or not self.lost)

    def table(self) -> Table:
        rows = [(line.planned or "(not planned)", line.actual or "(did not happen)") for line in self.lines]
        caption = "as planned" if self.ok else "NOT as planned"
        if self.lost:
            caption += f" (the engine's events {self.lost} are lost)"
        return Table(["planned", "actual"], rows, caption=caption, empty="no effect was planned")

    def summary(self) -> dict[str, Any]:
        return {"ok": self.ok}


def key(event: Event) -> Key:
    """What an event is about; joining and leaving a network is the container's."""
    container = event.attributes.get("container")
    if event.kind == "network" and container:
        return "container", container, f"network {event.action}"
    return event.kind, event.id, event.action


def missing(planned: Sequence[Effect], events: Iterable[Event]) -> list[Effect]:
    """The effects that have to come and have not."""
    events = list(events)
    happened, called = {key(event) for event in events}, _called(events)
    return [
        effect
        for effect in planned
        if effect.needed and not any(k in happened for k in _keys(effect, called))
    ]


def compare(
    planned: Sequence[Effect],
    events: Sequence[Event],
    *,
    by_us: Callable[[Event], bool],
    passing: Collection[tuple[str, str]] = (),
    standing: Collection[tuple[str, str]] = (),
    lost: str = "",
    resumed: bool = False,
) -> Comparison:
    """Compare what was *planned* with the *events* of that time, oldest first.

    *by_us*: whether an event tells of an object that this run has made.  *passing*: objects (kind, id) that
    go by themselves, such as containers run with ``--rm``; *standing*: objects that were there at the beginning, although 20.10
    tells of volumes as created whenever a container is given them.  *lost* and *resumed*: see `Comparison`.
    """
    called = _called(events)
    foreseen = {known: effect for effect in planned for known in _keys(effect, called)}
    times = Counter(known for effect in planned for known in _keys(effect, called))
    objects = {(kind, id) for kind, id, _ in foreseen}
    born = {key(event)[:2] for event in events if event.action == "create" and not by_us(event)}
    born -= set(standing)
    happened, lines, meanwhile = Counter[Key](), list[Line](), list[str]()
    for event in events:
        known = key(event)
        happened[known] += 1
        too_often = known[2] in _ONCE and happened[known] > times[known] and not resumed
        if happened[known] > 1 and known in foreseen and not too_often:
            continue
        told = f"{known[2]} {known[0]} {_name(event, planned)}"
        if known in foreseen and not too_often:
            lines.append(Line(planned=str(foreseen[known]), actual=told, detail=_detail(event)))
        elif _is_fault(known, objects, by_us(event), {*passing, *born}):
            lines.append(Line(actual=told, detail=_detail(event)))
        elif known[2] in CHANGES.get(known[0], ()):
            meanwhile.append(told)
    lines += [Line(planned=str(effect)) for effect in missing(planned, events)]
    return Comparison(lines=tuple(lines), meanwhile=tuple(meanwhile[:_SHOWN]), lost=lost, resumed=resumed)


def _is_fault(known: Key, objects: set[tuple[str, str]], by_us: bool, passing: set[tuple[str, str]]) -> bool:
    kind, id, action = known
    if (kind, id) in objects:
        return action in CHANGES.get(kind, ()) or action in LOSSES
    return (action == "create" and by_us) or (action in LOSSES and (by_us or (kind, id) not in passing))


def _called(events: Iterable[Event]) -> dict[str, set[str]]:
    """Ids of containers by the names that they had."""
    found: dict[str, set[str]] = {}
    for event in events:
        if event.kind == "container":
            found.setdefault(event.attributes.get("name", ""), set()).add(event.id)
    return found


def _keys(effect: Effect, called: dict[str, set[str]]) -> list[Key]:
    """The keys of an effect: by its id, or by those that had its name."""
    ids = [effect.id] if effect.id or effect.kind != "container" else sorted(called.get(effect.name, ()))
    return [(effect.kind, id, effect.action) for id in ids]


def _name(event: Event, planned: Sequence[Effect]) -> str:
    kind, id, _ = key(event)
    known = next((effect.name for effect in planned if id and (effect.kind, effect.id) == (kind, id)), "")
    own = event.attributes.get("name", "") if kind == event.kind and kind != "image" else ""
    return known or own or id.removeprefix("sha256:")[:12]


def _detail(event: Event) -> str:
    return f"{event.id} {event.at.isoformat()}".strip()
