"""Which processes may share a zygote: the same Python, the same labkit, the same rights, the same namespaces.

A fork has all of these from the zygote and not from its client, so each combination has a zygote of its own.
Imports are few on purpose: this runs at each start of ``labkit``.
"""

from __future__ import annotations

import os
import sys
from contextlib import suppress

import labkit

__all__ = ["identity", "rights", "stamp"]

FOLDER = os.path.dirname(os.path.abspath(labkit.__file__))
AT_START = ("LANG", "LC_ALL", "LC_CTYPE")
"""Variables that Python reads at its start only; all whose names begin with PYTHON count too."""
RIGHTS = (b"Uid:", b"Gid:", b"Groups:", b"CapPrm:", b"CapEff:", b"CapBnd:", b"NoNewPrivs:", b"Seccomp:")
NAMESPACES = ("cgroup", "ipc", "mnt", "net", "pid", "time", "user", "uts")


def identity() -> str:
    """All that a process has from its start and that its fork could not change, as text."""
    variables = sorted(
        f"{name}={value}"
        for name, value in os.environ.items()
        if name.startswith("PYTHON") or name in AT_START
    )
    parts = [sys.prefix, sys.base_prefix, sys.version, FOLDER, labkit.__version__, *variables, rights("self")]
    return "\n".join(parts)


def rights(pid: int | str) -> str:
    """The credentials, namespaces and root folder of a process (proc(5), status; namespaces(7)).

    Raises `OSError` when it has ended, or is not ours to look at.
    """
    with open(f"/proc/{pid}/status", "rb") as file:
        lines = [line.strip().decode() for line in file if line.startswith(RIGHTS)]
    for name in NAMESPACES:
        if os.path.exists(f"/proc/{pid}/ns/{name}"):
            lines.append(os.readlink(f"/proc/{pid}/ns/{name}"))
    root = os.stat(f"/proc/{pid}/root")
    return "\n".join([*lines, f"{root.st_dev}:{root.st_ino}"])


def stamp() -> tuple[object, ...]:
    """What changes when labkit's source files or the installed packages do; a zygote with another one is stale.

    Raises `OSError` when a folder of them is just being removed.
    """
    sources = sorted(_sources(FOLDER))
    installed = [os.stat(folder).st_mtime_ns for folder in sys.path if os.path.isdir(folder)]
    return tuple(sources), tuple(installed)


def _sources(folder: str) -> list[tuple[str, int]]:
    found = []
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                if entry.name != "__pycache__":
                    found += _sources(entry.path)
            else:
                with suppress(
                    FileNotFoundError
                ):  # just removed; or an editor's lock, a link that leads nowhere
                    found.append((entry.path, entry.stat().st_mtime_ns))
    return found
