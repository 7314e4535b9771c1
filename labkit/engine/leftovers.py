"""What nobody needs any more: left by engines and works that were cut off, or outdated; ``labkit engine gc``."""

from __future__ import annotations

import socket
import time
from contextlib import suppress
from pathlib import Path

from labkit import paths
from labkit.engine import images, locks, making, prepared, records
from labkit.engine.debian import rootless
from labkit.engine.keeper import erase

__all__ = ["collect"]

HALF_MADE = (
    ".import-*.tar.gz",
    ".*.saved",
    "images/.*.former",
    "images/.*.fresh",
    "images/.*.tar",
    "images/.scratch-*",
    "packs/.*.export.tar.gz",
    "packs/.*.making",
    "packs/.scratch-*",
    "prepared/.*.making",
)
"""What a work in ``home()`` has in hand, and itself removes at its end; all of them hold `labkit.engine.locks.working`."""

SETTLED = 2.0
"""Seconds after which a new socket has somebody who listens."""


def collect() -> list[str]:
    """Remove it; return a line for each thing removed, or that resisted (``could not``)."""
    told = [*records.collect(), *_sockets()]
    home = paths.home()
    with locks.alone(home) as free:
        if not free:
            return [
                *told,
                "labkit is making something just now: half-made files and unused images are left until later",
            ]
        for pattern in HALF_MADE:
            told += [_removed(path) for path in sorted(home.glob(pattern))]
        told += [f"{path}: removed" for path in making.collect_former()[0]]
        in_use = records.prepared_states()
        for state in [each for each in images.stale_states() if each not in in_use]:
            prepared.remove(state)
            told.append(f"{state}: made of images or of a pack that have changed, removed")
        if stale := prepared.collect(records.bound_layers()):
            told.append(f"{stale} image layers that nothing uses: removed")
    return told


def _sockets() -> list[str]:
    """The sockets of traces whose process was killed: nobody listens there, and nobody is about to."""
    told = []
    for path in sorted(paths.runtime().glob("trace-*.sock")):
        with suppress(FileNotFoundError):  # it ends just now
            if time.time() - path.lstat().st_mtime > SETTLED and not _listens(path):
                path.unlink()
                told.append(f"{path}: removed")
    return told


def _listens(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as client:
        try:
            client.connect(str(path))
        except ConnectionRefusedError:
            return False
    return True


def _removed(path: Path) -> str:
    return f"{path}: " + ("removed" if erase(path, rootless=rootless()) else "could not be removed")
