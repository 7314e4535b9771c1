"""Root filesystems made of Debian packages, by mmdebstrap; and who may unpack what belongs to several users."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from labkit.engine.keeper import DIES_WITH_ME, erase
from labkit.errors import LabkitError

__all__ = ["Progress", "debootstrap", "in_user_namespace", "rootless"]

Progress = Callable[[str], None]
"""Told what is going on, a line at a time."""


def rootless() -> bool:
    """Whether engines of this user need a user namespace."""
    return os.geteuid() != 0


def in_user_namespace(command: Sequence[str]) -> list[str]:
    """*command* as root of a user namespace, where this user is not root: files of other users stay what they are."""
    return ["unshare", "--user", "--map-root-user", "--map-auto", *command] if rootless() else list(command)


def debootstrap(
    suite: str, packages: Sequence[str], target: Path, progress: Progress, variant: str = "essential"
) -> None:
    """Fill the folder *target* (or the file, if it ends in ``.tar``) with a Debian root filesystem.

    Raises `LabkitError` with the end of mmdebstrap's output when that fails.
    """
    program = shutil.which("mmdebstrap")
    if program is None:
        raise LabkitError(
            "mmdebstrap is missing: it makes root filesystems", try_="apt-get install mmdebstrap (as root)"
        )
    mirror = [m] if (m := os.environ.get("LABKIT_DEBIAN_MIRROR", "")) else []
    slim = [
        f"--dpkgopt=path-exclude=/usr/share/{d}/*"
        for d in ("doc", "man", "locale", "info", "bash-completion")
    ]
    command = [
        program,
        f"--variant={variant}",
        "--mode=root",
        f"--include={','.join(packages)}",
        '--aptopt=Acquire::Languages "none"',
        "--aptopt=Acquire::Retries 3",
        *slim,
        suite,
        str(target),
        *mirror,
    ]
    # in namespaces of its own, so that a kill leaves neither mounts nor processes behind; a new user namespace undoes what
    # ends it with us (prctl(2), PR_SET_PDEATHSIG)
    apart = [*DIES_WITH_ME, "unshare", "--mount", "--pid", "--fork", "--kill-child", *command]
    wrapped = [*DIES_WITH_ME, *in_user_namespace(apart)]
    last = deque[str](maxlen=30)
    with (
        _scratch(target.parent) as environ,
        subprocess.Popen(
            wrapped,
            stderr=subprocess.PIPE,
            stdin=subprocess.DEVNULL,
            text=True,
            cwd="/",
            errors="replace",
            env=environ,
        ) as process,
    ):
        try:
            assert process.stderr is not None
            for line in process.stderr:
                last.append(line.rstrip())
                if line.startswith("I: "):
                    progress(f"  {line[3:].strip()}")
        except BaseException:
            process.kill()
            raise
    if process.returncode:
        raise _failed(suite, list(last))


def _failed(suite: str, said: list[str]) -> LabkitError:
    """What to tell of a mmdebstrap that failed, by the end of what it *said*."""
    what = f"could not make a Debian {suite} root filesystem"
    full = [line for line in said if "No space left on device" in line]
    if full:
        return LabkitError(
            what, seen=full[-1], try_="free some space, or set LABKIT_HOME to a folder on a larger disk"
        )
    return LabkitError(
        what,
        seen="\n".join([line for line in said if line.startswith(("E:", "W:"))] or said[-8:]),
        try_="is a Debian mirror reachable? LABKIT_DEBIAN_MIRROR names another one\nlabkit pack import FILE needs no mirror",
    )


@contextmanager
def _scratch(folder: Path) -> Iterator[dict[str, str]]:
    """An environment whose folder for temporary files is inside *folder*, so that a kill leaves none elsewhere."""
    scratch = Path(tempfile.mkdtemp(prefix=".scratch-", dir=folder))
    try:
        yield {**os.environ, "TMPDIR": str(scratch)}
    finally:
        erase(scratch, rootless=rootless())
