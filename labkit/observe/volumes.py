"""What the engine says about one volume, and who uses it."""

from __future__ import annotations

import re
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from labkit.errors import UsageError
from labkit.observe.containers import Container, container
from labkit.observe.tables import Table, Tabular

if TYPE_CHECKING:
    from labkit.engine import Engine

__all__ = ["User", "Volume", "volume"]


@dataclass(frozen=True)
class User:
    """A container that has the volume, at *path*; *writes*: it is not mounted read-only."""

    container: Container
    path: str
    writes: bool

    @property
    def up(self) -> bool:
        """Whether it runs, or is about to."""
        return self.container.running or self.container.status == "restarting"


@dataclass(frozen=True, repr=False)
class Volume(Tabular):
    """One volume: whether it is there (*exists*), its driver, and the containers that have it, by name.

    *in_memory*: it is a tmpfs, whose content is gone when the last container that has it ends.
    """

    name: str
    exists: bool
    driver: str = ""
    users: tuple[User, ...] = ()
    in_memory: bool = False

    @property
    def writers(self) -> tuple[Container, ...]:
        """The containers that may write to it now."""
        return tuple(each.container for each in self.users if each.up and each.writes)

    @property
    def in_use(self) -> bool:
        """Whether a container that is up has it."""
        return any(each.up for each in self.users)

    def table(self) -> Table:
        caption = f"docker volume inspect {self.name}: " + (
            f"driver {self.driver}" if self.exists else "no such volume"
        )
        rows = [
            (each.container.name, each.container.status, each.path, "writes" if each.writes else "only reads")
            for each in self.users
        ]
        return Table(["container", "status", "at", "may"], rows, caption=caption, empty="no container has it")


def volume(engine: Engine, name: str) -> Volume:
    """The volume called *name*, which need not be there.  Raises `UsageError` for what no volume can be called."""
    import docker.errors

    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]+", name):
        raise UsageError(
            f"{name!r} is no name for a volume", expected="two or more letters, digits, or _ . -"
        )
    try:
        facts: dict[str, Any] = engine.client.api.inspect_volume(name)
    except docker.errors.NotFound:
        return Volume(name, exists=False)
    in_memory = (facts.get("Options") or {}).get("type") == "tmpfs"
    return Volume(name, True, facts["Driver"], tuple(_users(engine, name)), in_memory)


def _users(engine: Engine, name: str) -> list[User]:
    found = engine.client.api.containers(all=True, filters={"volume": name})
    users = []
    for row in found:
        with suppress(UsageError):  # gone between the list and the look
            facts = container(engine, row["Id"])
            mounts = [mount for mount in row["Mounts"] if mount.get("Name") == name]
            users += [User(facts, mount["Destination"], bool(mount["RW"])) for mount in mounts]
    return sorted(users, key=lambda each: (each.container.name, each.path))
