"""What a learner does in a lab, noted as it is done: predictions, checks, hints, solutions, time.

Where the file (``acts.py``) cannot be written, that is said once, and the lab goes on without it; where it was deleted, a
new one is begun.
"""

from __future__ import annotations

import sqlite3
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

from labkit.errors import LabkitError
from labkit.lab import acts
from labkit.lab.notebooks.book import Book
from labkit.lab.tallies import Tally, kept, tally_of

__all__ = ["Progress"]

T = TypeVar("T")
IDLE = 300.0
"""Seconds: who does nothing for longer has gone away, or thinks; no more than this is counted."""


class Progress:
    """The progress of one learner in one lab; all methods may be called from any thread."""

    def __init__(self, lab: Book) -> None:
        self.book, self.lab, self.learner = lab, lab.stem, acts.learner()
        self._lock = threading.RLock()
        self._pauses, self._closed = 0, False
        self._seen = time.monotonic()
        self._unsaved = 0.0
        self._path: Path | None = None
        try:
            self._open(acts.file())
        except (sqlite3.Error, OSError, LabkitError) as error:
            self._give_up(error)

    # -- what is noted

    def predicted(self, question: str, right: bool) -> None:
        """A prediction was graded."""
        self._note("prediction", question, right)

    def checked(self, exercise: str, passed: bool) -> None:
        """A check turned."""
        self._note("check", exercise, passed)

    def hinted(self, exercise: str, number: int) -> None:
        """The hint with this *number* was read."""
        self._note("hint", exercise, number)

    def gave_solution(self, exercise: str) -> None:
        """The solution was looked at."""
        self._note("solution", exercise)

    def mark(self, what: str, value: int) -> None:
        """Keep a number of the session's own, for `marked`."""
        self._note("mark", what, value)

    def marked(self, what: str) -> int | None:
        """The number that was kept for *what* the last time."""
        return self._read(lambda database: kept(database, self.learner, self.lab, "mark").get(what))

    def active(self) -> None:
        """The learner does something now: the time since the last time counts, up to `IDLE`."""
        with self._lock:
            now = time.monotonic()
            self._unsaved += min(now - self._seen, IDLE)
            self._seen = now
            if self._unsaved >= 1 and not self._pauses:
                self._write(
                    "INSERT INTO spent VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET seconds = seconds + excluded.seconds",
                    (self.learner, self.lab, self._unsaved),
                )
                self._unsaved = 0.0

    @contextmanager
    def paused(self) -> Iterator[None]:
        """While this lasts, what is done is not the learner's doing."""
        self._pauses += 1
        try:
            yield
        finally:
            self._pauses -= 1

    def _note(self, kind: str, what: str, value: int | None = None) -> None:
        if not self._pauses:
            self._write(
                "INSERT INTO acts VALUES (?, ?, ?, ?, ?, ?)",
                (self.learner, self.lab, time.time(), kind, acts.as_text(what[:500]), value),
            )
            self.active()

    def _write(self, statement: str, values: Sequence[Any]) -> None:
        with self._lock:
            if self._closed:
                return
            self._begin_again_if_deleted()
            try:
                self._database.execute(statement, values)
            except sqlite3.Error as error:
                self._give_up(error)
                self._database.execute(statement, values)

    def _read(self, ask: Callable[[sqlite3.Connection], T]) -> T:
        with self._lock:
            if self._closed:
                with acts.readable() as database:
                    return ask(database)
            self._begin_again_if_deleted()
            try:
                return ask(self._database)
            except sqlite3.Error as error:
                self._give_up(error)
                return ask(self._database)

    def _open(self, path: Path) -> None:
        self._database = acts.connect(path)
        self._path, self._inode = path, acts.inode(path)

    def _begin_again_if_deleted(self) -> None:
        """SQLite would go on writing to a file that nobody can open any more."""
        if self._path is None or acts.inode(self._path) == self._inode:
            return
        self._database.close()
        try:
            self._open(self._path)
        except (sqlite3.Error, OSError) as error:
            self._give_up(error)
        else:
            print(f"labkit: {self._path} was deleted: progress begins anew", file=sys.stderr)

    def _give_up(self, error: Exception) -> None:
        """Say that progress is not kept any more, and go on in memory."""
        with suppress(AttributeError, sqlite3.Error):
            self._database.close()
        self._database, self._path = acts.connect(":memory:"), None
        print(f"labkit: {acts.unusable('progress is not kept', error)}", file=sys.stderr)

    # -- what is told

    @property
    def tally(self) -> Tally:
        """How far the learner has come."""
        return self._read(lambda database: tally_of(database, self.learner, self.lab, self.book))

    def close(self) -> None:
        """Write down the time, and let go of the file; what is done afterwards is not noted."""
        with self._lock:
            self.active()
            self._closed = True
            self._database.close()

    def __repr__(self) -> str:
        return f"{self.tally.title}: {self.tally}"
