"""How a run ended: one status for every way, from whatever the executed notebook says."""

from __future__ import annotations

from typing import Any

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from labkit.diagnosis import Evidence, Finding
from labkit.observe.records import Record
from labkit.runbook.executed import outcome_of
from labkit.runbook.outcomes import EXIT_CODES, Outcome, status_of
from labkit.runbook.plans import Applied, Done, Plan
from labkit.runbook.verification import Verification

FINDING = Finding(
    diagnosis="exit-137",
    object="web",
    code="oom-of-pid-1",
    title="It was killed.",
    confidence="certain",
    incident=True,
    evidence=(Evidence(source="docker events", fact="oom", detail="at noon"),),
)
DONE = Applied(done=(Done(action="start container web", undo="docker stop web", seconds=0.1),))


@pytest.mark.parametrize(
    ("incident", "applied", "ok", "status"),
    [
        (False, Applied(), None, "healthy"),
        (True, Applied(), None, "incident"),
        (True, DONE, True, "fixed"),
        (True, DONE, False, "unverified"),
    ],
)
def test_a_run_that_came_to_its_end(incident: bool, applied: Applied, ok: bool | None, status: str) -> None:
    """What was found, done and verified decides the status."""
    finding = FINDING.model_copy(update={"incident": incident})
    assert status_of(finding, applied, Verification(ok=ok)) == status


def test_a_summary_says_by_what_it_was_verified() -> None:
    """Under the word yes stands what was seen; nothing where nothing was verified."""
    seen = Verification(ok=True, evidence=(Evidence(source="web.tar", fact="3 files"),))
    assert "verified  yes" in (told := repr(Outcome(status="fixed", verification=seen)))
    assert "          web.tar: 3 files" in told.splitlines()
    assert "verified" not in repr(Outcome(status="incident", verification=Verification()))


def test_every_exit_code_is_the_documented_one() -> None:
    """Scripts rely on these numbers."""
    assert EXIT_CODES == {
        "healthy": 0,
        "fixed": 0,
        "failed": 1,
        "usage": 2,
        "unreachable": 3,
        "incident": 4,
        "unverified": 5,
        "refused": 6,
    }


def shown(record: Record) -> nbformat.NotebookNode:
    data, metadata = record._repr_mimebundle_()
    return new_output("execute_result", data=data, metadata=metadata, execution_count=1)


def ran(*outputs: nbformat.NotebookNode, source: str = "x", count: int | None = 1) -> nbformat.NotebookNode:
    return new_code_cell(source, outputs=list(outputs), execution_count=count)


def failed(name: str, value: str = "no") -> nbformat.NotebookNode:
    return new_output("error", ename=name, evalue=value, traceback=[])


LAST = ran(shown(Outcome(status="incident", findings=(FINDING,), plan=Plan())))


def test_an_executed_notebook_carries_its_outcome() -> None:
    """Read back, it is what the last cell said, with its findings and their details."""
    outcome = outcome_of(new_notebook(cells=[ran(), LAST]), name="x")
    assert (outcome.status, outcome.runbook, outcome.failure) == ("incident", "x", None)
    assert outcome.findings == (FINDING,)


@pytest.mark.parametrize(
    ("error", "status"),
    [
        ("UsageError", "usage"),
        ("EngineUnreachable", "unreachable"),
        ("EngineFailed", "unreachable"),
        ("Refused", "refused"),
        ("ApplyUnverified", "unverified"),
        ("LabkitError", "failed"),
        ("KeyError", "failed"),
        ("SystemExit", "failed"),
        ("KeyboardInterrupt", "failed"),
    ],
)
def test_an_error_decides_the_status(error: str, status: str) -> None:
    """labkit's own errors carry their exit code; any other is a run that failed, also a ``sys.exit(0)``."""
    outcome = outcome_of(new_notebook(cells=[ran(failed(error, "0")), ran(count=None)]))
    assert outcome.status == status


def test_an_error_after_the_outcome_is_still_an_error() -> None:
    """A cell that was added below and failed is not passed over."""
    assert outcome_of(new_notebook(cells=[LAST, ran(failed("KeyError"))])).status == "failed"


@pytest.mark.parametrize(
    "cells",
    [
        [],
        [ran()],
        [ran(), ran(count=None)],
        [LAST, ran(count=None)],
    ],
)
def test_a_notebook_that_did_not_run_to_its_end_has_failed(cells: list[Any]) -> None:
    """Never a success: not when a cell did not run, and not when none told an outcome."""
    assert outcome_of(new_notebook(cells=cells)).status == "failed"


def test_what_was_found_before_an_error_is_kept() -> None:
    """A refusal does not lose the evidence."""
    cells = [
        new_markdown_cell("## Diagnosis"),
        ran(shown(FINDING)),
        new_markdown_cell("## Apply\n\nNow."),
        ran(failed("Refused", "it changed")),
    ]
    outcome = outcome_of(new_notebook(cells=cells))
    assert outcome.findings == (FINDING,)
    assert outcome.failure is not None
    assert (outcome.failure.section, outcome.failure.cell) == ("Apply", 3)


def test_empty_cells_need_not_run() -> None:
    """papermill and JupyterLab pass over a cell without code."""
    assert outcome_of(new_notebook(cells=[LAST, ran(source=" ", count=None)])).status == "incident"


def test_the_json_has_a_schema() -> None:
    """Version, status and exit code are always there, and the record reads back."""
    outcome = outcome_of(new_notebook(cells=[LAST]), name="x")
    data = outcome.model_dump(mode="json")
    assert (data["schema_version"], data["status"], data["exit_code"]) == (1, "incident", 4)
    assert Outcome.model_validate_json(outcome.model_dump_json()) == outcome
