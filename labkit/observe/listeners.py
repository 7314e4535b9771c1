"""Who holds a port on the engine's host: a container of this engine, one of another engine, or a process.

Two sources: the ports that the engine's own containers publish, from its API, and the sockets that are open on its host
(ss(8)).  A published port may have no process of its own to show for it (``userland-proxy: false``), and a process may
belong to a container that publishes nothing (``--network host``), so neither is enough alone.

Not only who listens holds a port: a connection that goes out from it does, and one that has ended, for a minute (TIME-WAIT),
unless both its socket and the new one were opened with SO_REUSEADDR (socket(7)), which no look from outside shows.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

from labkit.engine.ports import own_name_of
from labkit.observe.containers import Container
from labkit.observe.readings import Unreadable
from labkit.observe.tables import Table, Tabular

if TYPE_CHECKING:
    from labkit.engine import Engine

__all__ = ["Binding", "Holder", "Holders", "Rival", "port_holders", "rivals", "wanted_ports"]

Kind = Literal["container", "host-network container", "other engine's container", "process", "nobody"]
LISTENING = ("LISTEN", "UNCONN")
"""States of a socket that waits for others (ss(8)): of TCP, and of UDP."""
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
    seen; *command*: its arguments.  *state*: of a socket on which nobody listens, such as ``ESTAB``; a connection that has
    ended is nobody's.
    """

    binding: Binding
    kind: Kind
    name: str
    id: str = ""
    pid: int | None = None
    command: str = ""
    state: str = ""


@dataclass(frozen=True)
class Rival:
    """A container that is down and asks for *binding* too: *name*, and its *status*."""

    binding: Binding
    name: str
    status: str


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
        rows = [(h.binding, f"{h.kind}, {h.state}" if h.state else h.kind, h.name or "-") for h in self.found]
        return Table(["port", "held by", "name"], rows, caption=caption, empty="nothing holds them")

    def details(self) -> Table:
        rows = [(h.binding, h.kind, h.name, h.id[:12], h.pid, h.command) for h in self.found]
        return Table(["port", "held by", "name", "id", "pid", "command"], rows, empty="nothing holds them")


def wanted_ports(engine: Engine, container: Container) -> list[Binding]:
    """The ports of the host that a container asks for; those that the engine may choose itself are left out.

    One of a range (``-p 8000-8010:80``) is chosen too, so a range counts only where the engine was refused one of it.
    """
    facts = engine.client.api.inspect_container(container.id)
    return _asked(facts["HostConfig"].get("PortBindings") or {}, container.error)


def rivals(engine: Engine, bindings: list[Binding], *, but: str = "") -> list[Rival]:
    """The containers that are down and ask for any of *bindings*, the one with the id *but* left out."""
    from docker.errors import NotFound

    found = []
    for row in engine.client.api.containers(all=True):
        if row["Id"] == but or row["State"] in ("running", "paused"):
            continue
        with suppress(NotFound):  # it may be gone since
            facts = engine.client.api.inspect_container(row["Id"])
            asked = _asked(facts["HostConfig"].get("PortBindings") or {})
            name = own_name_of(row)
            found += [Rival(mine, name, row["State"]) for mine in asked if any(map(mine.collides, bindings))]
    return sorted(found, key=str)


def _asked(bindings: dict[str, Any], error: str = "") -> list[Binding]:
    found = set()
    for inside, places in bindings.items():
        for place in places or []:
            first, _, last = str(place.get("HostPort") or "").partition("-")
            if not first.isdigit() or not int(first):
                continue
            ports = range(int(first), int(last or first) + 1)
            if len(ports) > 1 and not any(f":{port}:" in error or f":{port} " in error for port in ports):
                continue
            protocol = inside.partition("/")[2] or "tcp"
            found |= {Binding(protocol, place.get("HostIp") or "", port) for port in ports}
    return sorted(found, key=str)


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
        sockets, unreadable = list(_sockets(engine, bindings)), None
    except _CannotRead as error:
        sockets, unreadable = [], Unreadable("sockets", str(error))
    known = [each for each, _, _ in published] + [each.binding for each in sockets if not each.state]
    for socket in sockets:
        others = known if socket.state else [each for each, _, _ in published]
        if any(socket.binding.collides(each) for each in others):
            continue
        holder = _of_socket(engine, socket, inside)
        if holder.id != but or not but:
            found[holder.binding, holder.name, holder.id] = holder
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
                    own_name_of(row),
                    row["Id"],
                )


def _inside(engine: Engine) -> dict[str, str]:
    """The engine's containers: names by id."""
    return {row["Id"]: own_name_of(row) for row in engine.client.api.containers(all=True)}


class _CannotRead(Exception):
    pass


def _sockets(engine: Engine, bindings: list[Binding]) -> Iterator[Holder]:
    """The sockets on the engine's host at these ports, listening or not, each as its process's."""
    if not engine.host.available:
        raise _CannotRead(engine.host.reason)
    ports = " or ".join(f"sport = :{port}" for port in sorted({each.port for each in bindings}))
    done = engine.host.run(["ss", "-H", "-antup", ports], check=False) if ports else None
    if done is not None and not done.ok:
        raise _CannotRead(done.stderr.strip() or f"ss ended with {done.code}")
    for line in done.stdout.splitlines() if done else []:
        protocol, state, _, _, local, *rest = line.split()
        address, _, port = local.rpartition(":")
        process = _PROCESS.search(" ".join(rest))
        held = Binding(protocol, _plain(address), int(port))
        pid, program = (int(process["pid"]), process["program"]) if process else (None, "unknown")
        yield Holder(held, "process", program, pid=pid, state="" if state in LISTENING else state)


def _plain(address: str) -> str:
    """An address of ss(8) without brackets and interface; ``*`` is both families."""
    bare = address.strip("[]").partition("%")[0]
    return "" if bare == "*" else bare


def _of_socket(engine: Engine, socket: Holder, inside: dict[str, str]) -> Holder:
    if socket.pid is None:
        return replace(socket, kind="nobody", name="") if socket.state else socket
    look = """cat "/proc/$0/cgroup"; echo; tr '\\0' ' ' <"/proc/$0/cmdline"; echo
        cat "/proc/$(sed -n 's/^PPid:[[:space:]]*//p' "/proc/$0/status")/comm" """
    said = engine.host.run(["sh", "-c", look, str(socket.pid)], check=False).stdout
    groups, _, rest = said.partition("\n\n")
    command, _, parent = rest.rstrip("\n").rpartition("\n")
    owned = replace(socket, command=command.strip())
    ids = _CONTAINER_ID.findall(groups)
    if ids and ids[-1] in inside:
        return replace(owned, kind="host-network container", name=inside[ids[-1]], id=ids[-1])
    if ids:
        return replace(owned, kind="other engine's container", name=ids[-1][:12], id=ids[-1])
    if (behind := _PROXY.search(command)) and parent == "dockerd":
        return replace(owned, kind="other engine's container", name=":".join(behind.groups()))
    return replace(owned, name=f"{socket.name}, left by an engine that is gone") if behind else owned


def _networks(address: str) -> list[Any]:
    if not address:
        return [ipaddress.ip_network("0.0.0.0/0"), ipaddress.ip_network("::/0")]
    every = {"0.0.0.0": "0.0.0.0/0", "::": "::/0"}
    return [ipaddress.ip_network(every.get(address, address))]
