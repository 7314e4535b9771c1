"""Runbooks: typed parameters, a plan before anything changes, a verified outcome, and a report.

A runbook is a notebook; it uses `check`, the actions, `Plan`, `stays_up` and `outcome`.  Whoever runs
runbooks uses `names`, `about`, `run` and `report`.
"""

from labkit.observe.quantities import ByteSize, Duration
from labkit.runbook.actions import raise_memory, start_again
from labkit.runbook.execution import run
from labkit.runbook.folders import About, about, find, names
from labkit.runbook.outcomes import EXIT_CODES, Outcome, outcome
from labkit.runbook.parameters import assignments, check
from labkit.runbook.plans import Plan
from labkit.runbook.reports import report
from labkit.runbook.verification import stays_up

__all__ = [
    "EXIT_CODES",
    "About",
    "ByteSize",
    "Duration",
    "Outcome",
    "Plan",
    "about",
    "assignments",
    "check",
    "find",
    "names",
    "outcome",
    "raise_memory",
    "report",
    "run",
    "start_again",
    "stays_up",
]
