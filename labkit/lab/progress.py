"""What a learner has done, kept on this machine: predictions, checks, hints, solutions, time; never what was typed.

One SQLite file for all labs and learners (``home()/progress.sqlite``; ``LABKIT_PROGRESS`` names another), to which any
number of kernels may write.  Where it cannot be written, that is said once, and the lab goes on without it; where it was
deleted, a new one is begun.
"""

from __future__ import annotations

import getpass
import os
import sqlite3
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from labkit import paths
from labkit.errors import LabkitError
from labkit.lab.notebooks import book
from labkit.lab.notebooks.book import Book

__all__ = ["Progress", "Tally", "file", "learner", "tallies"]

T = TypeVar("T")
IDLE = 300.0
"""Seconds: who does nothing for longer has gone away, or thinks; no more than this is counted."""
BUSY = 5.0
"""Seconds to wait for another kernel that writes."""
OURS = 0x6C6B7031
"""The mark of our files (application_id in a file's header): the first version of them."""
SCHEMA = (
    f"PRAGMA application_id={OURS}",
    """CREATE TABLE acts (
        learner TEXT NOT NULL, lab TEXT NOT NULL, at REAL NOT NULL, kind TEXT NOT NULL, what TEXT NOT NULL, value INTEGER
    )""",
    "CREATE TABLE spent (learner TEXT NOT NULL, lab TEXT NOT NULL, seconds REAL NOT NULL, PRIMARY KEY (learner, lab))",
)


def file() -> Path:
    """Where progress is kept."""
    told = os.environ.get("LABKIT_PROGRESS")
    return Path(told).expanduser().absolute() if told else paths.home() / "progress.sqlite"


def learner() -> str:
    """Whose progress it is: ``LABKIT_LEARNER``, else the name of this user."""
    with suppress(KeyError, OSError):  # a user without a name
        return _text(os.environ.get("LABKIT_LEARNER") or getpass.getuser())
    return str(os.geteuid())


def _text(given: str) -> str:
    """*given* as SQLite can keep it: without bytes that are no text."""
    return given.encode(errors="replace").decode()


def _connect(path: Path | str) -> sqlite3.Connection:
    """Open, or make, the file; others may be doing the same.  Raises `sqlite3.Error` or `OSError`."""
    if isinstance(path, Path):
        # a file that is there is left to SQLite: who closes it lets go of all locks that this process has on it (fcntl(2)),
        # and another process would then take away the log in which this one writes
        with suppress(FileExistsError):
            os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
    database = sqlite3.connect(path, timeout=BUSY, isolation_level=None, check_same_thread=False)
    try:
        if _mark(database) != OURS:
            _found(database)
        with suppress(sqlite3.OperationalError):  # another kernel makes the file at this moment
            database.execute("PRAGMA journal_mode=WAL")
        # no wait for the disk at each act: a power cut may take the last ones, and leaves the file whole
        database.execute("PRAGMA synchronous=NORMAL")
    except BaseException:
        database.close()
        raise
    return database


def _inode(path: Path) -> int | None:
    """Which file it is; None where there is none."""
    with suppress(OSError):
        return path.stat().st_ino
    return None


def _mark(database: sqlite3.Connection) -> int:
    return int(database.execute("PRAGMA application_id").fetchone()[0])


def _found(database: sqlite3.Connection) -> None:
    """Make the tables, once; another kernel may do so at the same time."""
    with database:
        database.execute("BEGIN IMMEDIATE")
        if _mark(database) == OURS:
            return
        if database.execute("SELECT * FROM sqlite_master").fetchone():
            raise sqlite3.DatabaseError("made by another program, or by another version of labkit")
        for statement in SCHEMA:
            database.execute(statement)


def _unusable(what: str, error: Exception) -> LabkitError:
    return LabkitError(
        what,
        seen=str(error) if isinstance(error, (LabkitError, OSError)) else f"{error} ({file()})",
        try_="labs work without it; for another file: LABKIT_PROGRESS=FILE",
    )


class Progress:
    """The progress of one learner in one lab; all methods may be called from any thread."""

    def __init__(self, lab: Book) -> None:
        self.book, self.lab, self.learner = lab, lab.stem, learner()
        self._lock = threading.RLock()
        self._pauses, self._closed = 0, False
        self._seen = time.monotonic()
        self._unsaved = 0.0
        self._path: Path | None = None
        try:
            self._open(file())
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
        return self._read(lambda database: _kept(database, self.learner, self.lab, "mark").get(what))

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
                (self.learner, self.lab, time.time(), kind, _text(what[:500]), value),
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
                with _readable() as database:
                    return ask(database)
            self._begin_again_if_deleted()
            try:
                return ask(self._database)
            except sqlite3.Error as error:
                self._give_up(error)
                return ask(self._database)

    def _open(self, path: Path) -> None:
        self._database = _connect(path)
        self._path, self._inode = path, _inode(path)

    def _begin_again_if_deleted(self) -> None:
        """SQLite would go on writing to a file that nobody can open any more."""
        if self._path is None or _inode(self._path) == self._inode:
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
        self._database, self._path = _connect(":memory:"), None
        print(f"labkit: {_unusable('progress is not kept', error)}", file=sys.stderr)

    # -- what is told

    @property
    def tally(self) -> Tally:
        """How far the learner has come."""
        return self._read(lambda database: _tally(database, self.learner, self.lab, self.book))

    def close(self) -> None:
        """Write down the time, and let go of the file; what is done afterwards is not noted."""
        with self._lock:
            self.active()
            self._closed = True
            self._database.close()

    def __repr__(self) -> str:
        return f"{self.tally.title}: {self.tally}"


@dataclass(frozen=True)
class Tally:
    """Counts of one learner in one lab; *seconds* of time spent.  Of a prediction or a check, the last time counts."""

    learner: str
    lab: str
    title: str
    predictions_right: int
    predictions_made: int
    checks_passed: int
    checks_all: int
    hints: int
    solutions: int
    seconds: int

    @property
    def begun(self) -> bool:
        """Whether the learner has been there."""
        return bool(
            self.predictions_made or self.checks_passed or self.hints or self.solutions or self.seconds
        )

    def __str__(self) -> str:
        """In words, without the time: it is never twice the same."""
        return (
            f"predictions {self.predictions_right} right of {self.predictions_made}, "
            f"checks {self.checks_passed} passed of {self.checks_all}, "
            f"hints {self.hints}, solutions {self.solutions}"
        )


def tallies(who: str | None = None) -> list[Tally]:
    """The tally of each lab for one learner (default: this one), in reading order; then of labs that are gone.

    Raises `LabkitError` where the file cannot be read.
    """
    if not file().exists():
        return []
    chosen, known = who or learner(), {each.stem: each for each in book.labs()}
    with _readable() as database:
        rows = database.execute(
            "SELECT lab FROM acts WHERE learner = ?1 UNION SELECT lab FROM spent WHERE learner = ?1",
            (chosen,),
        )
        labs = dict.fromkeys([*known, *(lab for (lab,) in rows)])
        return [_tally(database, chosen, lab, known.get(lab)) for lab in labs]


@contextmanager
def _readable() -> Iterator[sqlite3.Connection]:
    """The file, for a moment.  Raises `LabkitError` where it cannot be read."""
    try:
        with closing(_connect(file())) as database:
            yield database
    except (sqlite3.Error, OSError) as error:
        raise _unusable("progress cannot be read", error) from None


def _kept(
    database: sqlite3.Connection, who: str, lab: str, kind: str, value: str = "value"
) -> dict[str, int]:
    """What there is of this *kind*, each with its *value*: the last, or as SQL says."""
    grouped = (
        f"SELECT what, {value}, max(rowid) FROM acts WHERE learner = ? AND lab = ? AND kind = ? GROUP BY what"
    )
    return {what: found or 0 for what, found, _ in database.execute(grouped, (who, lab, kind))}


def _tally(database: sqlite3.Connection, who: str, lab: str, known: Book | None) -> Tally:
    kept = partial(_kept, database, who, lab)
    exercises = set(known.exercises) if known else set(kept("check"))
    predictions, passed = kept("prediction"), kept("check", "max(value)")
    spent = database.execute("SELECT seconds FROM spent WHERE learner = ? AND lab = ?", (who, lab)).fetchone()
    return Tally(
        learner=who,
        lab=lab,
        title=known.title if known else lab,
        predictions_right=sum(predictions.values()),
        predictions_made=len(predictions),
        checks_passed=sum(bool(passed.get(exercise)) for exercise in exercises),
        checks_all=len(exercises),
        hints=sum(kept("hint", "count(DISTINCT value)").values()),
        solutions=len(kept("solution")),
        seconds=round(spent[0]) if spent else 0,
    )
