"""Text files written whole or not at all, and several of them all or none."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

__all__ = ["write"]


def write(texts: Mapping[Path, str]) -> None:
    """Write each text to its file, in UTF-8; a file that was there keeps its mode, and a link goes on leading to it.

    Raises `OSError`, with the name of the file, where that cannot be done; then every file is as it was.
    """
    with ExitStack() as after, ExitStack() as back:
        fresh = {}
        for path, text in texts.items():
            with _named(path):
                fresh[path] = _fresh(_target(path), text, after)
        for path, file in fresh.items():
            with _named(path):
                _put(file, _target(path), back, after)
        back.pop_all()  # all are there, so none is put back


def _target(path: Path) -> Path:
    """Where the links of *path* lead."""
    target = Path(os.path.realpath(path))
    if target.is_symlink():  # in a circle
        raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
    return target


def _fresh(path: Path, text: str, after: ExitStack) -> Path:
    """A file beside *path* that holds *text*."""
    if path.exists() and not path.is_file():  # a folder; or /dev/null, whose place it would take
        raise OSError(errno.EINVAL, "Not an ordinary file")
    fresh = path.with_name(f".{path.name}.{os.getpid()}.fresh")
    after.callback(fresh.unlink, missing_ok=True)
    fresh.write_text(text, encoding="utf-8")
    if path.exists():
        shutil.copymode(path, fresh)
    return fresh


def _put(fresh: Path, path: Path, back: ExitStack, after: ExitStack) -> None:
    """Move *fresh* to *path*; what was there can be had *back*, which needs no space on the disk."""
    if path.exists():
        former = path.with_name(f".{path.name}.{os.getpid()}.former")
        after.callback(former.unlink, missing_ok=True)
        os.link(path, former)
        back.callback(former.replace, path)
    else:
        back.callback(path.unlink, missing_ok=True)
    fresh.replace(path)


@contextmanager
def _named(path: Path) -> Iterator[None]:
    """An error names *path*, and not a file that nobody has heard of."""
    try:
        yield
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from None
