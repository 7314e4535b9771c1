"""What is in a tar archive or a volume, file by file, so that two of them can be compared.

A tar archive has no checksum of its content.  What shows that it was cut short is its end: two blocks of
zeros, which many readers do not miss.  Here they are missed.
"""

from __future__ import annotations

import hashlib
import posixpath
import tarfile
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, cast

from labkit import labels
from labkit.errors import LabkitError, UsageError

if TYPE_CHECKING:
    from labkit.engine import Engine

__all__ = [
    "AT",
    "Contents",
    "ContentsBroken",
    "Member",
    "archive",
    "of_container",
    "of_file",
    "of_volume",
    "options",
]

AT = "/labkit-volume"
"""Where a volume is mounted to be read; no image has something there."""
_ABSENT = "absent"
_BLOCK = 512
_CHUNK = 2**20


class ContentsBroken(LabkitError):
    """An archive that is cut short or is no archive."""


@dataclass(frozen=True)
class Member:
    """One file, folder or link: its *kind* (tar's letter), mode, owners, size in bytes, target, sha256 and xattrs."""

    kind: str
    mode: int
    user: int
    group: int
    size: int
    target: str
    sha256: str
    attributes: tuple[tuple[str, str], ...] = ()

    @property
    def is_file(self) -> bool:
        """Whether it holds bytes of its own."""
        return self.kind in ("0", "7")

    def _begins(self, other: Member | None) -> bool:
        """Whether it is a file, shorter than *other*."""
        return other is not None and self.is_file and other.is_file and self.size < other.size

    @property
    def is_device(self) -> bool:
        """Whether it is a character or block device."""
        return self.kind in ("3", "4")


@dataclass(frozen=True)
class Contents:
    """Members by their names below the top, and names that no archive should have (*odd*)."""

    members: dict[str, Member]
    odd: tuple[str, ...] = ()

    @property
    def files(self) -> int:
        """How many of them are files."""
        return sum(each.is_file for each in self.members.values())

    @property
    def bytes(self) -> int:
        """What the files hold together."""
        return sum(each.size for each in self.members.values() if each.is_file)

    @property
    def empty(self) -> bool:
        """Whether there is nothing but the top folder."""
        return not set(self.members) - {"."}

    def differences(self, other: Contents) -> list[str]:
        """Names whose member is missing in one of them, or not the same.

        Folders that an archive does not mention, but only what is in them, are no difference.
        """
        one, two = self._with_folders(), other._with_folders()
        return sorted(
            _printable(name)
            for name in one.keys() | two.keys()
            if one.get(name, _ABSENT) != two.get(name, _ABSENT)
            and not (name in one and name in two and None in (one[name], two[name]))
        )

    def _with_folders(self) -> dict[str, Member | None]:
        """The members, and None for each folder that is only in their names."""
        above = {folder for name in self.members for folder in _above(name)}
        return {**dict.fromkeys([".", *above]), **self.members}

    def not_left_by(self, whole: Contents) -> list[str]:
        """Names of what unpacking *whole* into an empty folder, cut off anywhere, cannot have left here.

        Left are files whose owner and mode are not set yet, and one of which only the beginning was written.
        """
        known = whole._with_folders()
        strange = [
            name for name, each in self.members.items() if not _same_bytes(each, known.get(name, _ABSENT))
        ]
        if len(strange) == 1 and self.members[strange[0]]._begins(whole.members.get(strange[0])):
            return []
        return sorted(map(_printable, strange))

    def dangers(self) -> list[str]:
        """What would reach out of the folder that the archive is unpacked in, and devices."""
        links = {name for name, each in self.members.items() if each.kind == "2"}
        return [
            *(f"{name!r} is no name inside of a volume" for name in self.odd),
            *(f"{name!r} is a device" for name, each in self.members.items() if each.is_device),
            *(f"{name!r} goes through a link" for name in self.members if links & set(_above(name))),
            *(
                f"{name!r} is a link to {each.target!r}"
                for name, each in self.members.items()
                if each.kind == "1" and _is_odd(each.target)
            ),
        ]


def of_file(path: Path) -> Contents:
    """The contents of the tar archive *path*.  Raises `ContentsBroken` when it is cut short or no archive."""
    try:
        with path.open("rb") as file:
            return _read(file, str(path))
    except OSError as error:
        raise UsageError(f"{path} cannot be read", seen=error.strerror or str(error)) from None


def of_container(engine: Engine, container: str, folder: str) -> Contents:
    """The contents of *folder* in *container*, running or not."""
    with archive(engine, container, folder) as chunks:
        return _read(_Stream(chunks), f"{container}:{folder}")


@contextmanager
def archive(engine: Engine, container: str, folder: str) -> Iterator[Iterator[bytes]]:
    """The contents of *folder* in *container* as chunks of a tar archive.

    However far it was read, the engine is done with it at the end: until then it does not remove the container.
    """
    chunks, _ = engine.client.api.get_archive(container, f"{folder}/.")
    with closing(chunks):
        yield chunks


def of_volume(engine: Engine, volume: str) -> Contents:
    """The contents of *volume*, read through a container that is made for it, never started, and removed."""
    api = engine.client.api
    images = api.images(quiet=True)
    if not images:
        raise UsageError(
            "no image on the engine to read a volume through", try_="docker pull, or docker load"
        )
    with _probe(engine, images[0], volume) as container:
        return of_container(engine, container, AT)


def options(engine: Engine, image: str, volume: str, mode: str) -> dict[str, Any]:
    """What ``create_host_config`` is given so that *volume* is at `AT`, and nothing else is made along.

    The volumes that *image* declares would be made, with names of 64 digits, also for a container that is
    never started; a temporary file system in their place is not.
    """
    declared = (engine.client.api.inspect_image(image).get("Config") or {}).get("Volumes") or {}
    instead = dict.fromkeys(declared, "")
    return {"binds": [f"{volume}:{AT}{mode}"], "network_mode": "none", "tmpfs": instead}


@contextmanager
def _probe(engine: Engine, image: str, volume: str) -> Iterator[str]:
    api = engine.client.api
    host = api.create_host_config(**options(engine, image, volume, ":ro"))
    made = api.create_container(
        image,
        command=["labkit"],
        labels={**labels.ours(engine.id), **labels.of_run(), labels.LOOKS: "yes"},
        host_config=host,
    )
    try:
        yield made["Id"]
    finally:
        api.remove_container(made["Id"], force=True, v=True)


# -- reading tar


class _Stream:
    """Chunks as a file that can be read once; counts what was read."""

    def __init__(self, chunks: Iterable[bytes]) -> None:
        self._chunks, self._left = iter(chunks), b""

    def read(self, size: int = -1) -> bytes:
        parts, wanted = [], size
        while wanted:
            self._left = self._left or next(self._chunks, b"")
            if not self._left:
                break
            part, self._left = self._left[:wanted], self._left[wanted:]
            parts.append(part)
            wanted -= len(part)
        return b"".join(parts)


class _Counted:
    """A file that knows how many bytes were read from it, and whether the last ones were zeros."""

    def __init__(self, file: Any) -> None:
        self._file, self.count, self.zeros = file, 0, 0

    def read(self, size: int) -> bytes:
        found: bytes = self._file.read(size)
        self.count += len(found)
        bare = found.rstrip(b"\0")
        self.zeros = len(found) - len(bare) + (0 if bare else self.zeros)
        return found


def _read(file: Any, name: str) -> Contents:
    counted = _Counted(file)
    members, odd = dict[str, Member](), list[str]()
    try:
        with tarfile.open(fileobj=cast(IO[bytes], counted), mode="r|", bufsize=_BLOCK * 128) as tar:
            for info in tar:
                known = posixpath.normpath(info.name)
                if _is_odd(info.name) or known in members:
                    odd.append(info.name)
                members[known] = _member(tar, info)
            end = tar.offset
        while counted.read(_CHUNK):
            pass
    except (tarfile.TarError, EOFError, ValueError) as error:
        raise _broken(name, str(error)) from None
    missing = end + 2 * _BLOCK - counted.count
    if missing > 0 or counted.zeros < 2 * _BLOCK:
        raise _broken(name, "its end is missing")
    return Contents(members, tuple(odd))


def _member(tar: tarfile.TarFile, info: tarfile.TarInfo) -> Member:
    content = tar.extractfile(info) if info.isreg() else None
    digest = hashlib.sha256()
    while content and (chunk := content.read(_CHUNK)):
        digest.update(chunk)
    kept = [(key, value) for key, value in info.pax_headers.items() if key.startswith("SCHILY.xattr.")]
    return Member(
        info.type.decode().replace("\0", "0"),
        info.mode & 0o7777,
        info.uid,
        info.gid,
        info.size if info.isreg() else 0,
        info.linkname,
        digest.hexdigest() if content else "",
        tuple(sorted(kept)),
    )


def _same_bytes(one: Member, other: Member | str | None) -> bool:
    """Whether they are alike but for owner and mode; None: a folder."""
    if other is None:
        return one.kind == "5"
    if isinstance(other, str):
        return False
    told = [(each.is_file or each.kind, each.size, each.target, each.sha256) for each in (one, other)]
    return told[0] == told[1]


def _printable(name: str) -> str:
    """A name of a file can hold any byte but two; not all of them can be written down."""
    return name if name.isprintable() else ascii(name)


def _is_odd(name: str) -> bool:
    return name.startswith("/") or ".." in name.split("/")


def _above(name: str) -> Iterator[str]:
    """The folders that *name* lies in."""
    parts = name.split("/")
    return ("/".join(parts[:depth]) for depth in range(1, len(parts)))


def _broken(name: str, seen: str) -> ContentsBroken:
    return ContentsBroken(
        f"{name} is no whole tar archive", seen=seen, expected="all members, and two blocks of zeros"
    )
