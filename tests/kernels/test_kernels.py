"""Forked kernels: the same for every program that starts kernels, each fresh, none left behind."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from queue import Empty
from typing import Any

import nbformat
import papermill
import pytest
from jupyter_client import AsyncKernelManager, BlockingKernelClient, KernelClient, KernelManager
from jupyter_core.utils import ensure_async

from labkit.engine.processes import Process
from labkit.kernels import provisioner, starting
from labkit.runbook.redaction import MASK
from tests.kernels.conftest import of_runtime, soon, zygotes

IS_FORKED = "import os; assert b'kernels.zygote' in open(f'/proc/{os.getppid()}/cmdline', 'rb').read()"


class Own(BlockingKernelClient):
    """A client that somebody has chosen."""


@contextmanager
def kernel(name: str = "labkit", **streams: Any) -> Iterator[tuple[KernelManager, BlockingKernelClient]]:
    """A kernel that is ready."""
    manager = KernelManager(kernel_name=name)
    manager.start_kernel(**{"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, **streams})
    client = manager.client()
    client.start_channels()
    try:
        client.wait_for_ready(timeout=120)
        yield manager, client
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)


def told(client: BlockingKernelClient, code: str) -> str:
    """What a cell prints; an error is an error."""
    texts: list[str] = []
    reply = client.execute_interactive(
        code, timeout=120, output_hook=lambda message: texts.append(message["content"].get("text", ""))
    )
    assert reply["content"]["status"] == "ok", reply["content"]
    return "".join(texts).strip()


def notebook(folder: Path, *sources: str) -> Path:
    """A notebook of these cells, without outputs, for the kernel ``labkit``."""
    cells = [nbformat.v4.new_code_cell(source, execution_count=1) for source in sources]
    spec = {"kernelspec": {"name": "labkit", "display_name": "labkit", "language": "python"}}
    path = folder / "book.ipynb"
    nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata=spec), path)
    return path


@pytest.mark.parametrize("program", ["papermill", "nbval", "jupyter_client"])
def test_serves_every_program(program: str, zygote: int, tmp_path: Path) -> None:
    """papermill, nbval and a Jupyter server's kernel manager all get a fork when they ask for the kernel labkit."""
    book = notebook(tmp_path, IS_FORKED)
    commands = {
        "papermill": ["-m", "papermill", "-k", "labkit", str(book), str(tmp_path / "out.ipynb")],
        "nbval": [
            "-m",
            "pytest",
            "-p",
            "no:cacheprovider",
            "--nbval",
            "--nbval-kernel-name",
            "labkit",
            str(book),
        ],
    }
    if program in commands:
        done = subprocess.run(
            [sys.executable, *commands[program]],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
        assert done.returncode == 0, done.stdout + done.stderr
    else:
        with kernel() as (_, client):
            told(client, IS_FORKED)


def test_of_a_stuck_zygote_nobody_waits_long(
    zygote: int, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The kernel starts the ordinary way, and says so; one that was forked before works on and ends; nothing is left."""
    with kernel() as (manager, client):
        forked = told(client, IS_FORKED + "; print(os.getpid())")
        os.kill(zygote, signal.SIGSTOP)
        try:
            monkeypatch.setattr("labkit.kernels.provisioner.START_SECONDS", 1000)  # for one that starts
            with kernel() as (_, other):
                assert told(other, "import os; print(os.getppid())") == str(os.getpid())
            assert "no forked kernel (" in capfd.readouterr().err
            assert told(client, "print(1)") == "1"
            manager.shutdown_kernel(now=True)
            assert not manager.is_alive()
            assert not Process.of(int(forked)).alive
        finally:
            os.kill(zygote, signal.SIGCONT)
    assert soon(lambda: of_runtime(Path(os.environ["LABKIT_RUNTIME"])) == [zygote])


def test_who_was_given_up_is_gone_once_it_has_ended() -> None:
    """Where the zygote is stuck, a killed kernel that takes its time to end is still found to have ended when it has."""
    ours, zygotes_ = socket.socketpair()
    child = subprocess.Popen(["sleep", "1000"])
    with ours, zygotes_:
        forked = provisioner.Forked(ours, child.pid)
        forked.give_up()
        assert forked.poll() is None
        child.kill()
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
        assert forked.poll() == -signal.SIGKILL
    child.wait()


def test_several_wait_for_one_kernel() -> None:
    """All who wait for a kernel's end hear of it, also where somebody else has read it before them."""

    async def waited() -> list[int | None]:
        ours, zygotes_ = socket.socketpair()
        one = provisioner.ForkedProvisioner()
        forked = provisioner.Forked(ours, os.getpid())
        waiting = [asyncio.create_task(one._ended(forked)) for _ in range(2)]
        await asyncio.sleep(0)
        zygotes_.close()
        found = forked.poll()
        await asyncio.wait_for(asyncio.gather(*waiting), 60)
        return [found, forked.poll()]

    assert asyncio.run(waited()) == [-signal.SIGKILL] * 2


def test_streams_are_those_that_were_chosen(
    zygote: int, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """What a kernel writes beside its messages goes into the file that was given, errors with it, or nowhere."""
    beside = f"{IS_FORKED}; _ = os.write(1, b'beside'), os.write(2, b'wrong')"
    said = tmp_path / "said"
    with said.open("wb") as file, kernel(stdout=file, stderr=subprocess.STDOUT) as (_, client):
        told(client, beside)
        assert soon(lambda: {"beside", "wrong"} <= set(re.findall("beside|wrong", said.read_text())))
    with kernel(stdout=subprocess.DEVNULL, stderr=subprocess.STDOUT) as (_, client):
        told(client, beside)
    assert not re.findall("beside|wrong", "".join(capfd.readouterr()))


def test_a_zygote_hears_of_much_at_once(zygote: int) -> None:
    """A kernel's end, its client's end and new clients, all found in one look: it lives on, and serves."""
    with kernel() as (first, _), kernel() as (second, _):
        os.kill(zygote, signal.SIGSTOP)
        try:
            for manager in (first, second):
                process = manager.provisioner.process
                os.kill(process.pid, signal.SIGKILL)
                process.connection.close()
                process.poll()
            waiting = [socket.socket(socket.AF_UNIX) for _ in range(3)]
            for connection in waiting:
                connection.connect(str(starting.place()))
        finally:
            os.kill(zygote, signal.SIGCONT)
        for connection in waiting:
            connection.settimeout(60)
            assert connection.recv(1) == starting.GREETING
            connection.close()
    with kernel() as (_, client):
        told(client, IS_FORKED)
    assert zygotes(Path(os.environ["LABKIT_RUNTIME"])) == [zygote]


def test_what_a_kernel_says_beside_its_messages_is_masked(
    zygote: int, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of forked kernels as of others: it reaches our standard error without secrets."""
    monkeypatch.setenv("DB_PASSWORD", "canary-beside-the-messages")
    beside = "import os; os.write(2, b'oh %s\\n' % os.environb[b'DB_PASSWORD'])"
    book = notebook(tmp_path, beside + f"; {IS_FORKED}")
    papermill.execute_notebook(book, None, kernel_name="labkit", engine_name="labkit", progress_bar=False)
    told: list[str] = []
    assert soon(lambda: told.append(capfd.readouterr().err) or "oh " in "".join(told))
    assert f"oh {MASK}" in "".join(told)
    assert "canary" not in "".join(told)


def test_is_ready_without_a_fixed_wait(zygote: int) -> None:
    """Whoever starts a forked kernel waits for its answer alone, not for 0.2 s in which nothing comes; asynchronously too."""

    def heard(client: KernelClient) -> list[str]:
        """What is published meanwhile, as it is read; `nothing` where that was waited for in vain."""
        found, read = [], client.iopub_channel.get_msg

        async def reading(**options: Any) -> Any:
            try:
                message = await ensure_async(read(**options))
            except Empty:
                found.append("nothing")
                raise
            found.append(message["content"].get("execution_state"))
            return message

        client.iopub_channel.get_msg = reading
        return found

    def waited() -> list[str]:
        manager = KernelManager(kernel_name="labkit")
        manager.start_kernel(stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        client = manager.client()
        client.start_channels()
        found = heard(client)
        client.wait_for_ready(timeout=120)
        del client.iopub_channel.get_msg
        assert told(client, "print(1)") == "1"
        client.stop_channels()
        manager.shutdown_kernel(now=True)
        return found

    async def waited_asynchronously() -> list[str]:
        manager = AsyncKernelManager(kernel_name="labkit")
        await manager.start_kernel(stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        client = manager.client()
        client.start_channels()
        found = heard(client)
        await client.wait_for_ready(timeout=120)
        client.stop_channels()
        await manager.shutdown_kernel(now=True)
        return found

    assert [found[-1] for found in (waited(), asyncio.run(waited_asynchronously()))] == ["idle", "idle"]


def test_a_client_of_ones_own_stays(zygote: int) -> None:
    """A kernel manager that was told which client to make makes that one."""
    manager = KernelManager(kernel_name="labkit", client_class=f"{__name__}.Own")
    manager.start_kernel(stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        assert isinstance(manager.client(), Own)
    finally:
        manager.shutdown_kernel(now=True)


def test_a_kernel_that_dies_early_is_told(zygote: int) -> None:
    """Who waits for a kernel that has died gets an error at once, not when the time is over."""
    manager = KernelManager(kernel_name="labkit")
    manager.start_kernel(stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    client = manager.client()
    os.kill(manager.provisioner.pid, signal.SIGKILL)
    client.start_channels()
    try:
        with pytest.raises(RuntimeError, match="died"):
            client.wait_for_ready(timeout=120)
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)


def test_serves_a_jupyter_server(zygote: int, tmp_path: Path) -> None:
    """A Jupyter server starts, restarts and ends forked kernels through its own kernel manager."""
    code = f"""
import asyncio, sys
from jupyter_server.services.kernels.kernelmanager import AsyncMappingKernelManager

async def main():
    manager = AsyncMappingKernelManager(root_dir={str(tmp_path)!r})
    number = await manager.start_kernel(kernel_name="labkit")
    one = manager.get_kernel(number)
    before = one.provisioner.pid, one.shell_port
    await manager.restart_kernel(number)
    after = one.provisioner.pid, one.shell_port
    assert before[0] != after[0] and before[1] == after[1], (before, after)
    assert await manager.is_alive(number)
    await manager.shutdown_kernel(number, now=True)
    print("forked" if type(one.provisioner).__name__ == "ForkedProvisioner" else "not")

asyncio.run(main())
"""
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 0 and "forked" in done.stdout, done.stdout + done.stderr


TAINT = """
import os, sys, random, signal, resource, numpy, warnings, wave
os.environ["LEAK"] = "1"; os.chdir("/"); os.umask(0); sys.argv.append("leak"); sys.path.append("/leak")
signal.signal(signal.SIGUSR1, lambda *_: None); leak = open("/dev/null"); __builtins__.leak = 1
resource.setrlimit(resource.RLIMIT_CORE, (0, 0)); numpy.set_printoptions(precision=1)
"""
STATE = """
import os, sys, signal, resource, numpy, json, builtins
mask = os.umask(0o22); os.umask(mask)
print(json.dumps([os.environ.get("LEAK"), os.getcwd(), mask, sys.argv[3:], "/leak" in sys.path, "wave" in sys.modules,
    str(signal.getsignal(signal.SIGUSR1)), str(signal.getsignal(signal.SIGTERM)), "leak" in globals(),
    hasattr(builtins, "leak"), numpy.get_printoptions()["precision"], resource.getrlimit(resource.RLIMIT_CORE),
    sorted(path for path in map(os.path.realpath, (f"/proc/self/fd/{fd}" for fd in range(200)))
           if os.path.exists(path) and "history.sqlite" not in path
           and not path.endswith("/profile_default"))]))  # a thread writes the one now and then, and syncs the other
"""
SEEDS = "import random, numpy, uuid; print(random.random(), numpy.random.random(), uuid.uuid4())"


def test_nothing_leaks_from_one_fork_to_the_next(zygote: int) -> None:
    """Environment, folder, mask, arguments, modules, signals, limits, files and random numbers are each fork's own."""
    with kernel() as (_, client):
        before = json.loads(told(client, STATE).splitlines()[-1])
        first = told(client, SEEDS).split()
        told(client, TAINT)
    with kernel() as (_, client):
        assert json.loads(told(client, STATE).splitlines()[-1]) == before
        assert not set(first) & set(told(client, SEEDS).split())


def test_a_fork_is_like_a_fresh_kernel(zygote: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """What a cell sees of its process is what it would see in an ordinary kernel."""
    monkeypatch.setenv("SOME_VARIABLE", "new")
    monkeypatch.chdir(tmp_path)
    look = (
        "import os, sys, signal, locale, tempfile\n"
        "mask = os.umask(0o22); os.umask(mask)\n"
        "print(os.environ['SOME_VARIABLE'], os.getcwd(), mask, sys.executable, sys.prefix, sys.path[1:], "
        "sys.flags.dev_mode, locale.getpreferredencoding(), tempfile.gettempdir(), os.getsid(0) == os.getpid(), "
        "[str(signal.getsignal(n)) for n in (signal.SIGTERM, signal.SIGHUP, signal.SIGPIPE)], "
        "sorted(set(os.environ) - {'JPY_PARENT_PID', 'JPY_SESSION_NAME'}), sys.stdin.isatty())"
    )
    texts = []
    for name in ("labkit", "python3"):
        with kernel(name) as (_, client):
            texts.append(told(client, look).replace("LABKIT_ZYGOTE", ""))
    assert texts[0] == texts[1]


CLIENT = """
import subprocess, sys, time
from jupyter_client.manager import start_new_kernel
manager, client = start_new_kernel(kernel_name="labkit", stderr=subprocess.DEVNULL)
client.execute("import subprocess; subprocess.Popen(['sleep', '1000']); print(1)", reply=True, timeout=120)
print(manager.provisioner.pid, flush=True)
time.sleep(1000)
"""


@pytest.mark.parametrize("victim", ["client", "zygote", "kernel"])
def test_a_killed_one_takes_the_fork_along(victim: str, zygote: int, runtime: Path) -> None:
    """kill -9 of the client, the zygote or the kernel leaves no kernel, and nothing that the kernel had started."""
    process = subprocess.Popen([sys.executable, "-c", CLIENT], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout
        forked = int(process.stdout.readline())
        assert forked in of_runtime(runtime)
        os.kill({"client": process.pid, "zygote": zygote, "kernel": forked}[victim], signal.SIGKILL)
        assert soon(lambda: not Path(f"/proc/{forked}").exists())
        if victim != "zygote":
            assert soon(lambda: zygotes(runtime) == [zygote] and _zygotes_children(zygote) == [])
            assert soon(lambda: set(of_runtime(runtime)) <= {zygote, process.pid})
    finally:
        process.kill()
        process.wait()
        for pid in set(of_runtime(runtime)) - {zygote}:  # an orphan of a kernel whose zygote was killed
            with suppress(ProcessLookupError):  # which dies just now
                os.kill(pid, signal.SIGKILL)


def _zygotes_children(zygote: int) -> list[str]:
    return Path(f"/proc/{zygote}/task/{zygote}/children").read_text().split()


@pytest.mark.parametrize("delay", [0, 0.01, 0.02, 0.04, 0.08])
def test_a_client_may_die_at_any_moment(delay: float, zygote: int, runtime: Path) -> None:
    """A client killed while its kernel is being forked and started leaves nothing; the zygote serves the next one."""
    code = (
        "from jupyter_client import KernelManager; k = KernelManager(kernel_name='labkit'); "
        "print(flush=True); k.start_kernel()"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    assert process.stdout
    process.stdout.readline()
    time.sleep(delay)
    process.kill()
    process.wait()
    assert soon(lambda: of_runtime(runtime) == [zygote])
    with kernel() as (_, client):
        told(client, IS_FORKED)


def test_a_dead_kernel_is_seen_at_once(zygote: int) -> None:
    """A kernel that is killed is not alive any more, and its exit code tells the signal."""
    with kernel() as (manager, client):
        told(client, "import os")
        process = manager.provisioner.process  # type: ignore[union-attr]
        client.execute("os.kill(os.getpid(), 9)")
        assert soon(lambda: not manager.is_alive())
        assert process.returncode == -signal.SIGKILL


def test_interrupt(zygote: int) -> None:
    """An interrupt ends the cell and not the kernel."""
    with kernel() as (manager, client):
        cell = "print('now', flush=True); import time; time.sleep(1000)"
        # else what comes soon after the error may still count as queued behind it, and is not executed
        number = client.execute(cell, stop_on_error=False)
        while client.get_iopub_msg(timeout=60)["msg_type"] != "stream":
            pass
        manager.interrupt_kernel()
        reply = client.get_shell_msg(timeout=60)
        assert reply["parent_header"]["msg_id"] == number and reply["content"]["ename"] == "KeyboardInterrupt"
        assert told(client, "print('on')") == "on"


def test_a_kernel_for_a_folder_that_is_gone_leaves_nothing_open(tmp_path: Path) -> None:
    """What was opened for a kernel that cannot be asked for is closed."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        before = set(Path("/dev/fd/").iterdir())
        with pytest.raises(FileNotFoundError):
            provisioner._ask(ours, ["ipykernel_launcher"], {"cwd": tmp_path / "gone"}, fresh=True)
        assert set(Path("/dev/fd/").iterdir()) <= before


def test_without_a_zygote(runtime: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """LABKIT_ZYGOTE=0: the kernel labkit is an ordinary ipykernel, and no zygote is started."""
    monkeypatch.setenv("LABKIT_ZYGOTE", "0")
    there = set(
        runtime.glob("zygote-*")
    )  # one that could not start, in another test, has left a log that says why
    with kernel() as (_, client):
        assert "ipykernel_launcher" in told(client, "print(open('/proc/self/cmdline').read())")
    assert set(runtime.glob("zygote-*")) == there


@pytest.mark.parametrize("why", ["it ends at once", "an idle time that is none"])
def test_a_zygote_that_cannot_start(
    why: str, runtime: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """One line says so, and the kernel is an ordinary one, without a wait for who does not come."""
    monkeypatch.setattr("labkit.kernels.provisioner.START_SECONDS", 1000)
    if why == "it ends at once":
        monkeypatch.setattr("labkit.kernels.starting.BEGIN", "raise SystemExit")
    else:
        monkeypatch.setenv("LABKIT_ZYGOTE_IDLE", "ten minutes")
    with kernel() as (_, client):
        assert "ipykernel_launcher" in told(client, "print(open('/proc/self/cmdline').read())")
    said = [line for line in capsys.readouterr().err.splitlines() if line.startswith("labkit:")]
    assert len(said) == 1 and "ordinary" in said[0]
