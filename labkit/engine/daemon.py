"""Whether a private engine's daemon answers, or has ended: asked from outside, with the standard library alone."""

from __future__ import annotations

import socket
from contextlib import suppress
from pathlib import Path

__all__ = ["answers", "has_ended"]


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
        pid = (root / "run/dockerd.started").read_text().strip()
    except OSError:
        return False  # not started yet
    try:
        state = (root / "proc" / pid / "stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return bool(pid)
    return state in "ZX"
