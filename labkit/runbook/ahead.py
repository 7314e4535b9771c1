"""A cold start, ordered so that nothing is done twice and two processors have work.

The lane is forked as soon as the notebook is known: after the imports that runner and cells share, and before those of
one of them.  While the runner does its own, the lane does those that the notebook's cells will ask for.
"""

from __future__ import annotations

import importlib
import json
import re
from pathlib import Path

from labkit.kernels import lane
from labkit.runbook import folders

__all__ = ["imports", "prepare_lane"]

_SHARED = ("docker", "jupyter_client.manager")
"""What every runner imports, and every lane or its cells."""
_SHARED_BY_RUNBOOKS = ("labkit.observe", "labkit.runbook.outcomes")
_IMPORT = re.compile(r"^(?:import|from) (?:docker|labkit|pandas)\b[^(;\\\n]*$", re.M)
"""Those take long, and importing them changes nothing that a cell could see."""


def prepare_lane(name: str) -> None:
    """Fork the lane for a run of the runbook *name*, before this process has any thread.

    Raises `UsageError`, with the nearest name, when there is no such runbook.
    """
    expected = imports(folders.find(name))
    of_a_runbook = any("labkit" in statement for statement in expected)
    for module in (*_SHARED, *(_SHARED_BY_RUNBOOKS if of_a_runbook else ())):
        importlib.import_module(module)
    lane.prepare(expected)


def imports(path: Path) -> list[str]:
    """The statements of the notebook at *path* that import what takes long; none for a file that is no notebook."""
    try:
        cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
        sources = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
    except (OSError, ValueError, LookupError, TypeError):
        return []  # what is wrong with it is told when it is read in earnest
    return [statement for source in sources for statement in _IMPORT.findall(source)]
