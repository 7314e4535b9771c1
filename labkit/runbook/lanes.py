"""Executing steps on a lane: a fork of this process runs the cells, where a kernel would cost more than they do."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from nbclient.exceptions import CellTimeoutError, DeadKernelError
from nbclient.util import run_sync
from nbformat import NotebookNode

from labkit.kernels.lane import Lane, LaneDied
from labkit.runbook.steps import Stepping

__all__ = ["LaneStepping"]

LANGUAGE = {
    "name": "python",
    "version": sys.version.split()[0],
    "mimetype": "text/x-python",
    "codemirror_mode": {"name": "ipython", "version": sys.version_info[0]},
    "pygments_lexer": "ipython3",
    "nbconvert_exporter": "python",
    "file_extension": ".py",
}
"""What an ipykernel says of its language."""


class LaneStepping(Stepping):
    """Steps as `Stepping` takes them, in a lane."""

    def __init__(self, lane: Lane, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._lane = lane
        # an Output widget answers the kernel; what it shows is collected without that
        nobody = SimpleNamespace(msg=lambda *_, **__: None, send=lambda *_: None)
        self.kc = SimpleNamespace(session=nobody, shell_channel=nobody)

    def execute(self, env: Mapping[str, str] | None = None, **_: Any) -> NotebookNode:
        """Execute the cells in their order; *env* is their environment."""
        self.reset_execution_trackers()
        try:
            self._lane.start(os.environ if env is None else env, str(Path.cwd()))
            self.papermill_execute_cells()
            if not self._lane.alive:
                raise LaneDied("the kernel died")
        except LaneDied as error:
            raise DeadKernelError("Kernel died") from error
        finally:
            self._lane.end()
        self.nb.metadata["language_info"] = LANGUAGE
        self.set_widgets_metadata()
        return self.nb  # type: ignore[no-any-return]

    def execute_cell(self, cell: NotebookNode, cell_index: int, *_: Any, **__: Any) -> NotebookNode:
        """Execute one cell, as nbclient does."""
        tags = cell.metadata.get("tags", [])
        if cell.cell_type != "code" or not cell.source.strip() or self.skip_cells_with_tag in tags:
            return cell
        cell.metadata["execution"] = {"iopub.status.busy": _now()}
        times = cell.metadata["execution"]  # not the dict above: a notebook keeps a copy
        self.code_cells_executed += 1
        cell.outputs, self.clear_before_next_output = [], False
        for message in self._messages(cell):
            if message["msg_type"] == "execute_reply":
                reply = message["content"]
            else:
                if message["msg_type"] == "execute_input":
                    times["iopub.execute_input"] = _now()
                self.process_message(message, cell, cell_index)
        times["iopub.status.idle"] = times["shell.execute_reply"] = _now()
        if reply["status"] == "error":
            run_sync(self._check_raise_for_error)(cell, cell_index, {"content": reply})
        return cell

    def _messages(self, cell: NotebookNode) -> Iterator[dict[str, Any]]:
        seconds = self._get_timeout(cell)
        try:
            yield from self._lane.run(cell.source, seconds=seconds)
        except TimeoutError:
            raise CellTimeoutError.error_from_timeout_and_cell(
                "Cell execution timed out", seconds, cell
            ) from None

    def _kernel_pid(self) -> int | None:
        return self._lane.pid


def _now() -> str:
    return datetime.now(UTC).isoformat().replace("+00:00", "Z")
