"""A signal ends a run, whatever it meets."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import nbformat
import pytest

from labkit import runbook
from labkit.runbook.interruptions import Interruptions
from labkit.runbook.progress import Silent


class Going:
    """Sends this process a signal while its destructor runs, out of which Python lets no exception."""

    def __del__(self) -> None:
        os.kill(os.getpid(), signal.SIGTERM)


class Swallowing(Silent):
    """A signal comes as the first step begins, and is swallowed."""

    def __init__(self) -> None:
        self.steps = 0

    def step(self, section: str) -> None:
        self.steps += 1
        if self.steps == 1:
            Going()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("cells", [1, 3])
def test_a_signal_that_was_swallowed_ends_the_run_all_the_same(cells: int, tmp_path: Path) -> None:
    """Before the next step, or after the last one."""
    book = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(f"print({n})") for n in range(cells)])
    nbformat.write(book, tmp_path / "book.ipynb")
    progress = Swallowing()
    outcome = runbook.run(str(tmp_path / "book.ipynb"), out_dir=tmp_path / "runs", progress=progress)
    assert progress.steps == 1
    assert outcome.failure and outcome.failure.message == "interrupted by SIGTERM"


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_nothing_is_raised_outside() -> None:
    """Where a run may not be interrupted the signal waits, and then it is not lost."""
    interruptions = Interruptions()
    with interruptions.handled():
        Going()
        assert interruptions.received == "SIGTERM"
        with pytest.raises(KeyboardInterrupt), interruptions.allowed():
            pass
