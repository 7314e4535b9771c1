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

NEVER = "0001-01-01T00:00:00Z"
"""When an image was tagged that was not, as an engine tells it."""

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
    """See to it that no container, volume or network is called *name*, or *name* and a dash and more, and no image the latter.

    What is called so from now on is the lab's; the moment is returned, in seconds of the engine's clock.  Raises `UsageError`
    for a name that no container can have, and `Refused`, naming those that there are: the lab does not touch what it has
    not made.
    """
    check_name(name)
    taken = {KINDS[kind].remedy: [found.name for found in _called(engine, kind, name)] for kind in KINDS}
    taken["docker image rm"] = [tag for found in engine.client.images.list() for tag in _tags(found, name)]
    if any(taken.values()):
        remedies = [f"{remedy} {' '.join(sorted(found))}" for remedy, found in taken.items() if found]
        raise Refused(
            f"the name {name!r} is taken on the engine {engine.name!r}",
            seen=", ".join(sorted(each for found in taken.values() for each in found)),
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
    alone and shown, with the command that would remove them.  Of images the names go that begin with *name* and a dash, and
    on a shared engine were given since.  Raises `UsageError` for a name that no container can have.
    """
    check_name(name)
    counts = {kind: _remove(engine, kind, name) for kind in KINDS} | {"images": _untag(engine, name)}
    told = [f"{kind} {count}" for kind, count in counts.items() if count or kind in ("containers", "volumes")]
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


def _untag(engine: Engine, name: str) -> int:
    """Take the names off that the lab gave to images, and with its last name an image goes; return how many names.

    One that somebody's container uses stays.
    """
    import docker.errors

    count = 0
    for found in engine.client.images.list():
        for tag in _tags(found, name):
            told = engine.client.api.inspect_image(tag).get("Metadata") or {}
            if not (engine.owned or _is_since(engine, name, told.get("LastTagTime") or NEVER)):
                continue
            with engine.approve("image", tag), suppress(docker.errors.APIError):
                engine.client.images.remove(tag)
                count += 1
    return count


def _tags(image: Any, name: str) -> list[str]:
    """Those of its names that begin with *name* and a dash."""
    return [tag for tag in image.tags if tag.startswith(f"{name}-")]


def _is_the_labs(engine: Engine, name: str, found: Any) -> bool:
    if engine.owned or is_ours(found.attrs.get("Labels") or (found.attrs.get("Config") or {}).get("Labels")):
        return True
    return _is_since(engine, name, found.attrs.get("Created") or found.attrs.get("CreatedAt"))


def _is_since(engine: Engine, name: str, moment: str) -> bool:
    """Whether the *moment*, as the engine tells it, was after the *name* was reserved."""
    since = _reserved.get(engine, {}).get(name)
    # of a volume the whole second is told
    return since is not None and datetime.fromisoformat(moment).timestamp() >= int(since)


def _called(engine: Engine, kind: str, name: str) -> list[Any]:
    """What there is of *kind* that is called *name*, or *name* and a dash and more; all without a name."""
    every = [found for found in KINDS[kind].every(engine.client) if found.name not in OF_THE_ENGINE]
    return [found for found in every if not name or found.name == name or found.name.startswith(f"{name}-")]


def _names(found: list[Any]) -> str:
    return " ".join(sorted(each.name for each in found))
