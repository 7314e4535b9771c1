"""Runbooks: typed parameters, a plan before anything changes, a verified outcome, and a report.

A runbook is a notebook; it uses `check`, the actions, `Plan`, `stays_up` and `outcome`.  Whoever runs
runbooks uses `names`, `about`, `run` and `report`.

Each name is imported when it is first used: papermill loads our engine whenever it is imported, also for
notebooks that are not ours, and that must cost nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from labkit.observe.quantities import ByteSize, Duration
    from labkit.runbook.actions import (
        compare_volume,
        copy_in,
        copy_out,
        create_volume,
        raise_memory,
        remove_build_cache,
        remove_container,
        remove_image,
        remove_network,
        remove_unused,
        remove_volume,
        restart,
        run_job,
        start_again,
        stop,
    )
    from labkit.runbook.copies import is_copied, is_restored, plan_backup, plan_restore
    from labkit.runbook.execution import run
    from labkit.runbook.folders import About, about, find, names
    from labkit.runbook.inputs import assignments, from_file
    from labkit.runbook.kinds import CIDR, Between
    from labkit.runbook.live import Container, CPUs, HostPath, Image, Memory, Network, NewHostPath, Volume
    from labkit.runbook.outcomes import EXIT_CODES, Outcome, outcome
    from labkit.runbook.parameters import check
    from labkit.runbook.plans import Plan
    from labkit.runbook.reports import report
    from labkit.runbook.resuming import resume
    from labkit.runbook.secret import Secret
    from labkit.runbook.verification import gives_back, stays_up

__all__ = [
    "CIDR",
    "EXIT_CODES",
    "About",
    "Between",
    "ByteSize",
    "CPUs",
    "Container",
    "Duration",
    "HostPath",
    "Image",
    "Memory",
    "Network",
    "NewHostPath",
    "Outcome",
    "Plan",
    "Secret",
    "Volume",
    "about",
    "assignments",
    "check",
    "compare_volume",
    "copy_in",
    "copy_out",
    "create_volume",
    "find",
    "from_file",
    "gives_back",
    "is_copied",
    "is_restored",
    "names",
    "outcome",
    "plan_backup",
    "plan_restore",
    "raise_memory",
    "remove_build_cache",
    "remove_container",
    "remove_image",
    "remove_network",
    "remove_unused",
    "remove_volume",
    "report",
    "restart",
    "resume",
    "run",
    "run_job",
    "start_again",
    "stays_up",
    "stop",
]

_HOMES = {
    "labkit.observe.quantities": ["ByteSize", "Duration"],
    "labkit.runbook.actions": [
        "compare_volume",
        "copy_in",
        "copy_out",
        "create_volume",
        "raise_memory",
        "remove_build_cache",
        "remove_container",
        "remove_image",
        "remove_network",
        "remove_unused",
        "remove_volume",
        "restart",
        "run_job",
        "start_again",
        "stop",
    ],
    "labkit.runbook.copies": ["is_copied", "is_restored", "plan_backup", "plan_restore"],
    "labkit.runbook.execution": ["run"],
    "labkit.runbook.folders": ["About", "about", "find", "names"],
    "labkit.runbook.inputs": ["assignments", "from_file"],
    "labkit.runbook.kinds": ["CIDR", "Between"],
    "labkit.runbook.live": [
        "CPUs",
        "Container",
        "HostPath",
        "Image",
        "Memory",
        "Network",
        "NewHostPath",
        "Volume",
    ],
    "labkit.runbook.outcomes": ["EXIT_CODES", "Outcome", "outcome"],
    "labkit.runbook.parameters": ["check"],
    "labkit.runbook.plans": ["Plan"],
    "labkit.runbook.reports": ["report"],
    "labkit.runbook.resuming": ["resume"],
    "labkit.runbook.secret": ["Secret"],
    "labkit.runbook.verification": ["gives_back", "stays_up"],
}


def __getattr__(name: str) -> Any:
    for home, names_there in _HOMES.items():
        if name in names_there:
            return getattr(import_module(home), name)
    raise AttributeError(f"module 'labkit.runbook' has no attribute {name!r}")
