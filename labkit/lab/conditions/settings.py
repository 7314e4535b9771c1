"""What can be wanted of how a container was made: limits, mounts, networks, image, policy, environment, ports."""

from __future__ import annotations

import posixpath
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from labkit.errors import UsageError
from labkit.lab.conditions.base import Condition, Object, Seen, kept
from labkit.lab.conditions.facts import Facts, Found
from labkit.lab.conditions.wanted import name_of, number, one_of, path, quantity, text
from labkit.observe.quantities import ByteSize, CPUs

__all__ = ["Settings", "mounted"]

POLICIES = ("no", "on-failure", "always", "unless-stopped")


class Settings(Object):
    """The half of a container's conditions that its settings answer."""

    kind = "container"

    def limited(
        self, *, memory: str | int | None = None, cpus: str | float | None = None, pids: int | None = None
    ) -> Condition:
        """It is limited to this *memory* (``64m``, bytes), so many *cpus* (1.5), so many processes (*pids*)."""
        wanted: dict[str, Any] = {}
        if memory is not None:
            wanted["memory"] = quantity("size", memory, ByteSize.parse)
        if cpus is not None:
            wanted["CPUs"] = quantity("number of CPUs", cpus, CPUs.parse)
        if pids is not None:
            wanted["processes"] = number("number of processes", pids, 1, 2**31)
        if not wanted:
            raise UsageError("limited to what?", expected="memory='64m', cpus=0.5 or pids=20")

        def see(facts: Facts, found: Found) -> Seen:
            have = {name: value for name, value in _limits(found).items() if name in wanted}
            return Seen(_limits_told(have), ok=have == wanted)

        return self._that("limits", _limits_told(wanted), see)

    def mounts(
        self,
        at: str,
        *,
        volume: str | None = None,
        bind: str | None = None,
        tmpfs: bool = False,
        anonymous: bool = False,
        read_only: bool | None = None,
    ) -> Condition:
        """At this path it has the *volume* of this name, a volume without a name (*anonymous*), the folder of the host
        *bind*, or a *tmpfs*; without one of these, anything.  *read_only*: None if that does not matter."""
        given = [volume is not None, bind is not None, tmpfs, anonymous]
        if not all(isinstance(each, bool) for each in given) or sum(given) > 1:
            raise UsageError(
                "a path has one mount", expected="one of volume, bind, tmpfs=True, anonymous=True"
            )
        if not isinstance(read_only, bool | None):
            raise UsageError("read-only or not?", seen=repr(read_only), expected="True, False or None")
        wanted = _Mount(
            f"volume {name_of('volume', volume)}"
            if volume is not None
            else f"bind {path(bind)}"
            if bind is not None
            else ("tmpfs" if tmpfs else "a volume without a name" if anonymous else "a mount"),
            read_only,
        )
        folder = path(at)

        def see(facts: Facts, found: Found) -> Seen:
            every = list(_mounts(found))
            there = next((each for each in every if each.at == folder), None)
            if there is None:
                return Seen("nothing is mounted there", ok=False)
            leak = next((each.at for each in every if there.leaks(each)), None) if read_only else None
            told = str(there) + (f", and writable at {leak}" if leak else "")
            return Seen(told, ok=wanted.fits(there) and not leak)

        return self._that(f"mount at {folder}", str(wanted), see)

    def on_network(self, name: str) -> Condition:
        """It is connected to the network *name*."""
        name_of("network", name)

        def see(facts: Facts, found: Found) -> Seen:
            joined = found["NetworkSettings"].get("Networks") or {}
            told = ", ".join(sorted(joined)) or "none"
            if name not in joined:
                return Seen(told, ok=False)
            now, then = facts.network(name)["Id"], joined[name].get("NetworkID")
            return Seen(f"{told}" if then in ("", now) else f"a former {name}", ok=then in ("", now))

        return self._that("networks", name, see, also=[("network", name)])

    def made_from(self, image: str) -> Condition:
        """It was made from the image that *image* meant when the lab began; of those made since, from what it names now."""
        name_of("image", image)

        def see(facts: Facts, found: Found) -> Seen:
            wanted, used = facts.meant(image)["Id"], str(found["Config"]["Image"])
            same = found["Image"] == wanted
            return Seen(used if same or used != image else f"another {used}", ok=same)

        return self._that("image", image, see, also=[("image", image)])

    def by_digest(self) -> Condition:
        """It was made from an image that was asked for by its digest (``shop@sha256:…``), which no tag can move."""

        def see(facts: Facts, found: Found) -> Seen:
            used = str(found["Config"]["Image"])
            if "@sha256:" in used:
                return Seen("a digest", ok=True)
            by_id = str(found["Image"]).removeprefix("sha256:").startswith(used.removeprefix("sha256:"))
            return Seen(
                "an id, for which no registry can be asked" if by_id else f"{used}, a name without a digest",
                ok=False,
            )

        return self._that("image asked for by", "a digest", see)

    def has_init(self) -> Condition:
        """Its PID 1 is the engine's small init (``docker-init``)."""

        def see(facts: Facts, found: Found) -> Seen:
            init = bool(found["HostConfig"].get("Init"))
            return Seen("the engine's" if init else "none", ok=init)

        return self._that("init process", "the engine's", see)

    def root_read_only(self) -> Condition:
        """Its root file system cannot be written, and it has no right to change that."""

        def see(facts: Facts, found: Found) -> Seen:
            if not found["HostConfig"].get("ReadonlyRootfs"):
                return Seen("writable", ok=False)
            mighty = _may_mount(found["HostConfig"])
            return Seen("read-only" + (", but it may mount it anew" if mighty else ""), ok=not mighty)

        return self._that("root file system", "read-only", see)

    def policy(self, name: str, at_most: int | None = None) -> Condition:
        """Its restart policy is this; for ``on-failure``, *at_most* so many times (None: however often)."""
        one_of("restart policy", name, POLICIES)
        if at_most is not None:
            if name != "on-failure":
                raise UsageError(
                    "only on-failure counts its restarts",
                    seen=f"{name!r}, {at_most!r}",
                    expected="'on-failure'",
                )
            number("number of restarts", at_most, 1, 10**6)

        def see(facts: Facts, found: Found) -> Seen:
            has = found["HostConfig"].get("RestartPolicy") or {}
            told = _policy(has.get("Name") or "no", has.get("MaximumRetryCount") or None)
            return Seen(told, ok=told == _policy(name, at_most))

        return self._that("restart policy", _policy(name, at_most), see)

    def environment(self, **wanted: str) -> Condition:
        """Its processes are given these variables with these values."""
        if not wanted or not all(isinstance(value, str) for value in wanted.values()):
            raise UsageError("which variables?", seen=repr(wanted), expected="NAME='value', as text")

        def see(facts: Facts, found: Found) -> Seen:
            set_ = dict(line.partition("=")[::2] for line in found["Config"].get("Env") or [] if "=" in line)
            told = [
                f"{name}={kept(name, set_[name], value)}" if name in set_ else f"{name} is not set"
                for name, value in wanted.items()
            ]
            return Seen(", ".join(told), ok=all(set_.get(name) == wanted[name] for name in wanted))

        expected = ", ".join(f"{name}={kept(name, value)}" for name, value in wanted.items())
        return self._that("environment", expected, see)

    def published(self, port: int, to: int, *, protocol: str = "tcp") -> Condition:
        """The *port* of the engine's host leads *to* this port of the container, which runs."""
        number("port", port, 1, 65535), number("port", to, 1, 65535)
        inner = f"{to}/{one_of('protocol', protocol, ('tcp', 'udp', 'sctp'))}"

        def see(facts: Facts, found: Found) -> Seen:
            if not found["State"]["Running"]:
                return Seen(f"not published, it is {found['State']['Status']}", ok=False)
            bound = (found["NetworkSettings"].get("Ports") or {}).get(inner) or []
            ports = sorted({int(each["HostPort"]) for each in bound if each.get("HostPort")})
            told = f"port {', '.join(map(str, ports))} of the host" if ports else "not published"
            return Seen(told, ok=port in ports)

        return self._that(f"port {inner}", f"port {port} of the host", see)

    def label(self, name: str, value: str) -> Condition:
        """It has this label with this value."""
        text("name of a label", name)

        def see(facts: Facts, found: Found) -> Seen:
            has = (found["Config"].get("Labels") or {}).get(name)
            return Seen("not set" if has is None else repr(kept(name, has, value)), ok=has == value)

        return self._that(f"label {name}", repr(kept(name, value)), see)


def _may_mount(host: dict[str, Any]) -> bool:
    """Whether a container with these settings has CAP_SYS_ADMIN, which is what mount(2) asks for."""
    added = {str(each).upper().removeprefix("CAP_") for each in host.get("CapAdd") or []}
    return bool(host.get("Privileged")) or bool(added & {"ALL", "SYS_ADMIN"})


def _limits(found: Found) -> dict[str, Any]:
    """What limits the container, None where nothing does.  CPUs come as a number, or as a quota of a period."""
    host = found["HostConfig"]
    memory, quota, pids = host.get("Memory") or 0, host.get("CpuQuota") or 0, host.get("PidsLimit") or 0
    cpus = (host.get("NanoCpus") or 0) / 10**9 or max(quota, 0) / (host.get("CpuPeriod") or 100_000)
    return {
        "memory": ByteSize(memory) if memory > 0 else None,
        "CPUs": CPUs(cpus) if cpus else None,
        "processes": pids if pids > 0 else None,
    }


def _limits_told(limits: dict[str, Any]) -> str:
    return ", ".join(
        f"{name} {'without a limit' if value is None else value}" for name, value in limits.items()
    )


@dataclass(frozen=True)
class _Mount:
    what: str
    read_only: bool | None
    at: str = ""
    source: str = ""

    def fits(self, there: _Mount) -> bool:
        return self.what in (there.what, "a mount") and self.read_only in (None, there.read_only)

    def leaks(self, other: _Mount) -> bool:
        """Whether what is read-only here can be written through the *other* mount: the same, or a folder above it or in it."""
        if not self.read_only or other.read_only:
            return False
        if not self.source or not other.source:
            return self.what == other.what != "tmpfs"
        return posixpath.commonpath([self.source, other.source]) in (self.source, other.source)

    def __str__(self) -> str:
        return self.what + {None: "", True: ", read-only", False: ", writable"}[self.read_only]


def _mounts(found: Found) -> Iterable[_Mount]:
    for each in found.get("Mounts") or []:
        at, source = posixpath.normpath(each["Destination"]), each.get("Source") or ""
        yield _Mount(_what(each), not each["RW"], at, source and posixpath.normpath(source))
    for at, options in (found["HostConfig"].get("Tmpfs") or {}).items():
        yield _Mount("tmpfs", "ro" in options.split(","), posixpath.normpath(at))


def mounted(found: Found) -> list[tuple[str, str]]:
    """The paths at which something is mounted in the container *found*, and what; the deepest first."""
    return sorted(((each.at, each.what) for each in _mounts(found)), reverse=True)


def _what(mount: dict[str, Any]) -> str:
    if mount["Type"] == "volume":
        name = mount["Name"]
        unnamed = len(name) == 64 and all(digit in "0123456789abcdef" for digit in name)
        return "a volume without a name" if unnamed else f"volume {name}"
    return f"bind {mount['Source']}" if mount["Type"] == "bind" else str(mount["Type"])


def _policy(name: str, at_most: int | None) -> str:
    if name != "on-failure":
        return name
    return f"{name}, " + ("however often" if at_most is None else f"{at_most} times at most")
