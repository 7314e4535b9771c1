"""Who uses a folder: locks that the kernel lets go of when their holder ends, however it ends (flock(2)).

They say more than a process number in a file: they hold across runtime folders and process namespaces.
Only the standard library is used here: the keeper holds such a lock.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

__all__ = ["alone", "in_use", "using", "working"]


@contextmanager
def using(folder: Path) -> Iterator[None]:
    """While this lasts, *folder* is in use; by several at once, if they like.  Raises `OSError` if it is not there."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH)
        yield
    finally:
        os.close(descriptor)


@contextmanager
def alone(folder: Path) -> Iterator[bool]:
    """Use *folder* alone; gives false at once, without a lock, where somebody else uses it."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True
    finally:
        os.close(descriptor)


def in_use(folder: Path) -> bool:
    """Whether somebody uses *folder* now; false where there is no such folder."""
    try:
        with alone(folder) as free:
            return not free
    except FileNotFoundError:
        return False


@contextmanager
def working() -> Iterator[None]:
    """While this lasts, nothing half-made, no prepared state and no image layer is collected from `labkit.paths.home`."""
    from labkit import paths

    with using(paths.home()):
        yield
