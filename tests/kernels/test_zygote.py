"""The zygote itself: one for each user and Python, never stale, gone when it is not needed."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

import labkit
from labkit.kernels import starting
from tests.kernels.conftest import of_runtime, soon, zygotes


def test_two_starters_make_one(runtime: Path) -> None:
    """Four that start one at the same moment make one, and it serves."""
    starters = [threading.Thread(target=starting.start) for _ in range(4)]
    for starter in starters:
        starter.start()
    for starter in starters:
        starter.join()
    connection = starting.connect(60)
    assert connection is not None
    connection.close()
    assert soon(lambda: len(of_runtime(runtime)) == 1)
    assert zygotes(runtime) == of_runtime(runtime)


def test_its_files_are_its_users_alone(zygote: int, runtime: Path) -> None:
    """Socket, lock and log can be opened by their user and nobody else."""
    modes = {path.suffix: path.stat().st_mode & 0o777 for path in runtime.glob("zygote-*")}
    assert modes == {".sock": 0o600, ".lock": 0o600, ".log": 0o600}


def test_it_holds_nothing_before_a_fork(zygote: int, runtime: Path) -> None:
    """One thread; no file but its streams, its lock, its socket and what it waits with; no secret in its environment."""
    assert len(list(Path(f"/proc/{zygote}/task").iterdir())) == 1
    known = ("/dev/null", "socket:", "anon_inode:[eventpoll]", "anon_inode:[pidfd]", str(runtime))
    files: list[str] = []

    def only_known() -> bool:  # it may still look at labkit's folders, or have us as its client
        try:
            files[:] = [str(path.readlink()) for path in Path(f"/proc/{zygote}/fd").iterdir()]
        except FileNotFoundError:  # closed in between
            return False
        return all(name.startswith(known) for name in files) and len(files) <= 8

    assert soon(only_known), files


def test_no_secret_outlives_its_starter(runtime: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A variable of the starter that is not needed is not in the zygote's environment."""
    monkeypatch.setenv("REGISTRY_PASSWORD", "hunter2")
    starting.start()
    connection = starting.connect(60)
    assert connection is not None
    connection.close()
    assert b"hunter2" not in Path(f"/proc/{zygotes(runtime)[0]}/environ").read_bytes()


def test_it_ends_when_idle(runtime: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After its idle time it has ended, with its files; not while somebody is connected."""
    monkeypatch.setenv("LABKIT_ZYGOTE_IDLE", "1")
    connection = None
    while connection is None:  # where we were slow it has ended already
        starting.start()
        connection = starting.connect(20)
    time.sleep(1.5)
    assert len(of_runtime(runtime)) == 1
    connection.close()
    assert soon(lambda: not of_runtime(runtime)) and list(runtime.glob("zygote-*")) == []


@pytest.mark.parametrize("how", ["end_all", "gently", "killed"])
def test_nothing_is_left_of_it(how: str, zygote: int, runtime: Path) -> None:
    """Told to end, or killed and cleared away after: no process and no file."""
    if how == "killed":
        os.kill(zygote, signal.SIGKILL)
        assert soon(lambda: not of_runtime(runtime))
    starting.end_all(gently=how == "gently")
    assert soon(lambda: not of_runtime(runtime)) and list(runtime.glob("zygote-*")) == []


def test_after_a_kill_the_next_one_starts(zygote: int, runtime: Path) -> None:
    """The files of a killed zygote are in nobody's way."""
    os.kill(zygote, signal.SIGKILL)
    assert soon(lambda: starting.connect() is None)
    starting.start()
    connection = starting.connect(60)
    assert connection is not None
    connection.close()


ASK = """
import os, sys
from labkit.kernels import client, starting
connection = starting.connect()
if connection is None:
    sys.exit(print('dropped'))
folder = os.open(".", os.O_PATH)
try:
    client.ask(connection, [0, 1, 2, folder], kind="command", argv=["labkit", "--help"], environ=dict(os.environ))
    print(connection.recv(1))
except ConnectionError:
    print('dropped')
"""


@pytest.mark.parametrize("change", ["nothing", "source", "new source", "package"])
def test_a_stale_one_makes_place(change: str, runtime: Path, tmp_path: Path) -> None:
    """After a change of labkit's source files or of the installed packages a zygote serves no more, and ends."""
    copy, installed = tmp_path / "labkit", tmp_path / "packages"
    shutil.copytree(Path(labkit.__file__).parent, copy, ignore=shutil.ignore_patterns("__pycache__"))
    installed.mkdir()
    environ = {**os.environ, "PYTHONPATH": f"{tmp_path}:{installed}", "PYTHONDONTWRITEBYTECODE": "1"}

    def python(code: str) -> str:
        done = subprocess.run(
            [sys.executable, "-P", "-c", code],
            env=environ,
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=True,
        )
        return done.stdout

    python("from labkit.kernels import starting; starting.start(); starting.connect(60)")
    (before,) = zygotes(runtime)
    later = time.time() + 5
    if change == "source":
        os.utime(copy / "errors.py", (later, later))
    elif change == "new source":
        (copy / "diagnosis/another.py").write_text('"""New."""\n')
    elif change == "package":
        (installed / "thing-1.0.dist-info").mkdir()
    served = "b'+'" in python(ASK)
    assert served is (change == "nothing")
    if not served:
        assert soon(lambda: not Path(f"/proc/{before}").exists()) and list(runtime.glob("zygote-*")) == []


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be another user")
def test_another_user_is_refused(zygote: int, runtime: Path) -> None:
    """Not by the file's mode alone: with modes wide open, another user's connection is closed before it is heard."""
    code = (
        "import socket, sys; s = socket.socket(socket.AF_UNIX); s.connect(sys.argv[1]); s.settimeout(60); "
        "print(len(s.recv(1)))"
    )
    command = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "/usr/bin/python3", "-c", code]
    path = str(next(runtime.glob("zygote-*.sock")))
    done = subprocess.run([*command, path], capture_output=True, text=True, check=False, cwd="/")
    assert "PermissionError" in done.stderr
    runtime.parent.chmod(0o755)
    runtime.chmod(0o755)
    Path(path).chmod(0o666)
    done = subprocess.run([*command, path], capture_output=True, text=True, check=False, cwd="/")
    runtime.chmod(0o700)
    Path(path).chmod(0o600)
    assert done.stdout == "0\n", done.stderr


@pytest.mark.skipif(os.geteuid() != 0, reason="only root has rights to give up")
def test_fewer_rights_are_not_made_more(zygote: int, runtime: Path) -> None:
    """A process of the same user that has given up capabilities gets no fork that has them."""
    code = (
        "import socket, sys; s = socket.socket(socket.AF_UNIX); s.connect(sys.argv[1]); s.settimeout(60); "
        "print(len(s.recv(1)))"
    )
    path = str(next(runtime.glob("zygote-*.sock")))
    command = [
        "setpriv",
        "--bounding-set=-sys_admin",
        "--inh-caps=-sys_admin",
        sys.executable,
        "-c",
        code,
        path,
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.stdout == "0\n", done.stderr


def test_nonsense_does_no_harm(zygote: int, runtime: Path) -> None:
    """A client that sends nonsense, half a request, or nothing is dropped, and the next one is served."""
    for nonsense in (b"", b"\0", b"\0\0\0\4oops", b"\0\0\0\2{}", b"\xff\xff\xff\xff" + b"x" * 1000):
        connection = socket.socket(socket.AF_UNIX)
        connection.connect(str(starting.place()))
        connection.sendall(nonsense)
        connection.close()
    done = subprocess.run([sys.executable, "-c", ASK], capture_output=True, text=True, check=True)
    assert "b'+'" in done.stdout and soon(lambda: of_runtime(runtime) == [zygote])
