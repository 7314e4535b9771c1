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
from pathlib import Path
from typing import TYPE_CHECKING

from labkit.engine import Engine, commandline, records
from labkit.engine.host import Host, MissingHost, NamespaceHost
from labkit.engine.ports import PublishedPort, published, read_ports
from labkit.engine.records import Record
from labkit.errors import EngineUnreachable, UsageError

if TYPE_CHECKING:
    import docker

    from labkit.engine.guard import GuardedClient

__all__ = ["Attached", "open_attached"]

DEFAULT_URL = "unix:///var/run/docker.sock"


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
    ``DOCKER_HOST``, else ``DOCKER_CONTEXT``, else the current context, as the command line does.
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
    record = records.find(engine) if engine else None
    where, source = (record.url, "labkit engine list") if record else _where(url, context)
    if where.partition("://")[0] not in ("unix", "tcp", "http"):
        raise UsageError(
            f"engines cannot be reached this way yet: {where}",
            seen=source,
            expected="unix:///path or tcp://host:port",
        )
    attached = Attached(where, name or engine or context or source, record)
    try:
        attached.client.ping()
    except Exception as error:
        attached.close()
        raise EngineUnreachable(
            f"no engine answers at {where}",
            seen=f"{_reason(error)} (from {source})",
            try_="is the daemon running, and may you use its socket?\n"
            "name another one: DOCKER_HOST=unix:///path or tcp://host:port\n"
            "or use a private engine: labkit.open_engine('sandbox'); `labkit doctor` says what that needs",
        ) from None
    if images:
        from labkit.engine.images import ensure

        ensure(attached, images)
    return attached


def _where(url: str | None, context: str | None) -> tuple[str, str]:
    """The engine's URL, and what it was taken from."""
    if url:
        return url, "url"
    if not context and os.environ.get("DOCKER_HOST"):
        return os.environ["DOCKER_HOST"], "DOCKER_HOST"
    chosen = context or os.environ.get("DOCKER_CONTEXT") or _current_context()
    if chosen in (None, "", "default"):
        return DEFAULT_URL, "default socket"
    from docker.context import ContextAPI

    found = ContextAPI.get_context(chosen)
    if found is None:
        known = [str(known.name) for known in ContextAPI.contexts()]
        raise UsageError("no such docker context", seen=repr(chosen), expected=", ".join(known))
    return str(found.Host), f"context {chosen}"


def _current_context() -> str | None:
    folder = Path(os.environ.get("DOCKER_CONFIG") or Path.home() / ".docker")
    with suppress(OSError, ValueError):
        current = json.loads((folder / "config.json").read_text()).get("currentContext")
        return str(current) if current else None
    return None


def _reason(error: BaseException) -> str:
    """The innermost message of a chain of library errors."""
    while error.__cause__ or error.__context__:
        error = error.__cause__ or error.__context__ or error
    return f"{type(error).__name__}: {error}"


class Attached(Engine):
    """An engine that somebody started (provider ``attach``): shared, unless it is one of ours.  Made by `open_attached`."""

    provider = "attach"

    def __init__(self, url: str, name: str, record: Record | None = None) -> None:
        super().__init__()
        self._url, self.name, self._record = url, name, record
        self.owned = record is not None
        self.id = f"attached-{os.getpid()}"
        self._found_host: Host | None = None

    @property
    def url(self) -> str:
        return self._url

    @property
    def environ(self) -> dict[str, str]:
        return commandline.environ(self._record.folder) if self._record else {"DOCKER_HOST": self._url}

    def _connect(self) -> docker.DockerClient:
        if self.owned:
            import docker

            return docker.DockerClient(base_url=self._url, version="auto", timeout=60)
        from labkit.engine.guard import GuardedClient

        return GuardedClient(self.id, base_url=self._url, version="auto", timeout=60)

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
        if self._found_host is None:
            self._found_host = _host_behind(self._url)
        return self._found_host

    @property
    def ports(self) -> list[PublishedPort]:
        if self._record:
            return read_ports(self._record.folder / "ports.json")
        rows = published(self.client.api.containers())
        if not self._url.startswith("unix://"):
            return list(rows)
        return [row.reached_at(row.engine_port) for row in rows]


def _host_behind(url: str) -> Host:
    """The host of the daemon behind a local socket: the namespaces of the process that listens there (unix(7))."""
    if not url.startswith("unix://"):
        return MissingHost(f"the engine is reached over the network ({url.partition('://')[0]})")
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(url.removeprefix("unix://"))
        pid, _, _ = struct.unpack("3i", connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
    if pid == 0:
        return MissingHost("the daemon runs in a process namespace that is not seen from here")
    # who is not root here can enter only what is in a user namespace of their own: a rootless engine
    host = NamespaceHost(pid, user=os.geteuid() != 0, reason=f"namespaces of the daemon, process {pid}")
    if not host.run(["true"], check=False).ok:
        return MissingHost("entering the daemon's namespaces needs root on this machine")
    return host
