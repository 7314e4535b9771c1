"""Which ports collide, and who holds one on a live engine's host."""

from __future__ import annotations

import pytest

from labkit import observe
from labkit.engine import Engine
from labkit.observe.listeners import Binding, _asked, rivals


@pytest.mark.parametrize(
    ("one", "other", "collide"),
    [
        (("tcp", "", 80), ("tcp", "", 80), True),
        (("tcp", "", 80), ("tcp", "127.0.0.1", 80), True),
        (("tcp", "0.0.0.0", 80), ("tcp", "127.0.0.1", 80), True),
        (("tcp", "", 80), ("tcp", "::1", 80), True),
        (("tcp", "::", 80), ("tcp", "::1", 80), True),
        (("tcp", "127.0.0.1", 80), ("tcp", "127.0.0.2", 80), False),
        (("tcp", "0.0.0.0", 80), ("tcp", "::1", 80), False),
        (("tcp", "", 80), ("udp", "", 80), False),
        (("tcp", "", 80), ("tcp", "", 81), False),
    ],
)
def test_which_ports_collide(one: tuple[str, str, int], other: tuple[str, str, int], collide: bool) -> None:
    """The same port can be had twice on other addresses or with another protocol, and not otherwise."""
    assert Binding(*one).collides(Binding(*other)) is collide
    assert Binding(*other).collides(Binding(*one)) is collide


def test_what_a_container_asks_for(engine: Engine) -> None:
    """Ports with a number of the host's are wanted, on their addresses; those that the engine chooses are not."""
    engine.client.containers.create(
        "busybox:lab", "true", name="web", ports={"80/tcp": 8080, "53/udp": ("127.0.0.1", 53), "81/tcp": None}
    )
    asked = observe.wanted_ports(engine, observe.container(engine, "web"))
    assert [str(each) for each in asked] == ["*:8080/tcp", "127.0.0.1:53/udp"]
    (rival,) = rivals(engine, [Binding("tcp", "127.0.0.1", 8080)])
    assert (rival.name, rival.status) == ("web", "created")


@pytest.mark.parametrize(
    ("error", "asked"),
    [
        ("", []),
        ("listen tcp4 0.0.0.0:8001: bind: address already in use", ["*:8000/tcp", "*:8001/tcp"]),
        ("Bind for 0.0.0.0:8001 failed: port is already allocated", ["*:8000/tcp", "*:8001/tcp"]),
        ("listen tcp4 0.0.0.0:80: bind: address already in use", []),
    ],
)
def test_of_a_range_the_engine_chooses(error: str, asked: list[str]) -> None:
    """It takes the first that is free, so the range is asked for where it was refused one of it."""
    found = _asked({"80/tcp": [{"HostIp": "", "HostPort": "8000-8001"}], "81/tcp": None}, error)
    assert [str(each) for each in found] == asked


_OUT = """perl -MSocket -e '
socket(L, PF_INET, SOCK_STREAM, 0); bind(L, sockaddr_in(9099, INADDR_ANY)) or die; listen(L, 5);
socket(S, PF_INET, SOCK_STREAM, 0); bind(S, sockaddr_in(8099, INADDR_ANY)) or die; connect(S, sockaddr_in(9099, INADDR_LOOPBACK));
$| = 1; print "ready"; sleep' >/run/out 2>&1 & echo $! >/run/out.pid
until grep -q ready /run/out; do sleep 0.02; done"""


def test_a_connection_holds_its_port(engine: Engine) -> None:
    """A program that goes out from the port has it, though nobody listens."""
    engine.host.run(_OUT)
    try:
        (holder,) = observe.port_holders(engine, [Binding("tcp", "", 8099)]).found
        assert (holder.kind, holder.name, holder.state) == ("process", "perl", "ESTAB")
    finally:
        engine.host.run("kill $(cat /run/out.pid); rm /run/out /run/out.pid")


def test_a_container_does_not_hold_its_port_against_itself(engine: Engine) -> None:
    """Of a running container's own ports nobody else is the holder."""
    engine.client.containers.run(
        "busybox:lab", ["sleep", "1000"], name="web", ports={"80/tcp": 8080}, detach=True
    )
    web = observe.container(engine, "web")
    assert observe.port_holders(engine, observe.wanted_ports(engine, web), but=web.id).found == ()
    (first, second) = observe.port_holders(engine, [Binding("tcp", "", 8080)]).found
    assert {first.name, second.name} == {"web"} and first.kind == "container"


def test_the_same_port_on_another_address_is_free(engine: Engine) -> None:
    """A port that is held on one address can be had on another, and the engine agrees."""
    engine.client.containers.run(
        "busybox:lab", ["sleep", "1000"], name="one", ports={"80/tcp": ("127.0.0.1", 8080)}, detach=True
    )
    elsewhere = Binding("tcp", "127.0.0.2", 8080)
    assert observe.port_holders(engine, [elsewhere]).found == ()
    engine.client.containers.run(
        "busybox:lab", ["sleep", "1000"], name="two", ports={"80/tcp": ("127.0.0.2", 8080)}, detach=True
    )
    (holder,) = observe.port_holders(engine, [elsewhere]).found
    assert holder.name == "two"


def test_without_the_hosts_sockets_it_says_so(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the host cannot be looked at, that is said instead of "nothing holds them"."""
    from labkit.engine.host import MissingHost

    monkeypatch.setattr(type(engine), "host", MissingHost("it is far away"))
    held = observe.port_holders(engine, [Binding("tcp", "", 8080)])
    assert held.found == () and "it is far away" in str(held)
