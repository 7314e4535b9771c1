"""Where the kernel keeps a process's control group of one kind, in version 1 and in version 2.

Sources: cgroups(7) for ``/proc/PID/cgroup``, proc(5) for ``/proc/PID/mountinfo``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from labkit.errors import MissingCapability

if TYPE_CHECKING:
    from labkit.engine.host import Host

__all__ = ["Cgroup", "locate", "of"]


@dataclass(frozen=True)
class Cgroup:
    """A control group: its *version*, its *path* in the hierarchy, and the *folder* on the host with its files."""

    version: int
    path: str
    folder: str


def of(host: Host, pid: int, controller: str) -> Cgroup:
    """The control group for *controller* of the process *pid* (as *host* numbers it).

    Raises `CommandFailed` where there is no such process, `MissingCapability` where no such hierarchy is mounted.
    """
    return locate(host.read("/proc/self/mountinfo"), host.read(f"/proc/{pid}/cgroup"), controller)


def locate(mounts: str, cgroups: str, controller: str) -> Cgroup:
    """The same from the texts of ``/proc/self/mountinfo`` and ``/proc/PID/cgroup``."""
    lines = [line.split(":", 2) for line in cgroups.splitlines()]
    for _, controllers, path in lines:
        if controller in controllers.split(","):
            return Cgroup(1, path, _within(mounts, "cgroup", controller, path))
    path = next((path for number, _, path in lines if number == "0"), "")
    return Cgroup(2, path, _within(mounts, "cgroup2", "", path))


def _within(mounts: str, kind: str, option: str, path: str) -> str:
    """Where *path* of a hierarchy is found."""
    for line in mounts.splitlines():
        left, _, right = line.partition(" - ")
        root, mount_point = left.split()[3:5]
        filesystem, _, options = right.split(" ", 2)
        if filesystem == kind and (not option or option in options.split(",")):
            inside = path.removeprefix(root.rstrip("/")) if path.startswith(root) else path
            return mount_point + inside
    raise MissingCapability(
        f"no {kind} file system with {option or 'the unified hierarchy'} is mounted on the host"
    )
