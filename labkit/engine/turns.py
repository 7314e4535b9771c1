"""One at a time: what makes, resets or ends an engine that several processes may have, such as two kernels of one notebook."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256

from labkit import paths
from labkit.engine.processes import Process
from labkit.errors import LabkitError

__all__ = ["turn"]

PATIENCE = 120.0
"""Seconds; a reset takes one, and loading images a minute."""


@contextmanager
def turn(name: str, key: str, owner: Process | None) -> Iterator[None]:
    """While this lasts, nobody else makes, resets or ends the engine *name* of this *key* and *owner*; who comes later waits.

    Without a key no other process can have it.  The operating system ends the turn of a process that ends.  Raises
    `LabkitError` after `PATIENCE` seconds.
    """
    from filelock import FileLock, Timeout

    if not key:
        yield
        return
    whose = f"{name} {key} {owner}"
    place = paths.runtime() / f"turn-{sha256(whose.encode()).hexdigest()[:16]}.lock"
    lock = FileLock(place, is_singleton=True)  # so that who has the turn can take it again
    try:
        lock.acquire(timeout=PATIENCE)
    except Timeout:
        raise LabkitError(
            "another notebook of this lab is starting or resetting its engine, and does not come to an end",
            seen=f"{place} is locked after {PATIENCE:.0f} s",
            try_="shut down the other kernel, then run the cell again",
        ) from None
    try:
        yield
    finally:
        if lock.lock_counter == 1:
            place.unlink(missing_ok=True)  # who waits finds that out, and takes the next
        lock.release()
