"""An engine that runs already, reached as the ``docker`` command line would: by context or ``DOCKER_HOST``.

Such an engine is *shared*: see ``guard.py`` for what is refused there.
"""

from __future__ import annotations

import json
import os
import socket
import struct
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from labkit.engine import Engine, addresses, commandline, records
from labkit.engine.addresses import Address
from labkit.engine.host import Host, MissingHost, NamespaceHost
from labkit.engine.ports import PublishedPort, published, read_ports
from labkit.engine.processes import Process
from labkit.engine.records import Record
from labkit.errors import EngineUnreachable, UsageError

if TYPE_CHECKING:
    import docker

    from labkit.engine.guard import GuardedClient

__all__ = ["Attached", "open_attached"]


def open_attached(
    url: str | None = None,
    *,
    context: str | None = None,
    engine: str | None = None,
    name: str | None = None,
    images: Sequence[str] = (),
) -> Attached:
    """Attach to an engine that runs already.

    *url*: as in ``DOCKER_HOST`` (``unix:///path`` or ``tcp://host:port``); *context*: a docker context; *engine*: the name
    of a private engine of this user (``labkit engine list``), which then counts as private here too.  Without any of them:
    ``DOCKER_HOST``, else ``DOCKER_CONTEXT``, else the current context, as the command line does; with TLS where it would.
    *name*: what to call it.  *images*: lab images that shall be there; those that are missing are added as ``NAME:lab``.

    Raises `UsageError` for a context that does not exist or a transport that is not supported, and `EngineUnreachable`
    (saying where it looked) when nothing answers.
    """
    named = [
        f"{key}={value!r}" for key, value in (("url", url), ("context", context), ("engine", engine)) if value
    ]
    if len(named) > 1:
        raise UsageError(
            "an engine is named in one way", seen=", ".join(named), expected="url, context or engine"
        )
    record = None if engine is None else records.find(engine)
    address = Address(record.url, "labkit engine list") if record else addresses.find(url, context)
    attached = Attached(address, name or engine or context or address.source, record)
    try:
        attached.client.ping()
    except Exception as error:
        attached.close()
        raise EngineUnreachable(
            f"no engine answers at {address.url}",
            seen=f"{_reason(error)} (from {address.source})",
            try_="is the daemon running, and may you use its socket?\n"
            "name another one: DOCKER_HOST=unix:///path or tcp://host:port\n"
            "or use a private engine: labkit.open_engine('sandbox'); `labkit doctor` says what that needs",
        ) from None
    if images:
        from labkit.engine.images import ensure

        ensure(attached, images)
    return attached


def _reason(error: BaseException) -> str:
    """The innermost message of a chain of library errors."""
    while error.__cause__ or error.__context__:
        error = error.__cause__ or error.__context__ or error
    return f"{type(error).__name__}: {error}"


class Attached(Engine):
    """An engine that somebody started (provider ``attach``): shared, unless it is one of ours.  Made by `open_attached`."""

    provider = "attach"

    def __init__(self, address: Address, name: str, record: Record | None = None) -> None:
        super().__init__()
        self._address, self.name, self._record = address, name, record
        self.owned = record is not None
        self.id = f"attached-{os.getpid()}"
        self._found_host: Host | None = None

    @property
    def url(self) -> str:
        return self._address.url

    @property
    def environ(self) -> dict[str, str]:
        return commandline.environ(self._record.folder) if self._record else self._address.environ()

    def _connect(self) -> docker.DockerClient:
        if self.owned:
            from labkit.engine.clients import Client

            return self._address.connect(Client)
        from labkit.engine.guard import GuardedClient

        return self._address.connect(partial(GuardedClient, self.id))

    @contextmanager
    def approve(self, kind: str, name: str) -> Iterator[None]:
        if self.owned:
            yield
            return
        client: GuardedClient = self.client
        with client.approving(kind, name):
            yield

    @property
    def host(self) -> Host:
        found = self._found_host
        # a daemon that was started again has another process
        if found is None or (isinstance(found, NamespaceHost) and not found.process.alive):
            info = self.client.info()
            found = self._found_host = _host_behind(self._address.url, info["ID"], info["DockerRootDir"])
        return found

    @property
    def ports(self) -> list[PublishedPort]:
        if self._record:
            return read_ports(self._record.folder / "ports.json")
        rows = published(self.client.api.containers())
        if not self._address.url.startswith("unix://"):
            return list(rows)
        return [row.reached_here() for row in rows]

    @property
    def cut_off(self) -> str:
        record = records.ready(self._record.id) if self._record else None
        return record.cut_off if record else ""


def _host_behind(url: str, engine_id: str, data_root: str) -> Host:
    """The host of the daemon behind a local socket: the namespaces of the process that listens there (unix(7)).

    That process need not be the daemon: it can be a relay or a forward to another machine, or systemd, which listens for
    the daemon.  Unless it is one, the engine's identity has to be found in its file system.
    """
    if not url.startswith("unix://"):
        return MissingHost(f"the engine is reached over the network ({url.partition('://')[0]})")
    pid = _listener(url.removeprefix("unix://"))
    if pid is None:
        return MissingHost("the daemon runs in a process namespace that is not seen from here")
    name = _text(f"/proc/{pid}/comm").strip()
    if name != "dockerd" and not _holds(pid, engine_id, data_root):
        return MissingHost(
            f"behind the socket is {name or 'a process'} ({pid}), not the daemon: a relay, or a forward"
        )
    # who is not root here can enter only what is in a user namespace of their own: a rootless engine
    reason = f"namespaces of the daemon, process {pid}"
    host = NamespaceHost(Process.of(pid), user=os.geteuid() != 0, reason=reason)
    if not host.run(["true"], check=False).ok:
        return MissingHost("entering the daemon's namespaces needs root on this machine")
    return host


def _listener(path: str) -> int | None:
    """The process that listens on a unix socket; None where it cannot be seen."""
    if not hasattr(socket, "SO_PEERCRED"):
        return None
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(path)
        pid, _, _ = struct.unpack("3i", connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
    return pid or None


def _holds(pid: int, engine_id: str, data_root: str) -> bool:
    """Whether the file system of process *pid* is the one where this engine keeps its identity.

    Docker keeps it in ``engine-id`` of its data-root, and before 24.0 in the key id of ``/etc/docker/key.json``.
    """
    root = f"/proc/{pid}/root"
    with suppress(ValueError, KeyError, TypeError):
        return bool(engine_id) and engine_id in (
            _text(f"{root}{data_root}/engine-id").strip(),
            json.loads(_text(f"{root}/etc/docker/key.json") or "{}").get("kid"),
        )
    return False


def _text(path: str) -> str:
    with suppress(OSError):
        return Path(path).read_text(encoding="utf-8", errors="replace")
    return ""
