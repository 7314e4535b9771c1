"""What the engine says about one container, as typed facts."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from labkit.engine.ports import own_name_of
from labkit.errors import UsageError, no_such
from labkit.observe.quantities import ByteSize
from labkit.observe.tables import Table, Tabular

if TYPE_CHECKING:
    from labkit.engine import Engine

__all__ = ["Container", "container", "moment"]


@dataclass(frozen=True, repr=False)
class Container(Tabular):
    """One container as ``docker inspect`` shows it.

    Sizes are in bytes.  ``memory``: its limit, None for no limit.  ``memory_swap``: the limit of memory and
    swap together, -1 for no limit, None where the engine keeps none.  Times are in UTC, None where it never
    happened.  ``auto_remove``: it was run with ``--rm``; ``unnamed``: its volumes that nobody gave a name;
    ``pid_mode``: whose process namespace it lives in, ``host`` or ``container:…``, empty for its own; ``network_mode``: the
    same of its network, or the name of one.
    """

    id: str
    name: str
    image: str
    command: str
    status: str
    exit_code: int
    oom_killed: bool
    error: str
    pid: int
    started_at: datetime | None
    finished_at: datetime | None
    restarts: int
    restart_policy: str
    memory: ByteSize | None
    memory_swap: ByteSize | None
    stop_signal: str
    labels: dict[str, str]
    auto_remove: bool = False
    unnamed: tuple[str, ...] = ()
    pid_mode: str = ""
    network_mode: str = ""

    @property
    def running(self) -> bool:
        """Whether its PID 1 lives (paused counts)."""
        return self.status in ("running", "paused")

    def table(self) -> Table:
        return Table(["fact", "value"], self._facts(), caption=f"docker inspect {self.name}")

    def details(self) -> Table:
        varying = [
            ("Id", self.id),
            ("State.Pid", self.pid),
            ("State.StartedAt", self.started_at),
            ("State.FinishedAt", self.finished_at),
        ]
        return Table(["fact", "value"], [*self._facts(), *varying], caption=f"docker inspect {self.name}")

    def _facts(self) -> list[tuple[str, Any]]:
        together = "no limit" if self.memory_swap == -1 else self.memory_swap
        return [
            ("Config.Image", self.image),
            ("command", self.command if len(self.command) <= 60 else self.command[:59] + "…"),
            ("State.Status", self.status),
            ("State.ExitCode", self.exit_code),
            ("State.OOMKilled", str(self.oom_killed).lower()),
            *([("State.Error", self.error)] if self.error else []),
            ("RestartCount", self.restarts),
            ("HostConfig.RestartPolicy", self.restart_policy),
            ("HostConfig.Memory", self.memory or "no limit"),
            ("HostConfig.MemorySwap", together if self.memory else "no limit"),
            ("stop signal", self.stop_signal),
        ]


def container(engine: Engine, name: str) -> Container:
    """The facts of the container called *name* (or with this id).

    Raises `UsageError`, naming the containers that there are, when there is none.
    """
    import docker.errors

    try:
        attributes: dict[str, Any] = engine.client.api.inspect_container(name)
    except (docker.errors.NotFound, docker.errors.NullResource):
        raise _no_such(engine, name) from None
    return _facts(attributes)


def _facts(attributes: dict[str, Any]) -> Container:
    state, config, host = attributes["State"], attributes["Config"], attributes["HostConfig"]
    memory, together = host.get("Memory") or 0, host.get("MemorySwap") or 0
    return Container(
        id=attributes["Id"],
        name=attributes["Name"].removeprefix("/"),
        image=config["Image"],
        command=shlex.join([attributes["Path"], *attributes["Args"]]),
        status=state["Status"],
        exit_code=state["ExitCode"],
        oom_killed=state["OOMKilled"],
        error=state["Error"],
        pid=state["Pid"],
        started_at=moment(state["StartedAt"]),
        finished_at=moment(state["FinishedAt"]),
        restarts=attributes["RestartCount"],
        restart_policy=(host.get("RestartPolicy") or {}).get("Name") or "no",
        memory=ByteSize(memory) if memory > 0 else None,
        memory_swap=ByteSize(together) if together else None,
        stop_signal=config.get("StopSignal") or "SIGTERM",
        labels=config.get("Labels") or {},
        auto_remove=bool(host.get("AutoRemove")),
        unnamed=tuple(sorted(_unnamed(attributes.get("Mounts") or []))),
        pid_mode=host.get("PidMode") or "",
        network_mode=host.get("NetworkMode") or "",
    )


def _unnamed(mounts: list[dict[str, Any]]) -> Iterator[str]:
    """Volumes that the engine named itself, with 64 digits."""
    for mount in mounts:
        if mount.get("Type") == "volume" and re.fullmatch(r"[0-9a-f]{64}", mount.get("Name", "")):
            yield mount["Name"]


def moment(text: str) -> datetime | None:
    """An engine's time stamp (RFC 3339) as a `datetime`; None for its "never", the year 1."""
    return datetime.fromisoformat(text) if text and not text.startswith("0001-") else None


def _no_such(engine: Engine, name: str) -> UsageError:
    names = sorted(own_name_of(found) for found in engine.client.api.containers(all=True))
    return no_such("container", name, names, try_="{}", far="docker ps --all")
