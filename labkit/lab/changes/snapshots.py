"""What there is on an engine at one moment, cheap enough to look at after every cell.

Lists are asked for each time.  Containers are inspected only if they are new, if their row in the list differs, or if an
event tells of them; unless the event log has a gap (the engine keeps its last 256 events and forgets them when its daemon
ends: moby, ``daemon/events``): then everything is looked at.
"""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from labkit.engine.failures import translated
from labkit.observe import Event, engine_time

if TYPE_CHECKING:
    from labkit.engine import Engine

__all__ = ["UNNAMED", "Key", "Snapshot", "Thing", "look"]

Key = tuple[str, str]
"""Kind (container, image, volume, network) and id of an object."""

PREDEFINED = ("bridge", "host", "none")
"""Networks that every engine has; each start of the daemon makes the first anew, with another id."""
REMEMBERED = 256
"""Events that an engine keeps (moby, daemon/events, eventsLimit)."""
UNNAMED = re.compile(r"[0-9a-f]{64}")
"""What the engine calls a volume that nobody has named."""


@dataclass(frozen=True)
class Thing:
    """An object: its inspect (*raw*), or its row in the list where that says the same; *row*: its row, without passing words."""

    kind: str
    id: str
    raw: Mapping[str, Any]
    row: Mapping[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """What a person calls it; no id."""
        if self.kind == "image":
            tags = sorted(tag for tag in self.raw.get("RepoTags") or [] if not tag.startswith("<none>"))
            return tags[0] if tags else "‹untagged›"
        name = str(self.raw["Name"]).lstrip("/")
        return "‹unnamed›" if UNNAMED.fullmatch(name) else name


@dataclass(frozen=True)
class Snapshot:
    """Everything at one moment, and the *events* since the snapshot before it, oldest first.

    *gap*: why events in between may be lost; empty when none are.
    """

    things: Mapping[Key, Thing]
    events: tuple[Event, ...] = ()
    gap: str = ""
    mark: Event | None = None
    """The last event that was told of before anything was looked at."""
    told: frozenset[int] = frozenset()
    """The times of the events after *mark* that are among *events*."""
    bridge: str = ""
    """The id of the predefined network: another one after each start of the daemon."""

    @property
    def names(self) -> dict[str, str]:
        """What each object is called, by its id; a volume without a name by where it is mounted."""
        found = {id_: thing.name for (_, id_), thing in self.things.items()}
        for thing in self.things.values():
            for mount in thing.raw.get("Mounts") or [] if thing.kind == "container" else []:
                if UNNAMED.fullmatch(mount.get("Name") or ""):
                    found[mount["Name"]] = f"‹of {thing.name} at {mount['Destination']}›"
        return found


def look(engine: Engine, before: Snapshot | None = None) -> Snapshot:
    """What there is on *engine* now, and what it tells of the time since *before*.  Raises `EngineUnreachable`."""
    with translated():
        return _look(engine, before)


def _look(engine: Engine, before: Snapshot | None) -> Snapshot:
    api, mark = engine.client.api, before.mark if before else None
    # an engine of ours goes by the clock of this machine
    set_back = engine.owned and mark is not None and mark.nano > time.time_ns()
    log = _events(engine, None if set_back else mark)
    networks = api.networks()
    bridge = next((each["Id"] for each in networks if each["Name"] == "bridge"), "")
    gap = "the clock was set back since" if set_back else _gap(engine, before, log, bridge)
    news = [event for event in log if event != mark and not set_back]
    known = before.things if before and mark and not gap else {}
    things = [
        *_containers(api, known, {id_ for event in news for id_ in _subjects(event)}),
        *(Thing("image", row["Id"], row) for row in api.images()),
        *(Thing("volume", row["Name"], row) for row in api.volumes()["Volumes"] or []),
        *(Thing("network", _network_id(row), row) for row in networks),
    ]
    # what is written down a moment after it can be seen, such as a death
    late = [event for event in _events(engine, log[-1] if log else None) if event not in log]
    told = before.told if before else frozenset()
    return Snapshot(
        things={(thing.kind, thing.id): thing for thing in things},
        events=tuple(event for event in [*news, *late] if event.nano not in told) if before else (),
        gap=gap,
        mark=log[-1] if log else None,
        told=frozenset(event.nano for event in late),
        bridge=bridge,
    )


def _subjects(event: Event) -> set[str]:
    """The containers that an event tells of."""
    return {event.id if event.kind == "container" else event.attributes.get("container", "")}


def _network_id(row: Mapping[str, Any]) -> str:
    return str(row["Name"] if row["Name"] in PREDEFINED else row["Id"])


def _containers(api: Any, known: Mapping[Key, Thing], touched: set[str]) -> list[Thing]:
    import docker.errors

    found = []
    for told in api.containers(all=True):
        row = {key: value for key, value in told.items() if key != "Status"}  # "Up 3 seconds"
        thing = known.get(("container", told["Id"]))
        if thing is None or thing.row != row or thing.id in touched:
            try:
                thing = Thing("container", told["Id"], api.inspect_container(told["Id"]), row)
            except docker.errors.NotFound:  # gone since the list was made
                continue
        found.append(thing)
    return found


def _events(engine: Engine, since: Event | None) -> list[Event]:
    """What the engine still tells of, from *since* (that one too), or all."""
    start = f"{since.nano // 10**9}.{since.nano % 10**9:09d}" if since else "1"
    # to ask for the engine's clock takes as long as all the rest; a daemon of ours goes by the clock of this machine
    end = f"{time.time():.9f}" if engine.owned else engine_time(engine)
    return [Event.read(raw) for raw in engine.client.api.events(since=start, until=end, decode=True)]


def _gap(engine: Engine, before: Snapshot | None, log: list[Event], bridge: str) -> str:
    """Why the events since *before* may not be all."""
    if before is None:
        return ""
    if bridge != before.bridge:
        return "the daemon was started again since, and forgets its events then"
    if before.mark is None or before.mark in log:
        return ""
    if len(_events(engine, None)) < REMEMBERED:
        return "the daemon was started again since, and forgets its events then"
    return f"the engine remembers its last {REMEMBERED}"
