"""What an executed notebook says about its run: the records in its outputs, its errors and its timings.

It does not matter who executed it: ``labkit run``, plain papermill, or a person.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar

import nbformat

from labkit.diagnosis import Finding
from labkit.observe.records import Record
from labkit.runbook.effects import Comparison
from labkit.runbook.journal import Entry
from labkit.runbook.outcomes import Failure, Outcome, Status, Timing, status_of_error
from labkit.runbook.parameters import PARAMETERS
from labkit.runbook.plans import Applied, Done, Plan
from labkit.runbook.presenting import ERROR_MARK
from labkit.runbook.verification import Verification

__all__ = ["Section", "is_runbook", "outcome_of", "sections", "was_executed"]

R = TypeVar("R", bound=Record)
_NOTHING_DONE: set[Status] = {"usage", "unreachable", "refused", "incident", "healthy"}
"""What is said of a run that has changed nothing."""


@dataclass(frozen=True)
class Section:
    """The cells with code under one heading: the seconds that they took, if that is known, and how they ended."""

    name: str
    seconds: float | None
    state: Literal["done", "failed", "not run"]


def is_runbook(notebook: nbformat.NotebookNode) -> bool:
    """Whether it says so, or carries what a runbook tells."""
    told = [*_records(notebook, Outcome), *_records(notebook, Plan)]
    return "risk" in notebook.metadata.get("labkit", {}) or bool(told)


def was_executed(notebook: nbformat.NotebookNode) -> bool:
    """Whether any of its cells ran."""
    return any(cell.get("execution_count") is not None or cell.get("outputs") for _, cell in _code(notebook))


def outcome_of(
    notebook: nbformat.NotebookNode,
    *,
    name: str = "",
    interrupted: str = "",
    engine: str = "",
    journal: Sequence[Entry] = (),
) -> Outcome:
    """The outcome of an executed *notebook*.

    What its last cell says holds only when every cell ran and none failed; a run that stopped early is
    never a success, and one that has changed something never says that nothing was touched.  *interrupted* says
    from outside why it ended, when the notebook cannot; *engine* and *journal*, what its runner knows of it.
    """
    told = _records(notebook, Outcome)
    failure = _failure(notebook, interrupted, bool(told))
    known = told[-1] if told and not failure else _so_far(notebook, journal)
    if failure:
        begun = any(entry.kind == "action-started" for entry in journal)
        known = known.model_copy(update={"status": _status(failure, known.applied, begun)})
    return known.model_copy(
        update={
            "runbook": name or _name(notebook),
            "engine": known.engine or engine,
            "failure": failure,
            "timings": tuple(_timings(notebook)),
            "seconds": notebook.metadata.get("papermill", {}).get("duration"),
        }
    )


def _so_far(notebook: nbformat.NotebookNode, journal: Sequence[Entry]) -> Outcome:
    """What a run that did not reach its end had found, planned and done."""
    return Outcome(
        status="failed",
        parameters=_parameters(notebook),
        findings=tuple(_records(notebook, Finding)),
        plan=_last(notebook, Plan),
        applied=_last(notebook, Applied) or _done(journal),
        verification=_last(notebook, Verification),
    )


def _parameters(notebook: nbformat.NotebookNode) -> dict[str, Any]:
    """What the notebook has checked; before that, what it was given."""
    checked = _carried(notebook, PARAMETERS)
    return dict(checked[-1] if checked else notebook.metadata.get("papermill", {}).get("parameters", {}))


def _done(journal: Sequence[Entry]) -> Applied | None:
    """What the journal says was done of a plan whose application broke off, and what came of it."""
    ended = [entry.facts for entry in journal if entry.kind in ("action-done", "action-skipped")]
    compared = [entry.facts["comparison"] for entry in journal if entry.kind == "effects"]
    done = tuple(Done.model_validate(facts["done"]) for facts in ended)
    effects = Comparison.model_validate(compared[-1]) if compared else None
    return Applied(done=done, note="it broke off", effects=effects) if done or effects else None


def _carried(notebook: nbformat.NotebookNode, media_type: str) -> list[Any]:
    return [
        output.metadata[media_type]
        for _, cell in _code(notebook)
        for output in cell.get("outputs", [])
        if media_type in output.get("metadata", {})
    ]


def _records(notebook: nbformat.NotebookNode, kind: type[R]) -> list[R]:
    """The records of this *kind* in the outputs, in their order."""
    return [kind.model_validate(data) for data in _carried(notebook, kind.media_type())]


def _last(notebook: nbformat.NotebookNode, kind: type[R]) -> R | None:
    return next(reversed(_records(notebook, kind)), None)


# -- what went wrong


def _failure(notebook: nbformat.NotebookNode, interrupted: str, told: bool) -> Failure | None:
    error = _error(notebook)
    stopped = _unfinished(notebook)
    if error and not interrupted:
        return error
    if interrupted or stopped is not None or not told:
        cell = error.cell if error else stopped
        return Failure(
            error="Interrupted" if interrupted else "Unfinished",
            message=interrupted or "the notebook did not run to its end",
            section=_section(notebook, cell) if cell is not None else "",
            cell=cell,
        )
    return None


def _error(notebook: nbformat.NotebookNode) -> Failure | None:
    """The first error that a cell has shown."""
    for index, cell in _code(notebook):
        for output in cell.get("outputs", []):
            if output.output_type == "error":
                message = output.evalue or output.ename
                if output.ename == "SystemExit":
                    message = f"the cell called sys.exit({output.evalue}): the runbook did not run to its end"
                section = _section(notebook, index)
                return Failure(error=output.ename, message=message, section=section, cell=index)
    return None


def _unfinished(notebook: nbformat.NotebookNode) -> int | None:
    """The first cell with code that did not run to its end."""
    for index, cell in _code(notebook):
        failed = cell.metadata.get("papermill", {}).get("status") == "failed"
        if cell.source.strip() and (failed or cell.get("execution_count") is None):
            return index
    return None


def _status(failure: Failure, applied: Applied | None, begun: bool) -> Status:
    """The status that stands for an error: labkit's own errors carry it, any other is a failed run.

    *begun*: an action had begun; how far it came may be unknown.
    """
    status = status_of_error(failure.error)
    done = bool(applied and applied.done and status in _NOTHING_DONE)
    return "failed" if done or (begun and status == "usage") else status


# -- the rest


def _code(notebook: nbformat.NotebookNode) -> Iterator[tuple[int, Any]]:
    return ((index, cell) for index, cell in enumerate(notebook.cells) if cell.cell_type == "code")


def _section(notebook: nbformat.NotebookNode, index: int) -> str:
    """The heading under which a cell stands."""
    for cell in reversed(notebook.cells[: index + 1]):
        headings = [line for line in cell.source.splitlines() if line.startswith("#")]
        # papermill marks a cell that failed with headings of its own
        if cell.cell_type == "markdown" and headings and ERROR_MARK not in cell.metadata.get("tags", []):
            return str(headings[-1].lstrip("# "))
    return ""


def sections(notebook: nbformat.NotebookNode, failed: int | None = None) -> list[Section]:
    """The sections that hold code, in their order; the cell *failed* is where the run ended."""
    found: dict[str, Section] = {}
    for index, cell in _code(notebook):
        name = _section(notebook, index)
        before = found.get(name, Section(name, None, "done"))
        # papermill's marks on each cell; there are none when papermill did not execute it
        seconds = cell.metadata.get("papermill", {}).get("duration")
        total = before.seconds if seconds is None else (before.seconds or 0.0) + seconds
        state = before.state
        if index == failed:
            state = "failed"
        elif failed is not None and index > failed and state == "done" and before.seconds is None:
            state = "not run"
        found[name] = Section(name, total, state)
    return list(found.values())


def _timings(notebook: nbformat.NotebookNode) -> list[Timing]:
    """Seconds by section."""
    return [
        Timing(section=each.name, seconds=round(each.seconds, 3))
        for each in sections(notebook)
        if each.seconds is not None
    ]


def _name(notebook: nbformat.NotebookNode) -> str:
    source = notebook.metadata.get("papermill", {}).get("input_path")
    return Path(source).stem if source else ""
