"""`labkit lab`: one URL with engine and JupyterLab behind it, and nothing of either left at the end."""

from __future__ import annotations

import http.client
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from labkit import paths
from labkit.engine.processes import Process
from tests.notebooks import ROOT

SECONDS = 120
"""For what is certain to come, on a machine that is busy."""

pytestmark = pytest.mark.timeout(600)


class Lab:
    """A `labkit lab` that runs, beside any other on this machine; *url* once it has printed it."""

    def __init__(self, *words: str) -> None:
        self.terminal, terminal = os.openpty()
        self.runtime = Path(tempfile.mkdtemp(prefix="lk-", dir="/tmp"))
        kept = {name: value for name, value in os.environ.items() if name != "DOCKER_HOST"}
        proxy = {
            "http_proxy": "http://127.0.0.1:9"
        }  # of a user's shell: it knows of nothing that is on the loopback
        self.environ = {**kept, **proxy, "LABKIT_RUNTIME": str(self.runtime)}
        command = [sys.executable, "-m", "labkit", "lab", "--with-parent", *words]
        self.began = time.monotonic()
        self.process = subprocess.Popen(
            command,
            cwd=ROOT,
            env=self.environ,
            stdin=terminal,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        os.close(terminal)
        assert self.process.stdout is not None
        self.url = next((line.strip() for line in self.process.stdout if "http://" in line), "")
        self.seconds = time.monotonic() - self.began

    def end(self, number: signal.Signals | None) -> int:
        """Send a signal, or close its terminal, and wait for it."""
        if number is None:
            os.close(self.terminal)
        else:
            self.process.send_signal(number)
        return self.process.wait(SECONDS)


def contents(lab: Lab) -> dict[str, Any]:
    """The page that is opened first, as JupyterLab gets it."""
    root, _, rest = lab.url.partition("/lab/tree/")
    path, _, token = rest.partition("?token=")
    request = urllib.request.Request(
        f"{root}/api/contents/{path}", headers={"Authorization": f"token {token}"}
    )
    return dict(json.load(urllib.request.urlopen(request, timeout=SECONDS))["content"])


def gone(lab: Lab, seconds: float = SECONDS) -> bool:
    """Whether, in time, neither server nor engine of *lab* is left."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if not serves(lab) and not list(lab.runtime.glob("*/")):
            shutil.rmtree(lab.runtime)
            return True
        time.sleep(0.1)
    return False


def serves(lab: Lab) -> bool:
    """Whether somebody answers there who knows the lab's token: its port may be that of another worker's lab by now."""
    root, _, token = lab.url.partition("?token=")
    request = urllib.request.Request(
        root.partition("/lab/")[0] + "/api/status", headers={"Authorization": f"token {token}"}
    )
    try:
        urllib.request.urlopen(request, timeout=SECONDS).close()
    except (ConnectionError, urllib.error.URLError, http.client.HTTPException):
        return False
    return True


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGKILL, None])
def test_lab_ends_whole(number: signal.Signals | None) -> None:
    """The URL opens the lab only with its token; Ctrl-C, kill -9 or a closed terminal, also one of whose end no signal tells,
    end server and engine."""
    lab = Lab()
    try:
        assert urllib.request.urlopen(lab.url, timeout=SECONDS).status == 200
        for cell in contents(lab)["cells"]:
            assert cell["cell_type"] != "code" or cell["metadata"]["trusted"], "its pictures are not shown"
        with pytest.raises(urllib.error.HTTPError):
            urllib.request.urlopen(lab.url.split("/lab/")[0] + "/api/contents", timeout=SECONDS)
        lab.end(number)
        assert gone(lab)
    finally:
        lab.process.kill()
        lab.process.wait()


def test_gc_removes_the_token_of_a_killed_lab(tmp_path: Path) -> None:
    """What a lab says of itself goes with `labkit engine gc` once its process is gone, and stays while it lives."""
    with tempfile.TemporaryDirectory(prefix="lk-", dir="/tmp") as folder:
        process = subprocess.Popen(["sleep", "100"])
        state = Path(folder, "lab-0a1b2c3d.json")
        facts = {
            "lab": {"url": "", "provider": "sandbox", "engine": ""},
            "process": vars(Process.of(process.pid)),
        }
        state.write_text(json.dumps(facts), encoding="utf-8")
        environ = {**os.environ, "LABKIT_RUNTIME": folder, "LABKIT_HOME": str(tmp_path)}
        collect = [sys.executable, "-m", "labkit", "engine", "gc"]
        Path(folder, ".labkit").touch()
        try:
            for there in (True, False):
                done = subprocess.run(collect, env=environ, capture_output=True, text=True, check=False)
                assert (done.returncode, state.exists()) == (0, there), done.stderr
                process.kill()
                process.wait()
        finally:
            process.kill()


def test_second_lab_beside_the_first_gives_its_url() -> None:
    """A second `labkit lab` starts nothing: it says where one runs, and with what; for another engine it exits with 2."""
    lab = Lab()
    try:
        done = subprocess.run(
            [sys.executable, "-m", "labkit", "lab"],
            cwd=ROOT,
            env=lab.environ,
            capture_output=True,
            text=True,
            check=False,
            timeout=SECONDS,
        )
        assert done.returncode == 0
        assert "already, with private engines (sandbox)" in done.stdout and lab.url in done.stdout
        other = subprocess.run(
            [sys.executable, "-m", "labkit", "lab"],
            cwd=ROOT,
            env={**lab.environ, "LABKIT_PROVIDER": "attach", "DOCKER_HOST": "unix:///no/such.sock"},
            capture_output=True,
            text=True,
            check=False,
            timeout=SECONDS,
        )
        assert (other.returncode, other.stdout) == (2, "")
        assert "private engines (sandbox)" in other.stderr and "unix:///no/such.sock" in other.stderr
    finally:
        lab.end(signal.SIGTERM)
    assert gone(lab)


def test_taken_port_is_told_and_an_unnamed_one_avoided() -> None:
    """A port that was asked for and is taken is exit code 2; without one, the next free port is used."""
    with socket.socket() as taken:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        command = [sys.executable, "-m", "labkit", "lab", "--port", str(port)]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=SECONDS)
        assert done.returncode == 2
        assert str(port) in done.stderr and "Traceback" not in done.stderr


def test_jupyter_writes_nothing_into_the_users_folders(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Settings, workspaces and history of the lab's JupyterLab go to labkit's folder, not to the user's home."""
    monkeypatch.setenv("LABKIT_HOME", str(paths.home()))
    monkeypatch.setenv("HOME", str(tmp_path))
    lab = Lab()
    try:
        urllib.request.urlopen(lab.url, timeout=SECONDS).close()
    finally:
        lab.end(signal.SIGTERM)
    assert [str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()] == []
