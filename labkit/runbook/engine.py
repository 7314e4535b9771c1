"""The papermill engine ``labkit``: ``papermill --engine labkit``, and what ``labkit run`` executes with.

It does what papermill's own engine does, with the same outputs, and beyond that: each step is journaled
before it begins, what a kernel says is masked before it is written, a run and its steps may have time
limits, the notebook is saved once a second rather than at every cell, and a kernel ends with its runner.

papermill loads this module whenever it is imported, while it is only half imported itself.  So nothing of
papermill's, or else heavy, is imported here before a notebook is executed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nbformat import NotebookNode

__all__ = ["NAME", "LabkitEngine"]

NAME = "labkit"


class LabkitEngine:
    """What papermill asks of an engine, as `papermill.engines.Engine` has it."""

    @classmethod
    def execute_notebook(
        cls,
        nb: NotebookNode,
        kernel_name: str,
        output_path: str | None = None,
        progress_bar: bool | dict[str, Any] = True,
        log_output: bool = False,
        autosave_cell_every: float = 30,
        **options: Any,
    ) -> NotebookNode:
        """Execute *nb* and return it as it may be written: without secrets.

        *options*: those of papermill's own engine; and *limit* and *step_limit* (seconds for the whole
        notebook, and for each cell), and *progress* (a `labkit.runbook.progress.Progress`).
        """
        from labkit.runbook.saving import Saving
        from labkit.runbook.steps import execute
        from labkit.runbook.sweeps import learning

        saving = Saving(
            nb,
            output_path=output_path,
            progress_bar=progress_bar,
            log_output=log_output,
            autosave_cell_every=autosave_cell_every,
        )
        with learning() as learned:
            saving.notebook_start()
            try:
                execute(saving, kernel_name, log_output=log_output, **options)
            finally:
                saving.cleanup_pbar()
                learned.again()
                saving.notebook_complete()
            return saving.last()

    @classmethod
    def nb_kernel_name(cls, nb: NotebookNode, name: str | None = None) -> str:
        """The kernel that *nb* asks for, unless it is given by *name*."""
        from papermill.utils import nb_kernel_name

        return str(nb_kernel_name(nb, name))

    @classmethod
    def nb_language(cls, nb: NotebookNode, language: str | None = None) -> str:
        """The language of *nb*, unless it is given."""
        from papermill.utils import nb_language

        return str(nb_language(nb, language))
