"""The zygote: a process with all imports done that forks kernels and commands on demand.

It waits in one place, for its clients and its children alike; it never waits for a client.  Before a fork it has
no thread, no ZeroMQ context, no IPython shell and no open file of its own but those below.  A child lives as long as
its client: the zygote sees the client's end by its connection and by its pidfd, and ends the child's whole session.
The zygote ends after ten idle minutes (``LABKIT_ZYGOTE_IDLE``, seconds), when it is stale, and on SIGTERM; its
children end with it (prctl(2), PR_SET_PDEATHSIG).
"""

from __future__ import annotations

import fcntl
import gc
import importlib
import os
import pkgutil
import selectors
import signal
import socket
import sys
import traceback
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

import labkit
from labkit.engine.processes import Process
from labkit.kernels import forks, starting, wire
from labkit.kernels.identity import identity, rights, stamp

__all__ = ["Zygote", "main"]

LIBRARIES = (
    *("docker", "pandas", "pandas.io.formats.html", "pydantic", "rich.live"),
    *("nbformat", "papermill.execute"),
    # what ipykernel and IPython import when they are first used
    *(
        "ipykernel.kernelapp",
        "ipykernel.debugger",
        "ipykernel.zmqshell",
        "tornado.platform.asyncio",
        "psutil",
    ),
    *("IPython.core.debugger", "IPython.core.completerlib", "IPython.core.oinspect", "stack_data", "pexpect"),
    *("IPython.extensions.storemagic", "pygments.formatters.terminal256", "pygments.styles", "sqlite3"),
)
"""What runbooks, papermill and kernels use; a new one belongs here when a fork's first cell imports it."""


@dataclass(eq=False)
class Session:
    """One client and, once its request is whole, the child that serves it."""

    connection: socket.socket
    client: int
    """A pidfd of the client."""
    frames: wire.Frames = field(default_factory=wire.Frames)
    pid: int = 0
    child: int = -1
    """A pidfd of the child."""


class Zygote:
    """The server; *idle* is in seconds."""

    def __init__(self, listener: socket.socket, idle: float) -> None:
        self._listener: socket.socket | None = listener
        self._idle = idle
        self._identity = identity()
        self._files = [starting.place(suffix) for suffix in (".sock", ".log", ".lock")]  # the lock last
        self._rights = rights("self")
        self._stamp = stamp()
        self._sessions: set[Session] = set()
        self._selector = selectors.DefaultSelector()
        self._selector.register(listener, selectors.EVENT_READ, self._accept)
        self._wake = self._hear_signals()

    def _hear_signals(self) -> tuple[socket.socket, socket.socket]:
        """SIGHUP: take no more and end with the last child; SIGTERM and SIGINT: end; SIGCHLD: somebody has ended."""
        ears = socket.socketpair()
        for ear in ears:
            ear.setblocking(False)
        signal.set_wakeup_fd(ears[1].fileno())
        for number in (signal.SIGHUP, signal.SIGTERM, signal.SIGINT, signal.SIGCHLD):
            signal.signal(number, lambda *_: None)
        forks.adopt_orphans()
        self._selector.register(ears[0], selectors.EVENT_READ, self._signalled)
        return ears

    def _adopted(self) -> None:
        """Bury orphans of our children; of a lane whose runner was killed, end what its cells have started."""
        known = {session.pid for session in self._sessions}
        children = Path(f"/proc/self/task/{os.getpid()}/children").read_text(encoding="utf-8").split()
        for pid in map(int, children):
            if pid not in known and os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT):
                if Path(f"/proc/{pid}/comm").read_bytes() == b"labkit-lane\n":
                    forks.reap(pid)
                else:
                    os.waitpid(pid, 0)

    def serve(self) -> None:
        """Serve until there is nothing more to do."""
        while self._listener or self._sessions:
            events = self._selector.select(None if self._sessions else self._idle)
            if not events:
                self.retire()
            for key, _ in events:
                # an earlier event may have ended the session that this one belongs to, and its numbers may be others' now
                if self._selector.get_map().get(key.fd) is key:
                    key.data(key.fileobj)

    def retire(self) -> None:
        """Take no more clients, and make place for a younger zygote."""
        if self._listener:
            self._selector.unregister(self._listener)
            for path in self._files:
                path.unlink(missing_ok=True)
            self._listener.close()
            self._listener = None

    # -- what happens

    def _signalled(self, ear: socket.socket) -> None:
        numbers = ear.recv(64)
        if signal.SIGCHLD in numbers:
            self._adopted()
        if set(numbers) - {signal.SIGCHLD}:
            self.retire()
        if signal.SIGTERM in numbers or signal.SIGINT in numbers:
            for session in list(self._sessions):
                self._end(session)

    def _accept(self, listener: socket.socket) -> None:
        try:
            connection, _ = listener.accept()
        except OSError:  # no more files may be had: a younger zygote has place for those who wait
            self.retire()
            return
        try:
            pid, user = wire.peer(connection)
            if user != os.geteuid() or rights(pid) != self._rights:
                raise PermissionError
            client = os.pidfd_open(pid)
        except OSError:
            connection.close()
            return
        if self._stale():
            self.retire()  # first, so that a client that sees us go finds our place free
            connection.close()
            os.close(client)
            return
        session = Session(connection, client)
        self._sessions.add(session)
        with suppress(OSError):  # gone again: we shall hear of it
            connection.send(starting.GREETING)
        connection.setblocking(False)
        self._selector.register(connection, selectors.EVENT_READ, lambda _: self._hear(session))
        self._selector.register(client, selectors.EVENT_READ, lambda _: self._end(session))

    def _stale(self) -> bool:
        try:
            return stamp() != self._stamp
        except OSError:
            return True

    def _hear(self, session: Session) -> None:
        """The request, or a signal to pass on, or the client's end."""
        try:
            if session.pid:
                heard = session.connection.recv(64)
                for number in heard:
                    forks.pass_on(session.pid, number)
                if not heard:
                    self._end(session)
            elif (request := session.frames.read(session.connection)) is not None:
                self._fork(session, request)
        except (EOFError, OSError, ValueError, RecursionError):  # also where no more processes may be had
            self._end(session)

    def _fork(self, session: Session, request: Any) -> None:
        if (
            not isinstance(request, dict)
            or request.get("identity") != self._identity
            or len(session.frames.descriptors) != 4
        ):
            self._end(session)
            return
        parent = os.getpid()
        # until the child has handlers of its own: in ours it would tell us that we were to end
        signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        try:
            session.pid = os.fork()
            if session.pid == 0:
                self._become(session, request, parent)
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, [])
        session.frames.close()
        session.connection.send(b"+")
        session.child = os.pidfd_open(session.pid)
        self._selector.register(session.child, selectors.EVENT_READ, lambda _: self._ended(session))

    def _become(self, session: Session, request: dict[str, Any], parent: int) -> NoReturn:
        """In the child: leave all that is the zygote's behind, and do what was asked."""
        try:
            signal.set_wakeup_fd(-1)
            keep = {session.connection.fileno(), *session.frames.descriptors}
            for name in os.listdir("/proc/self/fd"):
                if int(name) not in keep and int(name) > 2:
                    with suppress(OSError):
                        os.close(int(name))
            forks.become(request, session.frames.descriptors, session.connection, parent)
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(1)

    def _ended(self, session: Session) -> None:
        """The child has ended: tell its client, and end what it left in its session."""
        os.waitid(os.P_PID, session.pid, os.WEXITED | os.WNOWAIT)
        status = forks.reap(session.pid)
        session.connection.setblocking(True)
        session.connection.settimeout(1)
        with suppress(OSError):
            wire.send(session.connection, {"status": status})
        session.pid = 0
        self._end(session)

    def _end(self, session: Session) -> None:
        """End the child, if there is one, and forget the client."""
        self._sessions.discard(session)
        if session.pid:
            with suppress(ProcessLookupError):
                os.kill(session.pid, signal.SIGKILL)
            forks.reap(session.pid)
        session.frames.close()
        for descriptor in (session.connection, session.client, session.child):
            with suppress(KeyError, ValueError):
                self._selector.unregister(descriptor)
        session.connection.close()
        os.close(session.client)
        if session.child >= 0:
            os.close(session.child)


def preload() -> None:
    """Do the imports, and what the modules say (``warm_up``) takes long at its first use."""
    gc.disable()  # nothing that is imported is garbage, and looking for some takes a tenth of the time
    ours = [module.name for module in pkgutil.walk_packages(labkit.__path__, "labkit.")]
    for name in [*LIBRARIES, *(name for name in ours if not name.endswith("__main__"))]:
        try:
            module = importlib.import_module(name)
            if name in ours and hasattr(module, "warm_up"):
                module.warm_up()
        except Exception:  # a fork does it again, and then it is its error
            traceback.print_exc()
    gc.enable()
    gc.collect()
    gc.freeze()  # what is there now is never collected, so its pages stay shared


def _lock() -> bool:
    """Hold the lock for life; false when another zygote does."""
    path = starting.place(".lock")
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(descriptor)
            return False
        with suppress(FileNotFoundError):
            if os.fstat(descriptor).st_ino == path.stat().st_ino:
                me = Process.current()
                os.ftruncate(descriptor, 0)
                os.write(descriptor, f"{me.pid} {me.started}\n".encode())
                return True
        os.close(descriptor)  # the one before us has just removed it


def _listen(path: Path) -> socket.socket:
    path.unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX)
    before = os.umask(0o177)
    try:
        listener.bind(str(path))
    finally:
        os.umask(before)
    listener.listen(128)
    listener.setblocking(False)
    return listener


def main() -> None:
    """Be the zygote of this user and this Python, unless there is one."""
    if not _lock():
        return
    preload()
    if not forks.single_threaded():
        sys.exit("a library has started a thread when it was imported; forks would not be safe")
    zygote = Zygote(_listen(starting.place()), starting.idle_seconds())
    try:
        zygote.serve()
    finally:
        zygote.retire()  # also after an error: while Python winds up, a younger one would find our lock held
