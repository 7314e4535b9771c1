"""Whether a private engine's daemon answers, or has ended, asked from outside with the standard library; and its settings."""

from __future__ import annotations

import json
import socket
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from labkit.errors import UsageError

if TYPE_CHECKING:
    import docker

__all__ = ["answers", "complaint", "has_ended", "settings"]


def settings(config: object) -> dict[str, Any]:
    """*config* as ``daemon.json`` can hold it (nothing for None).  Raises `UsageError` for what it cannot hold."""
    try:
        found = json.loads(json.dumps({} if config is None else config))
    except (TypeError, ValueError):
        found = None
    if not isinstance(found, dict):
        raise UsageError(
            "an engine cannot be configured with this",
            seen=repr(config),
            expected="a dict, as in daemon.json",
        )
    return found


def answers(api: Path) -> bool:
    """Whether the daemon answers ``GET /_ping`` on the unix socket *api* (Engine API)."""
    with socket.socket(socket.AF_UNIX) as connection, suppress(OSError):
        connection.settimeout(5)
        connection.connect(str(api))
        connection.sendall(b"GET /_ping HTTP/1.0\r\n\r\n")
        return b" 200 " in connection.recv(64)
    return False


def has_ended(init: int) -> bool:
    """Whether the daemon that was started last on the host with first process *init* (as seen from here) has ended."""
    root = Path(f"/proc/{init}/root")
    try:
        pid = (root / "run/dockerd.started").read_text(encoding="utf-8").strip()
    except OSError:
        return False  # not started yet
    try:
        state = (root / "proc" / pid / "stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0]
    except OSError:
        return bool(pid)
    return state in "ZX"


def complaint(client: docker.DockerClient, log: Path, since: float, offset: int, timeout: float = 10) -> str:
    """What the daemon, told to reload at *since* (seconds), says against its configuration; nothing once it has taken it.

    It tells a reload by an event, whatever its log level, and a refusal by an error in its *log*, of which *offset* bytes
    were there before.
    """
    wanted = {"type": "daemon", "event": "reload"}
    end = time.monotonic() + timeout
    said = ""
    while time.monotonic() < end:
        if list(client.events(since=f"{since:.9f}", until=f"{time.time():.9f}", filters=wanted)):
            return ""
        if said:
            return said
        text = log.read_bytes()[offset:].decode(errors="replace").partition("Got signal to reload")[2]
        said = "\n".join(line for line in text.splitlines() if "level=error" in line)
        # an error may be about something else, and the reload still under way
        time.sleep(0.1 if said else 0.01)
    return f"it says nothing about it within {timeout:.0f} s"
