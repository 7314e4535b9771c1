"""Ports for tests that have to name one before anybody listens there."""

from __future__ import annotations

import itertools
import os
import socket

__all__ = ["free_port"]

_WORKER = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
_PORTS = itertools.cycle(range(20000 + _WORKER % 12 * 1000, 21000 + _WORKER % 12 * 1000))
"""No other worker's, and below those that an operating system and an engine choose by themselves (from 32768 on)."""


def free_port() -> int:
    """A TCP port of the loopback that is free, and is given to nobody who asks for any."""
    for port in _PORTS:
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise AssertionError("unreachable")
