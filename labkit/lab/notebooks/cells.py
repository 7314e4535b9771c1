"""The cells of the notebook that runs: hearing of each, before it is run and afterwards, and running one again without a word."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from labkit.errors import LabkitError

__all__ = ["hear", "run"]

Action = Callable[[Any], object]


def hear(*, before: Action | None = None, after: Action | None = None) -> Callable[[], None]:
    """Have *before* called with what IPython knows of each cell that begins, and *after* with what came of it.

    Returns what ends that.  Outside IPython neither is ever called.
    """
    from IPython import get_ipython

    shell = get_ipython()
    if shell is None:
        return lambda: None
    given = {"pre_run_cell": before, "post_run_cell": after}
    heard = {event: action for event, action in given.items() if action is not None}
    for event, action in heard.items():
        shell.events.register(event, action)

    def end() -> None:
        for event, action in heard.items():
            if action in shell.events.callbacks[event]:
                shell.events.unregister(event, action)

    return end


def run(id_: str, source: str) -> None:
    """Run the cell *id_*, with the notebook's variables, and show nothing of it.

    Raises `LabkitError` when it fails, with its error, and outside IPython, where no cell can be run.
    """
    from IPython import get_ipython
    from IPython.utils.capture import capture_output

    shell = get_ipython()
    if shell is None:
        raise LabkitError(
            "cells can be run in a notebook only", try_="open the lab in JupyterLab, or in ipython"
        )
    # where all errors end; an error in a notebook's output would end papermill
    shell._showtraceback = lambda *_: None
    try:
        with capture_output():
            result = shell.run_cell(source, store_history=False)
    finally:
        del shell._showtraceback
    if (error := result.error_before_exec or result.error_in_exec) is not None:
        raise LabkitError(
            f"the cell {id_!r}, which the section needs, failed",
            seen=f"{type(error).__name__}: {error}",
            try_="run the notebook's cells from the top",
        )
