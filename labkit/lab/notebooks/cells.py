"""The cells of the notebook that runs: hearing of each that was run, and running one again without a word."""

from __future__ import annotations

from collections.abc import Callable

from labkit.errors import LabkitError

__all__ = ["after_each", "run"]


def after_each(action: Callable[[], object]) -> Callable[[], None]:
    """Have *action* called after each cell, outside IPython never; returns what ends that."""
    from IPython import get_ipython

    shell = get_ipython()
    if shell is None:
        return lambda: None

    def ran(_: object) -> None:
        action()

    shell.events.register("post_run_cell", ran)

    def end() -> None:
        if ran in shell.events.callbacks["post_run_cell"]:
            shell.events.unregister("post_run_cell", ran)

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
