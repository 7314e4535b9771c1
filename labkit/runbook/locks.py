"""Which runs go on now, and which objects each of them may change: two runs never change the same one.

A run that goes on holds a lock of its own, which the kernel of the operating system lets go of when the
runner ends, however it ends; so a dead run never blocks.  Beside it lies what the run has claimed.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from filelock import FileLock, Timeout

from labkit import paths
from labkit.errors import Refused

__all__ = ["Going", "claimed", "going", "held", "others"]

_REMEMBERED = 3600.0
"""Seconds for which it is known what a run that has ended had claimed."""
_PATIENCE = 120.0
"""Seconds that a turn is waited for; one takes milliseconds."""


@dataclass(frozen=True)
class Going:
    """A run that goes on: its *folder*, the process that runs it, and its claims (key to readable name)."""

    folder: str
    pid: int
    claims: Mapping[str, str] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """The run's name, as commands take it."""
        return Path(self.folder).name if self.folder else "a notebook"


@contextmanager
def held(folder: Path) -> Iterator[None]:
    """While this lasts, the run in *folder* goes on.  Raises `Refused` when it does so in another process."""
    with _held(Going(str(folder.resolve()), os.getpid()), str(folder.resolve())):
        yield


@contextmanager
def claimed(objects: Mapping[str, str]) -> Iterator[None]:
    """Claim *objects*: a key that no other object on any engine has, to a name such as ``container web``.

    Within a run (``LABKIT_RUN_DIR``) they stay claimed until it ends, so that verification is covered too;
    elsewhere while this lasts.  Raises `Refused`, naming the other run and its process, when one of them is
    claimed already.
    """
    key = _own()
    run = _found(_place(key))
    if run:
        _claim(run, key, objects)
        yield
        return
    alone = Going("", os.getpid())
    with _held(alone, key):
        _claim(alone, key, objects)
        yield


def _own() -> str:
    """What tells this process's run from others: its folder, if it goes on, or the process itself."""
    folder = os.environ.get("LABKIT_RUN_DIR")
    return str(Path(folder).resolve()) if folder and going(Path(folder)) else f"process {os.getpid()}"


def others(since: float) -> set[str]:
    """The keys that other runs have claimed which go on, or ended after *since* (seconds since 1970)."""
    own, found = _place(_own()), set[str]()
    with _one_at_a_time():
        going = [_read(path) for path in own.parent.glob("*.json") if path != own]
    for run in going:
        found |= run.claims.keys() if run else set()
    for path in own.parent.glob("*.ended"):
        with suppress(FileNotFoundError):  # forgotten just now
            late = path.stat().st_mtime >= since and path.stem != own.stem
            run = _told(path) if late else None
            found |= run.claims.keys() if run else set()
    return found


def going(folder: Path) -> Going | None:
    """The run in *folder*, if it goes on now."""
    return _found(_place(str(folder.resolve())))


def _found(place: Path) -> Going | None:
    """As `_read`, in turn: who looks at a dead run holds its lock for a moment, and somebody may take it up just then."""
    if not place.exists():
        return None
    with _one_at_a_time():
        return _read(place)


@contextmanager
def _held(run: Going, key: str) -> Iterator[None]:
    place = _place(key)
    lock = FileLock(place.with_suffix(".lock"), thread_local=False)
    with _one_at_a_time():
        try:
            lock.acquire(timeout=0)
        except Timeout:
            other = _told(place)
            raise Refused(
                f"the run {run.name} goes on already",
                seen=f"process {other.pid}" if other else "",
                try_="wait until it has ended",
            ) from None
        _write(place, run)
    try:
        yield
    finally:
        try:
            with suppress(Refused), _one_at_a_time():  # how the run has ended is told all the same
                with suppress(FileNotFoundError):
                    place.replace(place.with_suffix(".ended"))
                    os.utime(place.with_suffix(".ended"))
                lock.release()
                place.with_suffix(".lock").unlink(missing_ok=True)
        finally:
            lock.release()


def _claim(run: Going, key: str, objects: Mapping[str, str]) -> None:
    with _one_at_a_time():
        place = _place(key)
        _forget(place.parent)
        for path in sorted(place.parent.glob("*.json")):
            if path == place:
                continue
            other = _read(path)
            if other is None:
                path.unlink(missing_ok=True)
                continue
            for each in sorted(other.claims.keys() & objects.keys()):
                raise Refused(
                    f"another run is changing {objects[each]}",
                    seen=f"{other.name}, process {other.pid}",
                    try_=f"wait until it has ended (labkit show {other.name}), then run again",
                )
        before = _told(place) or run
        _write(place, replace(before, claims={**before.claims, **objects}))


def _forget(folder: Path) -> None:
    for path in folder.glob("*.ended"):
        if path.stat().st_mtime < time.time() - _REMEMBERED:
            path.unlink()


def _place(key: str) -> Path:
    """Where the run *key* tells what it claims."""
    folder = paths.home() / "runs" / ".going"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    return folder / f"{hashlib.sha256(key.encode()).hexdigest()[:16]}.json"


@contextmanager
def _one_at_a_time() -> Iterator[None]:
    """While this lasts, nobody else looks at the claims or changes them.  Raises `Refused` after `_PATIENCE` seconds."""
    lock = FileLock(_place("").with_name("turn.lock"))
    try:
        lock.acquire(timeout=_PATIENCE)
    except Timeout:
        raise Refused(
            "another labkit is looking at what the runs have claimed, and does not come to an end",
            seen=f"{lock.lock_file} is locked after {_PATIENCE:g} s",
            try_="let the process that has it open go on, or end it (fuser tells which), then run again",
        ) from None
    try:
        yield
    finally:
        lock.release()


def _write(place: Path, run: Going) -> None:
    aside = place.with_suffix(f".{os.getpid()}")
    aside.write_text(json.dumps({**asdict(run), "claims": dict(run.claims)}), encoding="utf-8")
    aside.replace(place)


def _told(place: Path) -> Going | None:
    try:
        return Going(**json.loads(place.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None


def _read(place: Path) -> Going | None:
    """What the run at *place* claims, if it goes on; what a dead one has left is not believed.  For who has the turn."""
    told = _told(place)
    if told is None:
        return None
    lock = FileLock(place.with_suffix(".lock"), thread_local=False)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        return told
    lock.release()
    return None
