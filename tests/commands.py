"""The ``labkit`` command as a zygote runs it: in a fork of a process that has imported everything.

A start of Python takes several times as long.  That ``python -m labkit`` does the same, other tests hold.
"""

from __future__ import annotations

import multiprocessing
import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

from labkit.kernels import forks

__all__ = ["labkit", "processes"]

processes = multiprocessing.get_context("forkserver")
processes.set_forkserver_preload(["tests.warm"])


def labkit(
    *words: str, environ: Mapping[str, str] | None = None, folder: Path | None = None, seconds: float = 120
) -> subprocess.CompletedProcess[str]:
    """Run the command with these *words*; returns its exit code, and what it printed.

    Raises `subprocess.TimeoutExpired` when it takes more than so many *seconds*.
    """
    with tempfile.TemporaryDirectory(prefix="labkit-") as printed:
        given = (words, dict(environ or os.environ), folder or Path.cwd(), Path(printed))
        process = processes.Process(target=_become, args=given)
        process.start()
        process.join(seconds)
        if process.exitcode is None:
            process.kill()
            process.join()
            raise subprocess.TimeoutExpired(words, seconds)
        out, err = (
            (Path(printed) / name).read_bytes().decode(errors="surrogateescape") for name in ("out", "err")
        )
        return subprocess.CompletedProcess(words, process.exitcode, out, err)


def _become(words: tuple[str, ...], environ: dict[str, str], folder: Path, printed: Path) -> None:
    """Be that command, in this fork."""
    files = [
        os.open(os.devnull, os.O_RDONLY),
        *(os.open(printed / name, os.O_WRONLY | os.O_CREAT, 0o600) for name in ("out", "err")),
        os.open(folder, os.O_PATH | os.O_DIRECTORY),
    ]
    request = {"kind": "command", "argv": ["labkit", *words], "executable": sys.executable}
    whole = {**request, "environ": environ, "umask": 0o022, "ignored": []}
    forks.become(whole, files, socket.socketpair()[0], os.getppid())
