"""The thin `labkit`: a command that a zygote runs behaves in every way as one that runs by itself."""

from __future__ import annotations

import json
import os
import pty
import re
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import nbformat
import pytest

from tests.kernels.conftest import of_runtime, soon

LABKIT = str(Path(sys.executable).with_name("labkit"))
WAYS = ["1", "0"]
"""LABKIT_ZYGOTE: with one, without one."""


def labkit(*words: str, way: str = "1", **options: Any) -> subprocess.CompletedProcess[str]:
    environ = {**os.environ, "LABKIT_ZYGOTE": way, **options.pop("environ", {})}
    return subprocess.run(
        [LABKIT, *words],
        env=environ, capture_output=True, text=True, check=False, timeout=120, **options,
    )  # fmt: skip


def book(folder: Path, *sources: str) -> str:
    """A runbook of these cells."""
    cells = [nbformat.v4.new_code_cell(source) for source in sources]
    path = folder / "book.ipynb"
    nbformat.write(nbformat.v4.new_notebook(cells=cells), path)
    return str(path)


def started(
    folder: Path, *words: str, way: str = "1", **options: Any
) -> tuple[subprocess.Popen[str], int, int]:
    """A run under way: its client, and the processes of its runner and of its cells."""
    sign = folder / "sign"
    code = (
        f"import os; open({str(sign)!r} + '.new', 'w').write(f'{{os.getppid()}} {{os.getpid()}}')\n"
        f"os.rename({str(sign)!r} + '.new', {str(sign)!r})"
    )
    words = words or (
        "run",
        book(folder, code, "import time; time.sleep(1000)"),
        "--out",
        str(folder / "runs"),
        "--json",
    )
    process = subprocess.Popen(
        [LABKIT, *words], env={**os.environ, "LABKIT_ZYGOTE": way},
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options,
    )  # fmt: skip
    assert soon(sign.exists)
    runner, lane = map(int, sign.read_text().split())
    return process, runner, lane


@pytest.mark.parametrize(
    ("words", "options"),
    [
        (["runbooks"], {}),
        (["runbooks", "--json"], {}),
        (["run", "no-such-runbook"], {}),
        (["run", "diagnose-exit-137", "-p", "nonsense=1"], {}),
        (["run"], {}),
        (["run", "--help"], {"environ": {"COLUMNS": "60", "TERM": "dumb"}}),
        (["show", "nothing"], {}),
        (["run", "book.ipynb"], {"cwd": "/"}),
        (["runbooks"], {"environ": {"LABKIT_HOME": "/proc/nowhere"}}),
    ],
)
def test_the_same_as_by_itself(words: list[str], options: dict[str, Any], zygote: int) -> None:
    """Output, messages and exit code are the same."""
    through, alone = (labkit(*words, way=way, **options) for way in WAYS)
    assert (through.returncode, through.stdout, through.stderr) == (
        alone.returncode,
        alone.stdout,
        alone.stderr,
    )


def test_a_file_that_only_the_caller_has_open(zygote: int, tmp_path: Path) -> None:
    """Parameters by the shell's ``<(…)``: a pipe, which a zygote does not have."""
    command = f'"{LABKIT}" run diagnose-exit-137 --params-file <(echo watsch: 1s)'
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False, cwd=tmp_path)
    assert (done.returncode, "no parameter of the runbook called 'watsch'" in done.stderr) == (2, True), done


def test_it_was_the_zygote(zygote: int, tmp_path: Path) -> None:
    """The command runs in a fork of the zygote, and its cells in a fork of that."""
    process, runner, _ = started(tmp_path)
    parent = Path(f"/proc/{runner}/stat").read_text().rpartition(")")[2].split()[1]
    process.terminate()
    process.communicate(timeout=60)
    assert int(parent) == zygote and runner != process.pid


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_signals_arrive(number: signal.Signals, way: str, zygote: int, tmp_path: Path) -> None:
    """A signal ends the run cleanly: exit code, journal and report as without a zygote."""
    process, runner, lane = started(tmp_path, way=way)
    process.send_signal(number)
    out, _ = process.communicate(timeout=60)
    outcome = json.loads(out)
    assert (process.returncode, outcome["failure"]["message"]) == (1, f"interrupted by {number.name}")
    assert soon(lambda: not any(Path(f"/proc/{pid}").exists() for pid in {runner, lane}))


@pytest.mark.parametrize("victim", ["client", "runner", "zygote"])
def test_killed_at_once_leaves_nothing(victim: str, zygote: int, runtime: Path, tmp_path: Path) -> None:
    """kill -9 of the client, of its fork, or of the zygote ends the run; a killed fork shows as that signal."""
    process, runner, lane = started(tmp_path)
    os.kill({"client": process.pid, "runner": runner, "zygote": zygote}[victim], signal.SIGKILL)
    _, said = process.communicate(timeout=60)
    assert soon(lambda: not any(Path(f"/proc/{pid}").exists() for pid in (runner, lane)))
    assert process.returncode == (1 if victim == "zygote" else -signal.SIGKILL)
    if victim == "zygote":
        assert "fork server ended" in said and "LABKIT_ZYGOTE=0" in said
    assert soon(lambda: of_runtime(runtime) == ([] if victim == "zygote" else [zygote]))


def _state(pid: int) -> str:
    """The letter of its state (proc(5)); nothing where there is no such process any more."""
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return ""


@pytest.mark.parametrize("victim", ["client", "runner"])
def test_what_cells_have_started_goes_too(victim: str, zygote: int, tmp_path: Path) -> None:
    """A program that a cell has put into the background ends with a run that was killed."""
    sign = tmp_path / "program"
    code = f"import subprocess, time; open({str(sign)!r}, 'w').write(str(subprocess.Popen(['sleep', '1000']).pid))"
    first = f"import os; open({str(tmp_path / 'runner')!r}, 'w').write(str(os.getppid()))"
    words = ["run", book(tmp_path, first, code, "time.sleep(1000)"), "--out", str(tmp_path), "--json"]
    process = subprocess.Popen([LABKIT, *words], stdout=subprocess.DEVNULL)
    assert soon(lambda: sign.exists() and sign.read_text())
    runner = int((tmp_path / "runner").read_text())
    os.kill(process.pid if victim == "client" else runner, signal.SIGKILL)
    process.wait()
    program = int(sign.read_text())
    assert soon(lambda: _state(program) in ("", "Z"))


def test_stop_and_go_on(zygote: int, tmp_path: Path) -> None:
    """Ctrl-Z stops client and command; SIGCONT lets both go on."""
    process, runner, _ = started(tmp_path)
    process.send_signal(signal.SIGTSTP)
    assert soon(lambda: _state(process.pid) == _state(runner) == "T")
    process.send_signal(signal.SIGCONT)
    assert soon(lambda: _state(process.pid) != "T" and _state(runner) != "T")
    process.terminate()
    process.communicate(timeout=60)


def test_an_ignored_signal_stays_ignored(zygote: int, tmp_path: Path) -> None:
    """Under nohup(1) a hang-up does not end the run."""
    process, runner, _ = started(tmp_path, preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN))
    process.send_signal(signal.SIGHUP)
    os.kill(runner, signal.SIGHUP)
    time.sleep(0.5)
    assert process.poll() is None
    process.terminate()
    process.communicate(timeout=60)


def test_a_terminal_is_lent(zygote: int) -> None:
    """On a terminal the command sees the terminal and its width."""
    leader, follower = pty.openpty()
    import fcntl
    import struct
    import termios

    fcntl.ioctl(follower, termios.TIOCSWINSZ, struct.pack("HHHH", 20, 44, 0, 0))
    environ = {key: value for key, value in os.environ.items() if key != "COLUMNS"} | {"TERM": "xterm"}
    command = [LABKIT, "runbooks"]
    done = subprocess.run(command, stdin=follower, stdout=follower, stderr=follower, env=environ, check=False)
    os.close(follower)
    shown = b""
    with suppress(OSError):  # Linux ends a terminal without a process with an error
        while chunk := os.read(leader, 65536):
            shown += chunk
    os.close(leader)
    text = shown.decode()
    assert done.returncode == 0 and "\x1b[" in text
    assert max(map(len, re.sub(r"\x1b\[[0-9;]*m", "", text).splitlines())) <= 44


def test_closed_streams_and_a_folder_that_is_gone(zygote: int, tmp_path: Path) -> None:
    """Standard streams that are closed, or a folder that was removed, are no reason to fail otherwise."""
    gone = tmp_path / "gone"
    gone.mkdir()
    script = f'cd {gone}; rmdir {gone}; exec "$0" runbooks <&- 2>&-'
    done = subprocess.run(["sh", "-c", script, LABKIT], capture_output=True, text=True, check=False)
    assert done.returncode == 0 and "diagnose-exit-137" in done.stdout


@pytest.mark.parametrize("closed", ["2>&-", ">&- <&-", "<&- >&- 2>&-"])
def test_no_file_takes_the_place_of_a_closed_stream(closed: str, zygote: int, tmp_path: Path) -> None:
    """With closed streams a command ends as it would have, and a program that a cell starts has all three."""
    sign = tmp_path / "sign"
    look = f"import subprocess; subprocess.run(['sh', '-c', ': <&0 && : >&1 && : >&2 && echo >>{sign}'])"
    run = f"run {book(tmp_path, look)} --out {tmp_path / 'runs'} --json"
    for way, command in ((way, command) for way in WAYS for command in ('"$0"', '"$1" -m labkit')):
        for line, code in (("runs --json", 0), (run, 1)):  # a notebook without an outcome counts as failed
            done = subprocess.run(
                ["sh", "-c", f"{command} {line} {closed}", LABKIT, sys.executable],
                capture_output=True, text=True, check=False, timeout=120, env={**os.environ, "LABKIT_ZYGOTE": way},
            )  # fmt: skip
            assert (done.returncode, done.stderr) == (code, "")
            assert bool(done.stdout) is not (">&-" in closed.split())
    assert len(sign.read_text()) == 4


def test_text_that_no_file_can_hold_is_written_escaped(tmp_path: Path) -> None:
    """A lone surrogate that a cell prints or raises stands in notebook and outcome as Python would write it."""
    cells = ["print('a\\ud800b')", "raise ValueError('c\\ud801d')"]
    words = ["run", book(tmp_path, *cells), "--out", str(tmp_path / "runs"), "--json"]
    done = labkit(*words, way="0")
    assert json.loads(done.stdout)["failure"]["message"] == "c\\ud801d", done.stderr
    (written,) = (tmp_path / "runs").glob("*/book.ipynb")
    outputs = [cell.get("outputs") for cell in nbformat.read(written, as_version=4).cells]
    assert [{"output_type": "stream", "name": "stdout", "text": "a\\ud800b\n"}] in outputs


def test_a_stuck_zygote_is_done_without(zygote: int) -> None:
    """Of a zygote that does not answer nobody waits long; when it wakes up it runs nothing."""
    os.kill(zygote, signal.SIGSTOP)
    try:
        done = labkit("runbooks", environ={"FILLER": "x" * 100_000})
        assert done.returncode == 0
        assert "diagnose-exit-137" in done.stdout
    finally:
        os.kill(zygote, signal.SIGCONT)
    assert labkit("runbooks").returncode == 0


def test_the_first_run_starts_a_zygote_for_the_next(runtime: Path) -> None:
    """Without a zygote the command runs by itself, and leaves one that is ready soon; with LABKIT_ZYGOTE=0 none."""
    labkit("runbooks", way="0")
    assert of_runtime(runtime) == []
    assert labkit("runbooks").returncode == 0
    assert soon(lambda: list(runtime.glob("zygote-*.sock")))
    assert soon(lambda: len(of_runtime(runtime)) == 1)
