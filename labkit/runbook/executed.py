"""What an executed notebook says about its run: the records in its outputs, its errors and its timings.

It does not matter who executed it: ``labkit run``, plain papermill, or a person.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeVar

import nbformat

from labkit import errors
from labkit.diagnosis import Finding
from labkit.observe.records import Record
from labkit.runbook.outcomes import EXIT_CODES, Failure, Outcome, Status, Timing
from labkit.runbook.plans import Applied, Plan
from labkit.runbook.verification import Verification

__all__ = ["outcome_of"]

R = TypeVar("R", bound=Record)


def outcome_of(notebook: nbformat.NotebookNode, *, name: str = "", interrupted: str = "") -> Outcome:
    """The outcome of an executed *notebook*.

    What its last cell says holds only when every cell ran and none failed; a run that stopped early is
    never a success.  *interrupted* says from outside why it ended, when the notebook cannot.
    """
    told = _records(notebook, Outcome)
    failure = _failure(notebook, interrupted, bool(told))
    status = _status(failure) if failure else told[-1].status
    known = told[-1] if told and not failure else _so_far(notebook, status)
    return known.model_copy(
        update={
            "runbook": name or _name(notebook),
            "failure": failure,
            "timings": tuple(_timings(notebook)),
            "seconds": notebook.metadata.get("papermill", {}).get("duration"),
        }
    )


def _so_far(notebook: nbformat.NotebookNode, status: Status) -> Outcome:
    """What a run that did not reach its end had found, planned and done."""
    given = notebook.metadata.get("papermill", {}).get("parameters", {})
    return Outcome(
        status=status,
        parameters=dict(given),
        findings=tuple(_records(notebook, Finding)),
        plan=_last(notebook, Plan),
        applied=_last(notebook, Applied),
        verification=_last(notebook, Verification),
    )


def _records(notebook: nbformat.NotebookNode, kind: type[R]) -> list[R]:
    """The records of this *kind* in the outputs, in their order."""
    carried = [
        output.metadata[kind.media_type()]
        for _, cell in _code(notebook)
        for output in cell.get("outputs", [])
        if kind.media_type() in output.get("metadata", {})
    ]
    return [kind.model_validate(data) for data in carried]


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
                section = _section(notebook, index)
                return Failure(error=output.ename, message=message, section=section, cell=index)
    return None


def _unfinished(notebook: nbformat.NotebookNode) -> int | None:
    """The first cell with code that did not run to its end."""
    for index, cell in _code(notebook):
        if cell.source.strip() and cell.get("execution_count") is None:
            return index
    return None


def _status(failure: Failure) -> Status:
    """The status that stands for an error: labkit's own errors carry it, any other is a failed run."""
    code = _exit_codes().get(failure.error, 1)
    return next(status for status, known in EXIT_CODES.items() if known == code)


def _exit_codes() -> dict[str, int]:
    tree: list[type[errors.LabkitError]] = [errors.LabkitError]
    for kind in tree:
        tree.extend(kind.__subclasses__())
    return {kind.__name__: kind.exit_code for kind in tree}


# -- the rest


def _code(notebook: nbformat.NotebookNode) -> Iterator[tuple[int, Any]]:
    return ((index, cell) for index, cell in enumerate(notebook.cells) if cell.cell_type == "code")


def _section(notebook: nbformat.NotebookNode, index: int) -> str:
    """The heading under which a cell stands."""
    for cell in reversed(notebook.cells[: index + 1]):
        headings = [line for line in cell.source.splitlines() if line.startswith("#")]
        # papermill marks a cell that failed with headings of its own
        marked = "papermill-error-cell-tag" in cell.metadata.get("tags", [])
        if cell.cell_type == "markdown" and headings and not marked:
            return str(headings[-1].lstrip("# "))
    return ""


def _timings(notebook: nbformat.NotebookNode) -> list[Timing]:
    """Seconds by section, from papermill's marks on each cell; none when papermill did not execute it."""
    spent: dict[str, float] = {}
    for index, cell in _code(notebook):
        seconds = cell.metadata.get("papermill", {}).get("duration")
        if seconds is not None:
            section = _section(notebook, index)
            spent[section] = spent.get(section, 0.0) + seconds
    return [Timing(section=section, seconds=round(seconds, 3)) for section, seconds in spent.items()]


def _name(notebook: nbformat.NotebookNode) -> str:
    source = notebook.metadata.get("papermill", {}).get("input_path")
    return Path(source).stem if source else ""
