"""A new lab in one step: it is sound at once, and what cannot be made leaves one message and nothing else."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nbformat
import pytest

from labkit.errors import UsageError
from labkit.lab.authoring import listings, rules, skeletons
from labkit.lab.authoring.inspection import find
from labkit.lab.notebooks.book import load
from tests.lab.authoring.books import book, exercise, written
from tests.notebooks import LABS, ROOT, jupyter_environ
from tests.test_notebooks import strictly


def labkit(*words: str | Path, checkout: Path = ROOT, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run what lies in *checkout*: Python looks first where it is started."""
    return subprocess.run(
        [sys.executable, "-m", "labkit", *map(str, words)],
        capture_output=True,
        text=True,
        check=False,
        timeout=280,
        cwd=checkout,
        env={**os.environ, "PYTHONPATH": str(checkout), **environment},
    )


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A lab that was just made, among those of a checkout of its own."""
    checkout = tmp_path_factory.mktemp("checkout")
    for folder in ("labkit", "notebooks", "runbooks"):
        shutil.copytree(ROOT / folder, checkout / folder, ignore=shutil.ignore_patterns("__pycache__"))
    lists = [Path(shutil.copy(ROOT / "README.md", checkout)), checkout / "notebooks/00-start-here.ipynb"]
    done = labkit("new", "lab", "paper-boats", checkout=checkout)
    assert done.returncode == 0, done.stderr
    (path,) = checkout.glob("notebooks/*-paper-boats.ipynb")
    told = [line.split()[1] for line in done.stdout.splitlines() if line.startswith(("made:", "rewritten:"))]
    assert told == [str(file) for file in (path, *lists)]
    assert all(path.name in file.read_text(encoding="utf-8") for file in lists)
    return path


def test_a_new_lab_keeps_the_house_rules(made: Path) -> None:
    """It has a number, a title of its own, outputs, and breaks no rule."""
    assert int(made.name[:2]) > max(int(lab.name[:2]) for lab in LABS)
    assert load(made).cells[0].source.startswith("# Paper boats\n")
    assert rules.violations(made) == []


def test_a_new_lab_gives_its_outputs_again(made: Path, tmp_path: Path) -> None:
    """Run from top to bottom it gives every output again, as the labs here do."""
    strictly(made, jupyter_environ(tmp_path))


def test_a_new_lab_cannot_be_fooled_and_one_that_can_is_reported(made: Path, tmp_path: Path) -> None:
    """Its checks hold; a copy whose check asks for too little, and a file that is none, do not, and the exit code says so."""
    fooled, broken = load(made), tmp_path / "30-broken.ipynb"
    check = next(cell for cell in fooled.cells if cell.id == "word-check")
    check.source = check.source.replace(', last.says("good night")', "")
    fooled.cells = [cell for cell in fooled.cells if not cell.id.startswith("small")]
    broken.write_text("{")
    done = labkit("check-labs", made, written(tmp_path, fooled, made.stem), broken, "--json")
    good, bad, none = json.loads(done.stdout)
    assert good["problems"] == good["broken_rules"] == good["notes"] == []
    assert good["ok"] and good["tried"] == good["rejected"] >= 11
    assert bad["problems"] == ["word: the wrong answer 'silent' passes the check"]
    assert (bad["tried"], bad["rejected"]) == (4, 3)
    assert "30-broken.ipynb is not a notebook" in none["broken_rules"][0]
    assert done.returncode == 1


def test_what_is_found_is_told_in_words(tmp_path: Path) -> None:
    """On a terminal each trial is a line with a mark, and the score stands at the end."""
    answer = {"name": "never", "source": "1 / 0", "says": "a: 8"}
    spoilt = exercise(wrong=[*exercise()[2].metadata["labkit"]["wrong"], answer])
    done = labkit("check-labs", written(tmp_path, book(spoilt)))
    assert "  ✓ sum: the starter ok\n" in done.stdout
    assert "  ✗ sum: the wrong answer 'never' raises ZeroDivisionError: division by zero\n" in done.stdout
    assert "  mutation score 83 %: 5 of 6 mistakes rejected\n  does not hold" in done.stdout
    assert (done.returncode, done.stderr) == (1, "")


NO_PACK = {"LABKIT_PACK": "debian-99"}


@pytest.mark.parametrize(
    ("words", "environment", "code", "seen"),
    [
        (["Paper Boats"], {}, 2, "'Paper Boats'"),
        (["../boats"], {}, 2, "'../boats'"),
        (["b"], {}, 2, "'b'"),
        (["1-boats"], {}, 2, "'1-boats'"),
        (["boats--2"], {}, 2, "single dashes"),
        (["boats" * 6], {}, 2, "at most 28"),
        (["sum"], {}, 2, "there is a lab 10-sum"),
        (["20-sum"], {}, 2, "there is a lab 10-sum"),
        (["10-boats"], {}, 2, "there is a lab 10-sum"),
        (["boats", "--folder", "/no/such/folder"], {}, 2, "/no/such/folder"),
        (["boats"], NO_PACK, 2, "debian-99"),
    ],
)
def test_what_cannot_be_made_is_one_message(
    words: list[str], environment: dict[str, str], code: int, seen: str, tmp_path: Path
) -> None:
    """A bad name, one that is taken, a folder that is not there, and no engine: one message, its exit code, and no file."""
    there = written(tmp_path, book())
    done = labkit("new", "lab", "--folder", tmp_path, *words, **environment)
    assert done.returncode == code, done.stderr
    assert seen in done.stderr and done.stderr.startswith("labkit: ") and "Traceback" not in done.stderr
    assert list(tmp_path.iterdir()) == [there]


@pytest.mark.parametrize("name", ["x-y", "10-x-y", "ab", "a1-b2-c3"])
def test_a_name_needs_two_characters_and_no_more(name: str) -> None:
    """The message about names that cannot be is true of those that can."""
    assert skeletons.NAME.fullmatch(name)


def test_a_lab_that_cannot_be_listed_is_not_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A README that went while the lab ran: no notebook is left."""
    monkeypatch.setattr(listings, "README", tmp_path / "README.md")
    lab = written(tmp_path, book())
    with pytest.raises(FileNotFoundError):
        skeletons._listed(lab)
    assert not list(tmp_path.iterdir())


def test_a_first_page_that_is_none_is_told_before_anything_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A page that cannot list the labs is one message, which names it."""
    page = tmp_path / "00-start-here.ipynb"
    page.write_text("{")
    monkeypatch.setattr(listings, "PAGE", page)
    with pytest.raises(UsageError, match="00-start-here"):
        listings.need_writable()


def test_a_number_is_free_or_there_is_none(tmp_path: Path) -> None:
    """After the last ten there is no number, and the message says to choose one."""
    written(tmp_path, book(), "99-sum")
    done = labkit("new", "lab", "--folder", tmp_path, "boats")
    assert done.returncode == 2 and "labkit new lab NN-boats" in done.stderr


def test_a_lab_is_found_with_its_number_and_without() -> None:
    """What `labkit new lab NAME` was called, `labkit check-labs NAME` finds."""
    assert find("storage") == find("40-storage")


def test_no_such_lab_is_told_with_the_nearest() -> None:
    """A name that no lab has is exit code 2, with the labs' names and no page's, before anything has started."""
    done = labkit("check-labs", "30-container-stats", **NO_PACK)
    assert done.returncode == 2 and "30-container-states" in done.stderr and "00-start" not in done.stderr


def test_no_engine_is_told_once(tmp_path: Path) -> None:
    """Where no engine can start, no lab is tried, and one message says why."""
    done = labkit("check-labs", written(tmp_path, book()), **NO_PACK)
    assert done.returncode == 2 and "debian-99" in done.stderr and done.stdout == ""


@pytest.fixture
def runtime() -> Iterator[Path]:
    """A runtime folder of the test's own: an engine that runs has a folder in it."""
    with tempfile.TemporaryDirectory(prefix="lk-", dir="/tmp") as folder:
        Path(folder).chmod(0o700)
        yield Path(folder)


@pytest.mark.parametrize("words", [["check-labs"], ["new", "lab", "boats", "--folder"]], ids=["check", "new"])
def test_an_interrupt_leaves_nothing(words: list[str], runtime: Path, tmp_path: Path) -> None:
    """Ctrl-C while the lab's engine runs ends it, and leaves no engine, no draft and no notebook."""
    what = LABS[-1] if words == ["check-labs"] else tmp_path
    environ = {**os.environ, "LABKIT_RUNTIME": str(runtime), "TMPDIR": str(tmp_path)}
    command = [sys.executable, "-m", "labkit", *words, str(what)]
    with subprocess.Popen(command, env=environ, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as process:
        _await(lambda: _engines(runtime, "[0-9]"), 60)
        process.send_signal(signal.SIGINT)
        _, told = process.communicate(timeout=60)
    assert process.returncode == 130 and b"Traceback" not in told
    _await(lambda: not _engines(runtime, ""), 60)
    assert list(tmp_path.iterdir()) == []


def _engines(runtime: Path, name: str) -> list[Path]:
    """The engines below *runtime* whose name begins so, once they answer or at least their socket is there."""
    return list(runtime.glob(f"{name}*/run/docker.sock")) if name else [
        path for path in runtime.iterdir() if path.is_dir()
    ]  # fmt: skip


def _await(done: Any, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_the_skeleton_holds_nothing_of_one_lab() -> None:
    """What stands in for name, title and id of the lab is all replaced."""
    text = Path(rules.__file__).with_name("skeleton.ipynb").read_text(encoding="utf-8")
    for token in ("LAB_ID", "LAB_NAME", "LAB_TITLE"):
        assert token in text
    assert all(not cell.get("outputs") for cell in nbformat.reads(text, as_version=4).cells)  # type: ignore[no-untyped-call]
