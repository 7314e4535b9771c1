"""The journal of a run: what is about to be done is on disk before it is done.

One JSON line an entry, in ``journal.jsonl`` of the run's folder.  Lines are only ever appended, and each
carries the hash of the one before it, so that a changed, missing or inserted line shows.  The runner and the
kernel both write, one at a time (flock(2)).  When `Journal.write` returns, an entry survives the death of every
process.  One that tells of a change, before it is made or after, also survives a power cut, with all entries before
it; what else there is may be lost in one, since a run that goes on reads it anew: a run that only reads never waits
for the disk.

A crash can leave half a line at the end.  What it was to announce was not done yet; so the next writer cuts
it off, and says so in an entry of the kind ``torn``.  A whole line that is no entry is no crash: it was
tampered with.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, get_args

from labkit.errors import LabkitError, UsageError
from labkit.runbook.redaction import mask

__all__ = ["FILE", "Entry", "Journal", "Kind"]

FILE = "journal.jsonl"

Kind = Literal[
    "run-started",
    "step-started",
    "step-done",
    "step-failed",
    "record",
    "approval",
    "action-started",
    "action-done",
    "action-skipped",
    "effects",
    "run-interrupted",
    "run-resumed",
    "run-ended",
    "torn",
]
KINDS = frozenset(get_args(Kind))
_SYNCED = {"approval", "action-started", "action-done", "action-skipped", "effects"}
"""Kinds that tell of a change to the engine, and must outlast a power cut."""
_BEGINNING = "0" * 64


@dataclass(frozen=True)
class Entry:
    """One line: the *n*-th, written *at* (UTC, ISO 8601), of a *kind*, with its *facts*.

    *previous* is the hash of the line before it, *hash* the SHA-256 of everything else in this one.
    """

    n: int
    at: str
    kind: str
    facts: dict[str, Any]
    previous: str
    hash: str

    @property
    def when(self) -> datetime:
        """When it was written."""
        return datetime.fromisoformat(self.at)


@dataclass(frozen=True)
class _End:
    """Where a journal ends: its last entry's number and hash, its length, and half a line's, in bytes."""

    n: int
    hash: str
    size: int
    torn: int = 0


class Journal:
    """The journal in one run's folder.  Safe to use from several processes, threads, and after a fork."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._end: _End | None = None
        self._named = False
        self._thread = threading.Lock()

    @classmethod
    def create(cls, folder: Path, header: dict[str, Any]) -> Journal:
        """Begin a journal in *folder* with the entry ``run-started``, whose facts are the *header*.

        Raises `UsageError` when the folder holds one already.
        """
        journal = cls(folder / FILE)
        try:
            os.close(os.open(journal.path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_NOFOLLOW, 0o600))
        except FileExistsError:
            raise UsageError(
                f"{folder} holds the journal of a run already", try_=f"labkit show {folder.name}"
            ) from None
        journal.write("run-started", **header)
        return journal

    @classmethod
    def open(cls, folder: Path) -> Journal:
        """The journal in *folder*.  Raises `UsageError` when there is none."""
        if not (folder / FILE).is_file():
            raise UsageError(f"{folder} holds no journal", seen="no such file", expected=FILE)
        return cls(folder / FILE)

    @classmethod
    def current(cls) -> Journal | None:
        """The journal of the run that this process belongs to (``LABKIT_RUN_DIR``); None outside of one."""
        folder = os.environ.get("LABKIT_RUN_DIR")
        return cls(Path(folder) / FILE) if folder and (Path(folder) / FILE).is_file() else None

    @classmethod
    def carries_on(cls) -> bool:
        """Whether this process's run had begun to carry a plan out before it was interrupted and resumed."""
        journal = cls.current()
        kinds = [entry.kind for entry in journal.entries()] if journal else []
        passes = [number for number, kind in enumerate(kinds) if kind == "run-resumed"]
        return bool(passes) and "approval" in kinds[: passes[-1]]

    def write(self, kind: Kind, /, **facts: Any) -> Entry:
        """Append an entry, and return when it is safe.  Secrets in *facts* are masked.

        Raises `LabkitError` when it cannot be written; what was to be journaled must not be done then.
        """
        if kind not in KINDS:
            raise ValueError(f"no kind of entry is called {kind!r}")
        try:
            with self._thread, self._locked() as descriptor:
                end = self._found(descriptor)
                if end.torn:
                    os.ftruncate(descriptor, end.size)
                    end, _ = _append(descriptor, end, "torn", {"bytes": end.torn})
                self._end, entry = _append(descriptor, end, kind, mask(facts))
                if kind in _SYNCED:
                    self._sync(descriptor)
        except OSError as error:
            raise LabkitError(
                f"the journal {self.path} cannot be written, so nothing more is done",
                seen=error.strerror or str(error),
                try_="free some space, then labkit resume",
            ) from error
        return entry

    def first(self) -> Entry | None:
        """The entry that it begins with; None when that is none."""
        with self.path.open("rb") as file:
            return _parsed(file.readline())

    def entries(self) -> list[Entry]:
        """All entries, in their order, without checking the chain; half a line from a crash is left out.

        Raises `LabkitError` for a line that is no entry.
        """
        return list(self._lines())

    def verify(self) -> list[Entry]:
        """The entries, when every line is one and the chain holds.

        Raises `LabkitError` that names the first broken line.  Half a line at the end is no fault: see `torn`.
        """
        previous, entries = _BEGINNING, list[Entry]()
        for entry in self._lines():
            reason = _fault(entry, len(entries) + 1, previous)
            if reason:
                raise _broken(self.path, len(entries) + 1, reason)
            previous = entry.hash
            entries.append(entry)
        return entries

    @property
    def torn(self) -> int:
        """Bytes of half a line at the end, as a crash in the middle of a write leaves it; normally 0."""
        return len(self.path.read_bytes().rpartition(b"\n")[2])

    def _lines(self) -> Iterator[Entry]:
        for number, line in enumerate(self.path.read_bytes().split(b"\n")[:-1], 1):
            entry = _parsed(line)
            if entry is None:
                raise _broken(self.path, number, "it is no entry")
            yield entry

    @contextmanager
    def _locked(self) -> Iterator[int]:
        # opened anew for each entry: after a fork, parent and child would share one lock otherwise
        descriptor = os.open(self.path, os.O_RDWR | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield descriptor
        finally:
            os.close(descriptor)

    def _sync(self, descriptor: int) -> None:
        os.fdatasync(descriptor)
        if not self._named:  # fsync(2) of a file does not make its name last, nor that of its folder
            for folder in (self.path.parent, self.path.parent.parent):
                _sync_folder(folder)
            self._named = True

    def _found(self, descriptor: int) -> _End:
        """Where the journal ends now; read again only when somebody else has written to it."""
        size = os.fstat(descriptor).st_size
        if self._end is None or self._end.size != size:
            return _end_of(self.path, os.pread(descriptor, size, 0))
        return self._end


def _append(descriptor: int, end: _End, kind: str, facts: dict[str, Any]) -> tuple[_End, Entry]:
    at = datetime.now(UTC).isoformat(timespec="microseconds")
    # what is hashed is what a reader gets: JSON knows no tuples, and no keys that are numbers
    facts = json.loads(json.dumps(facts, default=str))
    entry = Entry(end.n + 1, at, kind, facts, end.hash, "")
    entry = replace(entry, hash=_hash(entry))
    line = json.dumps(vars(entry), separators=(",", ":")).encode() + b"\n"
    written = os.write(descriptor, line)
    if written != len(line):
        raise OSError(f"{written} of {len(line)} bytes were written")
    return _End(entry.n, entry.hash, end.size + len(line)), entry


def _hash(entry: Entry) -> str:
    told = [entry.n, entry.at, entry.kind, entry.facts, entry.previous]
    return hashlib.sha256(json.dumps(told, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def _parsed(line: bytes) -> Entry | None:
    try:
        data = json.loads(line)
        entry = Entry(**data)
    except (ValueError, TypeError):
        return None
    return entry if isinstance(entry.n, int) and isinstance(entry.facts, dict) else None


def _fault(entry: Entry, n: int, previous: str) -> str:
    """What is wrong with an entry that should be the *n*-th and follow the hash *previous*."""
    if entry.hash != _hash(entry):
        return "it was changed: its hash does not match what it says"
    if entry.previous != previous or entry.n != n:
        return f"lines are missing, inserted or moved before it: it is entry {entry.n}, expected {n}"
    if (entry.kind == "run-started") != (n == 1):
        return "a journal begins with run-started, and only once"
    return ""


def _broken(path: Path, line: int, reason: str) -> LabkitError:
    return LabkitError(f"the journal {path} is broken at line {line}", seen=reason)


def _end_of(path: Path, content: bytes) -> _End:
    whole, _, torn = content.rpartition(b"\n")
    if not whole:
        return _End(0, _BEGINNING, 0, len(torn))
    last = _parsed(whole.rpartition(b"\n")[2])
    if last is None:
        raise _broken(path, whole.count(b"\n") + 1, "it is no entry")
    return _End(last.n, last.hash, len(whole) + 1, len(torn))


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
