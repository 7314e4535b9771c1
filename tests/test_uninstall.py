"""`labkit uninstall`: all that labkit made is gone, and nothing else; nothing is deleted under an engine that lives."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from labkit.engine import detached, packs, records
from tests.notebooks import ROOT

ANYWHERE = ("__pycache__", ".ipynb_checkpoints")


def uninstall(**environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "labkit", "uninstall", "--yes"],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


def test_uninstall_ends_engines_and_removes_both_folders(own_folders: tuple[Path, Path]) -> None:
    """A running engine is ended, and home and runtime folder are gone; what a link in them leads to is not."""
    home, runtime = own_folders
    pack = (home / "packs/debian-13").resolve()
    record = detached.start("doomed")
    assert record.alive
    done = uninstall()
    assert done.returncode == 0, done.stderr
    assert not home.exists() and not runtime.exists() and not record.alive
    assert (pack / "pack.json").exists()


def test_uninstall_leaves_what_labkit_did_not_make(own_folders: tuple[Path, Path]) -> None:
    """A file of the user's own in labkit's folders stays, with the folder, and is named; all else is gone."""
    records.listed()  # whereby the folders become labkit's
    packs.names()
    for name in ("progress.sqlite", "progress.sqlite-wal"):
        (own_folders[0] / name).touch()
    for folder in own_folders:
        (folder / "letters").mkdir()
        (folder / "letters/to-mum").touch()
    done = uninstall()
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("letters") == 2
    for folder in own_folders:
        assert [path.name for path in folder.rglob("*")] == ["letters", "to-mum"]


@pytest.mark.parametrize("variable", ["LABKIT_HOME", "LABKIT_RUNTIME"])
def test_uninstall_refuses_a_folder_that_is_not_labkits(
    own_folders: tuple[Path, Path], tmp_path: Path, variable: str
) -> None:
    """With a variable that names somebody's folder, uninstall is a usage error and deletes nothing at all."""
    theirs = Path(f"/tmp/lk-theirs-{os.getpid()}")
    (theirs / "images").mkdir(parents=True)
    theirs.chmod(0o700)
    try:
        done = uninstall(**{variable: str(theirs)})
        assert done.returncode == 2 and str(theirs) in done.stderr
        assert (theirs / "images").exists() and own_folders[0].exists()
    finally:
        (theirs / "images").rmdir()
        theirs.rmdir()


def test_uninstall_deletes_nothing_under_a_living_engine(own_folders: tuple[Path, Path]) -> None:
    """Where a keeper does not end, uninstall names its engine, exits with 1 and leaves its folders."""
    record = detached.start("stubborn")
    keeper = record.facts["keeper"]["pid"]
    os.kill(keeper, signal.SIGSTOP)
    try:
        done = uninstall()
        assert done.returncode == 1
        assert record.id in done.stderr and str(keeper) in done.stderr
        assert Path(record.facts["data"], "docker").exists() and record.folder.exists()
    finally:
        os.kill(keeper, signal.SIGCONT)
        assert record.stop()


def test_uninstall_refuses_while_an_engine_of_another_runtime_folder_runs(
    own_folders: tuple[Path, Path], tmp_path: Path
) -> None:
    """An engine that was started with another LABKIT_RUNTIME has its data here: it is named, and nothing is deleted."""
    home, runtime = own_folders
    record = detached.start("afar")
    other = Path(f"/tmp/lk-other-{os.getpid()}")
    try:
        done = uninstall(LABKIT_RUNTIME=str(other))
        assert done.returncode == 1
        assert record.id in done.stderr and str(runtime) in done.stderr
        assert home.exists() and record.alive
    finally:
        assert record.stop()
        for entry in (other / ".labkit", other):
            entry.unlink() if entry.is_file() else entry.rmdir()


def test_make_clean_removes_what_was_made_in_the_checkout(tmp_path: Path) -> None:
    """Whatever git is told to ignore, but for a person's own runs, is gone from the checkout after `make clean`."""
    shutil.copy(ROOT / "Makefile", tmp_path)
    ignored = [line.strip("/") for line in (ROOT / ".gitignore").read_text().split() if line != "/runs/"]
    for pattern in ignored:
        for folder in (tmp_path, *([tmp_path / "notebooks"] if pattern in ANYWHERE else [])):
            (folder / pattern.replace("*", "labkit")).mkdir(parents=True)
    subprocess.run(["make", "clean"], cwd=tmp_path, check=True)
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["Makefile", "notebooks"]
