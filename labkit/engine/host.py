"""The engine's host: the machine as the daemon sees it, with its processes, interfaces, rules and cgroup files."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
from abc import ABC, abstractmethod
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

from labkit.engine.processes import Process
from labkit.errors import EngineUnreachable, LabkitError, MissingCapability

__all__ = ["CommandFailed", "Completed", "Host", "MissingHost", "NamespaceHost"]


@dataclass(frozen=True)
class Completed:
    """A command that has ended on the host: its words, exit *code* and both streams as text."""

    args: list[str]
    code: int
    stdout: str
    stderr: str

    @property
    def ok(self) -> bool:
        """Whether it ended with exit code 0."""
        return self.code == 0

    def __repr__(self) -> str:
        return (self.stdout + self.stderr).rstrip("\n")


class CommandFailed(LabkitError):
    """A command on the engine's host ended with an exit code other than 0; *completed* holds all of it.

    *late*: it was killed since it had not ended after so many seconds.
    """

    def __init__(self, completed: Completed, *, late: float | None = None) -> None:
        self.completed, self.late = completed, late
        how = (
            f"exit code {completed.code}"
            if late is None
            else f"it did not end within {late:g} s, and was killed"
        )
        super().__init__(
            f"`{shlex.join(completed.args)}` failed on the engine's host",
            seen=f"{how}\n{completed.stderr.strip()[-2000:]}",
        )


class Host(ABC):
    """Run commands and read files where the daemon lives.

    ``available`` says whether that is possible from here and ``reason`` how, or why not.
    """

    available: bool
    reason: str

    @abstractmethod
    def argv(self, command: Sequence[str]) -> list[str]:
        """The command line that runs *command* on the host, for use with `subprocess`."""

    def run(
        self,
        command: str | Sequence[str],
        *,
        input: str | None = None,
        check: bool = True,
        timeout: float | None = 60,
    ) -> Completed:
        """Run *command* on the host and wait for it.

        A string is given to ``sh -c``, a sequence is run as it is.  *timeout* is in seconds; a command that takes longer
        is killed with what it has started, and raises `CommandFailed` too.  Raises `CommandFailed` for an exit code other
        than 0 unless *check* is false, and `MissingCapability` where the host is out of reach.
        """
        args = ["sh", "-c", command] if isinstance(command, str) else list(command)
        process = subprocess.Popen(
            self.argv(args),
            stdin=subprocess.DEVNULL if input is None else subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,  # so all that it starts is in one process group, in whatever process namespace
        )
        with process:
            try:
                said = process.communicate(None if input is None else input.encode(), timeout)
            except BaseException as error:
                with suppress(
                    ProcessLookupError
                ):  # it ended just then, and after Ctrl-C Popen has waited for that
                    os.killpg(process.pid, signal.SIGKILL)
                process.wait()  # after Ctrl-C, Popen itself leaves it a zombie
                if isinstance(error, subprocess.TimeoutExpired):
                    late = [_text(part or b"") for part in (error.stdout, error.stderr)]
                    raise CommandFailed(Completed(args, -signal.SIGKILL, *late), late=timeout) from None
                raise
        completed = Completed(args, process.returncode, *map(_text, said))
        if check and not completed.ok:
            raise CommandFailed(completed)
        return completed

    def read(self, path: str | os.PathLike[str]) -> str:
        """The text of a file on the host.  Raises `CommandFailed` where it cannot be read."""
        return self.run(["cat", "--", os.fspath(path)]).stdout

    def write(self, path: str | os.PathLike[str], text: str) -> None:
        """Write *text* to a file on the host (an existing one is replaced)."""
        self.run(["sh", "-c", 'cat >"$0"', os.fspath(path)], input=text)


def _text(said: bytes) -> str:
    """As it is, with its line ends."""
    return said.decode(errors="replace")


class MissingHost(Host):
    """A host that is out of reach, with the reason."""

    available = False

    def __init__(self, reason: str) -> None:
        self.reason = reason

    def argv(self, command: Sequence[str]) -> list[str]:
        raise MissingCapability("the engine's host is out of reach from here", seen=self.reason)


class NamespaceHost(Host):
    """The namespaces in which *process* lives, entered with nsenter(1).

    *user*: enter its user namespace too, as a rootless engine needs.
    """

    available = True

    def __init__(
        self, process: Process, *, user: bool = False, reason: str = "namespaces on this machine"
    ) -> None:
        self.process, self.user, self.reason = process, user, reason

    @property
    def pid(self) -> int:
        """The number of that process, seen from here."""
        return self.process.pid

    def argv(self, command: Sequence[str]) -> list[str]:
        if not self.process.alive:  # its number may be a stranger's by now
            raise EngineUnreachable(
                "the engine's host is gone",
                seen=f"its process {self.pid} has ended",
                try_="labkit engine list",
            )
        flags = ["--mount", "--uts", "--ipc", "--net", "--pid", "--cgroup"]
        if self.user:
            flags += ["--user", "--preserve-credentials"]
        environment = [
            "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            "HOME=/root",
            "LC_ALL=C.UTF-8",
        ]
        return ["nsenter", f"--target={self.pid}", *flags, "env", "-i", *environment, *command]
