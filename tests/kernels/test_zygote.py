"""The zygote itself: one for each user and Python, never stale, gone when it is not needed."""

from __future__ import annotations

import fcntl
import os
import resource
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
from labkit.engine.processes import Process
from labkit.kernels import client, forks, identity, starting, wire
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
    told = starting.end_all(gently=how == "gently", seconds=60)
    assert how != "end_all" or told == [f"fork server {zygote}: ended"]
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
    deep = b"\0\1\0\0" + b"[" * 2**16
    for nonsense in (
        b"",
        b"\0",
        b"\0\0\0\4oops",
        b"\0\0\0\2{}",
        b"\0\0\0\2[]",
        deep,
        b"\xff\xff\xff\xff" + b"x" * 1000,
    ):
        connection = socket.socket(socket.AF_UNIX)
        connection.connect(str(starting.place()))
        connection.sendall(nonsense)
        connection.close()
    done = subprocess.run([sys.executable, "-c", ASK], capture_output=True, text=True, check=True)
    assert "b'+'" in done.stdout and soon(lambda: of_runtime(runtime) == [zygote])


STRANGE = "import ctypes; ctypes.CDLL(None).prctl(15, b'\\xff) Z'); print(flush=True); open(0).read()"


def test_the_names_of_others_do_no_harm(zygote: int, runtime: Path) -> None:
    """A process of whomever that is called by bytes that are no text: a fork that ends is reaped all the same."""
    with subprocess.Popen(
        [sys.executable, "-c", STRANGE], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env={}
    ) as other:
        assert other.stdout and other.stdout.readline() and Process.of(other.pid).alive
        for _ in range(2):
            done = subprocess.run([sys.executable, "-c", ASK], capture_output=True, text=True, check=True)
            assert "b'+'" in done.stdout
        other.communicate(b"")
    assert soon(lambda: of_runtime(runtime) == [zygote])


SIGNALLED = """
import os
from labkit.kernels import zygote
fork, numbers = os.fork, [2, 15]
def signalled():
    number = numbers.pop()
    if pid := fork():
        return pid
    os.kill(os.getpid(), number)  # as a client's that is ended at once
    return 0
os.fork = signalled
zygote.main()
"""


def test_a_signal_that_comes_too_early_is_heeded_by_whom_it_is_for(runtime: Path) -> None:
    """A fork that is told to end before it has done anything ends so; the zygote is not told, and serves the next."""
    environ = {**os.environ, "OPENBLAS_NUM_THREADS": "1"}
    process = subprocess.Popen([sys.executable, "-c", SIGNALLED], env=environ)
    try:
        for expected in (signal.SIGTERM, (128 + signal.SIGINT) << 8):
            connection = starting.connect(60)
            assert connection is not None
            folder, null = os.open(".", os.O_PATH), os.open(os.devnull, os.O_RDWR)
            files, argv = [null, null, null, folder], ["labkit", "--help"]
            client.ask(connection, files, kind="command", argv=argv, environ=dict(os.environ))
            assert connection.recv(1) == b"+" and wire.receive(connection) == {"status": expected}
            for each in (connection.detach(), null, folder):
                os.close(each)
        assert zygotes(runtime) == [process.pid]
    finally:
        process.kill()
        process.wait()


def test_a_child_without_a_group_is_signalled_itself() -> None:
    """What a terminal sends to a group reaches also a fork that leads none yet."""
    child = subprocess.Popen(["sleep", "1000"])
    try:
        forks.pass_on(child.pid, signal.SIGINT)
        assert child.wait(60) == -signal.SIGINT
    finally:
        child.kill()
        child.wait()


def test_where_no_more_files_may_be_had(runtime: Path) -> None:
    """A zygote that has no descriptor left for a client takes no more, makes place for another, and goes on with what it has."""
    starting.start()
    first = starting.connect(60)
    assert first is not None
    (before,) = zygotes(runtime)
    resource.prlimit(before, resource.RLIMIT_NOFILE, (len(list(Path(f"/proc/{before}/fd").iterdir())),) * 2)
    assert starting.connect() is None
    starting.start()
    second = starting.connect(60)
    assert second is not None and before not in zygotes(runtime)
    second.close()
    first.settimeout(0.01)
    with pytest.raises(TimeoutError):
        first.recv(1)
    first.close()


def test_a_zygote_that_has_just_begun_keeps_its_lock(runtime: Path) -> None:
    """Ending all zygotes takes no lock away from one that has not told its number yet; what a dead one left is removed."""
    lock = starting.place(".lock")
    lock.write_text("")
    with lock.open() as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        assert starting.end_all(seconds=0.1) == [] and lock.exists()
    assert starting.end_all(seconds=0.1) == [] and not lock.exists()


def test_a_log_is_removed_once_nobody_writes_it(runtime: Path) -> None:
    """What one that could not start has left goes, though there is no lock; one that is about to start keeps its log."""
    log, descriptor = starting.place(".log"), starting._log()
    assert starting.end_all(seconds=0.1) == [] and log.exists()
    os.close(descriptor)
    assert starting.end_all(seconds=0.1) == [] and not log.exists()


def test_sources_come_and_go(tmp_path: Path) -> None:
    """A link that leads nowhere, as an editor leaves beside a file, is no source and no error."""
    (tmp_path / "a.py").write_text("")
    before = identity._sources(str(tmp_path))
    (tmp_path / ".#a.py").symlink_to("somebody@somewhere.1:2")
    assert identity._sources(str(tmp_path)) == before != []
