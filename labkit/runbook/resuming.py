"""Going on with a run that was cut off, from its journal, so that nothing is done twice.

A kernel's state is lost with it, so a resumed run executes its notebook again from the top; what comes
before the plan only reads.  What had been found and planned is not asked of the engine again, which may be
half-way between; it is taken from the journal, here and in `labkit.runbook.applying`.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from labkit.errors import Refused, UsageError
from labkit.observe.records import Record
from labkit.runbook.journal import FILE, Entry, Journal

if TYPE_CHECKING:
    from labkit.runbook.execution import Order
    from labkit.runbook.outcomes import Outcome
    from labkit.runbook.progress import Progress

__all__ = ["first", "resume"]

R = TypeVar("R", bound=Record)
_OVER = {"healthy", "fixed", "incident", "unverified", "usage", "refused"}
"""How a run may have ended so that there is nothing to go on with."""


def first(record: R) -> R:
    """What the run's first pass has shown of this kind of record; *record* itself when nothing had begun.

    A second pass sees an engine on which half of the plan is done already; what was wrong, and what was
    planned for it, is what the first one saw.
    """
    journal = Journal.current()
    entries = journal.entries() if journal else []
    start = next((entry.n for entry in entries if entry.kind in ("approval", "action-started")), None)
    if start is None:
        return record
    shown = [
        entry.facts["record"]
        for entry in entries[: start - 1]
        if entry.kind == "record" and entry.facts["type"] == record.media_type()
    ]
    return type(record).model_validate(shown[-1]) if shown else record


def resume(run: str, *, progress: Progress | None = None) -> Outcome:
    """Go on with the *run* (a name from ``labkit runs``, the beginning of one, ``last``, or a folder).

    It runs with the parameters, the limits and on the engine that it began with.  What its journal says is
    done stays done.  Raises `UsageError` when there is no such run or it came to its end, and `Refused` when
    it goes on in another process, its runbook has changed since, or its journal was tampered with.
    """
    from labkit.kernels import lane
    from labkit.runbook import execution, folders, locks, runs
    from labkit.runbook.interruptions import Interruptions

    folder = runs.find(run)
    _need_own(folder, folder / FILE)
    with lane.prepared(), Interruptions().handled() as interruptions, locks.held(folder):
        journal = Journal.open(folder)
        entries = journal.verify()
        order = _order(folder.name, entries)
        _need_own(Path(order.notebook), by=(os.geteuid(), 0))
        _check(folder.name, order, entries)
        _find_secrets_again(order)
        execution.clear_away(order, journal)
        journal.write("run-resumed", torn=journal.torn)
        with folders.written(folder):
            return execution.carry_out(order, journal, interruptions, environ={}, progress=progress)


def _need_own(*files: Path, by: Sequence[int] = ()) -> None:
    """Raise `Refused` for what somebody else owns, or could have written: it would be executed as you."""
    for path in files:
        if not path.exists():
            continue  # whoever needs it says so
        status = path.stat()
        others = 0o002 if status.st_gid == os.getegid() else 0o022
        if status.st_uid not in (by or (os.geteuid(),)) or status.st_mode & others:
            raise Refused(
                "a run is resumed only by who started it",
                seen=f"{path}: owner {status.st_uid}, mode {stat.filemode(status.st_mode)}",
                expected=f"owner {os.geteuid()}, and nobody else may write",
            )


def _find_secrets_again(order: Order) -> None:
    """Raise `UsageError` before anything starts when a secret is no longer where it was; what is found is masked."""
    from labkit.runbook import folders, parameters

    parameters.validate(parameters.read(folders.load(Path(order.notebook))), order.parameters)


def _order(name: str, entries: Sequence[Entry]) -> Order:
    from labkit.runbook.execution import Order

    if not entries:
        raise UsageError(f"the run {name} cannot be resumed: it had not begun", try_="start it again")
    known = {each.name for each in fields(Order)}
    return Order(**{name: value for name, value in entries[0].facts.items() if name in known})


def _check(name: str, order: Order, entries: Sequence[Entry]) -> None:
    from labkit.runbook.execution import digest

    ended = [entry for entry in entries if entry.kind in ("run-ended", "run-resumed", "run-interrupted")]
    if ended and ended[-1].kind == "run-ended" and ended[-1].facts["status"] in _OVER:
        raise UsageError(
            f"the run {name} has come to its end",
            seen=f"status {ended[-1].facts['status']}",
            try_=f"labkit run {order.runbook}",
        )
    notebook = Path(order.notebook)
    now = digest(notebook) if notebook.is_file() else "it is gone"
    if now != order.sha256:
        raise Refused(
            f"the notebook of the run {name} has changed since",
            seen=f"{notebook}: {now}",
            expected=order.sha256,
            try_=f"labkit run {order.runbook}",
        )
