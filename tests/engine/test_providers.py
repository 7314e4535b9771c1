"""What every provider promises, held by the same cases over each of them and both engine versions."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator

import pytest

import labkit
from labkit.engine import Engine, packs
from labkit.errors import UsageError
from tests import installed

PROVIDERS = [
    "sandbox",
    "attach-unix",
    "attach-tcp",
    *([packs.MACHINE] if packs.MACHINE in packs.names() else []),
]


@pytest.fixture(scope="module", params=PROVIDERS)
def provided(request: pytest.FixtureRequest, module_engine: Engine) -> Iterator[Engine]:
    """An engine from each provider; the attached ones are the module's engine, reached from outside."""
    if request.param == "sandbox":
        yield module_engine
    elif request.param == packs.MACHINE:
        with labkit.open_engine("sandbox", name="machine", pack=packs.MACHINE, images=["busybox"]) as engine:
            yield engine
    elif request.param == "attach-unix":
        with labkit.open_engine("attach", url=module_engine.url) as engine:
            yield engine
    else:
        with tcp_front(module_engine) as url, labkit.open_engine("attach", url=url) as engine:
            yield engine


def tcp_front(engine: Engine):  # type: ignore[no-untyped-def]
    """The engine's API on a TCP port of this machine's loopback: a byte-for-byte relay."""
    import contextlib
    import socket
    import threading

    @contextlib.contextmanager
    def front() -> Iterator[str]:
        listener = socket.create_server(("127.0.0.1", 0))
        threading.Thread(target=accept, args=(listener,), daemon=True).start()
        yield f"tcp://127.0.0.1:{listener.getsockname()[1]}"
        listener.close()

    def accept(listener: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while True:
                outside = listener.accept()[0]
                inside = socket.socket(socket.AF_UNIX)
                inside.connect(engine.url.removeprefix("unix://"))
                for a, b in ((outside, inside), (inside, outside)):
                    threading.Thread(target=pump, args=(a, b), daemon=True).start()

    def pump(source: socket.socket, target: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                target.sendall(data)
            target.shutdown(socket.SHUT_WR)

    return front()


def test_client_runs_a_container(provided: Engine) -> None:
    """The SDK client reaches a daemon that runs containers."""
    assert provided.client.containers.run("busybox:lab", ["echo", "hello"], remove=True) == b"hello\n"


def test_command_line_reaches_the_same_daemon(provided: Engine, module_engine: Engine) -> None:
    """`docker` with the engine's environ talks to the daemon that the client talks to."""
    # an attached engine brings no command line along, and this machine need not have one: the pack's
    environment = {**os.environ, "PATH": module_engine.environ["PATH"], **provided.environ}
    done = subprocess.run(
        ["docker", "info", "--format", "{{.ID}}"], env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == provided.client.info()["ID"]


def test_use_changes_this_process_and_close_undoes_it(provided: Engine) -> None:
    """use() points os.environ at the engine, and unuse() puts back what was there."""
    before = dict(os.environ)
    provided.use()
    assert os.environ["DOCKER_HOST"] == provided.url
    provided.unuse()
    assert dict(os.environ) == before


def test_host_is_the_daemons_machine_or_says_why_not(provided: Engine) -> None:
    """host.run sees the daemon's own docker0, or the host is a missing capability with its reason."""
    if provided.capabilities["host"]:
        assert "172.17.0.1/16" in provided.host.run("ip -4 addr show docker0").stdout
        assert provided.host.read("/proc/sys/net/ipv4/ip_forward") == "1\n"
    else:
        assert provided.url.startswith("tcp://")
        assert "over the network" in provided.capabilities["host"].reason


def test_every_capability_has_a_reason(provided: Engine) -> None:
    """Each capability, there or missing, says why."""
    assert len(provided.capabilities) >= 10
    assert all(capability.reason for capability in provided.capabilities.values())


def test_both_representations_say_the_same(provided: Engine) -> None:
    """The text and the HTML form of an engine carry the same facts."""
    import html
    import re

    text = repr(provided)
    for cell in re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", provided._repr_html_()):
        assert html.unescape(cell) in text
    assert provided.url in text


def test_a_missing_image_is_the_engines_own_error(provided: Engine) -> None:
    """What the daemon refuses arrives as the daemon's error, not as ours."""
    import docker

    with pytest.raises(docker.errors.NotFound):
        provided.client.containers.get("nobody")


@pytest.mark.parametrize(
    ("provider", "options", "words"),
    [
        ("cloud", {}, ["'cloud'", "sandbox or attach"]),
        ("sandbox", {"colour": "red"}, ["colour"]),
        ("sandbox", {"name": "a b"}, ["'a b'", "letters"]),
        ("sandbox", {"name": "../x"}, ["'../x'"]),
        ("sandbox", {"name": 7}, ["7", "letters"]),
        ("sandbox", {"config": "debug"}, ["'debug'", "daemon.json"]),
        ("sandbox", {"config": {"labels": {"a"}}}, ["{'a'}", "daemon.json"]),
        ("sandbox", {"images": "busybox"}, ["'busybox'", "['busybox']"]),
        ("sandbox", {"pack": "windows"}, ["'windows'", "debian-13"]),
        ("sandbox", {"images": ["bussybox"]}, ["'bussybox'", "busybox"]),
        ("sandbox", {"state": "never-saved"}, ["'never-saved'"]),
        ("sandbox", {"state": "../../etc"}, ["'../../etc'"]),
        ("sandbox", {"owner": 2**22 + 1}, ["running process"]),
        ("attach", {"url": "ftp://x"}, ["ftp://x", "unix:///path"]),
        ("attach", {"context": "no-such"}, ["'no-such'"]),
    ],
)
def test_bad_options_are_usage_errors(provider: str, options: dict[str, object], words: list[str]) -> None:
    """A bad option gives one message that names it and what is expected, and starts nothing."""
    with pytest.raises(UsageError) as caught:
        labkit.open_engine(provider, **options)
    assert caught.value.exit_code == 2
    for word in words:
        assert word in str(caught.value)


@pytest.mark.skipif(
    packs.MACHINE in packs.names(), reason="a dockerd is installed here: the cases above hold it"
)
def test_the_machines_own_docker() -> None:
    """On a machine where Docker is installed, engines made from its own dockerd promise the same."""
    if reason := installed.why_not():
        pytest.skip(f"no dockerd is installed here, and none can be laid in: {reason}")
    inner = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:xdist",
        __file__,
        "-k",
        f"{packs.MACHINE} and debian-13",
    ]
    done = subprocess.run(
        [sys.executable, "-m", "tests.installed", *inner],
        capture_output=True,
        text=True,
        check=False,
        timeout=280,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"\b[1-9]\d* passed", done.stdout) and "skipped" not in done.stdout
