"""The networks of an engine, against the kernel's own files on its host."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from labkit.engine import Engine
from labkit.engine.host import MissingHost
from labkit.observe import Endpoint, NetworkMap, network_map, networks
from tests.containers import said


@pytest.fixture(scope="module")
def found(module_engine: Engine) -> Iterator[NetworkMap]:
    """The map of an engine with two networks more, and a container of each kind."""
    client = module_engine.client
    client.networks.create("front")
    client.networks.create("back", internal=True)

    def run(name: str, **options: object) -> None:
        client.containers.run("busybox:lab", ["sleep", "1000"], name=name, detach=True, init=True, **options)

    run("web", ports={"80/tcp": 18080})
    run("api", network="front", ports={"53/udp": 18053})
    client.networks.get("back").connect("api")
    run("sidecar", network_mode="container:web")
    run("on-host", network_mode="host")
    run("lonely", network_mode="none")
    client.containers.create("busybox:lab", name="idle")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(networks, "SOON", 60)  # seconds, for a busy machine
        seen = network_map(module_engine)
    yield seen
    for container in client.containers.list(all=True):
        container.remove(force=True)
    client.networks.prune()


def endpoints(found: NetworkMap) -> dict[tuple[str, str], Endpoint]:
    return {(network.name, each.container): each for network in found.networks for each in network.endpoints}


def test_every_container_is_where_it_belongs(found: NetworkMap) -> None:
    """On each of its networks, on the host, alone, in another's network, or not running."""
    assert [network.name for network in found.networks] == ["bridge", "back", "front"]
    assert set(endpoints(found)) == {("bridge", "web"), ("back", "api"), ("front", "api")}
    assert (found.on_host, found.alone, found.idle) == (("on-host",), ("lonely",), ("idle",))
    assert endpoints(found)["bridge", "web"].guests == ("sidecar",)
    assert endpoints(found)["front", "api"].others == ("back",)
    assert [network.internal for network in found.networks] == [False, True, False]


def test_pairs_are_those_of_the_kernel(module_engine: Engine, found: NetworkMap) -> None:
    """Each end has the index that sysfs has for it, names the other, and the outer one is a port of the network's bridge."""
    for network in found.networks:
        for each in network.endpoints:
            assert each.pair is not None
            pid = module_engine.client.api.inspect_container(each.container)["State"]["Pid"]
            inside = f"/proc/{pid}/root/sys/class/net/{each.interface}"
            outside = f"/sys/class/net/{each.pair.outside}"
            read = module_engine.host.read
            assert int(read(f"{inside}/iflink")) == each.pair.outside_index == int(read(f"{outside}/ifindex"))
            assert int(read(f"{outside}/iflink")) == each.pair.inside_index == int(read(f"{inside}/ifindex"))
            assert each.pair.master == network.bridge
            assert (
                each.pair.outside
                in module_engine.host.run(["ls", f"/sys/class/net/{network.bridge}/brif"]).stdout
            )


def test_addresses_are_the_interfaces_own(module_engine: Engine, found: NetworkMap) -> None:
    """What the container itself sees on that interface, inside of the network's subnet."""
    for each in endpoints(found).values():
        container = module_engine.client.containers.get(each.container)
        assert f"inet {each.address}/" in said(container, ["ip", "addr", "show", each.interface])


def test_ports_are_told_once_and_with_the_place_where_they_are_reached(found: NetworkMap) -> None:
    """On a network that has a way out, with the address on this machine."""
    (web,) = endpoints(found)["bridge", "web"].ports
    assert (web.container_port, web.engine_port) == (80, 18080) and web.address
    assert [len(endpoints(found)[name, "api"].ports) for name in ("front", "back")] == [1, 0]


def test_without_the_host_the_interfaces_are_missing_with_the_reason(
    module_engine: Engine, found: NetworkMap, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Networks, containers and addresses come from the API alone."""
    monkeypatch.setattr(type(module_engine), "host", MissingHost("no root here"))
    less = network_map(module_engine)
    assert less.unread is not None and less.unread.reason == "no root here" and found.unread is None
    assert {key: each.address for key, each in endpoints(less).items()} == {
        key: each.address for key, each in endpoints(found).items()
    }
    assert all((each.interface, each.pair) == ("", None) for each in endpoints(less).values())
