"""What changed on an engine between two looks: objects that came and went, fields that differ, events in between."""

from __future__ import annotations

import html
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby

from labkit.lab.changes.fields import ID, differences, readable
from labkit.lab.changes.snapshots import Snapshot, Thing
from labkit.lab.showing import Shown
from labkit.observe import ByteSize, Event, Table
from labkit.observe.timelines import in_order

__all__ = ["Change", "Changes", "compare", "folded"]

KINDS = ("container", "image", "volume", "network")
ENDS = ("destroy", "delete")
SHOWN = 40
"""Events that are told; the rest is counted."""


@dataclass(frozen=True)
class Change:
    """One line: the *object* (kind and name), *what* of it changed, and what it was *before* and is *after*."""

    object: str
    what: str
    before: str
    after: str


@dataclass(frozen=True, repr=False)
class Changes(Shown):
    """What changed; false when nothing did.  *events*: a line for each object in turn; *notes*: what cannot be known."""

    changes: tuple[Change, ...] = ()
    events: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.changes or self.events)

    def table(self) -> Table:
        rows = [(each.object, each.what, each.before, each.after) for each in self.changes]
        empty = "no object differs" if self.events else "nothing changed on the engine"
        return Table(["object", "what", "before", "after"], rows, empty=empty)

    def __repr__(self) -> str:
        told = ["events:", *(f"  {line}" for line in self.events)] if self.events else []
        return "\n".join([repr(self.table()), *told, *(f"note: {note}" for note in self.notes)])

    def _static(self) -> str:
        parts = [self.table()._repr_html_()]
        if self.events:
            lines = "".join(f"<li>{html.escape(line)}</li>" for line in self.events)
            parts.append(f"<details open><summary>events</summary><ul>{lines}</ul></details>")
        return "".join([*parts, *(f"<p><em>note: {html.escape(note)}</em></p>" for note in self.notes)])


def compare(before: Snapshot, after: Snapshot, *, shared: bool = False) -> Changes:
    """What is otherwise in *after* than in *before*.  *shared*: other people may be at work on the engine."""
    passing = {e.id: e.attributes.get("name", "") for e in after.events if e.kind == "container"}
    names = {
        **passing,
        **after.names,
        **before.names,
        **{id_: n for id_, n in after.names.items() if n[0] != "‹"},
    }
    lines = [line for kind in KINDS for line in _of_kind(kind, before, after, names)]
    told = _told(after, names)
    notes = [f"events may be missing: {after.gap}"] if after.gap else []
    if shared and (lines or told):
        notes.append("a shared engine: who did it cannot be known")
    return Changes(tuple(lines), tuple(told), tuple(notes))


def _of_kind(kind: str, before: Snapshot, after: Snapshot, names: dict[str, str]) -> Iterator[Change]:
    old, new = ({id_: t for (k, id_), t in s.things.items() if k == kind} for s in (before, after))
    destroyed = {event.id for event in after.events if event.kind == kind and event.action in ENDS}
    former = _succeeded(kind, old, new, destroyed)
    lines: list[tuple[str, list[Change]]] = []
    for id_, thing in new.items():
        lines.append(_present(thing, old.get(id_), former.get(id_), names))
    replaced = {thing.id for thing in former.values()}
    for id_, thing in old.items():
        if id_ not in new and id_ not in replaced:
            lines.append((names[id_], [_change(thing, names, "gone", _summary(thing), "-")]))
    passed = {e.id: _name(e, names) for e in after.events if e.kind == kind and e.id in destroyed}
    for name, times in Counter(name for id_, name in passed.items() if id_ not in {**old, **new}).items():
        often = f", {times} times" if times > 1 else ""
        lines.append((name, [Change(f"{kind} {name}", f"came and went{often}", "-", "-")]))
    for _, told in sorted(lines, key=lambda line: line[0]):
        yield from told


def _succeeded(
    kind: str, old: dict[str, Thing], new: dict[str, Thing], destroyed: set[str]
) -> dict[str, Thing]:
    """For each object that was made anew under the name of one that is gone: that one."""
    gone = {thing.name: thing for id_, thing in old.items() if id_ not in new and kind != "image"}
    found = {id_: gone[thing.name] for id_, thing in new.items() if id_ not in old and thing.name in gone}
    for id_, thing in new.items() if kind == "volume" else ():  # a volume's id is its name
        if id_ in old and (id_ in destroyed or old[id_].raw.get("CreatedAt") != thing.raw.get("CreatedAt")):
            found[id_] = old[id_]
    return found


def _present(
    thing: Thing, same: Thing | None, former: Thing | None, names: dict[str, str]
) -> tuple[str, list[Change]]:
    """The lines of an object that is there now."""
    lines = []
    if former:
        lines.append(_change(thing, names, "made anew", _summary(former), _summary(thing)))
    elif same is None:
        lines.append(_change(thing, names, "came", "-", _summary(thing)))
    if base := former or same:
        told = differences(thing.kind, base.raw, thing.raw, names)
        lines += [_change(thing, names, *each) for each in told if same or each[0] != "State.StartedAt"]
    return names[thing.id], lines


def _change(thing: Thing, names: dict[str, str], what: str, before: str, after: str) -> Change:
    return Change(f"{thing.kind} {names[thing.id]}", what, before, after)


def _summary(thing: Thing) -> str:
    """An object in a word or two."""
    if thing.kind == "container":
        state = thing.raw["State"]
        code = f" ({state['ExitCode']})" if state["Status"] in ("exited", "dead") else ""
        return f"{state['Status']}{code}, {readable(thing.raw['Config']['Image'], {})}"
    if thing.kind == "image":
        return ByteSize(thing.raw["Size"]).rounded()
    return str(thing.raw["Driver"])


# -- events


def _told(after: Snapshot, names: dict[str, str]) -> list[str]:
    """The events in words, what one object does in a row on one line."""
    probes = _probes(after)
    shown = [e for e in in_order(after.events) if not e.action.startswith("exec_create") and e not in probes]
    parts = folded(
        [(f"{event.kind} {_name(event, names)}".strip(), _action(event, names)) for event in shown]
    )
    lines = [
        f"{who}: {', '.join(what for _, what in row)}"
        for who, row in groupby(parts[:SHOWN], key=lambda part: part[0])
    ]
    return [*lines, f"and {len(parts) - SHOWN} more"] if len(parts) > SHOWN else lines


def folded(parts: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """What one object does again and again, alone or in pairs (to ask until there is an answer), once, with how often."""
    folded, at = [], 0
    while at < len(parts):
        width, times = next(((w, times) for w in (1, 2) if (times := _times(parts, at, w)) > 1), (1, 1))
        said = ", ".join(what for _, what in parts[at : at + width])
        folded.append((parts[at][0], f"{times} × ({said})" if times > 1 else said))
        at += width * times
    return folded


def _times(parts: list[tuple[str, str]], at: int, width: int) -> int:
    """How often in a row the *width* parts from *at* on are there; once where they are of several objects."""
    pattern, times = parts[at : at + width], 1
    while len({who for who, _ in pattern}) == 1 and parts[at + times * width :][:width] == pattern:
        times += 1
    return times


def _probes(after: Snapshot) -> list[Event]:
    """What a container's health check runs, time after time: nobody did that."""
    tests = {
        id_: " ".join(test[1:])
        for (kind, id_), thing in after.things.items()
        if kind == "container" and (test := (thing.raw["Config"].get("Healthcheck") or {}).get("Test"))
    }
    own = [event for event in after.events if event.id in tests and event.action.startswith("exec_")]
    by_hand = {
        event.attributes.get("execID")
        for event in own
        if event.action.startswith("exec_start") and not event.action.endswith(tests[event.id])
    }
    return [event for event in own if event.attributes.get("execID") not in by_hand]


def _name(event: Event, names: dict[str, str]) -> str:
    told = readable(event.attributes.get("name", ""), names)
    if event.kind == "image" and told:  # of several names, the one that is meant
        return told
    return names.get(event.id) or told or ID.sub("‹unnamed›", event.id)


def _action(event: Event, names: dict[str, str]) -> str:
    inside = event.attributes.get("container", "")
    if event.kind in ("network", "volume") and inside:
        return f"{event.action} {names.get(inside, 'a container that is gone')}"
    if event.action == "rename":
        return f"rename, was {event.attributes.get('oldName', '').lstrip('/')}"
    if event.action == "exec_die":
        return f"exec_die (exit code {event.attributes.get('exitCode', '?')})"
    return readable(str(event), names).rstrip()  # a command without arguments ends with a space
