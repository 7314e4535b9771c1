"""What one process of a run must tell the others, and nobody else: a list in memory, which no disk ever sees.

It is a file without a name (memfd_create(2)) that the runner holds open; other processes of the same user reach it
through ``/proc``, and it is gone with the last of them.
"""

from __future__ import annotations

import fcntl
import json
import os
import threading
import time
from pathlib import Path
from typing import Self

__all__ = ["PATIENCE", "VARIABLE", "Shared"]

VARIABLE = "LABKIT_SECRETS"
"""The variable that tells a run's processes where the list is."""
PATIENCE = 20.0
"""Seconds: what was announced and has not come by then will not be waited for."""
_NAME = "labkit-secrets"


class Shared:
    """A list of values that processes append to, each of which sees what the others have added."""

    def __init__(self, descriptor: int, place: str) -> None:
        self._descriptor, self.place = descriptor, place
        self._read, self._rest = 0, b""
        self._going_on, self._announced, self._untold = 0, 0.0, list[str]()
        self._lock = threading.Lock()

    @classmethod
    def create(cls) -> Self:
        """A new list, which lasts until it is closed; others find it at its `place`."""
        kept = os.memfd_create(_NAME)
        fcntl.fcntl(kept, fcntl.F_SETFL, os.O_APPEND)
        # the number of the file tells it from the next one that gets the same descriptor
        return cls(kept, f"/proc/{os.getpid()}/fd/{kept}:{os.fstat(kept).st_ino}")

    @classmethod
    def open(cls, place: str) -> Self | None:
        """The list at *place*; None when there is none, or something else by now."""
        path, _, number = place.partition(":")
        try:
            if not str(Path(path).readlink()).startswith(f"/memfd:{_NAME}"):
                return None
            opened = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CLOEXEC)
        except OSError:
            return None
        if str(os.fstat(opened).st_ino) != number:
            os.close(opened)
            return None
        return cls(opened, place)

    def close(self) -> None:
        """Let go of it."""
        os.close(self._descriptor)

    def add(self, *values: str) -> None:
        """Tell the others *values*."""
        self._append(*values)

    def begin(self) -> None:
        """Tell the others that more is to come, and that they wait for it (`busy`)."""
        self._append(time.monotonic())

    def end(self) -> None:
        """Tell them that it has come."""
        self._append(-1.0)

    def new(self) -> list[str]:
        """What was added since this was asked the last time."""
        self._take()
        if not self._untold:
            return []
        with self._lock:
            found, self._untold = self._untold, []
        return found

    @property
    def busy(self) -> bool:
        """Whether more is to come, as was announced less than `PATIENCE` ago."""
        self._take()
        return self._going_on > 0 and time.monotonic() < self._announced + PATIENCE

    def _take(self) -> None:
        if os.fstat(self._descriptor).st_size == self._read:
            return
        with self._lock:
            size = os.fstat(self._descriptor).st_size
            content = self._rest + os.pread(self._descriptor, size - self._read, self._read)
            whole, _, self._rest = content.rpartition(b"\n")
            for each in map(json.loads, whole.splitlines()):
                if isinstance(each, str):
                    self._untold.append(each)
                else:
                    self._going_on += 1 if each > 0 else -1
                    self._announced = max(self._announced, each)
            self._read = size  # last, since who sees it asks no more

    def _append(self, *entries: str | float) -> None:
        lines = "".join(json.dumps(entry) + "\n" for entry in entries).encode()
        if lines:
            os.write(self._descriptor, lines)
