"""Every notebook does on a fresh engine exactly what its committed outputs show, and keeps the house rules."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

import labkit
from labkit import faults, paths
from tests.kernel_budget import kernel_budget  # noqa: F401 - a fixture
from tests.notebooks import LABS, ROOT, RUNBOOKS, each, jupyter_environ, load

FIELDS = {
    "labs": ("title", "summary", "covers", "claims"),
    "runbooks": ("title", "summary", "covers", "risk"),
}


def strictly(path: Path, environ: dict[str, str]) -> None:
    """Run *path* with nbval, every output compared, and fail with its report."""
    command = [
        sys.executable,
        "-m",
        "pytest",
        "--nbval",
        "--nbval-cell-timeout=120",
        "-p",
        "no:cacheprovider",
        "-q",
        "--no-header",
    ]
    done = subprocess.run(
        [*command, "--override-ini=addopts=", "--override-ini=timeout=0", str(path)],
        cwd=ROOT,
        env=environ,
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]


@pytest.mark.timeout(600)
@pytest.mark.parametrize("path", each(LABS))
def test_lab_gives_its_outputs_again(path: Path, tmp_path: Path) -> None:
    """A lab, run from top to bottom in an engine of its own, gives every committed output again."""
    strictly(path, jupyter_environ(tmp_path))


@contextmanager
def incident(runbook: Path) -> Iterator[labkit.Engine]:
    """A fresh private engine in which the runbook's fault has happened to the container `web`."""
    with labkit.open_engine(name="incident", images=["busybox"]) as engine:
        faults.inject(engine, runbook.stem.partition("-")[2])
        yield engine


@pytest.mark.timeout(600)
@pytest.mark.parametrize("path", each(RUNBOOKS))
def test_runbook_gives_its_outputs_again(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A runbook, run on an engine that has its fault, gives every committed output again."""
    monkeypatch.chdir(tmp_path)  # where the kernel starts, and a fault leaves its files
    with incident(path) as engine:
        here = Path(shutil.copy(path, tmp_path))
        strictly(here, {**jupyter_environ(tmp_path), **engine.environ, "LABKIT_HOME": str(paths.home())})


@pytest.mark.parametrize("path", each(LABS + RUNBOOKS))
def test_nothing_is_compared_with_nothing(path: Path) -> None:
    """Every code cell was executed, and most show something: a comparison has something to compare."""
    code = [cell for cell in load(path).cells if cell.cell_type == "code" and cell.source.strip()]
    assert all(cell.execution_count for cell in code)
    assert sum(bool(cell.outputs) for cell in code) > len(code) / 2


@pytest.mark.parametrize("path", each(LABS + RUNBOOKS))
def test_no_unexpected_error_is_committed(path: Path) -> None:
    """No output is an error, unless its cell is tagged raises-exception."""
    for cell in load(path).cells:
        if cell.cell_type == "code" and "raises-exception" not in cell.metadata.get("tags", []):
            assert not [output for output in cell.outputs if output.output_type == "error"], cell.source


@pytest.mark.parametrize("path", each(LABS + RUNBOOKS))
def test_notebook_says_what_it_is(path: Path) -> None:
    """The first cell gives title and summary; the metadata name the claims that are covered; parameters are tagged."""
    notebook = load(path)
    kind = "labs" if path in LABS else "runbooks"
    facts = notebook.metadata["labkit"]
    for field in FIELDS[kind]:
        assert facts.get(field), f"metadata labkit.{field} is missing"
    first = notebook.cells[0]
    assert first.cell_type == "markdown" and first.source.startswith("# ")
    assert [cell for cell in notebook.cells if "parameters" in cell.metadata.get("tags", [])], (
        "no cell is tagged parameters"
    )
    assert notebook.metadata.kernelspec.name == "python3"


@pytest.mark.parametrize("path", each(LABS))
def test_lab_has_a_verdict_from_evidence_for_every_claim(path: Path) -> None:
    """Each claim that a lab covers has a verdict, and the cell that shows it is there and has an output."""
    notebook = load(path)
    facts, cells = notebook.metadata["labkit"], {cell.id: cell for cell in notebook.cells}
    assert set(facts["claims"]) == set(facts["covers"])
    for claim, told in facts["claims"].items():
        assert told["verdict"] in ("confirmed", "refuted", "depends", "not testable here"), claim
        assert cells[told["cell"]].outputs, f"{claim}: the evidence cell {told['cell']} shows nothing"


@pytest.mark.parametrize("path", each(LABS))
def test_lab_is_pleasant_to_read(path: Path) -> None:
    """A lab has 30 to 45 cells, half or more of them prose, code cells of a few lines, and small outputs."""
    cells = load(path).cells
    code = [cell for cell in cells if cell.cell_type == "code"]
    lines = [len([line for line in cell.source.splitlines() if line.strip()]) for cell in code]
    words = sum(len(cell.source.split()) for cell in cells if cell.cell_type == "markdown")
    assert 30 <= len(cells) <= 45
    assert len(code) <= len(cells) / 2
    assert max(lines) <= 15 and sorted(lines)[len(lines) // 2] <= 6
    assert words >= 12 * sum(lines)
    assert path.stat().st_size < 500_000
