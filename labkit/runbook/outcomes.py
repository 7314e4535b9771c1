"""How a run ended: one status, its exit code, and everything that led to it, as one record."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field, computed_field

from labkit import errors
from labkit.diagnosis import Finding
from labkit.observe.records import Record
from labkit.observe.tables import Table
from labkit.runbook.parameters import Parameters
from labkit.runbook.plans import Applied, Plan
from labkit.runbook.redaction import mask, write_clean
from labkit.runbook.resuming import first
from labkit.runbook.verification import Verification

if TYPE_CHECKING:
    from labkit.engine import Engine

__all__ = [
    "EXIT_CODES",
    "FILE",
    "Failure",
    "Outcome",
    "Status",
    "Timing",
    "as_json",
    "is_ours",
    "outcome",
    "schema",
    "status_of",
    "status_of_error",
]

Status = Literal["healthy", "fixed", "failed", "usage", "unreachable", "incident", "unverified", "refused"]
EXIT_CODES: dict[Status, int] = {
    "healthy": 0,
    "fixed": 0,
    "failed": 1,
    "usage": 2,
    "unreachable": 3,
    "incident": 4,
    "unverified": 5,
    "refused": 6,
}
FILE = "outcome.json"


class Failure(BaseModel):
    """The error that ended a run: its class and message, and the *section* of the notebook it happened in."""

    model_config = ConfigDict(frozen=True)

    error: str
    message: str
    section: str = ""
    cell: int | None = None

    def __str__(self) -> str:
        """The message; with its class, unless the message says all that can be said."""
        return self.message if is_ours(self.error) else f"{self.error}: {self.message}"


class Timing(BaseModel):
    """Seconds spent in one section of the notebook."""

    model_config = ConfigDict(frozen=True)

    section: str
    seconds: float


class Outcome(Record):
    """The record of one run.  ``schema_version`` goes up when a field changes its meaning or goes away."""

    kind: ClassVar[str] = "outcome"

    schema_version: Literal[1] = 1
    runbook: str = ""
    engine: str = ""
    engine_id: str = ""
    status: Status
    parameters: dict[str, Any] = Field(default_factory=dict)
    findings: tuple[Finding, ...] = ()
    plan: Plan | None = None
    applied: Applied | None = None
    verification: Verification | None = None
    failure: Failure | None = None
    timings: tuple[Timing, ...] = ()
    seconds: float | None = None
    folder: str = ""

    @computed_field  # type: ignore[prop-decorator]  # pydantic documents this order of decorators
    @property
    def exit_code(self) -> int:
        """What ``labkit run`` exits with."""
        return EXIT_CODES[self.status]

    @computed_field  # type: ignore[prop-decorator]
    @property
    def plan_hash(self) -> str:
        """The plan's hash, empty without actions."""
        return self.plan.hash if self.plan else ""

    def table(self) -> Table:
        done = ", ".join(each.action for each in self.applied.done) if self.applied else ""
        rows = [
            ("status", f"{self.status} (exit code {self.exit_code})"),
            *(("found", f"{each.object}: {each.verdict}") for each in self.findings),
            ("planned", ", ".join(map(str, self.plan.actions)) if self.plan else "nothing"),
            ("done", done or "nothing"),
        ]
        if self.verification and self.verification.ok is not None:
            rows.append(("verified", "yes" if self.verification.ok else "no"))
            rows += (("", f"{each.source}: {each.fact}") for each in self.verification.evidence)
        if self.failure:
            rows.append(("error", str(self.failure).splitlines()[0]))
        return Table(["outcome", "value"], [*rows, ("next", self.advice)])

    @property
    def advice(self) -> str:
        """What to do next, in a sentence."""
        if self.status == "incident" and not self.plan:
            return "a person has to decide: this runbook changes nothing for it"
        return {
            "healthy": "nothing",
            "fixed": "nothing",
            "failed": "read the error; the report links to the cell that failed",
            "usage": "correct the parameters; nothing was touched",
            "unreachable": "check DOCKER_HOST and the docker context, then run it again",
            "incident": "carry out the plan: run it again with --apply (papermill: -p apply True)",
            "unverified": "look at the evidence, and undo what was done if it did not help",
            "refused": "read why, then run it again for a new plan",
        }[self.status]

    def summary(self) -> dict[str, Any]:
        return {
            "schema_version": self.schema_version,
            "status": self.status,
            "exit_code": self.exit_code,
            "findings": [each.summary() for each in self.findings],
        }


def is_ours(error: str) -> bool:
    """Whether the message of an error of this class says all that can be said."""
    return error in ("Interrupted", "Unfinished", "SystemExit") or error in _exit_codes()


def status_of_error(error: str) -> Status:
    """The status that stands for an error's class: labkit's own carry it, any other is a failed run."""
    code = _exit_codes().get(error, 1)
    return next(status for status, known in EXIT_CODES.items() if known == code)


def _exit_codes() -> dict[str, int]:
    tree: list[type[errors.LabkitError]] = [errors.LabkitError]
    for kind in tree:
        tree.extend(kind.__subclasses__())
    return {kind.__name__: kind.exit_code for kind in tree}


def status_of(finding: Finding, applied: Applied, verification: Verification) -> Status:
    """The status of a run that came to its end."""
    if not finding.incident:
        return "healthy"
    if not applied.done:
        return "incident"
    return "fixed" if verification.ok else "unverified"


def outcome(
    parameters: Parameters,
    finding: Finding,
    plan: Plan,
    applied: Applied,
    verification: Verification,
    *,
    engine: Engine,
) -> Outcome:
    """The outcome of the notebook in whose last cell this is called.

    Also written as JSON to the folder that ``LABKIT_RUN_DIR`` names, if it is set.
    """
    # of a run that was resumed, what its first pass has seen
    finding, plan = first(finding), first(plan)
    made = Outcome(
        engine=f"{engine.url}, version {engine.client.version()['Version']}",
        engine_id=engine.client.info().get("ID", ""),
        status=status_of(finding, applied, verification),
        parameters=parameters.plain(),
        findings=(finding,),
        plan=plan,
        applied=applied,
        verification=verification,
    )
    folder = os.environ.get("LABKIT_RUN_DIR")
    if folder:
        write_clean(Path(folder) / FILE, as_json(made))
    return made


def as_json(outcome: Outcome) -> str:
    """*outcome* as it is written to ``outcome.json``: without secrets."""
    return json.dumps(mask(outcome.model_dump(mode="json")), indent=2, ensure_ascii=False) + "\n"


def schema() -> dict[str, Any]:
    """The JSON schema of ``outcome.json``."""
    told = Outcome.model_json_schema(mode="serialization")
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **told}
