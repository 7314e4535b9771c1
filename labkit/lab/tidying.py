"""Names of the lab's own on an engine, also on one that is shared: free before it begins, gone when it ends."""

from __future__ import annotations

import re
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime
from typing import TYPE_CHECKING, Any, NamedTuple
from weakref import WeakKeyDictionary

from labkit.errors import Refused, UsageError
from labkit.labels import is_ours
from labkit.observe import engine_time

if TYPE_CHECKING:
    import docker

    from labkit.engine import Engine

__all__ = ["check_name", "inventory", "reserve", "resume", "tidy"]


class Kind(NamedTuple):
    """A kind of object that a lab makes: the command that removes some, and what lists all."""

    remedy: str
    every: Callable[[docker.DockerClient], list[Any]]


KINDS = {
    "containers": Kind(
        "docker rm --force", lambda client: client.containers.list(all=True, ignore_removed=True)
    ),
    "volumes": Kind("docker volume rm", lambda client: client.volumes.list()),
    "networks": Kind("docker network rm", lambda client: client.networks.list()),
}
OF_THE_ENGINE = ("bridge", "host", "none")
"""Networks that every engine has."""

NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]+")
"""What an engine lets containers and volumes be called (moby, daemon/names)."""

_reserved: WeakKeyDictionary[Engine, dict[str, float]] = WeakKeyDictionary()
"""By engine and name: since when, in seconds of the engine's clock, what bears the name is the lab's."""


def check_name(name: str) -> None:
    """Raise `UsageError` unless an engine lets a container be called *name*; a shell takes such a name for one plain word."""
    if not isinstance(name, str) or not NAME.fullmatch(name):
        raise UsageError(
            "a container cannot have this name",
            seen=repr(name),
            expected="two or more letters, digits, _ . -, the first a letter or digit",
        )


def reserve(engine: Engine, name: str) -> float:
    """See to it that no container, volume or network is called *name*, or *name* and a dash and more.

    What is called so from now on is the lab's; the moment is returned, in seconds of the engine's clock.  Raises `UsageError`
    for a name that no container can have, and `Refused`, naming those that there are: the lab does not touch what it has
    not made.
    """
    check_name(name)
    taken = {kind: found for kind in KINDS if (found := _called(engine, kind, name))}
    if taken:
        remedies = [f"{KINDS[kind].remedy} {_names(found)}" for kind, found in taken.items()]
        raise Refused(
            f"the name {name!r} is taken on the engine {engine.name!r}",
            seen=", ".join(sorted(each.name for found in taken.values() for each in found)),
            try_=f"another name\nif that is left from a lab: {'; '.join(remedies)}",
        )
    now = float(engine_time(engine))
    resume(engine, name, now)
    return now


def resume(engine: Engine, name: str, since: float) -> None:
    """Go on with a name that was reserved at *since*, as `reserve` has returned it."""
    _reserved.setdefault(engine, {})[name] = since


def inventory(engine: Engine, name: str = "") -> dict[str, list[str]]:
    """The names of what is on *engine*, by kind, each sorted; or only of what `tidy` would remove for *name*."""
    return {
        kind: sorted(
            found.name
            for found in _called(engine, kind, name)
            if not name or _is_the_labs(engine, name, found)
        )
        for kind in KINDS
    }


def tidy(engine: Engine, name: str) -> None:
    """Remove the lab's containers, volumes and networks called *name*, or *name* and a dash and more; print how many.

    On a shared engine those are the ones that labkit labelled, or that were created since `reserve`.  Others are left
    alone and shown, with the command that would remove them.
    """
    counts = {kind: _remove(engine, kind, name) for kind in KINDS}
    told = [f"{kind} {count}" for kind, count in counts.items() if count or kind != "networks"]
    print(f"removed: {', '.join(told)}")
    for kind, (remedy, _) in KINDS.items():
        if left := _called(engine, kind, name):
            print(f"left, not made by this lab: {remedy} {_names(left)}")


def _remove(engine: Engine, kind: str, name: str) -> int:
    import docker.errors

    mine = [found for found in _called(engine, kind, name) if _is_the_labs(engine, name, found)]
    for found in mine:
        # gone between the list and here, such as a container that was run with --rm
        with suppress(docker.errors.NotFound), engine.approve(kind.removesuffix("s"), found.name):
            found.remove(**({"force": True, "v": True} if kind == "containers" else {}))
    return len(mine)


def _is_the_labs(engine: Engine, name: str, found: Any) -> bool:
    if engine.owned or is_ours(found.attrs.get("Labels") or (found.attrs.get("Config") or {}).get("Labels")):
        return True
    since = _reserved.get(engine, {}).get(name)
    created = found.attrs.get("Created") or found.attrs.get("CreatedAt")
    # of a volume the whole second is told
    return since is not None and datetime.fromisoformat(created).timestamp() >= int(since)


def _called(engine: Engine, kind: str, name: str) -> list[Any]:
    """What there is of *kind* that is called *name*, or *name* and a dash and more; all without a name."""
    every = [found for found in KINDS[kind].every(engine.client) if found.name not in OF_THE_ENGINE]
    return [found for found in every if not name or found.name == name or found.name.startswith(f"{name}-")]


def _names(found: list[Any]) -> str:
    return " ".join(sorted(each.name for each in found))
