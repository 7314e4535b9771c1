"""Finding the zygote of this user and Python, starting one, and ending them all.

A zygote has three files in ``runtime()``: its socket, a lock that it holds while it lives (so that two starters
make one), and a log that says why, if it could not start.
"""

from __future__ import annotations

import os
import socket
import sys
import time
import zlib
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from labkit import paths
from labkit.errors import UsageError
from labkit.kernels import wire
from labkit.kernels.identity import identity

if TYPE_CHECKING:
    from labkit.engine.processes import Process

__all__ = ["connect", "end_all", "idle_seconds", "place", "start", "wanted"]

KEPT = ("PATH", "HOME", "USER", "LOGNAME", "TMPDIR", "TZ", "XDG_RUNTIME_DIR", "VIRTUAL_ENV")
"""What a zygote keeps of its starter's environment: no secrets, since it outlives the starter."""

GREETING = b"!"
"""A zygote's first word to a client that it takes."""
PATIENCE = 5.0
"""Seconds to wait for it; a zygote that takes longer is stuck, and is done without."""

BEGIN = "import sys; del sys.path[0]; from labkit.kernels.zygote import main; main()"
"""Not by -m, which looks for modules in the folder where it starts; not with -P, which a kernel would keep."""


def wanted() -> bool:
    """Whether zygotes may be used: ``LABKIT_ZYGOTE=0`` says no."""
    return os.environ.get("LABKIT_ZYGOTE") != "0"


def place(name: str = "") -> Path:
    """The socket of the zygote for processes like this one; with other suffixes, its lock and its log."""
    key = f"{zlib.crc32(identity().encode()):08x}"
    return paths.runtime() / f"zygote-{key}{name or '.sock'}"


def connect(wait: float = 0, starter: int = 0) -> socket.socket | None:
    """A connection to the zygote, or None when there is none; waits up to *wait* seconds for one that starts.

    *starter*: what `start` has returned; where neither it nor another one is on its way any more, nobody is waited for.
    Raises `TimeoutError` when there is one that is stuck.
    """
    end = time.monotonic() + wait
    path = str(place())
    while True:
        coming = time.monotonic() < end and not (starter and _has_failed(starter))
        connection = socket.socket(socket.AF_UNIX)
        connection.settimeout(PATIENCE)
        try:
            connection.connect(path)
            # before anything is lent to it: what lies in the queue of one that is stuck stays open
            if connection.recv(1) != GREETING:
                raise ConnectionError("the zygote is stale")
            connection.settimeout(None)
        except TimeoutError:
            connection.close()
            if not coming:
                raise
        except OSError:
            connection.close()
        else:
            if wire.peer(connection)[1] == os.geteuid():
                return connection
            connection.close()
            return None
        if not coming:
            return None
        time.sleep(0.01)


def _has_failed(starter: int) -> bool:
    """Whether this process has ended, and no other one holds the lock that it could not have had."""
    from labkit.engine import processes

    with suppress(ProcessLookupError):
        if processes.stat(starter)[0] not in "ZX":
            return False
    return _named(place(".lock")) is None


def start() -> int:
    """Start a zygote in the background, unless there is one; returns its process number at once.

    Raises `OSError`, and `UsageError` for an idle time that is none.
    """
    import subprocess

    idle_seconds()
    kept = {
        name: value
        for name, value in os.environ.items()
        if name in KEPT or name.startswith(("PYTHON", "LABKIT_", "LC_", "LANG"))
    }
    descriptor = _log()
    try:
        # a shell in between, so that nobody has to wait for the zygote's end; the debugger wants no frozen modules
        begun = subprocess.run(
            [
                *("/bin/sh", "-c", '"$@" >/dev/null & echo $!', "sh"),
                *(sys.executable, "-Xfrozen_modules=off", "-c", BEGIN),
            ],
            env={**kept, "OPENBLAS_NUM_THREADS": "1"},
            cwd="/",
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=descriptor,
            start_new_session=True,
            check=False,
        )
    finally:
        os.close(descriptor)
    return int(begun.stdout)


def _log() -> int:
    """The log, open, for the zygote to write; as long as anybody can, it is held, and nobody takes it for one left over."""
    import fcntl

    while True:
        descriptor = os.open(place(".log"), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        fcntl.flock(descriptor, fcntl.LOCK_SH)
        with suppress(FileNotFoundError):
            if os.fstat(descriptor).st_ino == place(".log").stat().st_ino:
                return descriptor
        os.close(descriptor)  # it was one left over, and has just been removed


def idle_seconds() -> float:
    """How long a zygote waits for a client: ten minutes, or ``LABKIT_ZYGOTE_IDLE``.  Raises `UsageError`."""
    told = os.environ.get("LABKIT_ZYGOTE_IDLE") or "600"
    with suppress(ValueError):
        if 0 <= (seconds := float(told)) < float("inf"):
            return seconds
    raise UsageError(
        "LABKIT_ZYGOTE_IDLE is no time", seen=repr(told), expected="a number of seconds, such as 600"
    )


def end_all(*, gently: bool = False, seconds: float = 5) -> list[str]:
    """End every zygote of this user; returns a line for each, and for what killed ones had left.

    *gently*: one that has kernels or commands running takes no more and ends with the last of them.
    """
    import signal

    told = []
    for lock in sorted(paths.runtime().glob("zygote-*.lock")):
        process = _holder(lock, seconds)
        if process is None:
            continue
        process.signal(signal.SIGHUP if gently else signal.SIGTERM)
        end = time.monotonic() + seconds
        while process.alive and (lock.exists() or not gently) and time.monotonic() < end:
            time.sleep(0.01)
        told.append(f"fork server {process.pid}: " + ("told to end" if process.alive else "ended"))
        if not process.alive:
            _forgotten(lock)
    for log in paths.runtime().glob("zygote-*.log"):
        _unwanted(log)
    return told


def _holder(lock: Path, seconds: float) -> Process | None:
    """The zygote that holds *lock*, which tells its number a moment after it took it; what a dead one has left is removed."""
    end = time.monotonic() + seconds
    while not _forgotten(lock) and time.monotonic() < end:
        if process := _named(lock):
            return process
        time.sleep(0.01)
    return None


def _named(lock: Path) -> Process | None:
    """The process that *lock* names, if it still runs."""
    from labkit.engine.processes import Process

    with suppress(OSError, ValueError):
        pid, started = map(int, lock.read_text(encoding="utf-8").split())
        if (process := Process(pid, started)).alive:
            return process
    return None


def _forgotten(lock: Path) -> bool:
    """Remove the files of a zygote that has ended; false where one lives, which may have begun just now."""
    import fcntl

    with suppress(FileNotFoundError), lock.open("rb") as held:
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        for suffix in (".sock", ".log", ".lock"):
            lock.with_suffix(suffix).unlink(missing_ok=True)
    return True


def _unwanted(log: Path) -> None:
    """Remove the *log* of one that could not start, or found another; not of one that lives, or is about to start."""
    import fcntl

    with suppress(FileNotFoundError), log.open("rb") as held:
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return
        log.unlink(missing_ok=True)
