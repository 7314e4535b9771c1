"""Every notebook does on a fresh engine exactly what its committed outputs show, and keeps the house rules."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import nbformat
import pytest

import labkit
from labkit import faults, paths
from labkit.lab.authoring import rules
from tests.kernel_budget import kernel_budget  # noqa: F401 - a fixture
from tests.notebooks import LABS, PAGES, ROOT, RUNBOOKS, each, jupyter_environ


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
    for _ in range(3):
        done = subprocess.run(
            [*command, "--override-ini=addopts=", "--override-ini=timeout=0", str(path)],
            cwd=ROOT,
            env=environ,
            capture_output=True,
            text=True,
            check=False,
            timeout=600,
        )
        # another process may take a port between its choice and the kernel
        if "Kernel died before replying to kernel_info" not in done.stdout:
            break
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]


def comparable(path: Path, folder: Path) -> Path:
    """*path*; for an ordinary user a copy in *folder*, in which the cells that only root's engine can do are not compared.

    They run all the same, and say why not: files are made immutable by the host's own root alone.
    """
    book = nbformat.read(path, as_version=4)
    for cell in book.cells if os.geteuid() else []:
        if "lab.undeletable(" in cell.source:
            cell.metadata["tags"] = [*cell.metadata.get("tags", []), "nbval-ignore-output"]
            nbformat.write(book, path := folder / path.name)
    return path


@pytest.mark.timeout(600)
@pytest.mark.parametrize("path", each(PAGES + LABS))
def test_lab_gives_its_outputs_again(path: Path, tmp_path: Path) -> None:
    """A lab or a page, run from top to bottom in an engine of its own, gives every committed output again."""
    strictly(comparable(path, tmp_path), jupyter_environ(tmp_path))


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


@pytest.mark.parametrize("path", each(PAGES + LABS + RUNBOOKS))
def test_notebook_keeps_the_house_rules(path: Path) -> None:
    """A notebook of any kind keeps every rule of `labkit.lab.authoring.rules`; what it breaks is told in words."""
    assert rules.violations(path) == []
