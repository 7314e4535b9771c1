"""Two runs never change the same object; a dead run blocks nobody."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from filelock import FileLock

from labkit import paths
from labkit.errors import Refused
from labkit.runbook import locks

WEB = {"engine/container/1234": "container web"}
DB = {"engine/container/5678": "container db"}


@pytest.fixture(autouse=True)
def own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LABKIT_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("LABKIT_RUN_DIR", raising=False)


@pytest.fixture
def other(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process, with a run that goes on in the folder ``other`` and has claimed the container web."""
    code = (
        "import sys; from pathlib import Path; from labkit.runbook import locks\n"
        f"with locks.held(Path('{tmp_path}/other')), locks.claimed({WEB!r}):\n"
        "    print('ready', flush=True); sys.stdin.read()"
    )
    environ = {**os.environ, "LABKIT_RUN_DIR": str(tmp_path / "other")}
    process = subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environ
    )
    assert process.stdout and process.stdout.readline() == "ready\n"
    yield process
    process.kill()
    process.communicate()


def claim(*objects: dict[str, str]) -> None:
    for each in objects:
        with locks.claimed(each):
            pass


def test_the_same_object_excludes(other: subprocess.Popen[str]) -> None:
    """A claimed object cannot be claimed by another run, which is told who has it; another object can."""
    claim(DB)
    with pytest.raises(Refused) as refused:
        claim(WEB)
    assert str(refused.value).startswith("another run is changing container web\n  seen:     other, process ")
    assert str(other.pid) in refused.value.seen


def test_a_run_that_goes_on_is_not_started_again(other: subprocess.Popen[str], tmp_path: Path) -> None:
    """The same run cannot be held twice, and who holds it is known."""
    found = locks.going(tmp_path / "other")
    assert found and (found.pid, found.name) == (other.pid, "other")
    with (
        pytest.raises(Refused, match=f"other goes on already\n.*process {other.pid}"),
        locks.held(tmp_path / "other"),
    ):
        pass


@pytest.mark.parametrize("sent", [signal.SIGKILL, signal.SIGTERM])
def test_a_dead_run_blocks_nobody(other: subprocess.Popen[str], sent: signal.Signals, tmp_path: Path) -> None:
    """However a run has ended, its claims are void, and it can be taken up again."""
    other.send_signal(sent)
    other.wait()
    assert locks.going(tmp_path / "other") is None
    claim(WEB)
    with locks.held(tmp_path / "other"):
        found = locks.going(tmp_path / "other")
        assert found and found.claims == {}


def test_who_looks_at_a_dead_run_is_in_nobodys_way(
    other: subprocess.Popen[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run is taken up while somebody looks whether it goes on, and has its lock for a moment."""
    other.kill()
    other.wait()
    told: list[str] = []

    def taken_up() -> None:
        try:
            with locks.held(tmp_path / "other"):
                told.append("taken up")
        except Refused as refused:
            told.append(str(refused))

    second = threading.Thread(target=taken_up)

    class Slow(FileLock):
        def release(self, force: bool = False) -> None:
            if not self.lock_file.endswith("turn.lock") and threading.current_thread() is not second:
                second.start()
                second.join(0.5)  # for ever, if it waits for us
            super().release(force)

    monkeypatch.setattr(locks, "FileLock", Slow)
    assert locks.going(tmp_path / "other") is None
    second.join(60)
    assert told == ["taken up"]


def test_a_turn_that_does_not_come(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who waits in vain for another process is told which file it holds; a run that has ended then has ended all the same."""
    monkeypatch.setattr(locks, "_PATIENCE", 0.05)
    turn = FileLock(paths.home() / "runs/.going/turn.lock")
    with locks.held(tmp_path):
        with turn:
            for wants in (lambda: claim(WEB), lambda: locks.going(tmp_path), lambda: locks.others(0)):
                with pytest.raises(Refused, match=r"turn\.lock is locked after 0\.05 s"):
                    wants()
        claim(WEB)
        turn.acquire()
    turn.release()
    assert locks.going(tmp_path) is None


def test_claims_of_a_run_last_until_it_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a run a claim outlasts its block, for the verification; two claims add up, and nothing is left."""
    with locks.held(tmp_path):
        monkeypatch.setenv("LABKIT_RUN_DIR", str(tmp_path))
        claim(WEB, DB, WEB)
        found = locks.going(tmp_path)
        assert found and found.claims == {**WEB, **DB}
    assert locks.going(tmp_path) is None
    assert [path.name for path in (paths.home() / "runs/.going").iterdir() if path.suffix == ".json"] == []


def test_what_others_were_at(other: subprocess.Popen[str]) -> None:
    """The claims of another run are known while it goes on and after it has ended, our own are not among them."""
    before = time.time()
    claim(DB)
    with locks.claimed(DB):
        assert locks.others(before) == set(WEB)
        other.communicate("")
        assert locks.others(before) == set(WEB), "it has ended since"
        assert locks.others(time.time() + 1) == set(), "it had ended before"


def test_a_claim_without_a_run(tmp_path: Path) -> None:
    """A notebook in JupyterLab claims while its block lasts."""
    with locks.claimed(WEB), locks.held(tmp_path):
        code = f"from labkit.runbook import locks\nwith locks.claimed({WEB!r}): pass"
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
        assert "another run is changing container web" in done.stderr
        assert f"a notebook, process {os.getpid()}" in done.stderr
    claim(WEB)
