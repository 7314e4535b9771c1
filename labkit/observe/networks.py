"""The networks of an engine: bridges and their subnets, who hangs on them, by which pair of interfaces, and what is published.

A container's interface and the one on the host that it is joined to are a *veth pair*; each tells the other's index
(``iflink`` of sysfs, ``link_index`` of ip-link(8)).  Two that name each other are the ends of one pair (veth(4)).
"""

from __future__ import annotations

import ipaddress
import json
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from labkit.engine.ports import own_name_of
from labkit.observe.readings import Unreadable
from labkit.observe.tables import Table, Tabular

if TYPE_CHECKING:
    from labkit.engine import Engine
    from labkit.engine.ports import PublishedPort

__all__ = ["Endpoint", "Network", "NetworkMap", "Pair", "network_map"]

SOON = 1.0
"""Seconds in which a port that was just published gets to where it is reached."""


@dataclass(frozen=True)
class Pair:
    """A veth pair: its end *inside* a container and its end *outside* on the host, which is a port of the bridge *master*."""

    inside: str
    inside_index: int
    outside: str
    outside_index: int
    master: str = ""


@dataclass(frozen=True)
class Endpoint:
    """*container* on a network: its *address* there, and the *interface* that has it, empty where that was not read.

    *pair*: how that interface is joined to the host; None where there is none, or it was not read.  *others*: the
    container's other networks.  *guests*: containers that use its interfaces (``--network container:…``).
    """

    container: str
    address: str
    interface: str = ""
    pair: Pair | None = None
    others: tuple[str, ...] = ()
    ports: tuple[PublishedPort, ...] = ()
    guests: tuple[str, ...] = ()


@dataclass(frozen=True)
class Network:
    """A network and the *endpoints* on it, by container.  *bridge*: its interface on the host, empty where it has none."""

    name: str
    driver: str
    bridge: str = ""
    subnets: tuple[str, ...] = ()
    gateways: tuple[str, ...] = ()
    internal: bool = False
    endpoints: tuple[Endpoint, ...] = ()

    @property
    def own_name(self) -> bool:
        """Whether its bridge has a name that is the same on every engine, as ``docker0``."""
        return bool(self.bridge) and not self.bridge.startswith("br-")


@dataclass(frozen=True, repr=False)
class NetworkMap(Tabular):
    """All networks of an engine, by name, the default one first.

    *host*: the name of the engine's host.  *on_host*: containers without a network of their own, with the host's
    interfaces; *alone*: those with loopback only; *idle*: those that do not run.  *unread*: why interfaces are missing.
    """

    host: str
    networks: tuple[Network, ...]
    on_host: tuple[str, ...] = ()
    alone: tuple[str, ...] = ()
    idle: tuple[str, ...] = ()
    unread: Unreadable | None = None

    def table(self) -> Table:
        return Table(["network", "container", "address", "published"], self._rows(exact=False))

    def details(self) -> Table:
        columns = [
            "network",
            "container",
            "address",
            "published",
            "interface inside",
            "interface on the host",
        ]
        return Table(columns, self._rows(exact=True))

    def _rows(self, *, exact: bool) -> list[list[str]]:
        rows = []
        for network in self.networks:
            for each in network.endpoints:
                row = [network.name, each.container, each.address, ", ".join(map(reached, each.ports)) or "-"]
                pair = each.pair
                ends = (
                    [f"{pair.inside} ({pair.inside_index})", f"{pair.outside} ({pair.outside_index})"]
                    if pair
                    else []
                )
                rows.append([*row, *((ends or [each.interface, "-"]) if exact else [])])
        return rows


def reached(port: PublishedPort) -> str:
    """Where a published port is reached, and where that leads."""
    to = f"{port.container_port}/{port.protocol}"
    return f"{port.address} → {to}" if port.address else f"port {port.engine_port} of the host → {to}"


def network_map(engine: Engine) -> NetworkMap:
    """The networks of *engine* as they are now."""
    api = engine.client.api
    rows = api.containers(all=True)
    up = [each for each in (_inspected(api, row["Id"]) for row in rows) if each and each["State"]["Pid"]]
    names = {each["Id"]: each["Name"].lstrip("/") for each in up}
    links, unread = _links(engine, [each["State"]["Pid"] for each in up])
    ports = _ports(engine)
    raw = [api.inspect_network(row["Id"]) for row in api.networks() if row["Driver"] not in ("host", "null")]
    outer = [each["Name"] for each in sorted(raw, key=_rank) if not each.get("Internal")]
    found = [_network(each, up, links, ports, names, outer) for each in raw]
    running = set(names.values())
    return NetworkMap(
        host=str(engine.client.info()["Name"]),
        networks=tuple(sorted(found, key=lambda each: (each.name != "bridge", each.name))),
        on_host=_in_mode(up, "host"),
        alone=_in_mode(up, "none"),
        idle=tuple(sorted({own_name_of(row) for row in rows} - running)),
        unread=unread,
    )


def _rank(raw: Mapping[str, Any]) -> tuple[bool, str]:
    """The default network first, then by name."""
    return raw["Name"] != "bridge", raw["Name"]


def _inspected(api: Any, id_: str) -> dict[str, Any] | None:
    """None for one that has just gone."""
    import docker.errors

    try:
        return dict(api.inspect_container(id_))
    except docker.errors.NotFound:
        return None


def _in_mode(up: Iterable[Mapping[str, Any]], mode: str) -> tuple[str, ...]:
    return tuple(sorted(each["Name"].lstrip("/") for each in up if each["HostConfig"]["NetworkMode"] == mode))


def _ports(engine: Engine) -> dict[str, tuple[PublishedPort, ...]]:
    """The published ports by container, each reached somewhere if that is so soon after it was published."""
    from labkit.engine.ports import published

    wanted = list(published(engine.client.api.containers()))
    deadline = time.monotonic() + SOON
    found = {_key(port): port for port in engine.ports}
    while not all(_key(port) in found for port in wanted) and time.monotonic() < deadline:
        time.sleep(0.02)
        found = {_key(port): port for port in engine.ports}
    by_container: dict[str, list[PublishedPort]] = {}
    for port in wanted:
        by_container.setdefault(port.container, []).append(found.get(_key(port), port))
    return {
        name: tuple(sorted(ports, key=lambda port: (port.container_port, port.engine_port, port.protocol)))
        for name, ports in by_container.items()
    }


def _key(port: PublishedPort) -> tuple[str, int, str, str, int]:
    return port.container, port.container_port, port.protocol, port.engine_address, port.engine_port


# -- interfaces


_LOOK = """
ip -j addr; echo
for pid; do nsenter --target "$pid" --net ip -j addr 2>/dev/null || echo '[]'; echo; done
"""

Links = dict[int, dict[str, tuple[str, "Pair | None"]]]
"""By process and address: the interface that has it, and its pair."""


def _links(engine: Engine, pids: list[int]) -> tuple[Links, Unreadable | None]:
    source = "interfaces"
    if not engine.host.available:
        return {}, Unreadable(source, engine.host.reason)
    done = engine.host.run(["sh", "-c", _LOOK, "sh", *map(str, pids)], check=False)
    try:
        outside, *inside = [json.loads(text) for text in done.stdout.split("\n") if text.strip()]
    except ValueError:
        return {}, Unreadable(source, done.stderr.strip() or "ip(8) did not answer in JSON")
    return {pid: _of_process(outside, each) for pid, each in zip(pids, inside, strict=False)}, None


def _of_process(
    outside: list[dict[str, Any]], inside: list[dict[str, Any]]
) -> dict[str, tuple[str, Pair | None]]:
    return {
        info["local"]: (link["ifname"], _pair(link, outside))
        for link in inside
        for info in link.get("addr_info") or []
    }


def _pair(link: dict[str, Any], outside: list[dict[str, Any]]) -> Pair | None:
    """The end on the host of which both say that they belong together."""
    for other in outside:
        if (other["ifindex"], other.get("link_index")) == (link.get("link_index"), link["ifindex"]):
            return Pair(
                link["ifname"], link["ifindex"], other["ifname"], other["ifindex"], other.get("master", "")
            )
    return None


# -- networks


def _network(
    raw: dict[str, Any],
    up: list[dict[str, Any]],
    links: Links,
    ports: Mapping[str, tuple[PublishedPort, ...]],
    names: Mapping[str, str],
    outer: list[str],
) -> Network:
    configs = (raw.get("IPAM") or {}).get("Config") or []
    options = raw.get("Options") or {}
    bridge = options.get("com.docker.network.bridge.name") or f"br-{raw['Id'][:12]}"
    on_it = (each for each in up if raw["Name"] in each["NetworkSettings"]["Networks"])
    endpoints = (_endpoint(each, raw["Name"], links, ports, up, names, outer) for each in on_it)
    return Network(
        name=raw["Name"],
        driver=raw["Driver"],
        bridge=bridge if raw["Driver"] == "bridge" else "",
        subnets=tuple(config["Subnet"] for config in configs if config.get("Subnet")),
        gateways=tuple(config["Gateway"] for config in configs if config.get("Gateway")),
        internal=bool(raw.get("Internal")),
        endpoints=tuple(sorted(endpoints, key=lambda each: (_number(each.address), each.container))),
    )


def _number(address: str) -> int:
    """Addresses in their order; those that have none last."""
    return int(ipaddress.ip_address(address)) if address else 2**128


def _endpoint(
    container: dict[str, Any],
    network: str,
    links: Links,
    ports: Mapping[str, tuple[PublishedPort, ...]],
    up: list[dict[str, Any]],
    names: Mapping[str, str],
    outer: list[str],
) -> Endpoint:
    name, networks = names[container["Id"]], container["NetworkSettings"]["Networks"]
    found = networks[network]
    address = found.get("IPAddress") or found.get("GlobalIPv6Address") or ""
    interface, pair = links.get(container["State"]["Pid"], {}).get(address, ("", None))
    first = network == next((each for each in outer if each in networks), network)
    mode = f"container:{container['Id']}"
    return Endpoint(
        name,
        address,
        interface,
        pair,
        others=tuple(sorted(set(networks) - {network})),
        ports=ports.get(name, ()) if first else (),
        guests=tuple(sorted(names[each["Id"]] for each in up if each["HostConfig"]["NetworkMode"] == mode)),
    )
