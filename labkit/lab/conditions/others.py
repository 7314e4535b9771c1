"""Conditions about all objects of a kind, and conditions made of conditions."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

from labkit.engine.catalogue import catalogue
from labkit.engine.images import stored
from labkit.engine.references import reference
from labkit.errors import UsageError
from labkit.lab.conditions.base import NEVER, OFTEN, Condition, Seen
from labkit.lab.conditions.facts import ANY, Facts, Found, Key
from labkit.lab.conditions.wanted import name_of, text
from labkit.observe.containers import moment

if TYPE_CHECKING:
    from labkit.engine import Engine

__all__ = ["any_of", "in_turn", "nothing_else", "originals", "standing"]


def nothing_else(
    *,
    containers: Sequence[str] | None = None,
    volumes: Sequence[str] | None = None,
    networks: Sequence[str] | None = None,
    images: Sequence[str] | None = None,
) -> Condition:
    """Of each kind that is given there are no other objects than these; they need not be there themselves.

    The networks that every engine has are left out, and on a shared engine what was there when the lab was opened.
    """
    given = {"container": containers, "volume": volumes, "network": networks, "image": images}
    allowed = {
        kind: {_spelled(kind, name) for name in _names(names)}
        for kind, names in given.items()
        if names is not None
    }
    if not allowed:
        raise UsageError(
            "nothing else of which kind?", expected="containers=[…], volumes=[…], networks=[…], images=[…]"
        )

    def look(facts: Facts) -> Seen:
        others = [
            f"{kind} {name}"
            for kind, names in allowed.items()
            for name in sorted(
                {name for name, id_ in _LISTS[kind](facts) if (kind, id_) not in facts.standing} - names
            )
        ]
        return Seen(", ".join(others) or "nothing else", ok=not others)

    keys = frozenset((kind, ANY) for kind in allowed)
    return Condition("other objects", "nothing else", keys, look)


def _names(given: object) -> Iterable[str]:
    if isinstance(given, str) or not isinstance(given, Sequence):
        raise UsageError("no list of names", seen=repr(given), expected="a list, such as ['web', 'db'] or []")
    return given


def _spelled(kind: str, name: str) -> str:
    name_of(kind, name)
    return reference(name) if kind == "image" else name


def standing(engine: Engine) -> frozenset[Key]:
    """The kind and id of every object on *engine* now."""
    facts = Facts(engine)
    return frozenset((kind, id_) for kind in _LISTS for _, id_ in _LISTS[kind](facts))


def originals(engine: Engine) -> dict[str, str]:
    """By reference, the id of each image that the lab begins with.

    On a private engine that is taken up again a name may have been moved: there the store tells which image was meant.
    """
    if not engine.owned:
        return {name: row.split()[-1] for name, row in _images(Facts(engine))}
    return {each.tag: found.id for each in catalogue().values() if (found := stored(each.name))}


def _containers(facts: Facts) -> Iterator[tuple[str, str]]:
    for row in facts.listed("containers", all=True):
        # its own name has one slash, one that a link gave it has two; it has none while it is removed
        name = min(row["Names"] or ["without a name"], key=lambda name: name.count("/"))
        yield str(name).lstrip("/"), row["Id"]


def _volumes(facts: Facts) -> Iterator[tuple[str, str]]:
    for row in facts.listed("volumes")["Volumes"] or []:
        yield row["Name"] if len(row["Name"]) < 64 else "without a name", row["Name"]


def _networks(facts: Facts) -> Iterator[tuple[str, str]]:
    for row in facts.listed("networks"):
        if row["Name"] not in ("bridge", "host", "none"):
            yield row["Name"], row["Id"]


def _images(facts: Facts) -> Iterator[tuple[str, str]]:
    for row in facts.listed("images"):
        for name in row.get("RepoTags") or ["<none>:<none>"]:
            yield name.replace("<none>:<none>", "without a name"), f"{name} {row['Id']}"


_LISTS: dict[str, Callable[[Facts], Iterator[tuple[str, str]]]] = {
    "container": _containers,
    "volume": _volumes,
    "network": _networks,
    "image": _images,
}
"""By kind: the name and the id of each that there is."""


def in_turn(*lines: str, by: Sequence[str]) -> Condition:
    """The containers *by* ran at the same time, and the last line of each is another one of these *lines*."""
    names = [name_of("container", name) for name in _names(by)]
    wanted = sorted(text("line of a log", line) for line in lines)
    if len(set(names)) < 2 or len(names) != len(wanted):
        raise UsageError("which lines, by whom?", seen=f"{lines}, {by}", expected="a line for each container")

    def look(facts: Facts) -> Seen:
        found = [facts.container(name) for name in names]
        said = [(facts.said(each) or ["nothing"])[-1][:80] for each in found]
        told = ", ".join(said) + ("" if _together(found) else ", one after the other")
        return Seen(told, ok=sorted(said) == wanted and _together(found))

    keys = frozenset(("container", name) for name in names)
    expected = f"{', '.join(wanted)} in some order, at the same time"
    return Condition(f"last lines of {', '.join(names)}", expected, keys, look, OFTEN)


def _together(found: Iterable[Found]) -> bool:
    """Whether there was a moment at which all of them ran."""
    states = [each["State"] for each in found]
    began = [moment(state["StartedAt"]) for state in states]
    ended = [moment(state["FinishedAt"]) for state in states if not state["Running"]]
    return all(start and (end is None or start < end) for start in began for end in ended or [None])


def any_of(*conditions: Condition) -> Condition:
    """One of these *conditions* holds."""
    if len(conditions) < 2 or not all(isinstance(each, Condition) for each in conditions):
        raise UsageError("any of which conditions?", seen=repr(conditions), expected="two or more conditions")

    def look(facts: Facts) -> Seen:
        readings = [each.read(facts) for each in conditions]
        held = next((each for each in readings if each.ok), None)
        told = [f"{each.looked_at} {each.saw}" for each in readings]
        return Seen(f"{held.looked_at} {held.saw}" if held else "; ".join(told), ok=held is not None)

    return Condition(
        "either",
        " or ".join(f"{each.looked_at} {each.expected}" for each in conditions),
        frozenset().union(*(each.keys for each in conditions)),
        look,
        min((each.polled for each in conditions if each.polled), default=NEVER),
    )
