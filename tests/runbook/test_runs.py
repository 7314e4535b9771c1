"""``labkit runs``, ``show``, ``resume`` and ``runs verify``; time limits; runs at the same time."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nbformat
import pytest

from labkit import runbook
from labkit.errors import LabkitError, Refused, UsageError
from labkit.runbook import locks, runs
from labkit.runbook.journal import Journal
from labkit.runbook.runs import Run
from tests.commands import labkit
from tests.engine.test_packs import on_small_disk


@pytest.fixture(autouse=True)
def own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LABKIT_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("LABKIT_RUN_DIR", raising=False)
    monkeypatch.setenv("DOCKER_HOST", "unix:///nonexistent.sock")


def book(folder: Path, *sources: str) -> str:
    """A notebook that never comes to an outcome, so that a run of it can be resumed."""
    spec = {"name": "python3", "display_name": "Python 3", "language": "python"}
    cells = [nbformat.v4.new_markdown_cell("## First"), *map(nbformat.v4.new_code_cell, sources)]
    path = folder / "short.ipynb"
    nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata={"kernelspec": spec}), path)
    return str(path)


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """A run that has failed."""
    return runs.read(Path(runbook.run(book(tmp_path, "print(1)", "1 / 0", "2")).folder))


def test_a_run_is_listed_and_shown(run: Run) -> None:
    """``labkit runs`` names it with status and exit code; ``show`` its steps; both as JSON too; nothing else on stdout."""
    assert (run.runbook, run.status, run.exit_code, run.pid) == ("short", "failed", 1, None)
    listed = labkit("runs")
    assert run.name in listed.stdout and " failed " in listed.stdout
    assert [each["name"] for each in json.loads(labkit("runs", "--json").stdout)] == [run.name]
    shown = labkit("show", "last")
    assert shown.returncode == 0
    for wanted in (run.name, "run-started", "failed, exit code 1", "First", "done"):
        assert wanted in shown.stdout
    told = json.loads(labkit("show", run.name[:15], "--json").stdout)
    kinds = [entry["kind"] for entry in told["entries"]]
    assert kinds == [
        "run-started",
        *("step-started", "step-done", "step-started", "step-failed"),
        "run-ended",
    ]


def test_progress_never_corrupts_stdout(tmp_path: Path) -> None:
    """Progress goes to stderr, a line a section; ``--json`` and ``--quiet`` are silent but for the result."""
    name = book(tmp_path, "print('from the cell')")
    plain, quiet, as_json = (labkit("run", name, *option) for option in ([], ["--quiet"], ["--json"]))
    assert " First\n" in plain.stderr and "First" not in plain.stdout.partition("report")[0]
    assert quiet.stdout == "" and " First\n" not in quiet.stderr
    assert json.loads(as_json.stdout)["status"] == "failed" and as_json.stderr == ""
    assert {plain.returncode, quiet.returncode, as_json.returncode} == {1}


def test_runs_are_found_by_prefix(run: Run) -> None:
    """By name, prefix, ``last`` and folder; nothing or several are usage errors that name some."""
    for given in (run.name, run.name[:-1], "last", run.folder):
        assert str(runs.find(given)) == run.folder
    for given in ("", "nope", "../x"):
        with pytest.raises(UsageError, match="no run called"):
            runs.find(given)
    other = Path(run.folder).with_name(run.name + "-2")
    Journal.create(_made(other), {})
    assert str(runs.find(run.name)) == run.folder, "the exact name wins"
    with pytest.raises(UsageError, match="more than one run begins with"):
        runs.find(run.name[:-1])


def _made(folder: Path) -> Path:
    folder.mkdir()
    return folder


def _change(path: Path, change: Callable[[bytes], bytes]) -> None:
    path.write_bytes(change(path.read_bytes()))


def test_verify_tells_tampering_from_a_crash(run: Run) -> None:
    """Whole: 0. Half a line from a crash: 0, and said. A changed line: 1, with its number. All runs are checked."""
    path = Path(run.folder) / "journal.jsonl"
    whole = path.read_bytes()
    assert labkit("runs", "verify").returncode == 0
    path.write_bytes(whole + whole[:30])
    torn = labkit("runs", "verify", "last")
    assert torn.returncode == 0 and "30 bytes of half a line" in torn.stdout
    path.write_bytes(whole.replace(b"ZeroDivisionError", b"NothingAtAllError", 1))
    broken = labkit("runs", "verify")
    assert broken.returncode == 1
    assert "BROKEN" in broken.stdout and "is broken at line 5" in broken.stderr
    with pytest.raises(LabkitError, match="broken at line 5"):
        runbook.resume(run.name)


def test_a_damaged_run_does_not_hide_the_others(run: Run) -> None:
    """A journal that is empty or garbage is listed as damaged."""
    for name, content in (("20000101-000000-empty", b""), ("20000101-000000-garbage", b"{}\n")):
        (_made(Path(run.folder).with_name(name)) / "journal.jsonl").write_bytes(content)
    assert [(each.status, each.exit_code) for each in runs.everything()] == [
        ("damaged", None),
        ("damaged", None),
        ("failed", 1),
    ]


# -- resuming


def test_what_cannot_be_resumed_says_so(run: Run, tmp_path: Path) -> None:
    """A run that goes on, one whose notebook has changed, one that had not begun: each with its message."""
    with (
        locks.held(Path(run.folder)),
        pytest.raises(Refused, match=f"goes on already\n.*process {os.getpid()}"),
    ):
        runbook.resume("last")
    journal = Path(run.folder) / "journal.jsonl"
    whole = journal.read_bytes()
    journal.write_bytes(whole[:10])
    with pytest.raises(UsageError, match="it had not begun"):
        runbook.resume("last")
    journal.write_bytes(whole)
    book(tmp_path, "print('changed')")
    with pytest.raises(Refused, match="has changed since"):
        runbook.resume("last")
    assert journal.read_bytes() == whole, "and nothing was written"


def test_what_others_could_have_written_is_not_resumed(run: Run) -> None:
    """A journal or a notebook that somebody else could have written would be executed as you."""
    notebook = Path(Journal.open(Path(run.folder)).entries()[0].facts["notebook"])
    for path in (Path(run.folder), Path(run.folder) / "journal.jsonl", notebook):
        mode = path.stat().st_mode
        path.chmod(mode | 0o002)
        with pytest.raises(Refused, match=f"(?s)only by who started it.*{path.name}"):
            runbook.resume(run.folder)
        path.chmod(mode)
    if os.geteuid() == 0:
        os.chown(run.folder, 65534, 65534)
        with pytest.raises(Refused, match="owner 65534"):
            runbook.resume(run.folder)
        os.chown(run.folder, 0, 0)


def test_a_failed_run_can_be_taken_up_again(tmp_path: Path) -> None:
    """What was in the way is gone now: the same run goes on, in the same folder, with the same parameters."""
    wall = tmp_path / "wall"
    wall.touch()
    name = book(
        tmp_path, f"import os; assert not os.path.exists({str(wall)!r}), 'a wall'", "print('through')"
    )
    failed = runbook.run(name)
    assert failed.failure and "a wall" in failed.failure.message
    wall.unlink()
    again = runbook.resume("last")
    assert again.folder == failed.folder
    assert again.failure and again.failure.error == "Unfinished", "it ran to the end, which has no outcome"
    kinds = [entry.kind for entry in Journal.open(Path(again.folder)).verify()]
    assert kinds.count("run-resumed") == 1 and kinds[-1] == "run-ended"


# -- limits


@pytest.mark.parametrize("option", [["--limit", "1s"], ["--step-limit", "700ms"]], ids=" ".join)
@pytest.mark.parametrize("kernel", [[], ["--kernel", "python3"]], ids=["lane", "kernel"])
def test_a_limit_ends_a_run(option: list[str], kernel: list[str], tmp_path: Path) -> None:
    """A run or step that takes too long ends with exit code 1; outcome and journal name the limit."""
    name = book(tmp_path, "import time; time.sleep(1000)", "2")
    done = labkit("run", name, "--json", *option, *kernel)
    assert done.returncode == 1
    told = json.loads(done.stdout)
    assert "time limit was reached" in told["failure"]["message"]
    assert told["failure"]["cell"] == 1
    kinds = [entry.kind for entry in Journal.open(Path(told["folder"])).verify()]
    assert kinds[-3:] == ["step-failed", "run-interrupted", "run-ended"]


def test_a_limit_that_is_no_time(tmp_path: Path) -> None:
    """2, before anything is started."""
    done = labkit("run", book(tmp_path, "1"), "--limit", "soon")
    assert done.returncode == 2 and "--limit is not a time" in done.stderr
    assert not (tmp_path / "home/runs").exists()


@pytest.mark.parametrize("place", ["file", "file/below", "/proc/x"])
def test_a_place_where_no_run_can_be_made(place: str, tmp_path: Path) -> None:
    """2, with the option and the place; nothing is made."""
    (tmp_path / "file").touch()
    out = str(tmp_path / place)
    done = labkit("run", book(tmp_path, "1"), "--out", out)
    assert done.returncode == 2 and "--out" in done.stderr and out in done.stderr
    assert sorted(path.name for path in tmp_path.iterdir() if path.name != "home") == ["file", "short.ipynb"]


def test_a_kernel_that_is_not_there_leaves_nothing(tmp_path: Path) -> None:
    """2, with those that there are; no folder of a run is made."""
    done = labkit("run", book(tmp_path, "1"), "--kernel", "nope")
    assert done.returncode == 2 and "'nope'" in done.stderr and "python3" in done.stderr
    assert not (tmp_path / "home/runs").exists()


def test_the_last_run_is_the_one_that_began_last(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the time zone was, and the name of its folder is."""
    made = []
    for zone in ("UTC-14", "UTC+12"):
        monkeypatch.setenv("TZ", zone)
        time.tzset()
        made.append(Path(runbook.run(book(tmp_path, "1")).folder))
    monkeypatch.undo()
    time.tzset()
    monkeypatch.setenv("LABKIT_HOME", str(tmp_path / "home"))
    assert abs(int(made[0].name[:8]) - int(made[1].name[:8])) <= 1, "both names are of one clock"
    assert made[0].name < made[1].name
    renamed = made[1].rename(made[1].with_name("00000101-000000-short"))
    assert runs.find("last") == renamed
    assert [each.name for each in runs.everything()] == [made[0].name, renamed.name]


def test_a_full_disk_is_named_by_the_folder_of_the_run(tmp_path: Path) -> None:
    """Not by the notebook, which was only read."""
    name, home = book(tmp_path, f"# {'x' * 300_000}"), tmp_path / "full"
    code = f"from labkit.cli import main; import sys; sys.argv = ['labkit', 'run', {name!r}]; main()"
    done = on_small_disk("128k", str(home), code)
    message = done.stderr[done.stderr.index("labkit: ") :]
    assert done.returncode == 1 and "No space left" in message
    assert f"{home}/runs/" in message and name not in message


# -- at the same time


@pytest.mark.parametrize("kernel", [None, "python3"], ids=["lane", "kernel"])
def test_many_at_once(kernel: str | None, tmp_path: Path) -> None:
    """Four runs at once, each with a kernel of its own: none fails to start, none sees another's variables."""
    name = book(tmp_path, "import os, time; time.sleep(.5)", "print(os.environ['LABKIT_RUN_DIR'])")
    words = [sys.executable, "-m", "labkit", "run", name, "--json", *(["--kernel", kernel] if kernel else [])]
    started = [subprocess.Popen(words, stdout=subprocess.PIPE, text=True) for _ in range(4)]
    told: list[dict[str, Any]] = [json.loads(each.communicate(timeout=120)[0]) for each in started]
    assert len({each["folder"] for each in told}) == 4
    for each in told:
        assert each["failure"]["error"] == "Unfinished", each["failure"]
        cells = nbformat.read(Path(each["folder"]) / "short.ipynb", as_version=4).cells
        assert cells[2].outputs[0].text == each["folder"] + "\n"
        Journal.open(Path(each["folder"])).verify()
