"""One file that carries a pack: an outer tar with a manifest first and one payload, both checked by SHA-256.

It is read from front to back, so it may come through a pipe.  Used for engine packs and image packs alike, for a room with
no network.
"""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, cast

from labkit.errors import PackBroken, UsageError
from labkit.paths import need_space

__all__ = ["check_target", "read", "understood", "write"]

MANIFEST = "labkit-pack.json"
FORMAT = 1


def write(file: Path, manifest: dict[str, Any], payload: Path) -> None:
    """Write *payload* with *manifest* (``kind``, and whatever the reader needs) to *file*, whole or not at all."""
    check_target(file)
    need_space(file.parent, payload.stat().st_size, f"write {file.name}")
    full = {
        "format": FORMAT,
        **manifest,
        "payload": {"sha256": _sha256(payload), "size": payload.stat().st_size},
    }
    fresh = file.with_name(f".{file.name}.part")
    try:
        with tarfile.open(fresh, "w", format=tarfile.PAX_FORMAT) as tar:
            text = json.dumps({**full, "sha256": _of(full)}, indent=1).encode()
            member = tarfile.TarInfo(MANIFEST)
            member.size = len(text)
            tar.addfile(member, io.BytesIO(text))
            tar.add(payload, "payload")
        fresh.replace(file)
    finally:
        fresh.unlink(missing_ok=True)


def check_target(file: Path) -> None:
    """Raise `UsageError` where *file* cannot be made; to be asked before long work."""
    if not file.parent.is_dir():
        seen = f"no folder {file.parent}"
    elif file.is_dir():
        seen = f"{file} is a folder"
    elif file.exists() and not file.is_file():
        seen = f"{file} is no ordinary file"  # such as /dev/null, whose place a pack would take
    else:
        return
    raise UsageError(f"cannot write {file}", seen=seen, try_="name a file in an existing folder")


def read(file: Path, kind: str, payload: Path) -> dict[str, Any]:
    """Take the payload out of *file*, check it and put it at *payload*; return the manifest.

    Raises `PackBroken` for a file that is no pack, another kind of pack, cut short or changed; *payload* is not made then.
    """
    with _reading(file) as tar:
        first = tar.next()
        if first is None or first.name != MANIFEST or first.size > 2**20:
            raise _broken(file, f"no {MANIFEST} at its start")
        manifest = json.load(cast(BinaryIO, tar.extractfile(first)))
        # of a file that was written before there was one, there is none
        if manifest.pop("sha256", _of(manifest)) != _of(manifest):
            raise _broken(file, "its manifest is not the one that was written")
        if manifest.get("format") != FORMAT or manifest.get("kind") != kind:
            seen = f"kind {manifest.get('kind')!r}, format {manifest.get('format')!r}"
            raise PackBroken(
                f"{file} is not the pack that is wanted",
                seen=seen,
                expected=f"kind {kind!r}, format {FORMAT}",
            )
        member = tar.next()
        if member is None or member.name != "payload" or member.size != manifest["payload"]["size"]:
            raise _broken(file, "its payload is missing or has another size than the manifest says")
        need_space(payload.parent, member.size, f"unpack {file.name}")
        seen = _copy(cast(BinaryIO, tar.extractfile(member)), payload)
    if seen != manifest["payload"]["sha256"]:
        payload.unlink()
        raise _broken(
            file,
            f"SHA-256 of the payload is {seen[:12]}…, the manifest says {manifest['payload']['sha256'][:12]}…",
        )
    return cast(dict[str, Any], manifest)


@contextmanager
def _reading(file: Path) -> Iterator[tarfile.TarFile]:
    try:
        with file.open("rb") as source, tarfile.open(fileobj=source, mode="r|", bufsize=2**20) as tar:
            yield tar
    except FileNotFoundError:
        raise UsageError(f"no such pack file: {file}") from None
    except IsADirectoryError:
        raise UsageError(f"{file} is a folder", expected="a pack file made by `labkit … export`") from None
    except (tarfile.TarError, EOFError, ValueError, KeyError, AttributeError, TypeError) as error:
        raise _broken(file, f"{type(error).__name__}: {error}") from None


@contextmanager
def understood(file: Path) -> Iterator[None]:
    """Inside, what the pack *file* lacks, or holds in another form, is a `PackBroken` that names it."""
    try:
        yield
    except (tarfile.TarError, EOFError, ValueError, LookupError, AttributeError, TypeError) as error:
        told = f"{type(error).__name__}: {error}".splitlines()[0]
        raise _broken(file, f"its checksum is right, but not what it holds ({told})") from None


def _broken(file: Path, seen: str) -> PackBroken:
    return PackBroken(
        f"the pack file {file} is broken",
        seen=seen,
        expected="a file made by `labkit … export`",
        try_="copy or export it again",
    )


def _copy(source: BinaryIO, target: Path) -> str:
    digest = hashlib.sha256()
    try:
        with target.open("wb") as out:
            while chunk := source.read(2**20):
                digest.update(chunk)
                out.write(chunk)
    except BaseException:
        target.unlink(missing_ok=True)
        raise
    return digest.hexdigest()


def _of(manifest: dict[str, Any]) -> str:
    told = {key: value for key, value in manifest.items() if key != "sha256"}
    return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
