"""Files that an action writes on this machine: new ones, whole or not at all, with their checksum beside them."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from labkit.errors import LabkitError, UsageError
from labkit.observe.copies import note_of

__all__ = ["chunks", "need_new", "write"]

_CHUNK = 2**20


def need_new(file: Path) -> None:
    """Raise `UsageError` unless *file* and the note beside it can be made."""
    try:
        for each in (file, note_of(file)):
            if each.exists() or each.is_symlink():
                raise UsageError(f"{each} exists already", try_="choose another file")
    except OSError as error:
        raise UsageError(f"no file can be called {file.name}", seen=error.strerror or str(error)) from None
    if not file.parent.is_dir():
        raise UsageError(f"no folder {file.parent}", try_=f"mkdir -p {file.parent}")


def write(file: Path, content: Iterable[bytes], check: Callable[[Path], object]) -> dict[str, Any]:
    """Write *content* to the new *file*, for its user alone, and its sha256 in a note beside it; returns both facts.

    *check* looks at it before it has its name, and may raise.  Whatever fails, nothing half-made is left.
    """
    note = note_of(file)
    asides = {made: made.with_name(f".{made.name}.part") for made in (file, note)}
    if file.exists():
        raise _taken(file)
    try:
        told = _fill(asides[file], content)
        _fill(asides[note], [f"{told['sha256']}  {file.name}\n".encode()])
        check(asides[file])
        _name(asides[file], file, asides[note], note)
    except OSError as error:
        raise LabkitError(f"{file} cannot be written", seen=error.strerror or str(error)) from error
    finally:
        for aside in asides.values():
            with suppress(OSError):
                aside.unlink()
    return {**told, "file": str(file)}


def chunks(file: Path) -> Iterator[bytes]:
    """The content of *file*, a mebibyte at a time."""
    with file.open("rb") as opened:
        while chunk := opened.read(_CHUNK):
            yield chunk


def _fill(aside: Path, content: Iterable[bytes]) -> dict[str, Any]:
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW
    digest = hashlib.sha256()
    with os.fdopen(os.open(aside, flags, 0o600), "wb") as file:
        for chunk in content:
            file.write(chunk)
            digest.update(chunk)
        file.flush()
        os.fsync(file.fileno())
        return {"sha256": digest.hexdigest(), "bytes": file.tell()}


def _name(aside: Path, file: Path, aside_note: Path, note: Path) -> None:
    """The note first: a crash between the two leaves one without a file, which the next attempt replaces."""
    aside_note.replace(note)
    try:
        os.link(aside, file)  # fails when somebody made that file meanwhile
    except BaseException as error:
        note.unlink()
        raise _taken(file) if isinstance(error, FileExistsError) else error from None


def _taken(file: Path) -> LabkitError:
    return LabkitError(f"{file} was made by somebody meanwhile, and is left alone")
