"""A socket that leads to an engine, and takes note of all that is said there: for one command, or for one client.

Bytes go through as they come, in both directions and both ends of a connection apart (a client may end its half and go on
listening); what they say is read beside (`labkit.engine.exchanges`).
"""

from __future__ import annotations

import asyncio
import os
import secrets
import socket
import threading
from collections.abc import Callable, Coroutine
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import urlsplit

from labkit import paths
from labkit.engine.addresses import Address, Tls, find
from labkit.engine.exchanges import Conversation, Exchange
from labkit.errors import MissingCapability

if TYPE_CHECKING:
    from labkit.engine import Engine

__all__ = ["Relay"]

CHUNK = 64 * 1024
TLS = ("DOCKER_TLS", "DOCKER_TLS_VERIFY", "DOCKER_CERT_PATH", "DOCKER_CONTEXT")

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class Relay:
    """A context manager: while it lasts, *engine* is reached at `url` too, and `exchanges` has what was said, oldest first.

    The socket lies in `labkit.paths.runtime`, for this user alone.  At the end socket, connections and thread are gone.
    Raises `MissingCapability` for an engine that is reached in a way that it cannot relay.
    """

    def __init__(self, engine: Engine) -> None:
        self._environ = engine.environ
        self._connect = _way_to(self._environ)
        self.path = paths.runtime() / f"trace-{secrets.token_hex(4)}.sock"
        self.exchanges: list[Exchange] = []
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def url(self) -> str:
        """As in ``DOCKER_HOST``."""
        return f"unix://{self.path}"

    @property
    def environ(self) -> dict[str, str]:
        """Environment variables with which ``docker`` goes through here."""
        return {**self._environ, **dict.fromkeys(TLS, ""), "DOCKER_HOST": self.url}

    def __enter__(self) -> Self:
        self._socket = socket.socket(socket.AF_UNIX)
        try:
            os.fchmod(self._socket.fileno(), 0o600)  # bind(2) makes the file with this mode
            self._socket.bind(str(self.path))
            self._socket.listen()  # who connects from now on waits for the thread
            self._loop = asyncio.new_event_loop()
            self._ended = asyncio.Event()
            self._thread = threading.Thread(target=self._run, name="labkit-relay", daemon=True)
            self._thread.start()
        except BaseException:
            self._socket.close()
            self.path.unlink(missing_ok=True)
            raise
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self._loop.call_soon_threadsafe(self._ended.set)
            self._thread.join()
        finally:
            self.path.unlink(missing_ok=True)

    def _run(self) -> None:
        with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
            runner.run(self._serve())

    async def _serve(self) -> None:
        server = await asyncio.start_unix_server(self._accepted, sock=self._socket)
        await self._ended.wait()
        server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _accepted(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.ensure_future(self._relay((reader, writer)))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _relay(self, client: Streams) -> None:
        talk = Conversation(self.exchanges.append)
        ends = [client[1]]
        try:
            engine = await self._connect()
            ends.append(engine[1])
            there = asyncio.ensure_future(_pump(client[0], engine[1], talk.sent, talk.left))
            try:
                await _pump(engine[0], client[1], talk.received)  # when the engine has ended, all is said
            finally:
                there.cancel()
                await asyncio.gather(there, return_exceptions=True)
        except OSError:  # an engine that is not there, or a client that has gone
            pass
        except asyncio.CancelledError:
            for writer in ends:
                writer.transport.abort()
            raise
        finally:
            talk.closed()
            for writer in ends:
                writer.close()
            for writer in ends:
                with suppress(OSError, asyncio.CancelledError):
                    await writer.wait_closed()


async def _pump(
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
    tell: Callable[[bytes], None],
    end: Callable[[], None] = lambda: None,
) -> None:
    """Pass on what comes, no faster than it is taken, and then that nothing comes any more; *tell* and *end* hear of it."""
    with suppress(ConnectionError):
        while data := await reader.read(CHUNK):
            tell(data)
            writer.write(data)
            await writer.drain()
        end()
        if writer.can_write_eof():
            writer.write_eof()
        else:  # TLS has no half of an end
            writer.close()


def _way_to(environ: dict[str, str]) -> Callable[[], Coroutine[Any, Any, Streams]]:
    """How the engine is connected to that ``docker`` reaches with *environ*."""
    address = _address(environ)
    url = urlsplit(address.url)
    if url.scheme == "unix":
        return lambda: asyncio.open_unix_connection(url.path)
    if url.scheme not in ("tcp", "http", "https") or not url.hostname:
        raise MissingCapability(
            "what is said to this engine cannot be recorded",
            seen=address.url,
            expected="unix:///path or tcp://host:port",
        )
    context = address.tls and address.tls.context()
    host, port = url.hostname, url.port or (2376 if context else 2375)
    return lambda: asyncio.open_connection(host, port, ssl=context)


def _address(environ: dict[str, str]) -> Address:
    if not environ["DOCKER_HOST"]:
        return find(context=environ["DOCKER_CONTEXT"])
    verify, tls = bool(environ.get("DOCKER_TLS_VERIFY")), None
    if verify or environ.get("DOCKER_TLS"):
        tls = Tls(Path(environ["DOCKER_CERT_PATH"]), verify)
    return Address(environ["DOCKER_HOST"], "DOCKER_HOST", tls)
