"""Where labkit keeps things: two folders, and nothing outside them.

``home()`` holds what is kept (packs, images, prepared states, runs); ``runtime()`` holds what lives only as long as an
engine (sockets, logs).  ``LABKIT_HOME`` and ``LABKIT_RUNTIME`` move them.

A file named `MARKER` says that a folder is labkit's.  A folder that holds other things and no marker is not taken, and
the mode of a folder that was there already is never changed.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from labkit.errors import LabkitError, UsageError

__all__ = [
    "MARKER",
    "chosen",
    "contents",
    "free_bytes",
    "home",
    "is_engine",
    "jupyter_environ",
    "need_space",
    "runtime",
]

MARKER = ".labkit"
_ENGINE = r"[A-Za-z0-9][A-Za-z0-9-]{0,30}-[0-9a-f]{6}"
_OURS = {
    "LABKIT_HOME": re.compile(
        rf"engines|images|jupyter|layers|packs|plans|prepared|progress\.sqlite(-\w+)?|runs|\.import-\d+\.tar\.gz|\.{_ENGINE}\.saved"
    ),
    "LABKIT_RUNTIME": re.compile(
        rf"{_ENGINE}|lab-[0-9a-f]{{8}}\.json|trace-[0-9a-f]{{8}}\.sock|turn-[0-9a-f]{{16}}\.lock|zygote-[0-9a-f]{{8}}\.\w+"
    ),
}
"""What labkit makes in each of the two folders, by name."""


def home() -> Path:
    """The folder for what is kept; made when missing, readable by its user alone.

    Programs of an engine pack run with the libraries that lie in it, whose folders ld.so(8) takes apart at colons and semicolons.
    """
    path = chosen("LABKIT_HOME")
    if path is None:
        import platformdirs

        path = platformdirs.user_data_path("labkit")
    if set(str(path)) & set(":;"):
        raise UsageError(
            f"the folder {path} cannot be used",
            expected="a path without colons and semicolons",
            try_="set LABKIT_HOME to another folder",
        )
    return _private_folder(path, "LABKIT_HOME")


def runtime() -> Path:
    """The folder for sockets; short, since a unix socket's path holds at most 107 bytes (unix(7))."""
    path = chosen("LABKIT_RUNTIME") or _usual_runtime()
    if len(os.fsencode(path)) > 60 or any(character in str(path) for character in " ,:\\"):
        raise UsageError(
            f"the folder for sockets, {path}, cannot be used",
            expected="at most 60 bytes, without spaces, commas, colons or backslashes",
            try_="set LABKIT_RUNTIME to a short path",
        )
    return _private_folder(path, "LABKIT_RUNTIME")


def _usual_runtime() -> Path:
    if os.geteuid() == 0:
        return Path("/run/labkit")
    folder = Path(os.environ.get("XDG_RUNTIME_DIR", ""))
    if folder.is_absolute() and os.access(
        folder, os.W_OK
    ):  # others are to be ignored (XDG Base Directory Specification)
        return folder / "labkit"
    return Path(f"/tmp/labkit-{os.geteuid()}")


def chosen(variable: str) -> Path | None:
    """The full path that an environment *variable* names; None where it is not set.  Raises `UsageError` for ``~nobody``."""
    told = os.environ.get(variable)
    try:
        return Path(told).expanduser().absolute() if told else None
    except (OSError, RuntimeError) as error:  # such as a present folder that is gone
        raise UsageError(
            f"{variable} leads nowhere", seen=f"{told!r}: {error}", try_="give it a full path"
        ) from error


def _private_folder(path: Path, variable: str) -> Path:
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        status = path.lstat()
    except OSError as error:
        raise UsageError(
            f"cannot make the folder {path}", seen=str(error), try_=f"set {variable} to a folder of your own"
        ) from error
    mine = stat.S_ISDIR(status.st_mode) and status.st_uid == os.geteuid()
    marked = mine and (path / MARKER).exists()
    if mine and not marked:
        _need_ours(path, variable)
    if not mine or status.st_mode & 0o077:
        elsewhere = f"set {variable} to a folder that does not exist yet"
        raise UsageError(
            f"{path} is not a folder of yours alone",
            seen=f"owner {status.st_uid}, mode {stat.filemode(status.st_mode)}",
            expected=f"owner {os.geteuid()}, mode drwx------",
            try_=f"chmod 700 {shlex.quote(str(path))}\nor {elsewhere}" if mine else elsewhere,
        )
    if not marked:
        _mark(path)
    return path


def _need_ours(path: Path, variable: str) -> None:
    """Raise `UsageError` where *path* holds what labkit did not make."""
    ours, strange = contents(path, variable)
    # a home of before there was a marker has packs in it; a folder with nothing but `images` may be anybody's
    if strange or (variable == "LABKIT_HOME" and ours and path / "packs" not in ours):
        raise UsageError(
            f"{path} holds what is not labkit's",
            seen=", ".join(sorted(entry.name for entry in strange or ours)[:5]),
            expected="an empty folder, or one that labkit made",
            try_=f"set {variable} to a folder that does not exist yet",
        )


def _mark(path: Path) -> None:
    try:
        (path / MARKER).write_text(
            "labkit made this folder; `labkit uninstall` removes what labkit keeps in it\n",
            encoding="utf-8",
        )
    except OSError as error:
        raise LabkitError(f"cannot write to {path}", seen=str(error)) from error


def contents(folder: Path, variable: str) -> tuple[list[Path], list[Path]]:
    """What lies in *folder*, which *variable* names: what labkit made there, but for the marker, and what it did not."""
    entries = sorted(entry for entry in folder.iterdir() if entry.name != MARKER)
    ours = [entry for entry in entries if _OURS[variable].fullmatch(entry.name)]
    return ours, [entry for entry in entries if entry not in ours]


def is_engine(name: str) -> bool:
    """Whether a folder of this *name* can be an engine's."""
    return re.fullmatch(_ENGINE, name) is not None


def jupyter_environ() -> dict[str, str]:
    """Environment variables that keep what Jupyter and its kernels write for themselves in `home`."""
    folder = home() / "jupyter"
    folder.mkdir(exist_ok=True)  # or IPython takes a temporary folder, and leaves it
    return {
        "IPYTHONDIR": str(folder / "ipython"),
        "JUPYTER_CONFIG_DIR": str(folder / "config"),
        "JUPYTER_DATA_DIR": str(folder / "data"),
        "JUPYTER_RUNTIME_DIR": str(folder / "runtime"),
        "JUPYTERLAB_SETTINGS_DIR": str(folder / "settings"),
        "JUPYTERLAB_WORKSPACES_DIR": str(folder / "workspaces"),
        "npm_config_cache": str(
            folder / "npm"
        ),  # JupyterLab asks npm where it is, and npm writes a log of that
    }


@contextmanager
def jupyter_at_home() -> Iterator[None]:
    """While this lasts, Jupyter's libraries in this process write in `home` too; some make a folder just to look into it."""
    before = {name: os.environ.get(name) for name in jupyter_environ()}
    os.environ.update(jupyter_environ())
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


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
