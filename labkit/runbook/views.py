"""Whether a person is at the notebook, and the widget that then shows a thing beside its text.

Widgets are named here and loaded only when there is somebody to see them: nothing in this package depends on them, and a
runbook that papermill, nbval or ``labkit run`` executes never pays for them.
"""

from __future__ import annotations

import os
import sys
from importlib import import_module
from typing import Any

__all__ = ["attended", "bundle"]

_VIEWS = {"parameters": "labkit.widgets.forms:form"}
"""By kind of thing: the function that makes its widget.  A new view is one line here."""


def attended() -> bool:
    """Whether the cell that runs was sent by a front end such as JupyterLab, which says which cell it is."""
    ipython = sys.modules.get("IPython")
    kernel = getattr(ipython.get_ipython(), "kernel", None) if ipython else None
    if kernel is None or os.environ.get("LABKIT_RUN_DIR"):
        return False
    return "cellId" in (kernel.get_parent("shell") or {}).get("metadata", {})


def bundle(kind: str, thing: Any) -> dict[str, Any]:
    """*thing* for display: its text and, for a person at the notebook, the widget of its *kind*."""
    data: dict[str, Any] = {}
    if attended():
        module, _, function = _VIEWS[kind].partition(":")
        shown = getattr(import_module(module), function)(thing)._repr_mimebundle_()
        data = shown[0] if isinstance(shown, tuple) else shown
    return {**data, "text/plain": repr(thing)}
