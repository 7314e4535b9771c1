"""``labkit lab``: a private engine and JupyterLab, under one URL, ending together.

Everything that Jupyter writes for itself goes to labkit's own folder, none of it to the user's.
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import select
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Generator, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

import labkit
from labkit import paths, trust
from labkit.engine import Engine, addresses, provider_wanted
from labkit.engine.processes import Process
from labkit.errors import LabkitError, UsageError
from labkit.progress import Tell

__all__ = ["RunningLab", "collect", "end_all", "running_lab", "serve"]


class NotStarted(LabkitError):
    """JupyterLab ended before it answered."""


ROOT = Path(__file__).parent.parent
FIRST_PAGE = "lab/tree/notebooks/00-start-here.ipynb"
PORT = 8888
SETTINGS = {"@jupyterlab/apputils-extension:notification": {"fetchNews": "false", "checkForUpdates": False}}

DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))
"""What is on the loopback is asked for without the proxy of the user's ``http_proxy``, which knows of none of it."""

STYLE = ".jp-RenderedSVG img { max-width: 100%; min-width: min(560px, 100vw); height: auto; }"
"""A picture that a notebook was committed with is an image: it shrinks with the window, as that of a cell that was run does."""


@dataclass(frozen=True)
class RunningLab:
    """A lab that runs: its *url*, the *provider* of its engines, and where a shared *engine* is reached (else empty)."""

    url: str
    provider: str
    engine: str = ""

    def __str__(self) -> str:
        return f"the shared engine at {self.engine}" if self.engine else f"private engines ({self.provider})"

    def check(self) -> None:
        """Raise `UsageError` when this process asks for another provider or engine than the lab has."""
        wanted = provider_wanted()
        engine = addresses.find().url if wanted == "attach" else ""
        if (wanted, engine) != (self.provider, self.engine):
            raise UsageError(
                "a lab runs here already, with another engine",
                seen=f"{self}, {self.url}",
                expected=str(RunningLab("", wanted, engine)),
                try_="end that lab first (Ctrl-C where it was started)",
            )


def _state_file(root: Path) -> Path:
    return paths.runtime() / f"lab-{hashlib.sha256(str(root).encode()).hexdigest()[:8]}.json"


def running_lab(root: Path = ROOT) -> RunningLab | None:
    """The lab that runs for the checkout *root* already, or None."""
    with suppress(OSError, ValueError, KeyError):
        facts = json.loads(_state_file(root).read_text(encoding="utf-8"))
        if Process(**facts["process"]).alive:
            return RunningLab(**facts["lab"])
        _state_file(root).unlink()  # it was killed
    return None


def collect() -> list[str]:
    """Remove what labs left that were killed, since a token is in it; return a line for each."""
    told = []
    for state in paths.runtime().glob("lab-*.json"):
        with suppress(OSError):
            if _ended(state):
                state.unlink()
                told.append(f"{state}: of a lab that was killed, removed")
    return told


def _ended(state: Path) -> bool:
    """Whether the lab of the file *state* has; one that is only half written belongs to a lab that starts, for a while."""
    try:
        return not Process(**json.loads(state.read_text(encoding="utf-8"))["process"]).alive
    except (ValueError, KeyError, TypeError):
        return time.time() - state.stat().st_mtime > 60


def end_all(seconds: float = 15) -> None:
    """End every lab of this user, whatever checkout it belongs to, and wait up to so many *seconds* for it.

    Raises `LabkitError` for one that does not end.
    """
    for state in paths.runtime().glob("lab-*.json"):
        with suppress(OSError, ValueError, KeyError):
            process = Process(**json.loads(state.read_text(encoding="utf-8"))["process"])
            process.signal(signal.SIGTERM)
            end = time.monotonic() + seconds
            while process.alive and time.monotonic() < end:
                time.sleep(0.05)
            if process.alive:
                raise LabkitError(
                    f"the lab of process {process.pid} does not end", try_=f"kill -9 {process.pid}"
                )


def serve(
    tell: Tell, *, port: int | None = None, with_parent: bool = False
) -> Generator[RunningLab, None, None]:
    """Start engine and JupyterLab, yield it when it answers, and go on until one of them, or we, are to end.

    *port*: on 127.0.0.1 (default: 8888, or the next that is free).  *with_parent*: end when the calling process ends.
    """
    chosen = _choose_port(port)
    parent = Process.of(os.getppid()).open() if with_parent else None
    with _ends_cleanly():
        attach = provider_wanted() == "attach"
        tell("attaching to the engine" if attach else "starting a private engine")
        options: dict[str, Any] = {} if attach else {"images": ["busybox"]}
        with labkit.open_engine(name="lab", **options) as engine:
            tell("starting JupyterLab")
            for more_tries in (3, 2, 1, 0):
                try:
                    yield from _jupyter(engine, chosen, parent)
                    return
                except NotStarted:
                    # somebody took the port between our look and JupyterLab's
                    if port is not None or not more_tries:
                        raise
                    chosen = _choose_port(None)


def _jupyter(engine: Engine, port: int, parent: int | None) -> Generator[RunningLab, None, None]:
    token = secrets.token_hex(24)
    url = f"http://127.0.0.1:{port}/{FIRST_PAGE}?token={token}"
    shared = engine.provider == "attach"
    lab = RunningLab(url, engine.provider, engine.url if shared else "")
    state = _state_file(ROOT)
    log = paths.home() / "jupyter/server.log"
    process = _start_jupyter(engine, port, token, log)
    try:
        _await_answer(process, port, token, log)
        state.touch(mode=0o600)
        state.write_text(json.dumps({"lab": vars(lab), "process": vars(Process.current())}), encoding="utf-8")
        yield lab
        _await_end([os.pidfd_open(process.pid), *([parent] if parent is not None else [])])
    finally:
        state.unlink(missing_ok=True)
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _await_end(processes: list[int]) -> None:
    """Wait until one of *processes* (pidfds) ends, or our terminal is closed.

    Of that a signal tells only the process that leads the session: a shell hands it on, ``make`` under ``ssh -t`` waits for us.
    """
    ends = select.poll()
    for process in processes:
        ends.register(process, select.POLLIN)
    for terminal in filter(os.isatty, (0, 1, 2)):
        ends.register(terminal, 0)  # nothing but its end, which is always told (poll(2))
    ends.poll()


def _start_jupyter(engine: Engine, port: int, token: str, log: Path) -> subprocess.Popen[bytes]:
    home = paths.home() / "jupyter"
    files = {
        home / "settings" / (plugin.replace(":", "/") + ".jupyterlab-settings"): json.dumps(values)
        for plugin, values in SETTINGS.items()
    }
    for file, content in {**files, home / "config/custom/custom.css": STYLE}.items():
        file.parent.mkdir(parents=True, exist_ok=True)
        if not file.exists():
            file.write_text(content, encoding="utf-8")
    trust.sign(ROOT / "notebooks", Path(paths.jupyter_environ()["JUPYTER_DATA_DIR"]))
    environment = {
        **os.environ,
        **engine.environ,
        "JUPYTER_TOKEN": token,  # not on the command line, which everybody can read
        **paths.jupyter_environ(),
        "PATH": f"{engine.environ.get('PATH', os.environ.get('PATH', ''))}",
    }
    command = [
        *("setpriv", "--pdeathsig", "KILL", sys.executable, "-m", "jupyterlab"),
        *(
            "--no-browser",
            "--ip=127.0.0.1",
            f"--port={port}",
            "--port-retries=0",
            f"--ServerApp.root_dir={ROOT}",
        ),
        "--LabApp.expose_app_in_browser=True",  # window.jupyterapp: how a browser test asks whether all is ready
        "--LabApp.custom_css=True",
        *(["--allow-root"] if os.geteuid() == 0 else []),
    ]
    # a session of its own: Ctrl-C is for us, and we end it in good order
    return subprocess.Popen(
        command,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=log.open("wb"),
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )


def _await_answer(
    process: subprocess.Popen[bytes], port: int, token: str, log: Path, timeout: float = 120
) -> None:
    end = time.monotonic() + timeout
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/api/status", headers={"Authorization": f"token {token}"}
    )
    while time.monotonic() < end and process.poll() is None:
        with suppress(OSError), DIRECT.open(request, timeout=2):
            return
        time.sleep(0.05)
    raise NotStarted(
        "JupyterLab did not start",
        seen="\n".join(log.read_text(errors="replace", encoding="utf-8").splitlines()[-8:]),
    )


def _choose_port(port: int | None) -> int:
    """*port* if it is free, raising `UsageError` if not; without one, the first free one from 8888 on."""
    if port is not None and not 0 < port < 65536:
        raise UsageError("no such port", seen=str(port), expected="1 to 65535")
    for candidate in [port] if port else range(PORT, PORT + 100):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            with suppress(OSError):
                probe.bind(("127.0.0.1", candidate))
                return int(candidate)
    raise UsageError(
        f"port {port or PORT} of 127.0.0.1 cannot be used",
        seen="it is taken, or needs root",
        try_="another one: labkit lab --port 8890",
    )


@contextmanager
def _ends_cleanly() -> Iterator[None]:
    """SIGINT, SIGTERM and SIGHUP, even one that our shell had switched off, end us through every clean-up."""

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = {
        number: signal.signal(number, interrupt) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    }
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
