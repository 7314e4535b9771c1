"""The client of the docker SDK: what a command writes is never lost, however its bytes come."""

from __future__ import annotations

import contextlib
import socket
import socketserver
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import docker
import pytest

from labkit.engine import Engine
from labkit.engine.clients import Api

SAY = ["sh", "-c", "echo out; echo err >&2"]


def pump(source: socket.socket, sink: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            sink.sendall(data)
        sink.shutdown(socket.SHUT_WR)


@contextlib.contextmanager
def at_once(engine: Engine, folder: Path) -> Iterator[str]:
    """Where *engine* is reached so that a stream comes in one piece with the head of the answer, as it may on a busy machine."""

    class Connection(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            with socket.socket(socket.AF_UNIX) as there:
                there.connect(engine.url.removeprefix("unix://"))
                asking = threading.Thread(target=pump, args=(self.request, there))
                asking.start()
                while data := there.recv(65536):
                    if data.startswith(b"HTTP/1.1 101"):
                        while more := there.recv(65536):
                            data += more
                    self.request.sendall(data)
                self.request.shutdown(socket.SHUT_RDWR)
                asking.join()

    class Server(socketserver.ThreadingUnixStreamServer):
        daemon_threads = True

    with Server(str(folder / "engine.sock"), Connection) as server:
        serving = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        serving.start()
        yield f"unix://{folder / 'engine.sock'}"
        server.shutdown()
        serving.join()


def said(api: Any, *, tty: bool, stream: bool, demux: bool) -> Any:
    number = api.exec_create("web", SAY, tty=tty)["Id"]
    output = api.exec_start(number, tty=tty, stream=stream, demux=demux)
    return list(output) if stream else output


def test_what_a_command_writes_is_not_lost(engine: Engine, tmp_path: Path) -> None:
    """All of it is there, in each way to ask for it, also where it comes together with the head of the answer."""
    engine.client.containers.run("busybox:lab", "cat", name="web", stdin_open=True, detach=True)
    with at_once(engine, tmp_path) as url, contextlib.closing(Api(base_url=url, version="auto")) as api:
        for each in (api, engine.client.api):
            assert sorted(said(each, tty=False, stream=False, demux=False).split()) == [b"err", b"out"]
            assert said(each, tty=False, stream=False, demux=True) == (b"out\n", b"err\n")
            assert sorted(said(each, tty=False, stream=True, demux=False)) == [b"err\n", b"out\n"]
            assert said(each, tty=True, stream=False, demux=False) == b"out\r\nerr\r\n"
            assert b"".join(said(each, tty=True, stream=True, demux=False)) == b"out\r\nerr\r\n"
        engine.client.containers.run("busybox:lab", SAY, name="said")
        assert sorted(api.attach("said", logs=True).split()) == [b"err", b"out"]
        with contextlib.closing(docker.APIClient(base_url=url, version="auto")) as plain:
            lost = said(plain, tty=False, stream=False, demux=False)
        assert lost == b"", "docker-py mends it itself: labkit/engine/clients.py can go"
    with pytest.raises(docker.errors.NotFound):
        engine.client.api.exec_start("0" * 64)


class Hasty(Api):
    """An answer that has begun may take a tenth of a second; until then it has its time, for a busy engine."""

    def _read_from_socket(self, response: Any, *given: Any, **more: Any) -> Any:
        stream = self._get_raw_response_socket(response)
        getattr(stream, "_sock", stream).settimeout(0.1)
        return super()._read_from_socket(response, *given, **more)


def test_a_command_may_be_silent_for_long(engine: Engine) -> None:
    """A command that says nothing for longer than an answer may take is waited for."""
    engine.client.containers.run("busybox:lab", "cat", name="web", stdin_open=True, detach=True)
    with contextlib.closing(Hasty(base_url=engine.url, version="auto")) as api:
        number = api.exec_create("web", ["sh", "-c", "sleep 0.5; echo late"])["Id"]
        assert api.exec_start(number) == b"late\n"
