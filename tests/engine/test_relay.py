"""The recording socket before a live engine: everything goes through as it is, and is noted down."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import ssl
import stat
import subprocess
import tarfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import docker
import pytest

from labkit import paths
from labkit.engine import Engine
from labkit.engine.exchanges import KEPT, Conversation, Exchange
from labkit.engine.relay import Relay
from labkit.errors import MissingCapability

LOOP = ["sh", "-c", "while :; do sleep 0.05; done"]


@contextlib.contextmanager
def relayed(engine: Engine) -> Iterator[tuple[Relay, Any]]:
    """A relay and a client of the SDK that goes through it."""
    with Relay(engine) as relay:
        client = docker.APIClient(base_url=relay.url, version="auto")
        try:
            yield relay, client
        finally:
            client.close()


def seen(relay: Relay) -> list[tuple[str, str, int | None]]:
    return [(each.method, each.path, each.status) for each in relay.exchanges]


def run(engine: Engine, name: str = "web", command: list[str] = LOOP) -> None:
    engine.client.containers.run("busybox:lab", command, name=name, detach=True)


def test_each_request_is_noted_in_its_order(engine: Engine) -> None:
    """A command's requests are all there, with bodies and times, and its effect is that of the command itself."""
    with Relay(engine) as relay:
        done = subprocess.run(
            ["docker", "run", "--name", "web", "-e", "COLOUR=red", "busybox:lab", "echo", "hi"],
            env={**os.environ, **relay.environ},
            capture_output=True,
            text=True,
            check=True,
        )
    assert done.stdout == "hi\n"
    paths_seen = [f"{each.method} {each.path.split('/')[-1]}" for each in relay.exchanges]
    assert paths_seen[0] == "HEAD _ping"
    assert [p for p in paths_seen if p in ("POST create", "POST attach", "POST start")] == [
        "POST create",
        "POST attach",
        "POST start",
    ]
    create = next(each for each in relay.exchanges if each.path.endswith("/create"))
    assert (create.status, create.query) == (201, "name=web")
    assert "COLOUR=red" in json.loads(create.request.head)["Env"] and create.request.whole
    assert all(each.ended and each.seconds is not None and each.seconds >= 0 for each in relay.exchanges)
    attach = next(each for each in relay.exchanges if each.path.endswith("/attach"))
    assert (
        attach.status == 101 and attach.raw and attach.raw[1] == 8 + len("hi\n")
    )  # a header of 8 bytes (Engine API)


def test_a_connection_is_used_again_and_by_many_at_once(engine: Engine) -> None:
    """Requests that follow one another on a connection, those without an answer's body, and twenty at a time."""
    with relayed(engine) as (relay, api):
        for _ in range(3):
            api.info()
            assert not api._get(api._url("/containers/nobody/json")).ok
            assert api.head(api._url("/_ping")).ok
        with ThreadPoolExecutor(20) as pool:
            list(pool.map(lambda _: api.version(), range(20)))
    counted = [f"{method} {path}" for method, path, _ in seen(relay)]
    assert counted.count("GET /info") == 3 and counted.count("HEAD /_ping") == 3
    assert counted.count("GET /version") == 21  # one of them asks for the version of the API
    assert not any(each.note for each in relay.exchanges)


def test_bodies_in_chunks_and_large_ones(engine: Engine) -> None:
    """A build context and an archive of many megabytes, sent in chunks, arrive whole; the first bytes are kept, all counted."""
    with relayed(engine) as (relay, api):
        saved = b"".join(api.get_image("busybox:lab"))
        assert len(saved) > KEPT
        big = os.urandom(1024) * 20_000
        archive = BytesIO()
        with tarfile.open(fileobj=archive, mode="w") as tar:
            tar.addfile(_entry("big", len(big)), BytesIO(big))
        engine.client.api.create_container("busybox:lab", ["sha256sum", "/big"], name="web")
        assert api.put_archive(
            "web",
            "/",
            iter([archive.getvalue()[i : i + 70_001] for i in range(0, len(big) + 20_000, 70_001)]),
        )
        back = b"".join(api.get_archive("web", "/big")[0])
        assert big in back
        list(api.load_image(saved))
    sizes = {
        f"{e.method} {e.path}": (e.request.size, e.answer.size, len(e.request.head)) for e in relay.exchanges
    }
    assert sizes["PUT /containers/web/archive"] == (len(archive.getvalue()), 0, KEPT)
    assert sizes["GET /images/busybox:lab/get"][1] == len(saved)
    assert sizes["POST /images/load"][0] == len(saved)


def _entry(name: str, size: int) -> tarfile.TarInfo:
    entry = tarfile.TarInfo(name)
    entry.size = size
    return entry


def test_connections_that_become_streams(engine: Engine) -> None:
    """Exec with a terminal, attach with standard input until its end: raw bytes both ways, counted."""
    engine.client.api.create_container("busybox:lab", ["cat"], name="cat", stdin_open=True)
    with relayed(engine) as (relay, api):
        run(engine)
        number = api.exec_create("web", ["sh"], stdin=True, tty=True)["Id"]
        terminal = api.exec_start(number, tty=True, socket=True)
        terminal._sock.sendall(b"echo $((6*7)); exit\n")
        assert b"42" in _all(terminal._sock)
        stream = api.attach_socket("cat", params={"stdin": 1, "stdout": 1, "stream": 1})
        api.start("cat")
        stream._sock.sendall(b"to and fro\n")
        stream._sock.shutdown(socket.SHUT_WR)
        assert _all(stream._sock).endswith(b"to and fro\n")
    raw = {
        each.path.split("/")[-2 if "exec" in each.path else -1]: each.raw
        for each in relay.exchanges
        if each.raw
    }
    assert raw["attach"] == (len("to and fro\n"), 8 + len("to and fro\n"))
    assert next(size for path, size in raw.items() if path != "attach")[0] == len("echo $((6*7)); exit\n")


def _all(stream: socket.socket) -> bytes:
    stream.settimeout(60)
    found = b""
    while data := stream.recv(4096):
        found += data
    return found


def test_streams_without_end_are_there_at_once(engine: Engine) -> None:
    """What follows a log, or the engine's events, gets each line as it comes, not when the connection ends."""
    run(engine, command=["sh", "-c", "echo one; while :; do sleep 0.05; done"])
    with relayed(engine) as (relay, api):
        logs = api.logs("web", stream=True, follow=True)
        assert next(logs) == b"one\n"
        events = api.events(since="1", filters={"event": "rename"}, decode=True)
        engine.client.api.rename("web", "shop")
        assert next(events)["Action"] == "rename"
        assert {
            each.ended for each in relay.exchanges if each.path in ("/events", "/containers/web/logs")
        } == {None}
    assert all(each.ended for each in relay.exchanges)


def opened() -> set[tuple[str, str]]:
    """The descriptors of this process, and where they lead."""
    found = set[tuple[str, str]]()
    for path in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):  # that of this look
            found.add((path.name, str(path.readlink())))
    return found


def test_nothing_is_left(engine: Engine) -> None:
    """Whether it ends by itself or by Ctrl-C, with connections open: socket, thread and descriptors are gone at once."""
    descriptors = opened()
    held: list[Any] = []
    for end in (None, KeyboardInterrupt):
        with contextlib.suppress(KeyboardInterrupt), Relay(engine) as relay:
            mode = relay.path.stat()
            assert stat.S_ISSOCK(mode.st_mode) and stat.S_IMODE(mode.st_mode) == 0o600
            assert relay.path.parent == paths.runtime()
            held.append(socket.socket(socket.AF_UNIX))
            held[-1].connect(str(relay.path))
            held[-1].sendall(b"GET /events HTTP/1.1\r\nHost: docker\r\n\r\n")
            while not relay.exchanges or not relay.exchanges[0].status:
                time.sleep(0.005)
            if end:
                raise end
        assert not relay.path.exists()
        assert not [thread for thread in threading.enumerate() if thread.name == "labkit-relay"]
        assert held[-1].recv(4096).startswith(b"HTTP/1.1 200") and held[-1].close() is None
    assert opened() <= descriptors


def test_an_engine_that_is_not_there(tmp_path: Path) -> None:
    """A client gets what it would get from the engine: the end of the connection, and no thread of ours says more."""
    gone = SimpleNamespace(environ={"DOCKER_HOST": f"unix://{tmp_path}/none.sock"})
    with Relay(cast("Engine", gone)) as relay, socket.socket(socket.AF_UNIX) as client:
        client.connect(str(relay.path))
        with contextlib.suppress(ConnectionError):
            client.sendall(b"GET /_ping HTTP/1.1\r\nHost: docker\r\n\r\n")
            assert client.recv(10) == b""
    with pytest.raises(MissingCapability, match="ssh://"):
        Relay(cast("Engine", SimpleNamespace(environ={"DOCKER_HOST": "ssh://host"})))


def test_engines_over_tcp_and_tls(engine: Engine, tmp_path: Path) -> None:
    """An engine that is reached over TCP, with certificates or without, is recorded as any other."""
    certificates = _certificates(tmp_path)
    path = engine.url.removeprefix("unix://")
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(certificates / "cert.pem", certificates / "key.pem")
    for context, more in (
        (None, {}),
        (server, {"DOCKER_TLS_VERIFY": "1", "DOCKER_CERT_PATH": str(certificates)}),
        (server, {"DOCKER_TLS": "1", "DOCKER_CERT_PATH": str(certificates)}),
    ):
        with _forward(path, context) as port:
            environ = {"DOCKER_HOST": f"tcp://127.0.0.1:{port}", **more}
            with relayed(cast("Engine", SimpleNamespace(environ=environ))) as (relay, api):
                assert api.ping()
        assert ("GET", "/_ping", 200) in seen(relay)


def _certificates(folder: Path) -> Path:
    """A certificate for 127.0.0.1 that signs itself, under the names that docker(1) gives to the files."""
    command = (
        "req -x509 -newkey rsa:2048 -nodes -days 1 -subj /CN=127.0.0.1 -addext subjectAltName=IP:127.0.0.1"
    )
    files = ["-keyout", str(folder / "key.pem"), "-out", str(folder / "cert.pem")]
    subprocess.run(["openssl", *command.split(), *files], check=True, capture_output=True)
    (folder / "ca.pem").write_bytes((folder / "cert.pem").read_bytes())
    return folder


@contextlib.contextmanager
def _forward(path: str, context: ssl.SSLContext | None) -> Iterator[int]:
    """A port of this machine that leads to the socket at *path*: what a daemon with ``-H tcp://`` is to its clients."""
    listener = socket.create_server(("127.0.0.1", 0))

    def copy(source: socket.socket, target: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                target.sendall(data)
        for each in (source, target):
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
                each.close()

    def accept() -> None:
        with contextlib.suppress(OSError):
            while True:
                plain, _ = listener.accept()
                client = context.wrap_socket(plain, server_side=True) if context else plain
                engine = socket.socket(socket.AF_UNIX)
                engine.connect(path)
                for pair in ((client, engine), (engine, client)):
                    threading.Thread(target=copy, args=pair, daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    try:
        yield listener.getsockname()[1]
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()


# -- what is read of the bytes


def talk(*said: tuple[str, bytes]) -> list[Exchange]:
    found: list[Exchange] = []
    conversation = Conversation(found.append)
    for direction, data in said:
        {">": conversation.sent, "<": conversation.received}[direction](data)
    conversation.closed()
    return found


def test_credentials_are_never_kept() -> None:
    """Of the headers only the types of bodies are kept; of a login's body, and of what holds keys and tokens, the size."""
    request = (
        b"POST /v1.45/auth HTTP/1.1\r\nHost: d\r\nX-Registry-Auth: hunter22\r\nAuthorization: hunter22\r\n"
        b'Content-Length: 23\r\n\r\n{"password":"hunter22"}'
    )
    answer = b'HTTP/1.1 200 OK\r\nContent-Length: 28\r\n\r\n{"IdentityToken":"hunter22"}'
    (found,) = talk((">", request), ("<", answer))
    assert "hunter22" not in repr(found)
    assert (found.request.size, found.request.withheld, found.answer.size) == (23, True, 28)


def test_an_answer_that_is_cut_off_is_told() -> None:
    """An engine that goes away in the middle leaves an exchange with its end, and the reason."""
    (found,) = talk(
        (">", b"GET /info HTTP/1.1\r\nHost: d\r\n\r\n"),
        ("<", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc"),
    )
    assert found.status == 200 and found.ended and "not read to its end" in found.note


def test_what_is_not_http_goes_unread() -> None:
    """Bytes of another protocol are no error: nothing more is read of that connection."""
    assert talk((">", b"\x16\x03\x01 not http\r\n\r\n"), ("<", b"\x00")) == []
    request = b"GET /_ping HTTP/1.1\r\nHost: d\r\n\r\n"
    (found,) = talk((">", request), ("<", b"\x16\x03\x01\r\n\r\n"))
    assert found.status is None and "not read" in found.note


def test_bytes_come_in_any_pieces() -> None:
    """One byte at a time makes the same exchanges as all at once."""
    request = b"POST /a HTTP/1.1\r\nHost: d\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"
    answer = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n"
    whole = talk((">", request), ("<", answer), (">", request), ("<", answer))
    pieces = [(">", bytes([b])) for b in request] + [("<", bytes([b])) for b in answer]
    in_bits = talk(*pieces, *pieces)
    for found in (whole, in_bits):
        assert [(e.status, e.request.head, e.answer.head) for e in found] == [(200, b"abc", b"hi")] * 2
