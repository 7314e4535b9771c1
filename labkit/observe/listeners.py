"""Who holds a port on the engine's host: a container of this engine, one of another engine, or a process.

Two sources: the ports that the engine's own containers publish, from its API, and the sockets that are open on its host
(ss(8)).  A published port may have no process of its own to show for it (``userland-proxy: false``), and a process may
belong to a container that publishes nothing (``--network host``), so neither is enough alone.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from labkit.observe.containers import Container
from labkit.observe.readings import Unreadable
from labkit.observe.tables import Table, Tabular

if TYPE_CHECKING:
    from labkit.engine import Engine

__all__ = ["Binding", "Holder", "Holders", "port_holders", "wanted_ports"]

Kind = Literal["container", "host-network container", "other engine's container", "process"]
_CONTAINER_ID = re.compile(r"(?<![0-9a-f])[0-9a-f]{64}(?![0-9a-f])")
_PROCESS = re.compile(r'\("(?P<program>[^"]*)",pid=(?P<pid>\d+)')
_PROXY = re.compile(r"docker-proxy .*-container-ip (\S+) .*-container-port (\d+)")


@dataclass(frozen=True)
class Binding:
    """A port on the host: *protocol* (tcp, udp, sctp), *address* (empty: all, of both families), *port*."""

    protocol: str
    address: str
    port: int

    def __str__(self) -> str:
        address = f"[{self.address}]" if ":" in self.address else self.address
        return f"{address or '*'}:{self.port}/{self.protocol}"

    def collides(self, other: Binding) -> bool:
        """Whether both cannot be had at once: the same port and protocol, and addresses of which one holds the other."""
        if (self.protocol, self.port) != (other.protocol, other.port):
            return False
        mine, theirs = _networks(self.address), _networks(other.address)
        return any(a.version == b.version and a.overlaps(b) for a in mine for b in theirs)


@dataclass(frozen=True)
class Holder:
    """Who holds *binding*.

    *name*: the container's, or the program's; of another engine's container its short id, or the address behind docker-proxy.
    *id*: the container's, where it is known.  *pid*: of the process on the host that has the socket, None where none can be
    seen; *command*: its arguments.
    """

    binding: Binding
    kind: Kind
    name: str
    id: str = ""
    pid: int | None = None
    command: str = ""


@dataclass(frozen=True, repr=False)
class Holders(Tabular):
    """Who holds the ports that were asked for; *sockets* says why the host's sockets could not be read, if so."""

    found: tuple[Holder, ...]
    sockets: Unreadable | None = None

    def table(self) -> Table:
        # what is unreadable is false
        caption = (
            "" if self.sockets is None else f"the host's own sockets are not readable: {self.sockets.reason}"
        )
        rows = [(holder.binding, holder.kind, holder.name) for holder in self.found]
        return Table(["port", "held by", "name"], rows, caption=caption, empty="nothing holds them")

    def details(self) -> Table:
        rows = [(h.binding, h.kind, h.name, h.id[:12], h.pid, h.command) for h in self.found]
        return Table(["port", "held by", "name", "id", "pid", "command"], rows, empty="nothing holds them")


def wanted_ports(engine: Engine, container: Container) -> list[Binding]:
    """The ports of the host that a container asks for; those that the engine may choose itself are left out."""
    asked = engine.client.api.inspect_container(container.id)["HostConfig"].get("PortBindings") or {}
    found = []
    for inside, places in asked.items():
        for place in places or []:
            if str(place.get("HostPort") or "").isdigit() and int(place["HostPort"]):
                found.append(
                    Binding(
                        inside.partition("/")[2] or "tcp", place.get("HostIp") or "", int(place["HostPort"])
                    )
                )
    return sorted(set(found), key=str)


def port_holders(engine: Engine, bindings: list[Binding], *, but: str = "") -> Holders:
    """Who holds any of *bindings* now, the container with the id *but* left out.

    A port that a container of this engine publishes is that container's, whatever process carries it.
    """
    published = list(_published(engine))
    found = {
        (held, name, id_): Holder(held, "container", name, id_) for held, name, id_ in published if id_ != but
    }
    inside = _inside(engine)
    try:
        sockets, unreadable = list(_sockets(engine)), None
    except _CannotRead as error:
        sockets, unreadable = [], Unreadable("sockets", str(error))
    for held, pid, program in sockets:
        if any(held.collides(known) for known, _, _ in published):
            continue
        holder = _of_socket(engine, held, pid, program, inside)
        if holder.id != but or not but:
            found[held, holder.name, holder.id] = holder
    colliding = [
        holder for holder in found.values() if any(holder.binding.collides(each) for each in bindings)
    ]
    return Holders(
        tuple(sorted(colliding, key=lambda holder: (holder.binding.port, str(holder.binding)))), unreadable
    )


def _published(engine: Engine) -> Iterator[tuple[Binding, str, str]]:
    for row in engine.client.api.containers():
        for port in row["Ports"]:
            if "PublicPort" in port:
                yield (
                    Binding(port["Type"], port.get("IP") or "", port["PublicPort"]),
                    row["Names"][0].lstrip("/"),
                    row["Id"],
                )


def _inside(engine: Engine) -> dict[str, str]:
    """The engine's containers: names by id."""
    return {row["Id"]: row["Names"][0].lstrip("/") for row in engine.client.api.containers(all=True)}


class _CannotRead(Exception):
    pass


def _sockets(engine: Engine) -> Iterator[tuple[Binding, int | None, str]]:
    """The listening sockets on the engine's host: binding, process and its program's name."""
    if not engine.host.available:
        raise _CannotRead(engine.host.reason)
    done = engine.host.run(["ss", "-H", "-lntup"], check=False)
    if not done.ok:
        raise _CannotRead(done.stderr.strip() or f"ss ended with {done.code}")
    for line in done.stdout.splitlines():
        protocol, _, _, _, local, *rest = line.split()
        address, _, port = local.rpartition(":")
        process = _PROCESS.search(" ".join(rest))
        held = Binding(protocol, _plain(address), int(port))
        yield held, int(process["pid"]) if process else None, process["program"] if process else "unknown"


def _plain(address: str) -> str:
    """An address of ss(8) without brackets and interface; ``*`` is both families."""
    bare = address.strip("[]").partition("%")[0]
    return "" if bare == "*" else bare


def _of_socket(
    engine: Engine, held: Binding, pid: int | None, program: str, inside: dict[str, str]
) -> Holder:
    if pid is None:
        return Holder(held, "process", program)
    look = 'cat "/proc/$0/cgroup"; echo; tr "\\0" " " <"/proc/$0/cmdline"'
    groups, _, command = engine.host.run(["sh", "-c", look, str(pid)], check=False).stdout.partition("\n\n")
    ids = _CONTAINER_ID.findall(groups)
    if ids and ids[-1] in inside:
        return Holder(held, "host-network container", inside[ids[-1]], ids[-1], pid, command.strip())
    if ids:
        return Holder(held, "other engine's container", ids[-1][:12], ids[-1], pid, command.strip())
    if behind := _PROXY.search(command):
        return Holder(held, "other engine's container", ":".join(behind.groups()), "", pid, command.strip())
    return Holder(held, "process", program, "", pid, command.strip())


def _networks(address: str) -> list[Any]:
    if not address:
        return [ipaddress.ip_network("0.0.0.0/0"), ipaddress.ip_network("::/0")]
    every = {"0.0.0.0": "0.0.0.0/0", "::": "::/0"}
    return [ipaddress.ip_network(every.get(address, address))]
