"""Progress is kept on this machine, by any number of kernels; where it cannot be, one message says so and the lab goes on."""

from __future__ import annotations

import csv
import io
import json
import os
import re
import sqlite3
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from labkit.errors import LabkitError
from labkit.lab import progress
from labkit.lab.notebooks.book import Book, find
from labkit.lab.progress import Progress
from labkit.lab.tallies import Tally, tallies
from labkit.lab.transcripts import Transcript
from tests.notebooks import ROOT

LAB = "30-container-states"


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the test's progress is kept."""
    monkeypatch.setenv("LABKIT_PROGRESS", str(tmp_path / "progress.sqlite"))
    monkeypatch.setenv("LABKIT_LEARNER", "ada")
    return tmp_path / "progress.sqlite"


def a_lab(name: str = LAB) -> Book:
    return find(name)


def test_what_is_noted_is_counted_again_by_the_next_kernel(file: Path) -> None:
    """The last answer to a question counts, a check once passed stays so, and no hint counts twice."""
    first = Progress(a_lab())
    for right in (True, False):
        first.predicted("How many?", right)
    first.predicted("Which?", True)
    for number in (1, 2, 2):
        first.hinted("ending", number)
    first.gave_solution("ending")
    for _ in range(2):
        first.close()
        first.gave_solution("another")  # a check may turn while the lab closes
    tally = Progress(a_lab()).tally
    assert str(first.tally) == str(tally), "it is told after its end too"
    assert (tally.predictions_right, tally.predictions_made) == (1, 2)
    assert (tally.hints, tally.solutions, tally.learner) == (2, 1, "ada")
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_a_check_that_passed_once_has_passed(file: Path, tmp_path: Path) -> None:
    """Also when the engine has left the wanted state since; of a lab that is gone, the checks that were tried are all."""
    kept = Progress(Book("gone", tmp_path / "gone.ipynb"))
    for exercise, passed in (("one", False), ("one", True), ("one", False), ("two", False)):
        kept.checked(exercise, passed)
    kept.close()
    (tally,) = [each for each in tallies() if each.lab == "gone"]
    assert (tally.checks_passed, tally.checks_all) == (1, 2)


def test_each_learner_has_their_own(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What one has done is not counted for another."""
    Progress(a_lab()).predicted("Which?", True)
    monkeypatch.setenv("LABKIT_LEARNER", "grace")
    assert all(not tally.predictions_made for tally in tallies())
    assert any(tally.predictions_made for tally in tallies("ada"))


def test_time_counts_up_to_a_limit_and_not_while_paused(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who goes away for an hour has not learnt for an hour; what a restore does is nobody's doing."""
    now = [1000.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    kept = Progress(a_lab())
    for passed in (60, 3600):
        now[0] += passed
        kept.active()
    assert kept.tally.seconds == 60 + progress.IDLE
    with kept.paused():
        kept.predicted("Which?", True)
    assert kept.tally.predictions_made == 0


def test_many_kernels_write_at_once(file: Path) -> None:
    """Eight processes that begin together lose nothing of what each notes, and say nothing."""
    code = f"""if True:
        from labkit.lab.progress import Progress
        from labkit.lab.notebooks.book import find
        kept = Progress(find({LAB!r}))
        for number in range(25):
            kept.hinted("ending", number + 100 * int(__import__("sys").argv[1]))
    """
    started = [
        subprocess.Popen(
            [sys.executable, "-c", code, str(number)], cwd=ROOT, stderr=subprocess.PIPE, text=True
        )
        for number in range(8)
    ]
    assert [process.communicate()[1] for process in started] == [""] * 8
    assert Progress(a_lab()).tally.hints == 200


@pytest.mark.parametrize(
    "spoilt", ["folder", "no folder", "nonsense", "cut off", "another program's", "full"]
)
def test_a_file_that_cannot_be_used_is_said_once(
    spoilt: str, file: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """One message with the file and what to do; the lab counts on in memory; nothing of another program's is touched."""
    if spoilt == "folder":
        file.mkdir()
    elif spoilt == "no folder":
        monkeypatch.setenv("LABKIT_PROGRESS", str(file / "no/such/file"))
    elif spoilt == "nonsense":
        file.write_text("no database, but a text that is long enough to be one\n" * 100, encoding="utf-8")
    elif spoilt == "another program's":
        with sqlite3.connect(file) as theirs:
            theirs.execute("CREATE TABLE theirs (x)")
    else:
        Progress(a_lab()).close()
        if spoilt == "cut off":
            os.truncate(file, 5000)
    before = file.read_bytes() if file.is_file() else b""
    kept = Progress(a_lab())
    if spoilt == "full":
        kept._database.execute("PRAGMA max_page_count=1")
    for number in range(2000):
        kept.predicted(f"Which of {number}?", True)
    assert kept.tally.predictions_made > 1000
    told = capsys.readouterr().err
    assert told.count("progress is not kept") == 1 and os.environ["LABKIT_PROGRESS"] in told
    assert "LABKIT_PROGRESS=FILE" in told and "Traceback" not in told
    kept.close()
    if spoilt == "another program's":
        assert file.read_bytes() == before
    if spoilt not in ("full", "no folder"):
        with pytest.raises(LabkitError, match="cannot be read"):
            tallies()


@pytest.mark.parametrize("also", [[], ["-wal", "-shm"]])
def test_a_file_that_was_deleted_is_begun_anew(
    also: list[str], file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each kernel that has it open says so once; what all of them note from then on is kept, and nothing of before."""
    one, other = Progress(a_lab()), Progress(a_lab())
    for each in (one, other):
        each.predicted("Before?", True)
    for part in ["", *also]:
        file.with_name(file.name + part).unlink()
    assert one.tally.predictions_made == 0
    one.predicted("First?", True)
    other.predicted("Second?", False)
    one.predicted("Third?", True)
    assert capsys.readouterr().err.count(f"{file} was deleted: progress begins anew") == 2
    one.close()
    other.predicted("Fourth?", True)
    assert other.tally.predictions_made == Progress(a_lab()).tally.predictions_made == 4


def labkit_progress(*words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "labkit", "progress", *words]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


def test_the_command_tells_and_exports(file: Path, tmp_path: Path) -> None:
    """Table, CSV and page hold the same counts; the page loads nothing and is light and dark; no question is in them."""
    assert labkit_progress().stdout.startswith("Nothing yet.")
    kept = Progress(a_lab())
    kept.predicted("Is hunter2 the password?", True)
    kept.predicted("Which?", False)
    tallies()  # the same kernel looks, and lets go of the file
    done = labkit_progress("--csv", str(tmp_path / "a.csv"), "--html", str(tmp_path / "a.html"))
    assert file.with_name(file.name + "-wal").exists(), "what is noted from now on would be lost"
    kept.close()
    assert done.returncode == 0 and "1 right of 2" in done.stdout, done.stderr
    rows = list(csv.DictReader((tmp_path / "a.csv").open(encoding="utf-8")))
    mine = next(row for row in rows if row["lab"] == LAB)
    assert (mine["learner"], mine["predictions_right"], mine["predictions_made"]) == ("ada", "1", "2")
    page = (tmp_path / "a.html").read_text(encoding="utf-8")
    assert (
        "1 right of 2" in page and "The life of a container" in page and "prefers-color-scheme: dark" in page
    )
    assert not re.search(r"(?:src|href)=|url\(|@import|<script", page)
    assert "hunter2" not in done.stdout + page + (tmp_path / "a.csv").read_text(encoding="utf-8")
    assert [tally["lab"] for tally in json.loads(labkit_progress("--json").stdout)] == [
        row["lab"] for row in rows
    ]


@pytest.mark.parametrize("begin", ["=", "+", "-", "@", "\t", "\r", "\n", "＝"])
def test_no_name_is_a_formula(begin: str) -> None:
    """What a spreadsheet would compute is text in the table, in quotes; another name is as it is."""
    names = [f'{begin}HYPERLINK("http://x";"y")', f"ada{begin}1"]
    tallies = [Tally(name, LAB, "The life of a container", 0, 0, 0, 0, 0, 0, 0) for name in names]
    table = Transcript("x", tallies).csv()
    assert [row["learner"] for row in csv.DictReader(io.StringIO(table, newline=""))] == [
        f"'{names[0]}",
        names[1],
    ]
    assert f'"\'{begin}HYPERLINK(""http' in table


@pytest.mark.parametrize(("option", "begin"), [("--csv", '"learner","lab"'), ("--html", "<!doctype html>")])
def test_standard_output_is_a_file_too(
    option: str, begin: str, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`-` prints table or page and nothing else; two at once are refused."""
    done = labkit_progress(option, "-")
    assert done.stdout.startswith(begin) and "What you do in a lab" not in done.stdout
    assert labkit_progress(option, "/dev/stdout").stdout.startswith(begin)
    monkeypatch.setenv("LABKIT_LEARNER", "zoë")
    monkeypatch.setenv("PYTHONIOENCODING", "ascii")
    assert option == "--csv" or "zoë" in labkit_progress(option, "-").stdout, (
        "in UTF-8, whatever the terminal knows"
    )
    done = labkit_progress(option, "-", "--json")
    assert (done.returncode, done.stdout) == (2, "") and "one thing at a time" in done.stderr


@pytest.mark.parametrize(
    "words",
    [["--csv", "/no/such/folder/a.csv"], ["--html", "/"], ["--nosuch"]],
)
def test_a_mistake_on_the_command_line_is_exit_code_2(words: list[str], file: Path) -> None:
    """One message that names the file or the option, and no traceback."""
    done = labkit_progress(*words)
    assert done.returncode == 2 and words[-1] in done.stderr and "Traceback" not in done.stderr


@pytest.mark.parametrize("part", ["", "-wal"])
def test_nothing_is_written_in_the_place_of_the_progress(part: str, file: Path, tmp_path: Path) -> None:
    """The file of the progress, by whatever path, is refused as a table's or a page's before anything is written."""
    kept = Progress(a_lab())
    kept.predicted("Which?", True)
    kept.close()
    (tmp_path / "link").symlink_to(f"{file}{part}")
    done = labkit_progress("--csv", str(tmp_path / "a.csv"), "--html", str(tmp_path / "link"))
    assert done.returncode == 2 and "where progress is kept" in done.stderr
    assert not (tmp_path / "a.csv").exists() and "1 right of 1" in labkit_progress().stdout


def test_bytes_that_are_no_text_are_kept_all_the_same(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A learner or a question that is not UTF-8 ends no lab."""
    monkeypatch.setenv("LABKIT_LEARNER", os.fsdecode(b"ad\xffa"))
    kept = Progress(a_lab())
    kept.predicted("What is \udcff?", True)
    assert kept.learner == "ad?a" and kept.tally.predictions_right == 1
    kept.close()


def test_what_cannot_be_read_is_one_message(file: Path) -> None:
    """A file that is no database: exit code 1 and its name."""
    file.write_text("nonsense " * 1000, encoding="utf-8")
    done = labkit_progress()
    assert done.returncode == 1 and str(file) in done.stderr and "Traceback" not in done.stderr


def test_a_name_is_no_markup() -> None:
    """Whoever a learner says to be, the page shows it as text."""
    page = Transcript("<script>alert(1)</script>", []).page()
    assert "<script" not in page and "&lt;script&gt;" in page
