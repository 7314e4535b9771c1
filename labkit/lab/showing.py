"""How what a lab says is shown: as text everywhere, with a static form for pages, and live where somebody can see it change.

The live views lie above this layer, in `labkit.widgets`; the table names them, as `labkit.engine.PROVIDERS` names the
engines' providers.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from importlib import import_module
from typing import Any

__all__ = ["VIEWS", "Shown", "in_a_notebook"]

VIEWS: dict[str, str] = {
    "Check": "labkit.widgets.marks:view",
    "Prediction": "labkit.widgets.predictions:view",
    "Trace": "labkit.widgets.traces:view",
}
"""The name of a class that is `Shown` to the function that makes the live view (a widget) of one."""


class Shown(ABC):
    """What can be the last line of a cell.  `__repr__` is its text; every other form says the same."""

    @abstractmethod
    def __repr__(self) -> str: ...

    def _static(self) -> str:
        """HTML for exported pages and for notebooks that are not running, where it shows more than the text; else nothing."""
        return ""

    def _repr_mimebundle_(self, **options: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        told = {"text/plain": repr(self)}
        if page := self._static():
            told["text/html"] = page
        data, metadata = _live(self, **options)
        return {**data, **told}, metadata


def _live(shown: Shown, **options: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """What a notebook needs to show the live view of *shown*; nothing where there is none, or nobody to see it."""
    module, _, function = VIEWS.get(type(shown).__name__, "").partition(":")
    if not module or not in_a_notebook():
        return {}, {}
    bundle = getattr(import_module(module), function)(shown)._repr_mimebundle_(**options)
    data, metadata = bundle if isinstance(bundle, tuple) else (bundle or {}, {})
    return dict(data), dict(metadata)


def in_a_notebook() -> bool:
    """Whether a person's notebook has sent the cell that runs: it says which cell; papermill, nbclient and nbval do not."""
    from IPython import get_ipython

    kernel = getattr(get_ipython(), "kernel", None)
    return kernel is not None and "cellId" in (kernel.get_parent("shell") or {}).get("metadata", {})
