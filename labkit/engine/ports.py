"""Published ports of a private engine, reachable on 127.0.0.1 of the user's machine.

A container's published port is bound on the engine's host, which has a network namespace of its own.  slirp4netns
joins the two; through its API (slirp4netns(1), ``add_hostfwd``) each port is forwarded while its container runs.
"""

from __future__ import annotations

import http.client
import json
import select
import socket
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import closing, suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import quote

__all__ = ["Forwarder", "PublishedPort", "own_name_of", "published", "read_ports"]

GUEST = "10.0.2.100"
"""The engine's own address on the link that slirp4netns makes (slirp4netns(1))."""

STOP_SEEN = 0.2
"""After how many seconds it is seen that the daemon no longer listens."""

LOOKED_AGAIN = (1, 4, 16)
"""After how many times `STOP_SEEN` without an event the engine is asked once more: what it lists can be behind what it tells
(measured on 20.10 and 26.1: a container that joins a network publishes only a moment after the event)."""

ONLY_IPV6 = "published over IPv6 only"

WATCHED = ("start", "die", "destroy", "rename", "connect", "disconnect")


@dataclass(frozen=True)
class PublishedPort:
    """A published port: ``-p ENGINE_ADDRESS:ENGINE_PORT:CONTAINER_PORT/PROTOCOL`` of *container*.

    *local_port*: where it is reached on 127.0.0.1 of this machine (None: nowhere).  *note*: why that differs.
    """

    container: str
    container_port: int
    protocol: str
    engine_address: str
    engine_port: int
    local_port: int | None
    note: str = ""

    @property
    def address(self) -> str:
        """``127.0.0.1:PORT``, or an empty string where it is not reachable."""
        return f"127.0.0.1:{self.local_port}" if self.local_port else ""

    def reached_at(self, local_port: int | None, note: str = "") -> PublishedPort:
        """The same port, reached on *local_port* of this machine."""
        return replace(self, local_port=local_port, note=note)

    def reached_here(self) -> PublishedPort:
        """The same port of an engine whose host is this machine: on 127.0.0.1 if it was published there."""
        if self.engine_address == "127.0.0.1" or _unspecified(self.engine_address):
            return self.reached_at(self.engine_port)
        return replace(self, note=self.note or f"published at {self.engine_address} only")

    def __str__(self) -> str:
        left = f"{self.container} {self.container_port}/{self.protocol}"
        right = self.address or "not reachable"
        return f"{left} -> {right}" + (f" ({self.note})" if self.note else "")


def read_ports(state: Path) -> list[PublishedPort]:
    """The ports that a `Forwarder` wrote down in the file *state*, by container and port."""
    try:
        return [PublishedPort(**row) for row in json.loads(state.read_text(encoding="utf-8"))]
    except FileNotFoundError:
        return []


class UnixConnection(http.client.HTTPConnection):
    """HTTP over a unix socket."""

    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=10)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))


class Forwarder:
    """Keeps slirp4netns's forwards equal to what the running containers publish.

    *api*: slirp4netns's API socket; *docker*: the engine's socket; *state*: the file to write the result to.  ``cut_off`` is
    for who watches slirp4netns: why there is none any more.
    """

    cut_off = ""

    def __init__(self, api: Path, docker: Path, state: Path) -> None:
        self._api, self._docker, self._state = api, docker, state
        self._active: dict[
            tuple[str, str, int], tuple[int, int]
        ] = {}  # what is published: (forward's id, local port)

    def follow(self) -> None:
        """Bring the forwards up to date now and at each event, for as long as this process lives.

        Whatever goes wrong is written to standard error, once, and tried again.
        """
        told = ""
        while True:
            try:
                for _ in self._events():
                    self.update()
            except (ConnectionError, FileNotFoundError, http.client.RemoteDisconnected):
                pass  # the daemon is down, or restarts
            except Exception as error:
                if told != (told := f"published ports: {type(error).__name__}: {error}"):
                    with suppress(OSError):  # the disk that holds our log may be full
                        print(told, file=sys.stderr, flush=True)
            time.sleep(0.05)

    def _events(self) -> Iterator[None]:
        """Nothing, once at the start, whenever something has happened, and some time after; ends with the daemon's listening.

        Before it ends, a daemon waits up to five seconds for whoever still reads (measured on 26.1), so we must not.
        """
        filters = quote(json.dumps({"type": ["container", "network"], "event": list(WATCHED)}))
        with closing(UnixConnection(self._docker)) as connection:
            connection.connect()
            stream = connection.sock
            response = _ask(connection, f"/events?filters={filters}")
            yield None  # the subscription stands: what happened before it is seen now, what comes later has an event
            quiet = 0
            while self._docker.exists() and not response.isclosed():
                quiet += 1
                if select.select([stream], [], [], STOP_SEEN)[0]:
                    if not stream.recv(65536):
                        return
                    quiet = 0
                if quiet in (0, *LOOKED_AGAIN) or (self.cut_off and self._active):
                    yield None

    def update(self) -> None:
        """Compare what is published with what is forwarded, and make them equal."""
        with closing(UnixConnection(self._docker)) as connection:
            containers = json.load(_ask(connection, "/containers/json"))
        wanted = {(row.protocol, row.engine_address, row.engine_port): row for row in published(containers)}
        if self.cut_off:
            self._active.clear()
        for key in [key for key in self._active if key not in wanted]:
            forward, _ = self._active.pop(key)
            self._call("remove_hostfwd", id=forward)
        rows = [self._forward(key, row) for key, row in wanted.items()]
        rows.sort(key=lambda row: (row.container, row.container_port, row.protocol))
        fresh = self._state.with_suffix(".new")
        fresh.write_text(json.dumps([asdict(row) for row in rows]), encoding="utf-8")
        fresh.replace(self._state)

    def _forward(self, key: tuple[str, str, int], row: PublishedPort) -> PublishedPort:
        if row.note == ONLY_IPV6:
            return row
        if self.cut_off:
            return row.reached_at(None, self.cut_off)
        if key not in self._active:
            for local in (row.engine_port, _free_port(row.protocol), _free_port(row.protocol)):
                reply = self._call(
                    "add_hostfwd",
                    proto=row.protocol,
                    host_addr="127.0.0.1",
                    host_port=local,
                    guest_addr=GUEST if _unspecified(row.engine_address) else row.engine_address,
                    guest_port=row.engine_port,
                )
                if "return" in reply:
                    self._active[key] = (int(reply["return"]["id"]), local)
                    break
            else:
                return row.reached_at(None, f"slirp4netns: {reply.get('error', reply)}")
        local = self._active[key][1]
        taken = (
            f"port {row.engine_port} of this machine is taken or needs root"
            if local != row.engine_port
            else ""
        )
        return row.reached_at(local, taken)

    def _call(self, execute: str, **arguments: Any) -> dict[str, Any]:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(5)
            connection.connect(str(self._api))
            connection.sendall(json.dumps({"execute": execute, "arguments": arguments}).encode())
            connection.shutdown(socket.SHUT_WR)
            reply = b"".join(iter(lambda: connection.recv(4096), b""))
        answer: dict[str, Any] = json.loads(reply or b"{}")
        return answer


def _ask(connection: UnixConnection, path: str) -> http.client.HTTPResponse:
    connection.request("GET", path)
    response = connection.getresponse()
    if response.status != http.HTTPStatus.OK:
        raise http.client.HTTPException(f"GET {path}: {response.status} {response.read(500).decode()}")
    return response


def published(containers: list[dict[str, Any]]) -> Iterator[PublishedPort]:
    """What running *containers* (rows of ``GET /containers/json``) publish, not reached from anywhere yet.

    Over IPv6 only what is published over nothing else, which is not forwarded and says so.
    """
    for container in containers:
        ports = [
            port
            for port in container.get("Ports") or []
            if port.get("PublicPort") and port["Type"] in ("tcp", "udp")
        ]
        over_ipv4 = {(port["PrivatePort"], port["Type"]) for port in ports if not _is_ipv6(port)}
        for port in ports:
            if not _is_ipv6(port) or (port["PrivatePort"], port["Type"]) not in over_ipv4:
                yield PublishedPort(
                    own_name_of(container),
                    port["PrivatePort"],
                    port["Type"],
                    port.get("IP", ""),
                    port["PublicPort"],
                    None,
                    ONLY_IPV6 if _is_ipv6(port) else "",
                )


def _is_ipv6(port: Mapping[str, Any]) -> bool:
    return ":" in port.get("IP", "")


def own_name_of(container: Mapping[str, Any]) -> str:
    """The own name of a *container* (a row of ``GET /containers/json``), not one that a link gave it.

    One that is being removed has none (any more), and goes by its id.
    """
    names = container.get("Names") or [container["Id"][:12]]
    return str(min(names, key=lambda name: name.count("/"))).lstrip("/")


def _unspecified(address: str) -> bool:
    return address in ("", "0.0.0.0")


def _free_port(protocol: str) -> int:
    kind = socket.SOCK_STREAM if protocol == "tcp" else socket.SOCK_DGRAM
    with socket.socket(socket.AF_INET, kind) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
