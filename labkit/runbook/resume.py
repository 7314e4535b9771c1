"""What a run that was cut off had decided and done, read from its journal, so that nothing is done twice.

A kernel's state is lost with it, so a resumed run executes its notebook again from the top; what comes
before the plan only reads.  What it had found, planned and begun is not asked of the engine again, which may
be half-way between: it is taken from here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

from labkit.observe.records import Record
from labkit.runbook.journal import Entry, Journal

__all__ = ["Begun", "begun", "first"]

R = TypeVar("R", bound=Record)


@dataclass(frozen=True)
class Begun:
    """A plan whose application has begun: its *hash*, and the indexes of the actions *started* and *done*."""

    hash: str
    started: frozenset[int]
    done: frozenset[int]

    @property
    def uncertain(self) -> frozenset[int]:
        """Actions of which nobody knows whether they took effect."""
        return self.started - self.done


def begun(entries: Sequence[Entry]) -> Begun | None:
    """The plan of which an action was at least announced; None when nothing was.

    An ``action-started``, ``action-done`` and ``action-skipped`` carries the ``plan``'s hash and the
    action's ``index`` in it.
    """
    actions = [entry for entry in entries if entry.kind.startswith("action-")]
    if not actions:
        return None
    plan = str(actions[0].facts["plan"])
    started = {entry.facts["index"] for entry in actions if entry.kind == "action-started"}
    done = {entry.facts["index"] for entry in actions if entry.kind in ("action-done", "action-skipped")}
    return Begun(plan, frozenset(started | done), frozenset(done))


def first(record: R) -> R:
    """What the run's first pass has shown of this kind of record; *record* itself when nothing had begun yet.

    A second pass sees an engine on which half of the plan is done already; what was wrong, and what was
    planned for it, is what the first one saw.
    """
    journal = Journal.current()
    entries = journal.entries() if journal else []
    before = begun(entries)
    if before is None:
        return record
    start = next(entry.n for entry in entries if entry.kind.startswith("action-"))
    shown = [
        entry.facts["record"]
        for entry in entries[: start - 1]
        if entry.kind == "record" and entry.facts["type"] == record.media_type()
    ]
    return type(record).model_validate(shown[-1]) if shown else record
