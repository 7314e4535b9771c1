"""``python -m tests.lab.authoring.proofs FOLDER``: inspect each notebook there, and print what was found as JSON, by notebook.

A process of its own, since one that has threads, as a worker of pytest has, cannot fork kernels.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from labkit.lab.authoring import proving
from labkit.lab.authoring.inspection import inspect


def main(folder: Path) -> None:
    """Inspect them; the labs have no engine, and nothing in them takes time."""
    proving.WAIT_SECONDS = 0.0
    print(json.dumps({path.stem: inspect(path).as_json() for path in sorted(folder.glob("*.ipynb"))}))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
