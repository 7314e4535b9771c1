"""Conditions about all objects of a kind, and conditions made of conditions."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from labkit.engine.references import reference
from labkit.errors import UsageError
from labkit.lab.conditions.base import Condition, Seen
from labkit.lab.conditions.facts import ANY, Facts
from labkit.lab.conditions.wanted import name_of

__all__ = ["any_of", "nothing_else"]


def nothing_else(
    *,
    containers: Sequence[str] | None = None,
    volumes: Sequence[str] | None = None,
    networks: Sequence[str] | None = None,
    images: Sequence[str] | None = None,
) -> Condition:
    """Of each kind that is given there are no other objects than these; they need not be there themselves.

    The networks that every engine has are left out, and on a shared engine whatever labkit's labels do not claim.
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
            for name in sorted(set(_present(facts, kind)) - names)
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


_LISTED: dict[str, tuple[str, dict[str, Any], Callable[[Any], list[tuple[str, Any]]]]] = {
    "container": (
        "containers",
        {"all": True},
        lambda rows: [
            (row["Names"][0].lstrip("/") if row["Names"] else "without a name", row) for row in rows
        ],
    ),
    "volume": (
        "volumes",
        {},
        lambda answer: [(_volume(row["Name"]), row) for row in answer["Volumes"] or []],
    ),
    "network": (
        "networks",
        {},
        lambda rows: [(row["Name"], row) for row in rows if row["Name"] not in ("bridge", "host", "none")],
    ),
    "image": (
        "images",
        {},
        lambda rows: [(name, row) for row in rows for name in row.get("RepoTags") or ["without a name"]],
    ),
}


def _volume(name: str) -> str:
    return "without a name" if len(name) == 64 else name


def _present(facts: Facts, kind: str) -> list[str]:
    method, options, read = _LISTED[kind]
    rows = read(facts.once((method,), lambda: facts.ask(method, **options)))
    return [name.replace("<none>:<none>", "without a name") for name, row in rows]


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
        any(each.polled for each in conditions),
    )
