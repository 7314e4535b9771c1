"""A docker command as it is typed: one command, without a shell, run until it ends or has taken too long."""

from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from math import inf
from typing import NamedTuple

from labkit.errors import LabkitError, UsageError

__all__ = ["Ran", "run", "words"]

GRACE = 5.0
"""Seconds from SIGINT to SIGKILL."""
QUOTED = re.compile(r"'[^']*'|\\.|\"(?:\\.|[^\"\\$`])*\"", re.DOTALL)
SHELL = re.compile(r"[|;&<>()`$\n]")
"""What means something to a shell where it is not quoted."""
ELSEWHERE = re.compile(r"--(?:host|context|config)(?:=.*)?|-[Dhv]*[Hc].*", re.DOTALL)
"""Options of ``docker`` that lead to another engine; short ones may stand together."""
VALUED = re.compile(r"--(?:log-level|tlscacert|tlscert|tlskey)|-[Dhv]*l")
"""Options of ``docker`` whose value is the next word (docker/cli, ``cli/flags``)."""
TRY = 'lab.trace("docker ps --all")'


def words(line: str) -> list[str]:
    """The words of a docker command.  Raises `UsageError` for anything else, and for what only a shell could do."""
    if not isinstance(line, str) or not line.strip():
        raise UsageError("there is no command to trace", seen=repr(line), try_=TRY)
    plain = line.strip().replace("\\\n", " ")
    try:
        found = shlex.split(plain)
    except ValueError as error:
        raise UsageError("the command cannot be read", seen=f"{error}: {plain}", try_=TRY) from None
    if not found or found[0] != "docker":
        raise UsageError(
            "only docker commands are traced",
            seen=found[0] if found else plain,
            expected="docker, without ! or anything else before it",
            try_=TRY,
        )
    if sign := SHELL.search(QUOTED.sub("", plain)):
        raise UsageError(
            "a trace runs one command, and no shell",
            seen=repr(sign[0]),
            expected="no pipes, redirections, variables or second commands; in single quotes they are plain text",
            try_=TRY,
        )
    if elsewhere := next((word for word in _options(found[1:]) if ELSEWHERE.fullmatch(word)), None):
        raise UsageError(
            "a trace goes to the lab's engine",
            seen=elsewhere,
            expected="no option that names another engine or configuration",
        )
    return found


def _options(words: Sequence[str]) -> Iterator[str]:
    """The options that come before the name of the command."""
    left = iter(words)
    for word in left:
        if not word.startswith("-"):
            return
        yield word
        if VALUED.fullmatch(word):
            next(left, None)


class Ran(NamedTuple):
    """A command's exit *code*, its *output* (both streams as they came), the *seconds* that it took, and if it was *ended*."""

    code: int
    output: str
    seconds: float
    ended: bool


def run(command: Sequence[str], environ: Mapping[str, str], seconds: float) -> Ran:
    """Run *command* without input, for at most *seconds*; nothing of it goes on when this returns or raises.

    Raises `UsageError` for seconds that are none, and `LabkitError` where there is no such program, or where its words cannot
    be given to one.
    """
    if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not 0 < seconds < inf:
        raise UsageError("no such time for a command", seen=repr(seconds), expected="seconds, more than 0")
    began = time.perf_counter()
    try:
        process = subprocess.Popen(
            command,
            env={**os.environ, **environ},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # so that its plugins end with it
        )
    except FileNotFoundError:
        raise LabkitError(
            f"there is no {command[0]} command", seen=f"PATH={environ.get('PATH') or os.environ.get('PATH')}"
        ) from None
    except (OSError, ValueError) as error:  # too long, a NUL in a word
        raise LabkitError(f"{command[0]} cannot be run with these words", seen=str(error)) from None
    with process:
        try:
            output, ended = _output(process, seconds)
        except BaseException:
            _signal(process, signal.SIGKILL)
            process.wait()  # after Ctrl-C, Popen itself leaves it a zombie
            raise
    return Ran(process.returncode, output, time.perf_counter() - began, ended)


def _output(process: subprocess.Popen[bytes], seconds: float) -> tuple[str, bool]:
    """What it says until its end, and whether it had to be ended."""
    for number in (signal.SIGINT, signal.SIGKILL):
        try:
            told, _ = process.communicate(timeout=seconds)
            return told.decode("utf-8", "replace"), number == signal.SIGKILL
        except subprocess.TimeoutExpired:
            _signal(process, number)
            seconds = GRACE
    told, _ = process.communicate()
    return told.decode("utf-8", "replace"), True


def _signal(process: subprocess.Popen[bytes], number: signal.Signals) -> None:
    with suppress(ProcessLookupError):
        os.killpg(process.pid, number)
