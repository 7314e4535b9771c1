"""labkit: notebooks that are a lesson, a runbook and a regression test, against a live Docker engine.

Only names are here, each imported when it is first used, so that ``import labkit`` costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from labkit.engine import Engine, open_engine
    from labkit.errors import LabkitError

__all__ = ["Engine", "LabkitError", "__version__", "open_engine"]

__version__ = "0.1.0"

_HOMES = {"Engine": "labkit.engine", "open_engine": "labkit.engine", "LabkitError": "labkit.errors"}


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'labkit' has no attribute {name!r}")
