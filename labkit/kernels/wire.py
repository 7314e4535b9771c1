"""Frames between a zygote and its clients: a length, JSON, and with the first one some file descriptors."""

from __future__ import annotations

import json
import os
import socket
import struct
from collections.abc import Callable
from typing import Any

__all__ = ["Frames", "parsed", "peer", "readable", "receive", "send", "size"]

LENGTH = struct.Struct("!I")
LARGEST = 64 * 2**20
"""Bytes of one frame; an environment has at most a few megabytes (execve(2))."""


def send(
    connection: socket.socket,
    message: Any,
    descriptors: list[int] | None = None,
    default: Callable[[Any], Any] | None = None,
) -> None:
    """Send one frame, with *descriptors* along with it (unix(7), SCM_RIGHTS).  Raises `OSError`.

    *default* makes JSON of what is not.
    """
    body = json.dumps(message, default=default).encode()
    frame = LENGTH.pack(len(body)) + body
    if descriptors:
        sent = socket.send_fds(connection, [frame], descriptors)
        frame = frame[sent:]
    connection.sendall(frame)


def receive(connection: socket.socket) -> Any | None:
    """Wait for one frame; None when the other side has closed.  Raises `OSError`, also on a time-out."""
    body = _exactly(connection, LENGTH.size)
    if body is not None:
        body = _exactly(connection, LENGTH.unpack(body)[0])
    return None if body is None else json.loads(body)


def _exactly(connection: socket.socket, size: int) -> bytes | None:
    parts = bytearray()
    while len(parts) < size:
        part = connection.recv(size - len(parts))
        if not part:
            return None
        parts += part
    return bytes(parts)


async def readable(connection: socket.socket) -> None:
    """Wait, in an event loop, until something has come on *connection*, or one of its sides has closed.

    Any number may wait for the same one, and who is faster may read it out and close it.
    """
    import asyncio  # not for the thin client

    loop = asyncio.get_running_loop()
    ready = loop.create_future()
    own = os.dup(
        connection.fileno()
    )  # a loop has one reader a descriptor, and hears nothing of one that was closed
    loop.add_reader(own, lambda: None if ready.done() else ready.set_result(None))
    try:
        await ready
    finally:
        loop.remove_reader(own)
        os.close(own)


def size(data: bytes | bytearray) -> int:
    """How long the frame is that *data* begins with."""
    return LENGTH.size + int(LENGTH.unpack_from(data)[0])


def parsed(data: bytes | bytearray) -> Any | None:
    """The message at the start of *data*; None when it is not whole."""
    if len(data) < LENGTH.size:
        return None
    end = size(data)
    return json.loads(data[LENGTH.size : end]) if len(data) >= end else None


class Frames:
    """A frame that arrives in pieces, for a server that must not wait for any of its clients."""

    def __init__(self) -> None:
        self.descriptors: list[int] = []
        self._bytes = b""

    def read(self, connection: socket.socket) -> Any | None:
        """Take what has arrived; the message once it is whole.  Raises `EOFError` when the client has closed."""
        data, descriptors, _, _ = socket.recv_fds(connection, 2**18, 8)
        self.descriptors += descriptors
        if not data:
            raise EOFError
        self._bytes += data
        if len(self._bytes) > LARGEST:
            raise EOFError
        return parsed(self._bytes)

    def close(self) -> None:
        """Close the descriptors that came along."""
        for descriptor in self.descriptors:
            os.close(descriptor)
        self.descriptors = []


def peer(connection: socket.socket) -> tuple[int, int]:
    """Process number and user of the other side, as the kernel tells them (unix(7), SO_PEERCRED)."""
    size = struct.calcsize("3i")
    pid, user, _ = struct.unpack("3i", connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, size))
    return pid, user
