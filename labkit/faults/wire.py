"""The engine's API over plain HTTP: what an oracle reads with, so that it shares no code with a diagnosis."""

from __future__ import annotations

import http.client
import json
import socket
import time
from typing import Any
from urllib.parse import quote, urlsplit

from labkit.engine import Engine

__all__ = ["container", "events", "get"]


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: str) -> None:
        super().__init__("engine", timeout=10)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect(self._path)


def get(engine: Engine, path: str) -> bytes | None:
    """The answer to ``GET path``, or None where the engine says 404."""
    url = urlsplit(engine.url)
    connection = (
        _UnixConnection(url.path)
        if url.scheme == "unix"
        else http.client.HTTPConnection(url.netloc, timeout=10)
    )
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        return None if answer.status == 404 else answer.read()
    finally:
        connection.close()


def container(engine: Engine, name: str) -> dict[str, Any] | None:
    """``docker inspect`` of a container, or None where there is none of this name."""
    answer = get(engine, f"/containers/{quote(name)}/json")
    return dict(json.loads(answer)) if answer else None


def events(engine: Engine, container_id: str) -> list[tuple[str, str]]:
    """What happened to a container so far: pairs of action and signal (empty but for a kill).

    Asked for by id: a filter by name also gives the events of earlier containers of that name.
    """
    filters = quote(json.dumps({"container": [container_id], "type": ["container"]}))
    answer = get(engine, f"/events?since=1&until={time.time():.6f}&filters={filters}") or b""
    raw = [json.loads(line) for line in answer.splitlines()]
    return [(event["Action"], event["Actor"]["Attributes"].get("signal", "")) for event in raw]
