"""Attaching to an engine that runs already: by TLS, behind a relay, and from a shell that is set up for another."""

from __future__ import annotations

import os
import socket
import ssl
import subprocess
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import labkit
from labkit import engine as engines
from labkit.engine import Engine, attach, commandline, records
from labkit.engine.ports import Forwarder
from labkit.engine.relay import Relay
from labkit.engine.sandbox import Sandbox
from labkit.errors import EngineUnreachable, MissingCapability, UsageError
from tests.ports import free_port

# -- TLS

TLS = f"tls-{os.getpid()}"
"""The name of an engine, and no other worker's."""


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with an authority, a certificate of a server and one of a client, as dockerd --tlsverify takes them."""
    folder = tmp_path_factory.mktemp("certificates")
    script = """
        openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=authority -keyout ca-key.pem -out ca.pem
        for who in server client; do
            openssl req -newkey rsa:2048 -nodes -subj /CN=$who -keyout $who-key.pem -out $who.csr
            printf 'subjectAltName=IP:127.0.0.1\nextendedKeyUsage=%sAuth' $who >extensions
            openssl x509 -req -days 2 -in $who.csr -CA ca.pem -CAkey ca-key.pem -CAcreateserial -extfile extensions -out $who.pem
        done
        mkdir theirs && cp ca.pem theirs/ && cp client.pem theirs/cert.pem && cp client-key.pem theirs/key.pem
    """
    subprocess.run(["sh", "-ec", script], cwd=folder, check=True, capture_output=True)
    return folder


@pytest.fixture(scope="module")
def tls_engine(certificates: Path) -> Iterator[tuple[Sandbox, str]]:
    """A daemon with --tlsverify, and its URL on a port that is forwarded to this machine."""
    with labkit.open_engine("sandbox", name=TLS) as engine:
        assert isinstance(engine, Sandbox)
        for name in ("ca.pem", "server.pem", "server-key.pem"):
            engine.host.write(f"/etc/docker/{name}", (certificates / name).read_text())
        serve_tls(engine, "--tlsverify")
        port = free_port()
        forwarder = Forwarder(engine.folder / "slirp.sock", Path(), Path())
        where = {"host_addr": "127.0.0.1", "host_port": port, "guest_addr": "10.0.2.100", "guest_port": 2376}
        assert "return" in forwarder._call("add_hostfwd", proto="tcp", **where)
        yield engine, f"tcp://127.0.0.1:{port}"


def serve_tls(engine: Sandbox, how: str) -> None:
    """Have the daemon started again, *how* it goes by its clients' certificates."""
    engine.host.write(
        "/etc/default/docker",
        f'DOCKER_OPTS="--host tcp://0.0.0.0:2376 {how} --tlscacert /etc/docker/ca.pem'
        ' --tlscert /etc/docker/server.pem --tlskey /etc/docker/server-key.pem"\n',
    )
    engine.restart()


@pytest.fixture
def over_tls(tls_engine: tuple[Sandbox, str]) -> str:
    """The URL of a daemon with --tlsverify."""
    return tls_engine[1]


@pytest.fixture
def over_tls_for_all(tls_engine: tuple[Sandbox, str]) -> Iterator[str]:
    """The URL of a daemon with TLS that does not ask who its clients are."""
    engine, url = tls_engine
    serve_tls(engine, "--tls --tlsverify=false")
    yield url
    serve_tls(engine, "--tlsverify")


@pytest.fixture(autouse=True)
def clean(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The tests' own shell names no engine."""
    for name in ("DOCKER_HOST", "DOCKER_CONTEXT", "DOCKER_TLS_VERIFY", "DOCKER_CERT_PATH"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path / "docker"))


def write_context(name: str, url: str, certificates: Path | None, **more: str) -> None:
    """A docker context, as ``docker context create`` writes it; *more* of what it takes."""
    docker = commandline_of(TLS)
    command = [docker, "context", "create", name, "--docker"]
    files = {"ca": "ca.pem", "cert": "cert.pem", "key": "key.pem"} if certificates else {}
    files = {key: f"{certificates}/{file}" for key, file in files.items()} | more
    told = [f"host={url}", *(f"{key}={value}" for key, value in files.items())]
    subprocess.run([*command, ",".join(told)], check=True, capture_output=True)


def commandline_of(engine: str) -> str:
    """The `docker` of a private engine's pack."""
    return str(records.find(engine).folder / "bin/docker")


@pytest.mark.parametrize("way", ["environment", "url", "context"])
def test_an_engine_with_tls_is_reached(
    way: str, over_tls: str, certificates: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """DOCKER_TLS_VERIFY with DOCKER_CERT_PATH, and a context with certificates: the SDK and `docker` both get through."""
    made, options = ssl.create_default_context, {}

    def strict(**given: Any) -> ssl.SSLContext:
        """As Python 3.13 makes them."""
        context = made(**given)
        context.verify_flags |= ssl.VERIFY_X509_STRICT
        return context

    monkeypatch.setattr(ssl, "create_default_context", strict)
    if way == "context":
        write_context("secure", over_tls, certificates / "theirs")
        options = {"context": "secure"}
    else:
        monkeypatch.setenv("DOCKER_TLS_VERIFY", "1")
        monkeypatch.setenv("DOCKER_CERT_PATH", str(certificates / "theirs"))
        if way == "url":
            options = {"url": over_tls}
        else:
            monkeypatch.setenv("DOCKER_HOST", over_tls)
    with labkit.open_engine("attach", **options) as engine:
        assert engine.url == over_tls
        for name in ("DOCKER_TLS_VERIFY", "DOCKER_CERT_PATH", "DOCKER_HOST"):
            monkeypatch.delenv(name, raising=False)
        assert told_by_docker(engine.environ) == engine.client.info()["ID"]


def told_by_docker(environ: dict[str, str]) -> str:
    """The id of the engine that `docker` reaches with these variables, or why it does not."""
    command = [commandline_of(TLS), "info", "--format", "{{.ID}}"]
    said = subprocess.run(command, env={**os.environ, **environ}, capture_output=True, text=True, check=False)
    return said.stdout.strip() or said.stderr


@pytest.mark.filterwarnings("ignore::urllib3.exceptions.InsecureRequestWarning")  # as the context wants it
def test_an_engine_that_asks_nobody_who_they_are(
    over_tls_for_all: str, certificates: Path, tmp_path: Path
) -> None:
    """A context with the authority alone, and one that does not look at what the engine shows, as `docker` takes them."""
    write_context("trusted", over_tls_for_all, None, ca=f"{certificates}/ca.pem")
    write_context("believed", over_tls_for_all, None, **{"skip-tls-verify": "true"})
    write_context("both", over_tls_for_all, certificates / "theirs", **{"skip-tls-verify": "true"})
    for name in ("trusted", "believed", "both"):
        with labkit.open_engine("attach", context=name) as engine:
            known = engine.client.info()["ID"]
            assert {told_by_docker({"DOCKER_CONTEXT": name}), told_by_docker(engine.environ)} == {known}
            with Relay(engine) as relay:
                assert told_by_docker(relay.environ) == known
    write_context("distrusted", over_tls_for_all, None, ca=f"{certificates}/client.pem")
    with pytest.raises(EngineUnreachable, match="certificate"):
        labkit.open_engine("attach", context="distrusted")
    (folder,) = (tmp_path / "docker").glob("contexts/tls/*/docker/cert.pem")
    (folder.parent / "key.pem").unlink()
    with pytest.raises(UsageError, match=r"context both[^$]*no key.pem in"):
        labkit.open_engine("attach", context="both")


def test_without_certificates_it_does_not_answer(over_tls: str, tmp_path: Path, certificates: Path) -> None:
    """A client that shows no certificate, or trusts another authority, is told that the engine does not answer."""
    with pytest.raises(EngineUnreachable, match=over_tls):
        labkit.open_engine("attach", url=over_tls)
    other = tmp_path / "other"
    other.mkdir()
    for name in ("cert.pem", "key.pem"):
        (other / name).write_bytes((certificates / "theirs" / name).read_bytes())
    (other / "ca.pem").write_bytes((certificates / "client.pem").read_bytes())
    write_context("distrust", over_tls, other)
    with pytest.raises(EngineUnreachable, match="certificate"):
        labkit.open_engine("attach", context="distrust")
    with pytest.raises(UsageError, match="default, distrust"):
        labkit.open_engine("attach", context="other")


def test_certificates_that_are_missing_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """TLS is asked for and a file is not there: the message names the files and the folder."""
    monkeypatch.setenv("DOCKER_TLS_VERIFY", "1")
    monkeypatch.setenv("DOCKER_CERT_PATH", str(tmp_path))
    with pytest.raises(UsageError, match=rf"no ca.pem in {tmp_path}"):
        labkit.open_engine("attach", url="tcp://127.0.0.1:2376")


def test_a_socket_needs_no_tls(engine: Engine, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """DOCKER_TLS_VERIFY in the user's shell is for another engine than one behind a local socket."""
    monkeypatch.setenv("DOCKER_TLS_VERIFY", "1")
    monkeypatch.setenv("DOCKER_CERT_PATH", str(tmp_path))
    with labkit.open_engine("attach", url=engine.url) as attached:
        assert attached.ping()
        assert attached.environ["DOCKER_TLS_VERIFY"] == ""


# -- the host behind a socket


@contextmanager
def relaying(listener: socket.socket, engine: Engine) -> Iterator[None]:
    """What is said to *listener*, a socket of this process, is handed on to the engine's, as socat and ssh do."""

    def accept() -> None:
        with suppress(OSError):
            while True:
                outside, inside = listener.accept()[0], socket.socket(socket.AF_UNIX)
                inside.connect(engine.url.removeprefix("unix://"))
                for pair in ((outside, inside), (inside, outside)):
                    threading.Thread(target=pump, args=pair, daemon=True).start()

    def pump(source: socket.socket, target: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(65536):
                target.sendall(data)
            target.shutdown(socket.SHUT_WR)

    threading.Thread(target=accept, daemon=True).start()
    with closing(listener):
        yield


@pytest.fixture
def relay(engine: Engine, tmp_path: Path) -> Iterator[str]:
    """A unix socket of this process that hands everything on to the engine's."""
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(tmp_path / "relay.sock"))
    listener.listen()
    with relaying(listener, engine):
        yield f"unix://{tmp_path}/relay.sock"


def test_what_is_on_the_loopback_is_asked_without_a_proxy(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The proxy of the user's shell knows nothing of an engine at 127.0.0.1, as behind `ssh -L`: `docker` passes it by, too."""
    for name in ("http_proxy", "HTTP_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    monkeypatch.setenv("no_proxy", "")
    with socket.create_server(("127.0.0.1", 0)) as listener, relaying(listener, engine):
        for host in ("127.0.0.1", "localhost"):
            with labkit.open_engine("attach", url=f"tcp://{host}:{listener.getsockname()[1]}") as attached:
                assert attached.client.info()["ID"] == engine.client.info()["ID"]


def test_a_relay_is_not_the_engines_host(relay: str) -> None:
    """Behind a relay the listener is not the daemon: no command is run on the relay's machine in its place."""
    with labkit.open_engine("attach", url=relay) as attached:
        assert attached.ping()
        assert not attached.capabilities["host"]
        assert "not the daemon" in attached.capabilities["host"].reason
        with pytest.raises(MissingCapability, match=str(os.getpid())):
            attached.host.run(["true"])


def test_who_listens_for_the_daemon_on_its_own_machine_is_known(engine: Engine) -> None:
    """Where another process listens, as systemd does, the engine's identity in its file system tells its machine."""
    info = engine.client.info()
    init = engine.host.pid  # type: ignore[attr-defined]
    assert attach._text(f"/proc/{init}/comm").strip() != "dockerd"
    assert attach._holds(init, info["ID"], info["DockerRootDir"])
    assert not attach._holds(init, "another", info["DockerRootDir"])
    assert not attach._holds(os.getpid(), info["ID"], info["DockerRootDir"])
    assert not attach._holds(os.getpid(), "", "/no/such")


# -- the user's shell


def test_the_users_shell_does_not_leak_in(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the user's shell is set up for, `docker` with a private engine's environ reaches that engine and works."""
    for name, value in {
        "DOCKER_API_VERSION": "1.12",
        "DOCKER_CERT_PATH": "/no/such",
        "DOCKER_CONTENT_TRUST": "1",
        "DOCKER_CONTEXT": "no-such",
        "DOCKER_DEFAULT_PLATFORM": "linux/s390x",
        "DOCKER_TLS": "1",
        "DOCKER_TLS_VERIFY": "1",
    }.items():
        monkeypatch.setenv(name, value)
    command = ["docker", "run", "--rm", "--pull=never", "busybox:lab", "echo", "hi"]
    done = subprocess.run(
        command, env={**os.environ, **engine.environ}, capture_output=True, text=True, check=False
    )
    assert (done.stdout, done.stderr) == ("hi\n", "")


def test_no_path_does_not_become_the_current_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty PATH, or an empty entry in it, adds nothing: to a shell it would be the current folder."""
    for path in ("", ":", "/usr/bin::/bin:"):
        monkeypatch.setenv("PATH", path)
        assert "" not in commandline.environ(tmp_path)["PATH"].split(":")


def test_an_error_inside_a_provider_is_not_a_usage_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only options that the provider does not have are the caller's mistake; a bug inside it stays a TypeError."""

    def opener(name: str = "") -> None:
        raise TypeError("f() got an unexpected keyword argument 'x'")

    monkeypatch.setitem(engines.PROVIDERS, "broken", "labkit.broken:opener")
    monkeypatch.setattr(engines, "import_module", lambda _: SimpleNamespace(opener=opener))
    with pytest.raises(TypeError, match="keyword argument 'x'"):
        labkit.open_engine("broken", name="fine")
    with pytest.raises(UsageError, match="colour"):
        labkit.open_engine("broken", colour="red")
