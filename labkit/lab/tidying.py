"""Names of the lab's own on an engine, also on one that is shared: free before it begins, gone when it ends."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from labkit.errors import Refused

if TYPE_CHECKING:
    from labkit.engine import Engine

__all__ = ["reserve", "tidy"]


def reserve(engine: Engine, name: str) -> None:
    """See to it that no container and no volume is called *name*, or *name* and a dash and more.

    Raises `Refused`, naming those that there are: the lab does not touch what it has not made.
    """
    found = [*_containers(engine, name), *_volumes(engine, name)]
    if found:
        raise Refused(
            f"the name {name!r} is taken on the engine {engine.name!r}",
            seen=", ".join(sorted(item.name for item in found)),
            try_=f"another name\nlab.tidy(engine, {name!r}), if they are left from this lab",
        )


def tidy(engine: Engine, name: str) -> None:
    """Remove the containers and volumes called *name*, or *name* and a dash and more, and print how many there were."""
    containers, volumes = _containers(engine, name), _volumes(engine, name)
    for container in containers:
        with engine.approve("container", container.name):
            container.remove(force=True, v=True)
    for volume in volumes:
        with engine.approve("volume", volume.name):
            volume.remove()
    print(f"removed: containers {len(containers)}, volumes {len(volumes)}")


def _containers(engine: Engine, name: str) -> list[Any]:
    return [found for found in engine.client.containers.list(all=True) if _belongs(found.name, name)]


def _volumes(engine: Engine, name: str) -> list[Any]:
    return [found for found in engine.client.volumes.list() if _belongs(found.name, name)]


def _belongs(candidate: str, name: str) -> bool:
    return candidate == name or candidate.startswith(f"{name}-")
