"""The memory counters that the kernel keeps for a running container, from its cgroup (version 1 or 2).

Sources: kernel documents admin-guide/cgroup-v1/memory and admin-guide/cgroup-v2.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from labkit.errors import LabkitError
from labkit.observe import cgroups
from labkit.observe.containers import Container
from labkit.observe.quantities import ByteSize
from labkit.observe.readings import Unreadable
from labkit.observe.tables import Table, Tabular

if TYPE_CHECKING:
    from labkit.engine import Engine
    from labkit.engine.host import Host

__all__ = ["MemoryCounters", "memory"]

_SOURCE = "cgroup memory counters"
_UNLIMITED = 2**62
"""Version 1 writes "no limit" as a number near 2**63."""


@dataclass(frozen=True, repr=False)
class MemoryCounters(Tabular):
    """Memory of one container's cgroup, counted since the container was last started.

    *limit*, *usage* and *peak* in bytes (*peak* is None on version 2 before Linux 5.19); *hit_limit*: how
    often an allocation ran into the limit; *oom_kills*: how many of its processes were killed for memory.
    """

    version: int
    folder: str
    limit: ByteSize | None
    usage: ByteSize
    peak: ByteSize | None
    hit_limit: int
    oom_kills: int

    @property
    def shortage(self) -> list[int]:
        """What only grows while memory is short: as long as it stays the same, nothing met the limit and nothing was killed."""
        return [self.hit_limit, self.oom_kills]

    @property
    def reached_limit(self) -> bool | None:
        """Whether it ever came to the limit that it has now; None where there is none, or no peak is known.

        A limit is met a little below it: the kernel charges pages in batches.
        """
        if self.limit is None or self.peak is None:
            return None
        return self.peak >= 0.99 * self.limit

    @property
    def source(self) -> str:
        """The file that holds `oom_kills`."""
        return "memory.oom_control" if self.version == 1 else "memory.events"

    def table(self) -> Table:
        unknown = self.peak is None
        rows = [
            ("limit", self.limit or "no limit"),
            (
                "reached its limit",
                "unknown (no peak in this kernel)" if unknown else bool(self.reached_limit),
            ),
            ("processes killed for memory", "some" if self.oom_kills else "none"),
        ]
        return Table(["counter", "value"], rows, caption="cgroup, since the container was started")

    def details(self) -> Table:
        rows = [
            ("cgroup", f"v{self.version} {self.folder}"),
            ("limit", self.limit or "no limit"),
            ("usage", self.usage),
            ("peak", self.peak),
            ("times at the limit", self.hit_limit),
            ("processes killed for memory", self.oom_kills),
        ]
        return Table(["counter", "value"], rows)


def memory(engine: Engine, of: Container) -> MemoryCounters | Unreadable:
    """The counters of the running container *of*; where there are none, `Unreadable` with the reason."""
    if not of.running:
        return Unreadable(_SOURCE, "the container is not running, and its cgroup ended with it")
    if not engine.host.available:
        return Unreadable(_SOURCE, engine.host.reason)
    try:
        return _read(engine.host, of)
    except (LabkitError, KeyError) as error:
        return Unreadable(_SOURCE, f"not found: {str(error).splitlines()[0]}")


_FILES = {
    1: {
        "limit": "memory.limit_in_bytes",
        "usage": "memory.usage_in_bytes",
        "peak": "memory.max_usage_in_bytes",
        "hit_limit": "memory.failcnt",
        "oom_kills": "memory.oom_control oom_kill",
    },
    2: {
        "limit": "memory.max",
        "usage": "memory.current",
        "peak": "memory.peak",
        "hit_limit": "memory.events max",
        "oom_kills": "memory.events oom_kill",
    },
}
"""By cgroup version: the file of each counter, and in a file of many lines the key."""


def _read(host: Host, of: Container) -> MemoryCounters:
    group = cgroups.of(host, of.pid, "memory")
    folder = own_folder(group.folder, of.id) if group.version == 2 else group.folder
    files = sorted({f"{folder}/{place.split()[0]}" for place in _FILES[group.version].values()})
    return _counters(group.version, folder, host.run(["grep", "-sH", "", *files], check=False).stdout)


def own_folder(folder: str, container: str) -> str:
    """The folder of the *container* itself, known by its id, where PID 1 is in a *folder* of a group below.

    The limit stays above when PID 1 moves down, as a service manager does and an engine in a container, and so do the
    counters: those of version 2 are of all groups below, too (admin-guide/cgroup-v2, ``memory.events``).
    """
    place = PurePosixPath(folder)
    return next((str(each) for each in (place, *place.parents) if container in each.name), folder)


def _counters(version: int, folder: str, listing: str) -> MemoryCounters:
    """The counters from a *listing* of ``file:line``, as ``grep -H`` prints it."""
    found: dict[str, str] = {}
    for line in listing.splitlines():
        path, _, text = line.partition(":")
        key, _, value = text.rpartition(" ")
        found[f"{PurePosixPath(path).name} {key}".strip()] = value
    values = {name: found[place] for name, place in _FILES[version].items() if place in found}
    bounded = values["limit"] != "max" and int(values["limit"]) < _UNLIMITED
    return MemoryCounters(
        version=version,
        folder=folder,
        limit=ByteSize(values["limit"]) if bounded else None,
        usage=ByteSize(values["usage"]),
        peak=ByteSize(values["peak"]) if "peak" in values else None,
        hit_limit=int(values["hit_limit"]),
        oom_kills=int(values["oom_kills"]),
    )
