"""The docker SDK's client, with one thing mended: what a command writes is read from its first byte on.

docker-py 7 reads the stream of an ``exec`` or an ``attach`` from the bare socket (its ``APIClient._read_from_socket``).  Bytes
that came together with the head of the engine's answer are in the buffer before it by then, and lost: measured, once in some
400 commands on a busy machine, and then the whole output of a short one.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Any, BinaryIO

import docker
import requests
from docker.utils.socket import STDOUT, consume_socket_output, demux_adaptor

__all__ = ["Api", "Client"]

CHUNK = 64 * 1024


class Api(docker.APIClient):  # type: ignore[misc]  # docker publishes no types
    """The SDK's low-level client."""

    def _read_from_socket(
        self, response: requests.Response, stream: bool, tty: bool = True, demux: bool = False
    ) -> Any:
        # a command may be silent for longer than an answer may take
        self._disable_socket_timeout(self._get_raw_response_socket(response))
        frames = _frames(response.raw._fp.fp, tty)
        parts = (demux_adaptor(*frame) if demux else frame[1] for frame in frames)
        if stream:
            return parts
        try:
            return consume_socket_output(parts, demux=demux)
        finally:
            response.close()


class Client(docker.DockerClient):  # type: ignore[misc]
    """The SDK's client, on an `Api` that is made of *options*."""

    def __init__(self, **options: Any) -> None:
        self.api = Api(**options)  # all that the SDK's own does here, with its own


def _frames(answer: BinaryIO, tty: bool) -> Iterator[tuple[int, bytes]]:
    """Stream (1: output, 2: errors) and bytes of each frame of *answer* (Engine API, attach); a terminal, *tty*, has none."""
    if tty:
        while data := answer.read1(CHUNK):  # type: ignore[attr-defined]
            yield STDOUT, data
        return
    while len(head := answer.read(8)) == 8:
        number, size = struct.unpack(">BxxxL", head)
        yield number, answer.read(size)
