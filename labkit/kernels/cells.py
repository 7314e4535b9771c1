"""In the fork of a lane: an IPython shell as ipykernel has it, whose messages go to the runner.

ipykernel's own shell, display hook and publisher are used, so that outputs are the same; what is replaced is the
transport, and the streams with their thread.
"""

from __future__ import annotations

import asyncio
import base64
import builtins
import getpass
import io
import os
import select
import signal
import socket
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType, SimpleNamespace
from typing import Any, NoReturn

import comm
from comm.base_comm import BaseComm
from ipykernel.compiler import XCachingCompiler
from ipykernel.jsonutil import json_clean
from ipykernel.zmqshell import ZMQInteractiveShell as KernelShell
from IPython.core.error import StdinNotImplementedError
from jupyter_client.jsonutil import json_default
from jupyter_client.session import Session
from traitlets.config import Config

from labkit.kernels import wire

__all__ = ["serve"]

FLUSH_SECONDS = 0.2
"""As long as ipykernel lets a stream wait for more text."""


LOCK = threading.RLock()


@contextmanager
def undisturbed() -> Iterator[None]:
    """One thread at a time; an interrupt that comes meanwhile is heeded afterwards, since half a message would garble the next.

    It is always the main thread that it interrupts, whose handlers alone can be set (`signal`).
    """
    if threading.current_thread() is not threading.main_thread():
        with LOCK:
            yield
        return
    came: list[int] = []
    before = signal.signal(signal.SIGINT, lambda number, _: came.append(number))
    try:
        with LOCK:
            yield
    finally:
        signal.signal(signal.SIGINT, before)
        if came:
            signal.raise_signal(signal.SIGINT)


class Outbox(Session):
    """Takes the place of a Jupyter session: what is sent goes to the runner."""

    connection: Any = None
    streams: tuple[Stream, ...] = ()
    request: Any = None
    """The header of the cell that runs: an Output widget takes what belongs to it."""

    def send(self, stream: Any, msg_or_type: Any, content: Any = None, *_: Any, **more: Any) -> Any:
        """Send a message, or one of this type and *content*; also the binary buffers of a widget.

        From a process that a cell has forked nothing is sent, as in ipykernel: messages of two would get into each other.
        """
        if os.getpid() != self.pid:
            return None
        message = (
            msg_or_type if isinstance(msg_or_type, dict) else {"msg_type": msg_or_type, "content": content}
        )
        told = {
            "msg_type": message["msg_type"],
            "content": message["content"],
            "metadata": message.get("metadata") or {},
            "header": {"msg_type": message["msg_type"]},
            "parent_header": self.request or {},
            "buffers": [base64.b64encode(each).decode() for each in more.get("buffers") or []],
        }
        with undisturbed():
            wire.send(self.connection, told, default=json_default)
        return message


class ZMQInteractiveShell(KernelShell):  # libraries ask for this very name
    """ipykernel's shell, without a profile on disk."""

    def init_profile_dir(self, profile_dir: Any = None) -> None:
        """Have none: the user's start-up files are no part of a runbook, and nothing is written beside it."""


class Stream(io.TextIOBase):
    """Standard output or error: what Python writes, and, in its order, what comes through the descriptor."""

    encoding = "UTF-8"
    errors = "strict"

    def __init__(self, name: str, number: int, outbox: Outbox) -> None:
        super().__init__()
        self.name, self._number, self._outbox = name, number, outbox
        self.pipe, end = os.pipe()
        os.set_blocking(self.pipe, False)
        os.dup2(end, number)
        os.close(end)
        self._pid = os.getpid()
        self._text: list[str] = []
        self._bytes = b""
        self._since = 0.0

    def fileno(self) -> int:
        """The descriptor; what is written there is shown too."""
        return self._number

    def writable(self) -> bool:
        """Yes."""
        return True

    def isatty(self) -> bool:
        """No."""
        return False

    def write(self, text: str) -> int:
        """Keep *text* for the next flush."""
        if not isinstance(text, str):
            raise TypeError(f"write() argument must be str, not {type(text)}")
        if os.getpid() != self._pid:  # a fork of the cell's own
            os.write(self._number, text.encode(errors="surrogateescape"))
            return len(text)
        with undisturbed():
            self.drain()
            self._keep(text)
        return len(text)

    def flush(self) -> None:
        """Send what is kept."""
        if os.getpid() != self._pid:
            return
        with undisturbed():
            self.drain()
            text, self._text = "".join(self._text), []
            if text:
                self._outbox.send(None, "stream", {"name": self.name, "text": text})

    def drain(self) -> None:
        """Take in what has come through the descriptor."""
        with suppress(BlockingIOError):
            while data := os.read(self.pipe, 65536):
                self._bytes += data
                text, self._bytes = _decoded(self._bytes)
                self._keep(text)

    def due(self) -> bool:
        """Whether something has been kept for long enough."""
        return bool(self._text) and time.monotonic() - self._since >= FLUSH_SECONDS

    def _keep(self, text: str) -> None:
        if text:
            if not self._text:
                self._since = time.monotonic()
            self._text.append(text)


def _decoded(data: bytes) -> tuple[str, bytes]:
    """Text, and the bytes of a last character that is not whole yet."""
    for cut in range(4):
        end = len(data) - cut
        with suppress(UnicodeDecodeError):
            return data[:end].decode(), data[end:]
    return data.decode(errors="replace"), b""


def _watch(streams: tuple[Stream, ...]) -> NoReturn:
    """Empty the pipes, lest a program that writes much should wait, and flush what is due."""
    while True:
        select.select([stream.pipe for stream in streams], [], [], FLUSH_SECONDS / 2)
        with LOCK:
            for stream in streams:
                stream.drain()
                if stream.due():
                    stream.flush()
        time.sleep(0.01)


class Channel(BaseComm):
    """A widget's channel, of which the runner keeps the state."""

    outbox: Outbox

    def publish_msg(
        self, msg_type: str, data: Any = None, metadata: Any = None, buffers: Any = None, **keys: Any
    ) -> None:
        """Tell the runner."""
        content = json_clean({"data": data or {}, "comm_id": self.comm_id, **keys})
        message = {"msg_type": msg_type, "content": content, "metadata": json_clean(metadata or {})}
        self.outbox.send(None, message, buffers=buffers)


def serve(connection: socket.socket) -> None:
    """Run the cells that the runner sends, until it closes the *connection*."""
    outbox = Outbox()
    outbox.connection = connection
    shell = None
    while shell is None:
        message = wire.receive(connection)
        if message is None:
            return
        _settle(message)
        shell = _shell(outbox)
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    loop.run_until_complete(_cells(connection, outbox, shell))


def _settle(message: dict[str, Any]) -> None:
    os.environ.clear()
    os.environ.update(message["environ"])
    time.tzset()
    os.chdir(message["cwd"])
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.close(null)
    # where a program's own folder stands first, a kernel has none; the folder of the notebook stands before packages
    if sys.path and sys.path[0] == os.path.dirname(os.path.abspath(sys.argv[0])):
        del sys.path[0]
    if "" not in sys.path:
        places = (n for n, path in enumerate(sys.path) if path.endswith(("site-packages", "dist-packages")))
        sys.path.insert(next(places, 0), "")
    sys.argv = ["ipykernel_launcher"]


def _shell(outbox: Outbox) -> Any:
    """The shell, with this process's streams and its ways of asking taken over."""
    os.environ.setdefault("MPLBACKEND", "module://matplotlib_inline.backend_inline")
    streams = (Stream("stdout", 1, outbox), Stream("stderr", 2, outbox))
    sys.stdin = sys.__stdin__ = io.TextIOWrapper(io.FileIO(0, closefd=False))  # type: ignore[misc]
    outbox.streams = streams
    shell: Any = ZMQInteractiveShell.instance(
        config=Config({"HistoryManager": {"enabled": False, "hist_file": ":memory:"}}),
        kernel=SimpleNamespace(
            eventloop=None, session=outbox, get_parent=lambda *_: {"header": outbox.request}
        ),
        compiler_class=XCachingCompiler,
    )
    shell.displayhook.session = shell.display_pub.session = outbox
    sys.stdout, sys.stderr = streams
    Channel.outbox = outbox
    comm.create_comm = Channel  # the hook that the package offers for this
    builtins.input = lambda prompt="": _refuse("raw_input")
    getpass.getpass = lambda *_, **__: _refuse("getpass")
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_watch, args=(streams,), daemon=True, name="streams").start()
    return shell


def _refuse(name: str) -> NoReturn:
    raise StdinNotImplementedError(f"{name} was called, but this frontend does not support input requests.")


async def _cells(connection: socket.socket, outbox: Outbox, shell: Any) -> None:
    """Inside a running event loop, as in ipykernel: what a cell leaves running goes on between cells."""
    while not shell.exit_now:
        await wire.readable(connection)
        message = wire.receive(connection)
        if message is None:
            return
        reply = await _cell(message["run"], outbox, shell)
        for stream in outbox.streams:
            stream.flush()
        outbox.send(None, "execute_reply", {**reply, "leaving": bool(shell.exit_now)})


async def _cell(source: str, outbox: Outbox, shell: Any) -> dict[str, Any]:
    """Run one cell; returns the content of the reply."""
    outbox.request = {"msg_id": f"cell-{shell.execution_count}", "msg_type": "execute_request"}
    shell.set_parent({"header": outbox.request, "msg_type": "execute_request"})
    shell.payload_manager.clear_payload()
    outbox.send(None, "execute_input", {"code": source, "execution_count": shell.execution_count})
    try:
        result = await _result(source, shell)
        error = result.error_before_exec or result.error_in_exec
        failed = not result.success or getattr(shell, "_last_traceback_during_displayhook", False)
    except (asyncio.CancelledError, KeyboardInterrupt) as stopped:
        error, failed = stopped, True
        shell.showtraceback((KeyboardInterrupt, KeyboardInterrupt(), stopped.__traceback__))
    finally:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
    reply: dict[str, Any] = {"status": "ok", "execution_count": shell.execution_count - 1}
    if failed:
        told = {"ename": type(error).__name__, "evalue": str(error), "traceback": shell._last_traceback or []}
        reply.update(told, status="error")
    return reply


async def _result(source: str, shell: Any) -> Any:
    transformed, problem = source, None
    try:
        transformed = shell.transform_cell(source)
    except Exception:
        problem = sys.exc_info()
    if not shell.should_run_async(source, transformed_cell=transformed, preprocessing_exc_tuple=problem):
        signal.signal(signal.SIGINT, signal.default_int_handler)
        return shell.run_cell(source, store_history=True)
    task = asyncio.ensure_future(
        shell.run_cell_async(
            source, store_history=True, transformed_cell=transformed, preprocessing_exc_tuple=problem
        )
    )
    loop = asyncio.get_running_loop()

    def cancel(_: int, __: FrameType | None) -> None:
        loop.call_soon_threadsafe(task.cancel)

    signal.signal(signal.SIGINT, cancel)
    result = None
    try:
        result = await task
    finally:
        shell.events.trigger("post_execute")
        shell.events.trigger("post_run_cell", result)
    return result
