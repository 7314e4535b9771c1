"""Published ports of a private engine, reachable on 127.0.0.1 of the user's machine.

A container's published port is bound on the engine's host, which has a network namespace of its own.  slirp4netns
joins the two; through its API (slirp4netns(1), ``add_hostfwd``) each port is forwarded while its container runs.
"""

from __future__ import annotations

import http.client
import ipaddress
import json
import socket
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import quote

__all__ = ["Forwarder", "PublishedPort", "published", "read_ports"]

GUEST = "10.0.2.100"
"""The engine's own address on the link that slirp4netns makes (slirp4netns(1))."""

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

    def __str__(self) -> str:
        left = f"{self.container} {self.container_port}/{self.protocol}"
        right = self.address or "not reachable"
        return f"{left} -> {right}" + (f" ({self.note})" if self.note else "")


def read_ports(state: Path) -> list[PublishedPort]:
    """The ports that a `Forwarder` wrote down in the file *state*, by container and port."""
    try:
        return [PublishedPort(**row) for row in json.loads(state.read_text())]
    except FileNotFoundError:
        return []


class UnixConnection(http.client.HTTPConnection):
    """HTTP over a unix socket."""

    def __init__(self, path: Path, timeout: float | None = 10) -> None:
        super().__init__("localhost", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))


class Forwarder:
    """Keeps slirp4netns's forwards equal to what the running containers publish.

    *api*: slirp4netns's API socket; *docker*: the engine's socket; *state*: the file to write the result to.
    """

    def __init__(self, api: Path, docker: Path, state: Path) -> None:
        self._api, self._docker, self._state = api, docker, state
        self._active: dict[
            tuple[str, str, int], tuple[int, int]
        ] = {}  # what is published: (forward's id, local port)

    def follow(self) -> None:
        """Bring the forwards up to date now and at each event, for as long as this process lives."""
        while True:
            with suppress(OSError, http.client.HTTPException, ValueError):
                for _ in self._events():
                    self.update()
            time.sleep(0.05)  # the daemon is down, or restarts

    def _events(self) -> Iterator[None]:
        filters = quote(json.dumps({"type": ["container", "network"], "event": list(WATCHED)}))
        connection = UnixConnection(self._docker, timeout=None)
        connection.request("GET", f"/events?filters={filters}")
        response = connection.getresponse()
        yield None  # the subscription stands: what happened before it is seen now, what comes later has an event
        while response.readline():
            yield None

    def update(self) -> None:
        """Compare what is published with what is forwarded, and make them equal."""
        connection = UnixConnection(self._docker)
        connection.request("GET", "/containers/json")
        containers = json.load(connection.getresponse())
        connection.close()
        wanted = {(row.protocol, row.engine_address, row.engine_port): row for row in published(containers)}
        for key in [key for key in self._active if key not in wanted]:
            forward, _ = self._active.pop(key)
            self._call("remove_hostfwd", id=forward)
        rows = [self._forward(key, row) for key, row in wanted.items()]
        rows.sort(key=lambda row: (row.container, row.container_port, row.protocol))
        fresh = self._state.with_suffix(".new")
        fresh.write_text(json.dumps([asdict(row) for row in rows]))
        fresh.replace(self._state)

    def _forward(self, key: tuple[str, str, int], row: PublishedPort) -> PublishedPort:
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


def published(containers: list[dict[str, Any]]) -> Iterator[PublishedPort]:
    """What running *containers* (rows of ``GET /containers/json``) publish over IPv4, not reached from anywhere yet."""
    for container in containers:
        for port in container.get("Ports") or []:
            address = port.get("IP", "")
            if port.get("PublicPort") and port["Type"] in ("tcp", "udp") and ":" not in address:
                name = container["Names"][0].lstrip("/")
                yield PublishedPort(
                    name, port["PrivatePort"], port["Type"], address, port["PublicPort"], None
                )


def _unspecified(address: str) -> bool:
    return not address or ipaddress.ip_address(address).is_unspecified


def _free_port(protocol: str) -> int:
    kind = socket.SOCK_STREAM if protocol == "tcp" else socket.SOCK_DGRAM
    with socket.socket(socket.AF_INET, kind) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
