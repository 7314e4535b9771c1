"""The engine's events in their order, each on the lane of its object, and joined to the notebook cell during which it was.

An engine promises no order of what ending a container sets off: ``die``, ``stop``, and its leaving of networks and volumes
come in another order on each version, and from time to time (measured on 20.10 and 26.1).  Here they have one, so that the
same acts read the same; and what follows at once on an act belongs to the cell of that act, also when the next has begun.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from labkit.observe.events import Event, engine_time, events
from labkit.observe.tables import Table, Tabular
from labkit.shapes import hide

if TYPE_CHECKING:
    from labkit.engine import Engine

__all__ = ["Cell", "Moment", "Timeline", "in_order", "timeline"]

OUTSIDE = "outside of the cells"
REMEMBERED = 256
"""How many events an engine keeps (moby, ``daemon/events``)."""
AT_ONCE = 500_000_000
"""Nanoseconds within which a consequence follows."""

_CONSEQUENCES = ("oom", "die", "disconnect", "unmount", "stop")
"""What ending a container sets off, in the order in which it is told here."""
_HIDDEN = re.compile(r"exec_create|exec_die|exec_detach|attach|resize|top|archive-path|extract-to-dir")
_ID = re.compile(r"(?:sha256:)?[0-9a-f]{64}")


@dataclass(frozen=True)
class Cell:
    """A cell that ran: its *number* in the notebook, the *title* (what it did, in a line), from when to when in nanoseconds.

    *ended* is None while it runs.
    """

    number: int
    title: str
    began: int
    ended: int | None = None

    def __str__(self) -> str:
        return f"[{self.number}] {self.title}".rstrip()


@dataclass(frozen=True)
class Moment:
    """What *happened* to the object *kind* *name*, at *nano*; *cell*: the one that ran then, None for none."""

    nano: int
    kind: str
    name: str
    happened: str
    cell: Cell | None = None

    @property
    def lane(self) -> str:
        """The object, as ``container ada``."""
        return f"{self.kind} {self.name}".rstrip()


@dataclass(frozen=True, repr=False)
class Timeline(Tabular):
    """The *moments* in their order.  *forgotten*: the engine may have had earlier events, which it no longer keeps.

    *cells*: how many cells are known to have run.
    """

    engine: str
    moments: tuple[Moment, ...]
    cells: int = 0
    forgotten: bool = False

    @property
    def lanes(self) -> list[str]:
        """The objects, in the order in which something first happened to them."""
        return list(dict.fromkeys(moment.lane for moment in self.moments))

    @property
    def groups(self) -> list[tuple[str, list[Moment]]]:
        """The moments under the cells that they belong to."""
        found: list[tuple[str, list[Moment]]] = []
        for moment in self.moments:
            head = str(moment.cell) if moment.cell else OUTSIDE
            if not found or found[-1][0] != head:
                found.append((head, []))
            found[-1][1].append(moment)
        return found

    def table(self) -> Table:
        rows = [[str(each.cell) if each.cell else "-", each.lane, each.happened] for each in self.moments]
        return Table(["cell", "object", "event"], rows, empty="nothing happened")

    def details(self) -> Table:
        first = self.moments[0].nano if self.moments else 0
        rows = [
            [
                f"{(each.nano - first) / 1e9:.3f} s",
                str(each.cell) if each.cell else "-",
                each.lane,
                each.happened,
            ]
            for each in self.moments
        ]
        return Table(["after", "cell", "object", "event"], rows, empty="nothing happened")


def timeline(engine: Engine, cells: Sequence[Cell] = ()) -> Timeline:
    """The events that *engine* still knows of; *cells*: those that ran, by the clock of this machine."""
    before = time.time_ns()
    now = int(float(engine_time(engine)) * 1e9)
    after = time.time_ns()
    # clocks that cannot be told apart are one
    ahead = 0 if before <= now <= after else now - (before + after) // 2
    known = list(events(engine))
    moved = [
        replace(each, began=each.began + ahead, ended=None if each.ended is None else each.ended + ahead)
        for each in cells
    ]
    return Timeline(engine.name, moments(known, moved), len(cells), len(known) >= REMEMBERED)


def moments(known: Iterable[Event], cells: Sequence[Cell] = ()) -> tuple[Moment, ...]:
    """The events *known*, without what only prepares another, each with its cell."""
    shown = in_order([event for event in known if not _HIDDEN.match(event.action)])
    containers, images = _names(shown)
    found: list[Moment] = []
    belongs: dict[str, tuple[int, Cell | None]] = {}
    for event in shown:
        subject = _subject(event)
        last, cell = belongs.get(subject, (-AT_ONCE, None))
        if not (event.action in _CONSEQUENCES and event.nano - last < AT_ONCE):
            cell = _cell(event.nano, cells)
        belongs[subject] = (event.nano, cell)
        happened = hide(_happened(event, containers))
        found.append(Moment(event.nano, event.kind, _name(event, images), happened, cell))
    return tuple(found)


def in_order(known: Sequence[Event]) -> list[Event]:
    """By time, and what ending a container sets off in an order of its own, whatever happens to others meanwhile."""
    ordered = sorted(known, key=lambda event: event.nano)
    for places in _ends(ordered):
        told = sorted((ordered[place] for place in places), key=lambda e: _CONSEQUENCES.index(e.action))
        for place, event in zip(places, told, strict=True):
            ordered[place] = event
    return ordered


def _ends(ordered: Sequence[Event]) -> list[list[int]]:
    """The places of what each end of a container has set off."""
    found: dict[str, list[list[int]]] = {}
    for place, event in enumerate(ordered):
        ends = found.setdefault(_subject(event), [[]])
        last = ends[-1]
        if event.action not in _CONSEQUENCES:
            ends.append([])
        elif last and event.nano - ordered[last[-1]].nano >= AT_ONCE:
            ends.append([place])
        else:
            last.append(place)
    return [places for ends in found.values() for places in ends]


def _subject(event: Event) -> str:
    """Whose act or end it is: the container's, also where a network or a volume tells of it."""
    return event.attributes.get("container") or event.id


def _cell(nano: int, cells: Sequence[Cell]) -> Cell | None:
    return next(
        (each for each in cells if each.began <= nano and (each.ended is None or nano <= each.ended)), None
    )


def _names(known: Iterable[Event]) -> tuple[dict[str, str], dict[str, str]]:
    """Names of containers, and the first names of images, by their ids."""
    containers: dict[str, str] = {}
    images: dict[str, str] = {}
    for event in known:
        name = event.attributes.get("name", "")
        if event.kind == "container" and name:
            containers[event.id] = name
        if event.kind == "image" and name and not _ID.fullmatch(name):
            images.setdefault(event.id, name)
    return containers, images


def _name(event: Event, images: dict[str, str]) -> str:
    if event.kind == "image":
        return images.get(event.id) or _ID.sub("‹id›", event.id)
    if event.kind == "daemon":
        return ""
    return event.attributes.get("name") or _ID.sub("‹id›", event.id)


def _happened(event: Event, containers: dict[str, str]) -> str:
    if event.action.startswith("exec_start"):
        return f"exec{event.action.removeprefix('exec_start').replace(':', '', 1)}"
    if other := event.attributes.get("container"):
        return f"{event.action} {containers.get(other, '‹id›')}"
    if event.kind == "image" and event.action in ("tag", "pull", "push", "import", "load"):
        return f"{event.action} {_ID.sub('‹id›', event.attributes.get('name', ''))}".rstrip()
    return _ID.sub("‹id›", str(event))
