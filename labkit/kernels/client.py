"""The thin ``labkit``: a command that a zygote runs, with this process as its face.

This process lends its terminal, folder and environment, passes on signals, and ends as the command ended.  When
it ends first, however it ends, so does the command.  Imports are few on purpose.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
from contextlib import suppress
from typing import Any, NoReturn

from labkit.kernels import starting, wire
from labkit.kernels.identity import identity

__all__ = ["ask", "begin_for_next_time", "forwarded"]

COMMANDS = {"apply", "report", "resume", "run", "runbooks", "runs", "show"}
"""What people and scripts type often; the others start engines or servers, or are rare."""
SIGNALS = (
    signal.SIGINT, signal.SIGQUIT, signal.SIGHUP, signal.SIGTERM, signal.SIGTSTP, signal.SIGCONT, signal.SIGWINCH,
    signal.SIGUSR1, signal.SIGUSR2,
)  # fmt: skip


def worthwhile(arguments: list[str]) -> bool:
    """Whether the command line is one that a zygote may run: none that names a file of this process alone, as ``<(…)`` does."""
    own = any("/fd/" in word for word in arguments)
    return bool(arguments) and arguments[0] in COMMANDS and not own and starting.wanted()


def forwarded(arguments: list[str]) -> None:
    """Have the command run by a zygote and end as it ended; return if there is none."""
    if not worthwhile(arguments):
        return
    try:
        connection = starting.connect()
        if connection is None:
            return
        _lend(connection, ["labkit", *arguments])
    except Exception:  # a bad folder for sockets, say: the ordinary way tells the user
        return
    _forward_signals(connection)
    try:
        reply = wire.receive(connection)
    except OSError:
        reply = None
    if reply is None:
        sys.exit(
            "labkit: the fork server ended while the command ran\n"
            "  try:      the command again; LABKIT_ZYGOTE=0 does without the server"
        )
    _end_as(reply["status"])


def begin_for_next_time(arguments: list[str]) -> None:
    """Start a zygote in the background, for the next time."""
    if worthwhile(arguments):
        with suppress(Exception):  # then the next time is as slow as this one
            starting.start()


def ask(connection: socket.socket, files: list[int], **request: Any) -> None:
    """Send a request with standard input, output and error and the folder as *files*.  Raises `OSError`."""
    mask = os.umask(0o077)
    os.umask(mask)
    ignored = [number for number in SIGNALS if signal.getsignal(number) == signal.SIG_IGN]
    facts = {"identity": identity(), "executable": sys.executable, "umask": mask, "ignored": ignored}
    wire.send(connection, {**facts, **request}, files)


def _lend(connection: socket.socket, arguments: list[str]) -> None:
    folder = os.open(".", os.O_PATH | os.O_DIRECTORY)
    try:
        ask(connection, [0, 1, 2, folder], kind="command", argv=arguments, environ=dict(os.environ))
    finally:
        os.close(folder)
    if connection.recv(1) != b"+":
        raise ConnectionError("the zygote is stale")


def _forward_signals(connection: socket.socket) -> None:
    def forward(number: int, _: object) -> None:
        with suppress(OSError):
            connection.send(bytes([number]))
        if number == signal.SIGTSTP:
            os.kill(os.getpid(), signal.SIGSTOP)

    for number in SIGNALS:
        if signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, forward)


def _end_as(status: int) -> NoReturn:
    """End with the same exit code, or by the same signal."""
    if os.WIFSIGNALED(status):
        import resource

        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        number = os.WTERMSIG(status)
        with suppress(OSError):
            signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)
    os._exit(os.waitstatus_to_exitcode(status) & 0xFF)
