"""Names of the lab's own on an engine, also on one that is shared: free before it begins, gone when it ends."""

from __future__ import annotations

import re
from datetime import datetime
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from labkit.errors import Refused, UsageError
from labkit.labels import is_ours
from labkit.observe import engine_time

if TYPE_CHECKING:
    from labkit.engine import Engine

__all__ = ["check_name", "reserve", "tidy"]

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


def reserve(engine: Engine, name: str) -> None:
    """See to it that no container and no volume is called *name*, or *name* and a dash and more.

    What is called so from now on is the lab's.  Raises `Refused`, naming those that there are: the lab does not touch what
    it has not made, and `UsageError` for a name that no container can have.
    """
    check_name(name)
    found = [*_containers(engine, name), *_volumes(engine, name)]
    if found:
        raise Refused(
            f"the name {name!r} is taken on the engine {engine.name!r}",
            seen=", ".join(sorted(item.name for item in found)),
            try_=f"another name\nlab.tidy(engine, {name!r}), if they are left from this lab",
        )
    _reserved.setdefault(engine, {})[name] = float(engine_time(engine))


def tidy(engine: Engine, name: str) -> None:
    """Remove the lab's containers and volumes called *name*, or *name* and a dash and more; print how many there were.

    On a shared engine those are the ones that labkit labelled, or that were created since `reserve`.  Others are left
    alone and shown, with the command that would remove them.
    """
    containers = [found for found in _containers(engine, name) if _is_the_labs(engine, name, found)]
    volumes = [found for found in _volumes(engine, name) if _is_the_labs(engine, name, found)]
    for container in containers:
        with engine.approve("container", container.name):
            container.remove(force=True, v=True)
    for volume in volumes:
        with engine.approve("volume", volume.name):
            volume.remove()
    print(f"removed: containers {len(containers)}, volumes {len(volumes)}")
    _show("docker rm --force", _containers(engine, name))
    _show("docker volume rm", _volumes(engine, name))


def _is_the_labs(engine: Engine, name: str, found: Any) -> bool:
    if engine.owned or is_ours(found.attrs.get("Labels") or (found.attrs.get("Config") or {}).get("Labels")):
        return True
    since = _reserved.get(engine, {}).get(name)
    created = found.attrs.get("Created") or found.attrs.get("CreatedAt")
    # of a volume the whole second is told
    return since is not None and datetime.fromisoformat(created).timestamp() >= int(since)


def _show(command: str, left: list[Any]) -> None:
    if left:
        print(f"left, not made by this lab: {command} {' '.join(sorted(item.name for item in left))}")


def _containers(engine: Engine, name: str) -> list[Any]:
    return [found for found in engine.client.containers.list(all=True) if _belongs(found.name, name)]


def _volumes(engine: Engine, name: str) -> list[Any]:
    return [found for found in engine.client.volumes.list() if _belongs(found.name, name)]


def _belongs(candidate: str, name: str) -> bool:
    return candidate == name or candidate.startswith(f"{name}-")
