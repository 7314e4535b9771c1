"""One file of a container or a volume, read without a command in the container and, where nothing changed, without an event.

Asking what a path is tells no event; reading it from a container does (``archive-path``), so who only follows reads it again
when its size or time is another, or too new to tell two writes apart, and from time to time, since a time can be set.  Who asks
is always told what is there.
"""

from __future__ import annotations

import base64
import io
import json
import posixpath
import tarfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from labkit.errors import UsageError
from labkit.lab.conditions.base import Seen
from labkit.lab.conditions.facts import Facts, Found, Missing, NotReadable
from labkit.lab.conditions.wanted import text

if TYPE_CHECKING:
    from labkit.engine import Engine

__all__ = ["Wanted", "in_container", "in_volume"]

MOST = 2**20
"""Bytes; a larger file is not read."""

KERNELS = ("/proc", "/sys", "/dev")
"""File systems that the kernel makes for a container that runs; the engine does not look into them."""

FOLDER, LINK = 1 << 31, 1 << 27
"""Bits of the mode that the API tells (Go, ``fs.FileMode``)."""

SHOWN = 60
"""So many characters of a file are shown."""

KEPT = 50
"""So many files are remembered."""

FRESH = 2.0
"""Seconds after which a file is read once more: it may have been changed twice within what a time of the kernel can tell."""

SURE = 60.0
"""Seconds for which a size and a time are believed."""


@dataclass(frozen=True)
class Remembered:
    """The *text* of a file, None for what is none, *read* at that moment; its *mark*, size and time, was *seen* first at that."""

    mark: str
    text: str | None
    seen: float
    read: float

    def holds(self, mark: str, now: float) -> bool:
        """Whether it need not be read again at the moment *now*, since it still has this *mark*."""
        settled = self.read >= self.seen + FRESH or now < self.seen + FRESH
        return mark == self.mark and settled and now < self.read + SURE


_read: dict[tuple[str, str], Remembered] = {}
"""By container and path."""


@dataclass(frozen=True)
class Wanted:
    """What is wanted of a file: that it holds a text, is a text, is not there; else only that it is there."""

    contains: str | None = None
    equals: str | None = None
    absent: bool = False

    @classmethod
    def checked(cls, contains: object, equals: object, absent: object) -> Wanted:
        """At most one of the three, or `UsageError`."""
        given = [each for each in (contains, equals) if each is not None]
        if len(given) + (absent is not False) > 1 or not isinstance(absent, bool):
            raise UsageError(
                "no such wish for a file",
                seen=f"contains={contains!r}, equals={equals!r}, absent={absent!r}",
                expected="contains='…' or equals='…' or absent=True, or none of them",
            )
        if equals is not None and not isinstance(equals, str):
            raise UsageError("no such content of a file", seen=repr(equals), expected="text")
        return cls(None if contains is None else text("content of a file", contains), equals, absent)

    def __str__(self) -> str:
        if self.absent:
            return "absent"
        if self.contains is not None:
            return f"{self.contains!r} in it"
        return "there" if self.equals is None else _shown(self.equals)

    def seen(self, look: Callable[[], str | None]) -> Seen:
        """Judge what *look* gives: the text of the file, None for what is there and no text; it raises `Missing`."""
        try:
            found = look()
        except Missing as missing:
            return Seen(str(missing), ok=self.absent)
        if self.absent or (self.contains is None and self.equals is None):
            return Seen("there", ok=not self.absent)
        if found is None:
            return Seen("no text", ok=False)
        if self.contains is not None and self.contains in found:
            return Seen(str(self), ok=True)
        if self.contains is not None:
            return Seen(_shown(found), ok=False)
        return Seen(_shown(found), ok=found.removesuffix("\n") == str(self.equals).removesuffix("\n"))


def _shown(content: str) -> str:
    told = repr(content.removesuffix("\n"))
    return told if len(told) <= SHOWN else told[: SHOWN - 2] + "…'"


def in_container(facts: Facts, found: Found, path: str, *, text: bool) -> str | None:
    """The text of the file *path* in the container *found*, running or not; only whether it is there unless *text*.

    Raises `Missing` when it is not there, and `NotReadable`.
    """
    stat = facts.once(("stat", found["Id"], path), lambda: _stat(facts, found, path))
    if stat is None:
        raise Missing("absent")
    if not text or int(stat["mode"]) & FOLDER:
        return None
    if stat["size"] > MOST:
        raise NotReadable(f"it has {stat['size']} bytes")
    key, mark = (found["Id"], stat["path"]), f"{stat['size']} {stat['mtime']}"
    known, now = _read.get(key), time.monotonic()
    if known is None or facts.asked or not known.holds(mark, now):
        seen = known.seen if known and known.mark == mark else now
        text_ = facts.once(("file", *key), lambda: _content(facts, found["Id"], stat["path"]))
        known = _read[key] = Remembered(mark, text_, seen, now)
        while len(_read) > KEPT:
            del _read[next(iter(_read))]
    return known.text


def _not_in_memory(found: Found, path: str) -> None:
    """Raise `NotReadable` for what is on no disk: in a tmpfs, which 20.10 does not look into, or made by the kernel."""
    if posixpath.normpath(path).startswith(tuple(f"{each}/" for each in KERNELS)):
        raise NotReadable("it lies in memory, the kernel makes it")
    own = found["HostConfig"].get("Tmpfs") or {}
    mounted = [each["Destination"] for each in found.get("Mounts") or [] if each["Type"] == "tmpfs"]
    if any(posixpath.commonpath([path, at]) == posixpath.normpath(at) for at in [*own, *mounted]):
        raise NotReadable("it lies in memory, in a tmpfs")


def _stat(facts: Facts, found: Found, path: str) -> dict[str, Any] | None:
    """What *path* is, with the links followed, and under ``path`` where it is; None where nothing is."""
    for _ in range(10):
        _not_in_memory(found, path)
        answer = facts.ask("head", _archive(facts.engine, found["Id"]), params={"path": path})
        if answer.status_code == 404:
            return None
        if answer.status_code != 200:
            raise NotReadable(f"the engine answers {answer.status_code}")
        told = json.loads(base64.b64decode(answer.headers["X-Docker-Container-Path-Stat"]))
        if not int(told["mode"]) & LINK:
            return {**told, "path": path}
        path = told["linkTarget"]
    raise NotReadable("too many links")


def _archive(engine: Engine, id_: str) -> str:
    api = engine.client.api
    return f"{api.base_url}/v{api.api_version}/containers/{id_}/archive"


def _content(facts: Facts, id_: str, path: str) -> str | None:
    chunks, _ = facts.ask("get_archive", id_, path)
    with facts.answering():
        data = io.BytesIO(b"".join(chunks))
    with tarfile.open(fileobj=data) as tar:
        member = tar.next()
        file = tar.extractfile(member) if member else None
        return None if file is None else file.read().decode(errors="replace")


_IN_VOLUME = """
there=$(readlink -f -- "$0/$1") && [ -e "$there" ] || { [ -L "$0/$1" ] && echo outside || echo absent; exit; }
case $there/ in "$0"/*) ;; *) echo outside; exit ;; esac
[ -f "$there" ] || { echo other; exit; }
[ "$(stat -c %s -- "$there")" -le "$2" ] || { echo large; exit; }
echo text; exec timeout 5 head -c "$2" -- "$there"
"""


def in_volume(facts: Facts, found: Found, path: str, *, text: bool) -> str | None:
    """The text of the file *path* of the volume *found*, read on the engine's host; else as `in_container`.

    Where the host is out of reach it is read through a container that has the volume, if there is one.
    """
    if not facts.engine.host.available:
        return _through_a_container(facts, found, path, text=text)
    command = ["sh", "-c", _IN_VOLUME, found["Mountpoint"], path.lstrip("/"), str(MOST)]
    with facts.answering():
        said = facts.once(("volume file", found["Name"], path), lambda: facts.engine.host.run(command).stdout)
    kind, _, content = str(said).partition("\n")
    if kind == "absent":
        raise Missing("absent")
    if kind in ("outside", "large"):
        raise NotReadable(
            {
                "outside": "it is a link that leads to nothing in the volume",
                "large": f"it has more than {MOST} bytes",
            }[kind]
        )
    return content if kind == "text" else None


def _through_a_container(facts: Facts, found: Found, path: str, *, text: bool) -> str | None:
    for row in facts.ask("containers", all=True, filters={"volume": found["Name"]}):
        for mount in row["Mounts"]:
            if mount.get("Name") == found["Name"]:
                holder = facts.ask("inspect_container", row["Id"])
                return in_container(facts, holder, f"{mount['Destination']}{path}", text=text)
    raise NotReadable(f"{facts.engine.host.reason}, and no container has the volume")
