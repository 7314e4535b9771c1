"""Where labkit keeps things: two folders, and nothing outside them.

``home()`` holds what is kept (packs, images, prepared states, runs); ``runtime()`` holds what lives only as long as an
engine (sockets, logs).  ``LABKIT_HOME`` and ``LABKIT_RUNTIME`` move them.
"""

from __future__ import annotations

import os
import shutil
import stat
from pathlib import Path

from labkit.errors import LabkitError, UsageError

__all__ = ["free_bytes", "home", "need_space", "runtime"]


def home() -> Path:
    """The folder for what is kept; made when missing, readable by its user alone."""
    chosen = os.environ.get("LABKIT_HOME")
    if chosen:
        path = Path(chosen).expanduser().absolute()
    else:
        import platformdirs

        path = platformdirs.user_data_path("labkit")
    return _private_folder(path, "LABKIT_HOME")


def runtime() -> Path:
    """The folder for sockets; short, since a unix socket's path holds at most 107 bytes (unix(7))."""
    chosen = os.environ.get("LABKIT_RUNTIME")
    if chosen:
        path = Path(chosen).expanduser().absolute()
    elif os.geteuid() == 0:
        path = Path("/run/labkit")
    elif os.access(os.environ.get("XDG_RUNTIME_DIR") or "/nonexistent", os.W_OK):
        path = Path(os.environ["XDG_RUNTIME_DIR"]) / "labkit"
    else:
        path = Path(f"/tmp/labkit-{os.geteuid()}")
    if len(os.fsencode(path)) > 60 or any(character in str(path) for character in " ,:\\"):
        raise UsageError(
            f"the folder for sockets, {path}, cannot be used",
            expected="at most 60 bytes, without spaces, commas, colons or backslashes",
            try_="set LABKIT_RUNTIME to a short path",
        )
    return _private_folder(path, "LABKIT_RUNTIME")


def _private_folder(path: Path, variable: str) -> Path:
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        status = path.lstat()
    except OSError as error:
        raise UsageError(
            f"cannot make the folder {path}", seen=str(error), try_=f"set {variable} to a folder of your own"
        ) from error
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.geteuid():
        raise UsageError(
            f"{path} is not a folder of yours",
            seen=f"owner {status.st_uid}, mode {stat.filemode(status.st_mode)}",
            try_=f"set {variable} to a folder of your own",
        )
    if status.st_mode & 0o077:
        path.chmod(0o700)
    return path


def free_bytes(folder: Path) -> int:
    """Bytes that this user can still write on the file system of *folder*."""
    return shutil.disk_usage(folder).free


def need_space(folder: Path, needed: int, purpose: str) -> None:
    """Raise `LabkitError` when *folder*'s file system has fewer than *needed* bytes free for *purpose*."""
    free = free_bytes(folder)
    if free < needed:
        raise LabkitError(
            f"not enough disk space to {purpose}",
            seen=f"{free // 2**20} MiB free in {folder}",
            expected=f"at least {needed // 2**20} MiB",
            try_="free some space, or set LABKIT_HOME to a folder on a larger disk",
        )
