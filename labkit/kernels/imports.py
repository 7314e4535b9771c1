"""What a notebook's cells import that takes long: it can be done ahead, while nobody waits for it."""

from __future__ import annotations

import json
import re
from pathlib import Path

__all__ = ["imports"]

_IMPORT = re.compile(r"^(?:import|from) (?:docker|labkit|pandas)\b[^(;\\\n]*$", re.M)
"""Those take long, and importing them changes nothing that a cell could see."""


def imports(path: Path) -> list[str]:
    """The statements of the notebook at *path* that import what takes long; none for a file that is no notebook."""
    try:
        cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
        sources = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
    except (OSError, ValueError, LookupError, TypeError):
        return []  # what is wrong with it is told when it is read in earnest
    return [statement for source in sources for statement in _IMPORT.findall(source)]
