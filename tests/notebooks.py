"""The project's notebooks, for the generic tests over all of them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "notebooks/00-start-here.ipynb"]
LABS = sorted(set(ROOT.glob("notebooks/*.ipynb")) - set(PAGES))
RUNBOOKS = sorted(ROOT.glob("runbooks/*.ipynb"))


def each(paths: list[Path]):  # type: ignore[no-untyped-def]
    """A test parameter for each of *paths*, called by its stem."""
    return [pytest.param(path, id=path.stem) for path in paths]


def jupyter_environ(folder: Path) -> dict[str, str]:
    """Variables that keep what Jupyter writes for itself, and what labkit notes of a learner, inside *folder*."""
    names = {
        "IPYTHONDIR": "ipython",
        "JUPYTER_CONFIG_DIR": "config",
        "JUPYTER_DATA_DIR": "data",
        "JUPYTER_RUNTIME_DIR": "runtime",
    }
    chosen = {variable: str(folder / name) for variable, name in names.items()}
    return {**os.environ, **chosen, "LABKIT_PROGRESS": str(folder / "progress.sqlite")}
