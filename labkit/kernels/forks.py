"""What a fork of the zygote becomes: a kernel, or a ``labkit`` command with its client's terminal.

A fork takes over all that a fresh process would have had from its starter: files, folder, environment, mask, limits,
signals, arguments; and it draws new random seeds.  It leads a session of its own.
"""

from __future__ import annotations

import atexit
import ctypes
import importlib
import os
import resource
import signal
import socket
import sys
import tempfile
import threading
import time
import traceback
from contextlib import suppress
from typing import Any, NoReturn

from labkit.engine import processes
from labkit.kernels import wire

__all__ = [
    "adopt_orphans",
    "become",
    "die_with",
    "fresh",
    "leave",
    "name",
    "pass_on",
    "reap",
    "single_threaded",
    "warm_up",
]

LIBC = ctypes.CDLL(None)
PR_SET_PDEATHSIG, PR_SET_NAME, PR_SET_CHILD_SUBREAPER = 1, 15, 36  # prctl(2)
PASSED_ON = {
    signal.SIGINT, signal.SIGQUIT, signal.SIGHUP, signal.SIGTERM, signal.SIGTSTP, signal.SIGCONT, signal.SIGWINCH,
    signal.SIGUSR1, signal.SIGUSR2,
}  # fmt: skip
FROM_TERMINAL = {signal.SIGINT, signal.SIGQUIT, signal.SIGHUP, signal.SIGWINCH}
"""A terminal sends these to a whole process group."""


# -- in the zygote


def warm_up() -> None:
    """Do once what each fork would do at its first use: compile the notebook schema."""
    import nbformat

    nbformat.validate({"cells": [], "metadata": {}, "nbformat": 4, "nbformat_minor": 5})


def adopt_orphans() -> None:
    """Become the parent of all that descends from our children and loses its own."""
    LIBC.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def pass_on(pid: int, number: int) -> None:
    """Give the child a signal that its client has received.

    A process group without a parent in its session ignores SIGTSTP (setpgid(2)), so it is stopped by SIGSTOP.
    """
    if number not in PASSED_ON:
        return
    wanted = signal.SIGSTOP if number == signal.SIGTSTP else signal.Signals(number)
    with suppress(ProcessLookupError):
        if (
            number in FROM_TERMINAL and os.getpgid(pid) == pid
        ):  # or it has only just begun, and has no group yet
            os.killpg(pid, wanted)
        else:
            os.kill(pid, wanted)


def reap(pid: int) -> int:
    """Wait for a child that has ended or is about to; end what is left of its session; returns its wait status."""
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)  # its number stays taken until the session is gone
    for _ in range(10):
        members = _session(pid)
        for member in members:
            with suppress(ProcessLookupError):
                os.kill(member, signal.SIGKILL)
        if not members:
            break
        time.sleep(0.001)
    return os.waitpid(pid, 0)[1]


def _session(leader: int) -> list[int]:
    """The processes of a session that still run."""
    found = []
    for name in os.listdir("/proc"):
        if name.isdigit():
            with suppress(OSError):
                state, _, _, session, *_ = processes.stat(name)
                if int(session) == leader and state not in "ZX":
                    found.append(int(name))
    return found


# -- in the child


def become(request: dict[str, Any], files: list[int], connection: socket.socket, parent: int) -> NoReturn:
    """Turn this fork of *parent* into what was asked; *files* are standard input, output and error, and the folder.

    It was forked with all signals blocked; one that came meanwhile is heeded at the end.
    """
    die_with(parent)
    client = wire.peer(connection)[0]
    os.setsid()
    _signals(request["ignored"])
    os.fchdir(files[3])
    for number in range(3):
        os.dup2(files[number], number)
    for descriptor in files:
        os.close(descriptor)
    _streams()
    os.umask(request["umask"])
    _environment(request["environ"])
    _limits(client)
    fresh()
    sys.argv, sys.executable = list(request["argv"]), request["executable"]
    if request["kind"] == "kernel":
        name(b"labkit-kernel")
        leave(_kernel, request, connection)
    name(b"labkit")
    connection.close()
    leave(_command)


def die_with(parent: int) -> None:
    """End this process when its *parent* does."""
    LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        os._exit(1)


def single_threaded() -> bool:
    """Whether this process can be forked: no other thread, also none of a library written in C, may hold a lock."""
    return len(os.listdir("/proc/self/task")) == 1


def name(name: bytes) -> None:
    """How ps(1) calls this process: at most 15 bytes."""
    LIBC.prctl(PR_SET_NAME, name, 0, 0, 0)


def _signals(ignored: list[int]) -> None:
    """As after a fresh start of Python, where the client ignores some on purpose (nohup(1))."""
    for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}:
        with suppress(OSError, ValueError):
            signal.signal(number, signal.SIG_IGN if number in ignored else signal.SIG_DFL)
    for number in (signal.SIGPIPE, signal.SIGXFSZ):
        signal.signal(number, signal.SIG_IGN)
    if signal.SIGINT not in ignored:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def _heed_signals() -> None:
    signal.pthread_sigmask(signal.SIG_SETMASK, [])


def _streams() -> None:
    def opened(number: int, mode: str, errors: str) -> Any:
        lines = os.isatty(number) or number == 2
        return open(
            number, mode, buffering=1 if lines else -1, encoding="utf-8", errors=errors, closefd=False
        )

    sys.stdin = sys.__stdin__ = opened(0, "r", "surrogateescape")  # type: ignore[misc]
    sys.stdout = sys.__stdout__ = opened(1, "w", "surrogateescape")  # type: ignore[misc]
    sys.stderr = sys.__stderr__ = opened(2, "w", "backslashreplace")  # type: ignore[misc]


def _environment(variables: dict[str, str]) -> None:
    os.environ.clear()
    os.environ.update(variables)
    time.tzset()
    tempfile.tempdir = None  # it may have been asked for already, with the zygote's TMPDIR


def _limits(client: int) -> None:
    """The client's resource limits, priority and processors, where they can be had."""
    for name in dir(resource):
        if name.startswith("RLIMIT_"):
            with suppress(OSError, ValueError):
                number = getattr(resource, name)
                resource.setrlimit(number, resource.prlimit(client, number))
    with suppress(OSError):
        os.sched_setaffinity(0, os.sched_getaffinity(client))
    with suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, 0, os.getpriority(os.PRIO_PROCESS, client))


def fresh() -> None:
    """New random seeds (the module `random` sees to itself)."""
    numpy = sys.modules.get("numpy")
    if numpy is not None:
        numpy.random.seed()


def _command() -> None:
    _heed_signals()
    # named rather than imported: the commands lie above this
    importlib.import_module("labkit.cli").main()


def _kernel(request: dict[str, Any], connection: socket.socket) -> None:
    """An ordinary ipykernel; the connection is told its ports once it can be reached there."""
    from ipykernel import kernelapp

    _heed_signals()

    # the same name: it stands in the log, and for its configuration
    class IPKernelApp(kernelapp.IPKernelApp):
        def init_connection_file(self) -> None:
            super().init_connection_file()
            if request["fresh"]:  # choosing while binding: no other kernel can take a port in between
                for port in request["ports"]:
                    setattr(self, port, 0)

    os.environ.setdefault("PYDEVD_USE_FRAME_EVAL", "NO")  # as ipykernel's debugger does
    # any number but 0 says that there is a parent; only above 1 it would be watched, and the zygote does that
    app = IPKernelApp.instance(parent_handle=1)
    app.initialize(sys.argv[1:])
    wire.send(
        connection, {"pid": os.getpid(), "ports": {name: getattr(app, name) for name in request["ports"]}}
    )
    connection.close()
    app.start()


def leave(action: Any, *arguments: Any) -> NoReturn:
    """Call *action*, then end this process as Python ends one, but for the freeing of memory."""
    code: Any = 0
    try:
        action(*arguments)
    except SystemExit as end:
        code = end.code
    except KeyboardInterrupt:
        code = 128 + signal.SIGINT  # as a shell has it
    except BaseException:
        traceback.print_exc()
        code = 1
    if code is not None and not isinstance(code, int):
        print(code, file=sys.stderr)
        code = 1
    try:
        threading._shutdown()  # type: ignore[attr-defined]
        atexit._run_exitfuncs()
    finally:
        for stream in (sys.stdout, sys.stderr):
            with suppress(OSError, ValueError, AttributeError):
                stream.flush()
        os._exit((code or 0) & 0xFF)
