"""What is true of an object now: the facts that actions rely on, read the same way when planned and when applied.

A fact that is a list (who uses the object, which tags it has) has drifted when there is more in it than was
shown; less is no drift, since the plan may take away from it itself.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from labkit import observe
from labkit.errors import UsageError
from labkit.labels import is_ours

if TYPE_CHECKING:
    from labkit.engine import Engine

__all__ = ["GONE", "Facts", "differs", "is_labkits", "plain", "read"]

Facts = dict[str, Any]
GONE: Facts = {"exists": False}


def read(engine: Engine, kind: str, id: str) -> Facts:
    """The facts of the object *id* of *kind*; `GONE` when there is none."""
    import docker.errors

    try:
        return {"exists": True, **_READERS[kind](engine, id)}
    except (docker.errors.NotFound, docker.errors.NullResource, UsageError):
        return GONE


def differs(planned: Any, found: Any) -> bool:
    """Whether a fact is no longer what an action was planned on."""
    if isinstance(planned, list) and isinstance(found, list):
        return not set(found) <= set(planned)
    return bool(planned != found)


def plain(value: Any) -> Any:
    """*value* as JSON keeps it: a plan that was saved relies on the same facts."""
    if value is None or isinstance(value, bool | str | list | dict):
        return value
    return int(value) if isinstance(value, int) else str(value)


def is_labkits(engine: Engine, kind: str, id: str) -> bool:
    """Whether labkit made the object, or nobody: it does not exist yet."""
    facts = read(engine, kind, id)
    return not facts["exists"] or is_ours(facts.get("labels"))


def _container(engine: Engine, id: str) -> Facts:
    facts = observe.container(engine, id)
    named = ("status", "started_at", "finished_at", "memory", "memory_swap", "restart_policy", "labels")
    return {"id": facts.id, "name": facts.name, **{each: plain(getattr(facts, each)) for each in named}}


def _image(engine: Engine, id: str) -> Facts:
    facts = engine.client.api.inspect_image(id)
    users = [each for each in _containers(engine) if each["ImageID"] == facts["Id"]]
    return {
        "id": facts["Id"],
        "tags": sorted(facts["RepoTags"] or []),
        "size": facts["Size"],
        "labels": (facts.get("Config") or {}).get("Labels"),
        "used_by": _ids(users),
    }


def _volume(engine: Engine, id: str) -> Facts:
    facts = engine.client.api.inspect_volume(id)
    return {
        "id": facts["Name"],
        "created_at": facts["CreatedAt"],
        "driver": facts["Driver"],
        "labels": facts["Labels"],
        "used_by": _ids(_containers(engine, volume=facts["Name"])),
    }


def _network(engine: Engine, id: str) -> Facts:
    facts = engine.client.api.inspect_network(id)
    there = {*facts["Containers"], *_ids(_containers(engine, network=facts["Name"]))}
    return {
        "id": facts["Id"],
        "name": facts["Name"],
        "driver": facts["Driver"],
        "labels": facts["Labels"],
        "used_by": sorted(there),
    }


def _build_cache(engine: Engine, id: str) -> Facts:
    """Of records, told apart by spaces in *id*: how often each was used, and which are in use."""
    wanted = id.split()
    found = [each for each in engine.client.api.df().get("BuildCache") or [] if each["ID"] in wanted]
    return {
        "records": " ".join(sorted(f"{each['ID']}:{each['UsageCount']}" for each in found)),
        "used_by": sorted(each["ID"] for each in found if each["InUse"]),
        "size": sum(each["Size"] for each in found),
    }


def _containers(engine: Engine, **filters: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = engine.client.api.containers(all=True, filters=filters)
    return found


def _ids(containers: Iterable[dict[str, Any]]) -> list[str]:
    return sorted(each["Id"] for each in containers)


_READERS: dict[str, Callable[[Engine, str], Facts]] = {
    "container": _container,
    "image": _image,
    "volume": _volume,
    "network": _network,
    "build cache": _build_cache,
}
