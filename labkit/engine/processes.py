"""Naming a process so that it cannot be mistaken for a later one with the same number."""

from __future__ import annotations

import os
import signal
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Process", "stat"]


def stat(pid: int | str) -> list[str]:
    """What ``/proc/PID/stat`` tells of a process after its name: state, parent, group, session, … (proc(5)).

    The name may hold any bytes.  Raises `ProcessLookupError` if there is no such process.
    """
    try:
        told = Path(f"/proc/{pid}/stat").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        raise ProcessLookupError(f"no process {pid}") from None
    return told.rpartition(b")")[2].decode().split()


@dataclass(frozen=True)
class Process:
    """A process by its number and its start time (clock ticks since boot: field 22 of ``/proc/PID/stat``, proc(5))."""

    pid: int
    started: int

    @classmethod
    def of(cls, pid: int) -> Process:
        """The process that has the number *pid* now.  Raises `ProcessLookupError` if there is none."""
        return cls(pid, int(stat(pid)[19]))

    @classmethod
    def current(cls) -> Process:
        """This process."""
        return cls.of(os.getpid())

    def open(self) -> int:
        """A pidfd of it, readable when it has ended (pidfd_open(2)).  Raises `ProcessLookupError` if it has."""
        descriptor = os.pidfd_open(self.pid)
        try:
            if Process.of(self.pid) == self:
                return descriptor
        except ProcessLookupError:
            pass
        os.close(descriptor)
        raise ProcessLookupError(f"no process {self.pid} any more")

    @property
    def alive(self) -> bool:
        """Whether it still runs (a zombie does not)."""
        try:
            fields = stat(self.pid)
        except ProcessLookupError:
            return False
        return int(fields[19]) == self.started and fields[0] not in "ZX"

    def signal(self, number: signal.Signals) -> bool:
        """Send it a signal; false if it has ended."""
        try:
            descriptor = self.open()
        except ProcessLookupError:
            return False
        try:
            signal.pidfd_send_signal(descriptor, number)
        except ProcessLookupError:
            return False
        finally:
            os.close(descriptor)
        return True
