"""The fast lane: a notebook's cells run in a fork of the process that executes the notebook.

No sockets, no ports, no heartbeat, and all that the runner has imported is there already; outputs are those of an
ordinary ipykernel.  The runner stays a process of its own, so that a lane that dies is a run that failed.
What a lane lacks is a front end: widgets show, but nobody can press them.
"""

from __future__ import annotations

import base64
import os
import select
import signal
import socket
import time
import traceback
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any

from labkit.errors import LabkitError
from labkit.kernels import forks, wire

__all__ = ["Lane", "LaneDied", "prepare", "prepared", "take"]


class LaneDied(LabkitError):
    """The process that runs the cells has ended by itself."""


class Lane:
    """One fork, for one notebook.  Made while this process has a single thread; raises `RuntimeError` otherwise.

    It ends with the thread that made it, or by `end`.  It leads a session of its own.  *imports*: statements of the cells
    that it may carry out ahead.
    """

    def __init__(self, imports: Sequence[str] = ()) -> None:
        if not forks.single_threaded():
            raise RuntimeError("a process with several threads cannot be forked safely")
        self._connection, other = socket.socketpair()
        parent = os.getpid()
        self.pid = os.fork()
        if self.pid == 0:
            self._connection.close()
            _become(other, parent, imports)
        other.close()
        self._buffer = bytearray()
        self._ended = self._dead = False

    def start(self, environ: Mapping[str, str], cwd: str) -> None:
        """Give it the environment and the folder of the cells."""
        self._send({"environ": dict(environ), "cwd": cwd})

    def run(self, source: str, *, seconds: float | None = None) -> Iterator[dict[str, Any]]:
        """Run one cell; yields its messages as an ipykernel publishes them, and at last its ``execute_reply``.

        Raises `LaneDied` when the process ends, and `TimeoutError` when that takes more than so many *seconds*.
        """
        deadline = None if seconds is None else time.monotonic() + seconds
        if self._dead:
            raise LaneDied("the kernel died")
        self._send({"run": source})
        while True:
            message = self._receive(deadline)
            message["buffers"] = [base64.b64decode(each) for each in message["buffers"]]
            last = message["msg_type"] == "execute_reply"
            self._dead = last and message["content"].pop("leaving")
            yield message
            if last:
                return

    def end(self) -> None:
        """End it at once, with all that its cells have started in its session."""
        if not self._ended:
            self._ended = True
            self._connection.close()
            with suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)
            with suppress(ChildProcessError):
                forks.reap(self.pid)

    @property
    def alive(self) -> bool:
        """Whether it can run cells."""
        if self._ended or self._dead:
            return False
        with suppress(ChildProcessError):
            return os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None
        return False

    def _send(self, message: dict[str, Any]) -> None:
        try:
            wire.send(self._connection, message)
        except OSError as error:
            raise LaneDied("the kernel died", seen=str(error)) from error

    def _receive(self, deadline: float | None) -> dict[str, Any]:
        while (message := wire.parsed(self._buffer)) is None:
            left = None if deadline is None else deadline - time.monotonic()
            if left is not None and (left <= 0 or not select.select([self._connection], [], [], left)[0]):
                raise TimeoutError
            try:
                data = self._connection.recv(2**18)
            except ConnectionError:
                data = b""
            if not data:
                self._dead = True
                raise LaneDied("the kernel died")
            self._buffer += data
        del self._buffer[: wire.size(self._buffer)]
        return dict(message)


_waiting: list[Lane] = []


def prepare(imports: Sequence[str] = ()) -> None:
    """Fork a lane for the next `take`, before this process starts any thread; *imports* as for `Lane`."""
    if not _waiting and forks.single_threaded():
        _waiting.append(Lane(imports))


def take() -> Lane | None:
    """The lane that was prepared, or one that is made now; None in a process with several threads."""
    if _waiting:
        return _waiting.pop()
    return Lane() if forks.single_threaded() else None


@contextmanager
def prepared() -> Iterator[None]:
    """Have a lane ready while this lasts; one that was not taken is ended afterwards."""
    prepare()
    try:
        yield
    finally:
        while _waiting:
            _waiting.pop().end()


def _become(connection: socket.socket, parent: int, imports: Sequence[str]) -> None:
    """In the fork: take leave of the runner's files, and run cells until the runner is gone."""
    ours = os.dup(2)  # our own failures are told there; the cells get another standard error
    try:
        _waiting.clear()
        os.setsid()
        forks.die_with(parent)
        forks.name(b"labkit-lane")
        forks.fresh()
        from labkit.kernels import cells

        for statement in imports:
            with suppress(Exception):  # the cell does it again, and then it is its error
                exec(statement, {})
        cells.serve(connection)
        forks.leave(lambda: None)
    except BaseException:
        os.write(ours, traceback.format_exc().encode())
    finally:
        os._exit(1)
