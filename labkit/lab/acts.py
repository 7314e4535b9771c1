"""The file in which it is kept what learners have done (``home()/progress.sqlite``; ``LABKIT_PROGRESS`` names another).

One for all labs and learners, in SQLite, to which any number of kernels may write.  It holds questions and names of
exercises, never what was typed.
"""

from __future__ import annotations

import getpass
import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

from labkit import paths
from labkit.errors import LabkitError

__all__ = ["as_text", "connect", "file", "inode", "learner", "readable", "unusable"]

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
    return paths.chosen("LABKIT_PROGRESS") or paths.home() / "progress.sqlite"


def learner() -> str:
    """Whose progress it is: ``LABKIT_LEARNER``, else the name of this user."""
    with suppress(KeyError, OSError):  # a user without a name
        return as_text(os.environ.get("LABKIT_LEARNER") or getpass.getuser())
    return str(os.geteuid())


def as_text(given: str) -> str:
    """*given* as SQLite can keep it: without bytes that are no text."""
    return given.encode(errors="replace").decode()


def connect(path: Path | str) -> sqlite3.Connection:
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


def inode(path: Path) -> int | None:
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


def unusable(what: str, error: Exception) -> LabkitError:
    return LabkitError(
        what,
        seen=str(error) if isinstance(error, (LabkitError, OSError)) else f"{error} ({file()})",
        try_="labs work without it; for another file: LABKIT_PROGRESS=FILE",
    )


@contextmanager
def readable() -> Iterator[sqlite3.Connection]:
    """The file, for a moment.  Raises `LabkitError` where it cannot be read."""
    try:
        with closing(connect(file())) as database:
            yield database
    except (sqlite3.Error, OSError) as error:
        raise unusable("progress cannot be read", error) from None
