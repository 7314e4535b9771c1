"""Published ports: reachable on this machine's loopback while their container runs, and conflicts told."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

import labkit
from labkit.cli.engines import engine_list
from labkit.engine import Engine, images, ports, records
from labkit.errors import EngineFailed
from labkit.lab.conditions import Facts, reachable
from labkit.lab.waiting import until_ready
from tests.ports import free_port

SERVE = ["sh", "-c", "echo hello from $HOSTNAME >/index.html; exec httpd -f -p 80 -h /"]

ECHO = "socket S,2,2,0; bind S,sockaddr_in(53,INADDR_ANY); send S,$b,0,$a while $a=recv S,$b,99,0"


def fetch(address: str) -> str:
    with urllib.request.urlopen(f"http://{address}/", timeout=60) as reply:
        return str(reply.read().decode())


def serve(engine: Engine, published: object, name: str = "web") -> Any:
    """A container whose port 80 is *published* so, once its server answers inside: its port may be forwarded before."""
    container = engine.client.containers.run(
        "busybox:lab", SERVE, name=name, hostname=name, detach=True, ports={"80/tcp": published}
    )
    until_ready(engine, name, "wget", "-q", "-O", "/dev/null", "http://127.0.0.1/")
    return container


def settled(engine: Engine, count: int):  # type: ignore[no-untyped-def]
    """The engine's ports once there are *count* of them."""
    end = time.monotonic() + 60
    while len(engine.ports) != count and time.monotonic() < end:
        time.sleep(0.01)
    assert len(engine.ports) == count, engine.ports
    return engine.ports


@pytest.mark.parametrize("address", ["0.0.0.0", "127.0.0.1"])
def test_published_port_is_reached_here(engine: Engine, address: str) -> None:
    """A port published on all addresses, or only on the loopback, of the engine's host answers on 127.0.0.1 here."""
    number = free_port()
    container = serve(engine, (address, number))
    (port,) = settled(engine, 1)
    assert (port.container, port.container_port, port.local_port, port.note) == ("web", 80, number, "")
    assert fetch(port.address) == "hello from web\n"
    bridge = engine.client.networks.get("bridge")
    bridge.disconnect(container)
    settled(engine, 0)
    bridge.connect(container)  # which the engine tells before it lists the port again
    assert settled(engine, 1) == [port]
    container.remove(force=True)
    settled(engine, 0)
    with pytest.raises(OSError):
        fetch(f"127.0.0.1:{number}")


def test_udp_is_forwarded(engine: Engine) -> None:
    """A published UDP port carries datagrams both ways."""
    number = free_port()
    images.ensure(engine, ["debian"])
    engine.client.containers.run(
        "debian:lab", ["perl", "-MSocket", "-e", ECHO], detach=True, ports={"53/udp": number}
    )
    settled(engine, 1)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.settimeout(0.5)
        for _ in range(120):
            client.sendto(b"echo", ("127.0.0.1", number))
            try:
                assert client.recv(64) == b"echo"
                return
            except TimeoutError:
                continue
    pytest.fail("no datagram came back")


def test_taken_port_is_reported_and_reached_elsewhere(engine: Engine) -> None:
    """A port that somebody here has already is reported; the container runs, and is reached on another port."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        number = taken.getsockname()[1]
        serve(engine, number)
        (port,) = settled(engine, 1)
        assert port.engine_port == number
        assert port.local_port not in (None, number)
        assert "taken" in port.note
        assert fetch(port.address) == "hello from web\n"


def test_two_engines_publish_the_same_port(engine: Engine) -> None:
    """Two engines may publish the same port: each is reached at the address that it reports."""
    number = free_port()
    with labkit.open_engine(name="neighbour", images=["busybox"]) as other:
        for each, name in ((engine, "one"), (other, "two")):
            serve(each, number, name)
            settled(each, 1)
        assert fetch(engine.ports[0].address) == "hello from one\n"
        assert fetch(other.ports[0].address) == "hello from two\n"


def test_only_the_host_reaches_this_machines_loopback(engine: Engine) -> None:
    """What listens on the user's loopback is not there for containers on networks of their own; it is for the host, and so
    for a container that shares the host's network."""
    import docker

    engine.client.networks.create("apart")
    with socket.create_server(("127.0.0.1", 0)) as private:
        number = private.getsockname()[1]
        # ends as soon as it is connected
        command = ["nc", "-w", "1", "10.0.2.2", str(number), "-e", "true"]
        for network in ("bridge", "apart"):
            with pytest.raises(docker.errors.ContainerError, match="timed out"):
                engine.client.containers.run("busybox:lab", command, remove=True, network=network)
        command[2] = "60"
        engine.client.containers.run("busybox:lab", command, remove=True, network_mode="host")
        assert engine.host.run(f"timeout 60 bash -c '</dev/tcp/10.0.2.2/{number}'").ok


def test_an_engine_that_cannot_shield_the_loopback_does_not_start(own_folders: tuple[Path, Path]) -> None:
    """Where the firewall rule that keeps containers from the user's loopback cannot be set, there is no engine, and the
    message says why."""
    home, _ = own_folders
    pack = home / "packs/debian-13"
    whole = pack.resolve()
    pack.unlink()
    subprocess.run(["cp", "--archive", "--link", whole, pack], check=True)
    program = pack / "rootfs/usr/sbin/iptables"
    program.unlink()
    program.write_text(
        '#!/bin/sh\ncase "$*" in *mangle*) echo no such table >&2; exit 3 ;; esac\nexec xtables-nft-multi iptables "$@"\n'
    )
    program.chmod(0o755)
    with pytest.raises(EngineFailed, match=r"no such table\n.*keeps containers from this machine's loopback"):
        labkit.open_engine(name="open")


def test_ports_come_back_with_the_daemon(engine: Engine) -> None:
    """After a restart of the daemon the ports of its containers are reached again."""
    number = free_port()
    engine.client.containers.run(
        "busybox:lab",
        SERVE,
        hostname="web",
        detach=True,
        ports={"80/tcp": number},
        restart_policy={"Name": "always"},
        stop_signal="SIGKILL",  # which PID 1 does not sit out
    )
    settled(engine, 1)
    engine.restart()
    end = time.monotonic() + 60
    while True:
        try:
            assert fetch(f"127.0.0.1:{number}") == "hello from web\n"
            break
        except OSError:
            assert time.monotonic() < end
            time.sleep(0.05)


def test_an_engine_that_is_cut_off_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    """When slirp4netns ends, ports, engine, list of engines and checks say why nothing is reached; a reset joins it again."""
    with labkit.open_engine(name="cut", images=["busybox"]) as engine:
        serve(engine, number := free_port())
        settled(engine, 1)
        keeper = records.find(engine.id).facts["keeper"]["pid"]
        children = Path(f"/proc/{keeper}/task/{keeper}/children").read_text().split()
        (slirp,) = (pid for pid in children if b"slirp4netns" in Path(f"/proc/{pid}/cmdline").read_bytes())
        os.kill(int(slirp), signal.SIGKILL)
        end = time.monotonic() + 60
        while engine.ports[0].address and time.monotonic() < end:
            time.sleep(0.01)
        why = "slirp4netns was ended by signal 9"
        assert str(engine.ports[0]) == f"web 80/tcp -> not reachable ({why})"
        reading = reachable(f"127.0.0.1:{number}").read(Facts(engine))
        assert reading.saw == f"not readable (the engine is cut off: {why})"
        engine_list()
        with labkit.open_engine("attach", engine=engine.id) as attached:
            told = [repr(engine), repr(attached), capsys.readouterr().out]
        assert all(f"cut off from this machine: {why}" in each for each in told), told
        engine.reset()
        assert "cut off" not in repr(engine)
        serve(engine, number)
        assert fetch(settled(engine, 1)[0].address) == "hello from web\n"


def test_the_daemon_stops_at_once(engine: Engine) -> None:
    """Following the daemon's events does not hold up its stop, which 26.1 would wait five seconds for."""

    def quickly() -> bool:
        time.sleep(0.5)  # the follower has subscribed again
        before = time.monotonic()
        engine.stop()
        took = time.monotonic() - before
        engine.start()
        return took < 5

    assert any(quickly() for _ in range(5)), "it is not slow once, as on a busy machine, but always"


# -- what an engine may answer, without an engine

ROW = {"PrivatePort": 80, "Type": "tcp", "PublicPort": 8080, "IP": "0.0.0.0"}


@pytest.mark.parametrize(
    ("names", "expected"),
    [(["/web"], "web"), (["/proxy/alias", "/web"], "web"), ([], "0123456789ab"), (None, "0123456789ab")],
)
def test_a_row_is_named(names: list[str] | None, expected: str) -> None:
    """A container is called by its own name, not by a link's; one that is being removed has none, and goes by its id."""
    (port,) = ports.published([{"Id": "0123456789abcdef", "Names": names, "Ports": [ROW]}])
    assert port.container == expected


@pytest.mark.parametrize(
    ("addresses", "expected"),
    [
        (["0.0.0.0", "::"], [("0.0.0.0", 8080, "")]),
        (["127.0.0.1"], [("127.0.0.1", 8080, "")]),
        (["172.17.0.1"], [("172.17.0.1", None, "published at 172.17.0.1 only")]),
        (["::1"], [("::1", None, "published over IPv6 only")]),
    ],
)
def test_where_a_port_of_a_shared_engine_is_reached(
    addresses: list[str], expected: list[tuple[str, int | None, str]]
) -> None:
    """On 127.0.0.1 only what is published there; of the rest it is told where it is, over IPv6 too."""
    row = {"Id": "0123456789abcdef", "Names": ["/web"], "Ports": [{**ROW, "IP": each} for each in addresses]}
    found = [port.reached_here() for port in ports.published([row])]
    assert [(port.engine_address, port.local_port, port.note) for port in found] == expected


FOLLOW = """
import sys
from pathlib import Path
from labkit.engine.ports import Forwarder
Forwarder(*map(Path, sys.argv[1:])).follow()
"""


def test_the_follower_survives_error_answers(tmp_path: Path) -> None:
    """An error answer and nonsense are told once each in the keeper's log, and the next good answer is used."""
    answers = [
        b"500 x\r\n\r\nbroken",
        b"500 x\r\n\r\nbroken",
        b'200 x\r\n\r\n{"message": 1}',
        b"200 x\r\n\r\nno json",
    ]

    def serve(listener: socket.socket) -> None:
        with suppress(OSError):
            while True:
                connection = listener.accept()[0]
                asked = connection.recv(4096)
                if asked.startswith(b"GET /events"):
                    answer = b"200 x\r\n\r\n"
                else:
                    answer = answers.pop(0) if answers else b"200 x\r\n\r\n[]"
                connection.sendall(b"HTTP/1.0 " + answer)
                connection.close()

    files = [str(tmp_path / name) for name in ("none", "docker.sock", "ports.json")]
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(files[1])
        listener.listen()
        threading.Thread(target=serve, args=(listener,), daemon=True).start()
        follower = subprocess.Popen([sys.executable, "-c", FOLLOW, *files], stderr=subprocess.PIPE, text=True)
        end = time.monotonic() + 60
        while not Path(files[2]).exists() and time.monotonic() < end:
            time.sleep(0.01)
        follower.kill()
    assert ports.read_ports(Path(files[2])) == []
    told = follower.communicate()[1].splitlines()
    assert len(told) == 3, told
    assert "500 broken" in told[0]
    assert all(line.startswith("published ports: ") for line in told)


def test_a_full_disk_does_not_end_the_forwarding(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What went wrong and cannot even be told is tried again."""
    tries = list[int]()

    def events(_: ports.Forwarder) -> Iterator[None]:
        tries.append(len(tries))
        if len(tries) > 2:
            raise SystemExit
        raise ValueError(f"wrong in another way: {tries}")

    monkeypatch.setattr(ports.Forwarder, "_events", events)
    with Path("/dev/full").open("w") as full:
        monkeypatch.setattr(sys, "stderr", full)
        with pytest.raises(SystemExit):
            ports.Forwarder(tmp_path, tmp_path, tmp_path).follow()
        monkeypatch.undo()
        with suppress(OSError):
            full.close()
    assert tries == [0, 1, 2]
