"""What one process of a run must tell the others, and nobody else: a list in memory, which no disk ever sees.

It is a file without a name (memfd_create(2)) that the runner holds open; other processes of the same user reach it
through ``/proc``, and it is gone with the last of them.
"""

from __future__ import annotations

import fcntl
import json
import os
import time
from pathlib import Path
from typing import Self

__all__ = ["VARIABLE", "Shared"]

VARIABLE = "LABKIT_SECRETS"
"""The variable that tells a run's processes where the list is."""
_NAME = "labkit-secrets"


class Shared:
    """A list of values that processes append to, each of which sees what the others have added."""

    def __init__(self, descriptor: int, place: str) -> None:
        self._descriptor, self.place = descriptor, place
        self._read, self._rest = 0, b""
        self._going_on, self._announced = 0, 0.0

    @classmethod
    def create(cls) -> Self:
        """A new list, which lasts until it is closed; others find it at its `place`."""
        kept = os.memfd_create(_NAME)
        fcntl.fcntl(kept, fcntl.F_SETFL, os.O_APPEND)
        return cls(kept, f"/proc/{os.getpid()}/fd/{kept}")

    @classmethod
    def open(cls, place: str) -> Self | None:
        """The list at *place*; None when there is none, or something else by now."""
        try:
            if not str(Path(place).readlink()).startswith(f"/memfd:{_NAME}"):
                return None
            return cls(os.open(place, os.O_RDWR | os.O_APPEND | os.O_CLOEXEC), place)
        except OSError:
            return None

    def close(self) -> None:
        """Let go of it."""
        os.close(self._descriptor)

    def add(self, *values: str) -> None:
        """Tell the others *values*."""
        self._append(*values)

    def begin(self) -> None:
        """Tell the others that more is to come, and that they wait for it (`wait`)."""
        self._append(time.monotonic())

    def end(self) -> None:
        """Tell them that it has come."""
        self._append(-1.0)

    def new(self) -> list[str]:
        """What was added since this was asked the last time."""
        size = os.fstat(self._descriptor).st_size
        if size == self._read:
            return []
        whole, _, rest = (self._rest + os.pread(self._descriptor, size - self._read, self._read)).rpartition(
            b"\n"
        )
        self._read, self._rest = size, rest
        told = [json.loads(line) for line in whole.splitlines()]
        for mark in (each for each in told if isinstance(each, float)):
            self._going_on += 1 if mark > 0 else -1
            self._announced = max(self._announced, mark)
        return [each for each in told if isinstance(each, str)]

    def wait(self, seconds: float = 20) -> list[str]:
        """What is `new`, when nothing more is to come, or nothing came within *seconds* since it was announced."""
        found = self.new()
        while self._going_on > 0 and time.monotonic() < self._announced + seconds:
            time.sleep(0.002)
            found += self.new()
        return found

    def _append(self, *entries: str | float) -> None:
        lines = "".join(json.dumps(entry) + "\n" for entry in entries).encode()
        if lines:
            os.write(self._descriptor, lines)
