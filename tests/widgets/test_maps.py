"""The picture of networks, as a function of its facts."""

from __future__ import annotations

import re

from hypothesis import given, settings
from hypothesis import strategies as st

from labkit.engine import Engine
from labkit.engine.ports import PublishedPort
from labkit.observe import Endpoint, Network, NetworkMap, Pair, Unreadable
from labkit.widgets import network_map
from labkit.widgets.maps import describe_map, draw_map
from tests.widgets.reading import inside, shown

NAMES = st.text(max_size=120)
SEVERAL = st.lists(NAMES, max_size=5).map(tuple)
PAIRS = st.builds(Pair, NAMES, st.integers(0), NAMES, st.integers(0), NAMES)
PORTS = st.builds(
    PublishedPort,
    NAMES,
    st.integers(0, 65535),
    NAMES,
    NAMES,
    st.integers(0, 65535),
    st.none() | st.integers(1, 65535),
)
ENDPOINTS = st.builds(
    Endpoint, NAMES, NAMES, NAMES, st.none() | PAIRS, SEVERAL, st.lists(PORTS, max_size=5).map(tuple), SEVERAL
)
NETWORKS = st.builds(
    Network, NAMES, NAMES, NAMES, SEVERAL, SEVERAL, st.booleans(), st.lists(ENDPOINTS, max_size=8).map(tuple)
)
MAPS = st.builds(
    NetworkMap,
    NAMES,
    st.lists(NETWORKS, max_size=4).map(tuple),
    SEVERAL,
    SEVERAL,
    SEVERAL,
    st.none() | st.builds(Unreadable, NAMES, NAMES),
)


@given(found=MAPS, exact=st.booleans())
@settings(max_examples=40)
def test_any_facts_make_a_picture_that_stays_on_its_sheet(found: NetworkMap, exact: bool) -> None:
    """Whatever names and numbers there are, the SVG is well-formed, nothing lies outside, and the words are read aloud."""
    svg = draw_map(found, exact=exact)
    assert inside(svg) == []
    assert draw_map(found, exact=exact) == svg


def facts(count: int) -> NetworkMap:
    """*count* containers on the default bridge, one of them published, and one that could not be matched."""
    port = PublishedPort("web", 80, "tcp", "0.0.0.0", 8080, 8080)
    joined = tuple(
        Endpoint(
            f"c{n}",
            f"172.17.0.{n + 2}",
            "eth0",
            Pair("eth0", 2 * n, f"veth{n}", 2 * n + 1, "docker0"),
            ("back",),
        )
        for n in range(count)
    )
    web = Endpoint("web", "172.18.0.2", ports=(port,), guests=("sidecar",))
    return NetworkMap(
        "probe",
        (
            Network("bridge", "bridge", "docker0", ("172.17.0.0/16",), ("172.17.0.1",), False, joined),
            Network("back", "bridge", "br-0123456789ab", ("172.18.0.0/16",), (), True, (web,)),
        ),
        ("on-host",),
        ("lonely",),
        ("idle",),
        Unreadable("interfaces", "no root here"),
    )


def test_every_word_of_the_text_is_in_the_picture() -> None:
    """Names, addresses, ports, interfaces and reasons are drawn, or shown on hovering; for 0 and for 30 containers."""
    for count, exact in ((0, False), (30, False), (30, True)):
        drawn = " ".join(shown(draw_map(facts(count), exact=exact)).split())
        for line in describe_map(facts(count), exact=exact).splitlines():
            for part in re.split(r"; |: ", line):
                assert part.strip() in drawn, part


def test_the_text_names_no_interface_of_the_host_unless_asked_to() -> None:
    """Those differ from engine to engine; what does not is there, a line a container."""
    text = describe_map(facts(1))
    assert "  c0: eth0 172.17.0.2; veth pair; also on back" in text.splitlines()
    assert "back (bridge): 172.18.0.0/16, internal: no way out" in text.splitlines()
    assert (
        "  web: 172.18.0.2; 127.0.0.1:8080 → 80/tcp; its interfaces are used by sidecar" in text.splitlines()
    )
    exact = describe_map(facts(1), exact=True)
    assert "  c0: eth0 (0) 172.17.0.2; veth pair with veth0 (1); also on back" in exact.splitlines()
    assert "back (bridge br-0123456789ab)" in exact


def test_an_engine_without_containers_has_a_map(engine: Engine) -> None:
    """The default bridge is there, and says that nobody is on it."""
    still = network_map(engine)
    assert still.text.splitlines()[0] == "networks on the host test: 1; running containers: 0"
    assert "bridge (bridge docker0): 172.17.0.0/16" in still.text and "no container" in still.text
