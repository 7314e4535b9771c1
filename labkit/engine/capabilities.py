"""What an engine can do here, and why not: asked of the engine and its host, never assumed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from labkit.errors import MissingCapability

if TYPE_CHECKING:
    from labkit.engine import Engine

__all__ = ["Capabilities", "Capability", "probe"]


@dataclass(frozen=True)
class Capability:
    """One thing that an engine can or cannot do; *reason* says why not, or what was found."""

    name: str
    ok: bool
    reason: str

    def __bool__(self) -> bool:
        return self.ok


class Capabilities(Mapping[str, Capability]):
    """Capabilities by name.  ``capabilities["host"]`` is true or false; ``.require("host")`` raises with the reason."""

    def __init__(self, found: list[Capability]) -> None:
        self._found = {capability.name: capability for capability in found}

    def __getitem__(self, name: str) -> Capability:
        return self._found[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._found)

    def __len__(self) -> int:
        return len(self._found)

    def require(self, *names: str) -> None:
        """Raise `MissingCapability` for the first of *names* that is missing, with its reason."""
        for name in names:
            if not self._found[name]:
                raise MissingCapability(f"this engine lacks {name}", seen=self._found[name].reason)

    def __repr__(self) -> str:
        return "\n".join(
            f"{'yes' if c.ok else 'no':<4}{c.name:<16}{c.reason}"
            for c in sorted(self._found.values(), key=lambda c: c.name)
        )


def probe(engine: Engine) -> Capabilities:
    """Ask *engine* (``GET /info``) and its host what they can do."""
    info = engine.client.info()
    security = {option.split(",")[0].removeprefix("name=") for option in info.get("SecurityOptions") or []}
    version = str(info.get("CgroupVersion", "1"))

    def limit(name: str, key: str) -> Capability:
        ok = bool(info.get(key)) and info.get("CgroupDriver") != "none"
        return Capability(
            name, ok, f"cgroup v{version}" if ok else f"{key} is false in docker info (cgroup v{version})"
        )

    def security_option(name: str) -> Capability:
        ok = name in security
        return Capability(name, ok, "in docker info" if ok else "not among docker info's security options")

    host = engine.host
    rootless = "rootless" in security or (
        host.available and _in_user_namespace(host.read("/proc/self/uid_map"))
    )
    kernel_log = host.available and host.run(["dmesg"], check=False).ok
    return Capabilities(
        [
            Capability("host", host.available, host.reason),
            Capability(
                "daemon", engine.owned, "private engine" if engine.owned else "the daemon is not labkit's"
            ),
            limit("memory-limit", "MemoryLimit"),
            limit("swap-limit", "SwapLimit"),
            limit("cpu-limit", "CpuCfsQuota"),
            limit("pids-limit", "PidsLimit"),
            Capability(
                "pause",
                frozen := info.get("CgroupDriver") != "none",
                f"cgroup v{version}" if frozen else "no control groups",
            ),
            Capability("cgroup-v2", version == "2", f"cgroup v{version}"),
            security_option("seccomp"),
            security_option("apparmor"),
            security_option("userns"),
            Capability(
                "rootless", rootless, "daemon in a user namespace" if rootless else "daemon runs as root"
            ),
            Capability(
                "kernel-log", kernel_log, "dmesg" if kernel_log else "the host's kernel log cannot be read"
            ),
        ]
    )


def _in_user_namespace(uid_map: str) -> bool:
    """Whether this ``/proc/PID/uid_map`` is not the first one's, which maps every id to itself (user_namespaces(7))."""
    return uid_map.split() != ["0", "0", str(2**32 - 1)]
