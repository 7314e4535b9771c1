"""The runs that were made here, and what their journals say of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from labkit import paths
from labkit.errors import LabkitError, UsageError
from labkit.observe.tables import Table
from labkit.runbook import locks
from labkit.runbook.journal import FILE, Entry, Journal

__all__ = ["Run", "everything", "find", "read", "steps", "timeline"]

_CUT_OFF = "cut off"
_DAMAGED = "damaged"


@dataclass(frozen=True)
class Run:
    """One run.  *status* is that of its outcome, or ``running``, ``cut off`` (it died) or ``damaged``.

    *exit_code* is None while there is none; *engine* as its outcome names it.
    """

    name: str
    folder: str
    runbook: str = ""
    began: datetime | None = None
    status: str = _DAMAGED
    exit_code: int | None = None
    engine: str = ""
    pid: int | None = None


def everything() -> list[Run]:
    """All runs in labkit's folder, the newest last."""
    return [read(folder) for folder in _folders()]


def _folders() -> list[Path]:
    """The folders of all runs, as they began: their names say that to the second only, and can be given."""
    folders = [path.parent for path in (paths.home() / "runs").glob(f"*/{FILE}")]
    return sorted(folders, key=lambda folder: (_began(folder), folder.name))


def _began(folder: Path) -> str:
    """When a run began (UTC, ISO 8601); empty when its journal does not say."""
    entry = Journal.open(folder).first()
    return str(entry.at) if entry else ""


def find(run: str) -> Path:
    """The folder of a run: by its name, the beginning of that, ``last``, or the folder's own path.

    Raises `UsageError` when there is none, or more than one.
    """
    if "/" in run and (Path(run) / FILE).is_file():
        return Path(run)
    known = _folders()
    if run == "last" and known:
        return known[-1]
    found = [folder for folder in known if folder.name.startswith(run)] if run else []
    exact = [folder for folder in found if folder.name == run]
    if len(exact or found) == 1:
        return (exact or found)[0]
    raise UsageError(
        f"{'more than one run begins with' if found else 'no run called'} {run!r}",
        seen=", ".join(folder.name for folder in (found or known)[-5:]),
        try_="labkit runs",
    )


def read(folder: Path) -> Run:
    """What the journal in *folder* says of its run."""
    try:
        entries = Journal.open(folder).entries()
    except LabkitError:
        entries = []
    if not entries:
        return Run(folder.name, str(folder))
    going = locks.going(folder)
    ended = _last_word(entries)
    told: dict[str, Any] = ended.facts if ended else {}
    return Run(
        name=folder.name,
        folder=str(folder),
        runbook=entries[0].facts.get("runbook", ""),
        began=entries[0].when,
        status="running" if going else told.get("status", _CUT_OFF),
        exit_code=None if going else told.get("exit_code"),
        engine=told.get("engine", ""),
        pid=going.pid if going else None,
    )


def _last_word(entries: Sequence[Entry]) -> Entry | None:
    """How the run ended; None when it was cut off, or taken up again and cut off then."""
    words = [entry for entry in entries if entry.kind in ("run-ended", "run-resumed")]
    return words[-1] if words and words[-1].kind == "run-ended" else None


def steps(entries: Sequence[Entry]) -> Table:
    """The steps of a run, its last pass, with the seconds that they took."""
    passes = [entry.n for entry in entries if entry.kind in ("run-started", "run-resumed")]
    kept = [entry for entry in entries[passes[-1] - 1 :] if entry.kind.startswith("step-")] if passes else []
    ended = {entry.facts["cell"]: entry for entry in kept if entry.kind != "step-started"}
    rows = []
    for entry in kept:
        if entry.kind == "step-started":
            end = ended.get(entry.facts["cell"])
            state = end.kind.removeprefix("step-") if end else "begun"
            seconds = f"{end.facts['seconds']:.2f}" if end else ""
            rows.append((entry.facts["cell"], entry.facts["section"], state, seconds))
    return Table(["cell", "section", "state", "seconds"], rows, empty="no step had begun")


def timeline(entries: Sequence[Entry]) -> Table:
    """What happened to the run and to the engine: everything but its steps and records."""
    rows = [
        (entry.when.astimezone().strftime("%H:%M:%S"), entry.kind, _told(entry))
        for entry in entries
        if not entry.kind.startswith("step-") and entry.kind != "record"
    ]
    return Table(["time", "what", "of it"], rows)


def _told(entry: Entry) -> str:
    facts = entry.facts
    match entry.kind:
        case "run-started":
            given = " ".join(f"-p {name}={value}" for name, value in facts.get("parameters", {}).items())
            return f"{facts.get('runbook', '')} {given}".strip()
        case "run-interrupted":
            return str(facts.get("reason", ""))
        case "run-ended":
            return f"{facts.get('status')}, exit code {facts.get('exit_code')}"
        case "approval":
            return f"plan {facts.get('hash', '')}, by {facts.get('by', '')}"
        case "torn":
            return f"{facts.get('bytes')} bytes of half a line, from a crash, were cut off"
        case _:
            return str(facts.get("action", ""))
