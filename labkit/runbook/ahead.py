"""A cold start, ordered so that nothing is done twice and two processors have work.

The lane is forked as soon as the notebook is known: after the imports that runner and cells share, and before those of
one of them.  While the runner does its own, the lane does those that the notebook's cells will ask for.
"""

from __future__ import annotations

import importlib

from labkit.kernels import lane
from labkit.kernels.imports import imports
from labkit.runbook import folders

__all__ = ["imports", "prepare_lane"]

_SHARED = ("docker", "jupyter_client.manager")
"""What every runner imports, and every lane or its cells."""
_SHARED_BY_RUNBOOKS = ("labkit.observe", "labkit.runbook.outcomes")


def prepare_lane(name: str) -> None:
    """Fork the lane for a run of the runbook *name*, before this process has any thread.

    Raises `UsageError`, with the nearest name, when there is no such runbook.
    """
    expected = imports(folders.find(name))
    of_a_runbook = any("labkit" in statement for statement in expected)
    for module in (*_SHARED, *(_SHARED_BY_RUNBOOKS if of_a_runbook else ())):
        importlib.import_module(module)
    lane.prepare(expected)
