"""Which cells ran, and when."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from IPython.core.interactiveshell import InteractiveShell

from labkit.lab.notebooks import ran as module
from labkit.lab.notebooks.ran import ran, record


@pytest.fixture
def shell(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> InteractiveShell:
    """An IPython of its own, in which no cell has run."""
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path))
    own = InteractiveShell()
    own.user_ns["record"] = record
    monkeypatch.setattr("IPython.get_ipython", lambda: own)
    monkeypatch.setattr(module, "_record", None)
    return own


def test_cells_have_their_numbers_titles_and_times(shell: InteractiveShell) -> None:
    """From the one that asks on; the number is the one that the notebook shows."""
    before = time.time_ns()
    for source in ("1", "record()", "\n# stop it\nx = 1", "x" * 99, "1/0"):
        shell.run_cell(source, store_history=True)
    found = ran()
    assert [(each.number, each.title) for each in found] == [
        *((2, "record()"), (3, "# stop it")),
        *((4, "x" * 71 + "…"), (5, "1/0")),
    ]
    times = [moment for each in found for moment in (each.began, each.ended)]
    assert all(times) and times == sorted(times) and before < times[0] and times[-1] < time.time_ns()


def test_a_title_is_the_command_of_the_shell() -> None:
    """That is what acts on the engine; without one the first line stands for the cell."""
    assert module._title("import x\n  !docker stop ada\n!docker ps") == "!docker stop ada"
    assert (module._title("\n  y = 1\nz"), module._title("")) == ("y = 1", "")
    assert module._title("!docker run -e PASSWORD=hunter22 web") == "!docker run -e PASSWORD=•••••• web"


def test_a_cell_that_runs_within_another_is_part_of_it(shell: InteractiveShell) -> None:
    """What is run again quietly, as lab.restore does, belongs to the cell that asked for it."""
    shell.user_ns["inner"] = lambda: shell.run_cell("2", store_history=False)
    for source in ("record()", "inner()", "3"):
        shell.run_cell(source, store_history=True)
    assert [each.title for each in ran()] == ["record()", "inner()", "3"]


def test_a_cell_that_runs_has_no_end(shell: InteractiveShell) -> None:
    """Asked from within, the last one has begun only; asking twice changes nothing."""
    shell.user_ns["ran"], shell.user_ns["seen"] = ran, []
    shell.run_cell("record(); record(); seen += ran()", store_history=True)
    assert [(each.number, each.ended) for each in shell.user_ns["seen"]] == [(1, None)]


def test_outside_of_ipython_there_are_none(monkeypatch: pytest.MonkeyPatch) -> None:
    """A program has no cells."""
    monkeypatch.setattr("IPython.get_ipython", lambda: None)
    monkeypatch.setattr(module, "_record", None)
    record()
    assert ran() == []
