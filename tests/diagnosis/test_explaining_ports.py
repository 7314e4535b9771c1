"""Who holds the port: every verdict from what was seen, without an engine."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from labkit import observe
from labkit.diagnosis.port_in_use import CODES, Seen, explain
from labkit.observe import Binding, Holders, Unreadable
from labkit.observe.listeners import Holder, Rival

ALLOCATED = "driver failed …: Bind for 0.0.0.0:80 failed: port is already allocated"
IN_USE = "driver failed …: listen tcp4 0.0.0.0:80: bind: address already in use"
PORT = Binding("tcp", "", 80)


def container(**changes: Any) -> observe.Container:
    known = dict.fromkeys(observe.Container.__dataclass_fields__)
    ordinary = {"id": "1" * 64, "name": "web", "status": "created", "error": ALLOCATED, "labels": {}}
    return replace(observe.Container(**known), **{**ordinary, **changes})  # type: ignore[arg-type]


def seen(
    *kinds: str, wanted: tuple[Binding, ...] = (PORT,), blind: str = "", state: str = "", **changes: Any
) -> Seen:
    """The first of *kinds* holds port 80, the next one 81."""
    found = tuple(
        Holder(Binding("tcp", "0.0.0.0", 80 + n), kind, f"the {kind}", state=state)  # type: ignore[arg-type]
        for n, kind in enumerate(kinds)
    )
    return Seen(container(**changes), wanted, Holders(found, Unreadable("sockets", blind) if blind else None))


CASES = {
    "container": seen("container"),
    "host-network": seen("host-network container", error=IN_USE),
    "process": seen("process", error=IN_USE),
    "other-engine": seen("other engine's container", error=IN_USE),
    "lingering": seen("nobody", error=IN_USE, state="TIME-WAIT"),
    "unseen": seen(error=IN_USE, blind="far away"),
    "free-again": seen(),
    "other-trouble": seen(error="no such file or directory"),
    "running": seen("process", status="running", error=""),
    "no-ports": seen("process", wanted=()),
}


@pytest.mark.parametrize("code", CODES)
def test_every_verdict(code: str) -> None:
    """Each code has what leads to it, and to it alone."""
    assert explain(CASES[code]).code == code


def test_only_containers_of_this_engine_are_stopped() -> None:
    """A remedy that a program may carry out is named for this engine's own containers alone."""
    remedies = {code: explain(case).remedy for code, case in CASES.items()}
    assert {code for code, remedy in remedies.items() if remedy == "stop-holder"} == {
        "container",
        "host-network",
    }
    assert {code for code, remedy in remedies.items() if remedy == "start"} == {"free-again"}


def test_an_old_refusal_alone_is_no_incident_of_today() -> None:
    """The refusal stays on record when the port has become free: then nobody is blamed."""
    finding = explain(seen())
    assert finding.code == "free-again" and "already allocated" in str(finding)


def test_a_port_that_is_held_before_the_first_start_is_only_likely() -> None:
    """Before it was refused, the holder may be gone by the time of the start."""
    assert explain(seen("process", error="")).confidence == "likely"


def test_the_refused_port_comes_first_and_no_half_cure() -> None:
    """Of two ports the one that was refused is explained; a container is not stopped for nothing while another holds on."""
    both = (PORT, Binding("tcp", "", 81))
    second = explain(seen("container", "process", wanted=both, error=IN_USE.replace(":80", ":81")))
    assert (second.code, second.remedy) == ("process", "")
    first = explain(seen("container", "process", wanted=both))
    assert (first.code, first.remedy) == ("container", "") and "not enough" in first.advice
    assert "the process" in first.advice


@pytest.mark.parametrize(
    ("case", "verdict"),
    [
        (seen("process", error=IN_USE, state="ESTAB"), ("process", "likely")),
        (
            seen("process", error=ALLOCATED, state="ESTAB"),
            ("free-again", "certain"),
        ),  # the engine's table said so
        (seen("nobody", error="", state="TIME-WAIT"), ("other-trouble", "certain")),
        (seen(error=IN_USE), ("free-again", "likely")),  # a socket can be bound, and show nowhere
        (
            seen("other engine's container", error=IN_USE),
            ("other-engine", "likely"),
        ),  # by its docker-proxy alone
    ],
)
def test_what_does_not_show_is_only_likely(case: Seen, verdict: tuple[str, str]) -> None:
    """Where nobody listens, a port can still be held; only what listens and was refused makes it certain."""
    finding = explain(case)
    assert (finding.code, finding.confidence) == verdict, repr(finding)


def test_the_reader_is_told_who_else_wants_it() -> None:
    """A container that is down may take the port again, as one that is about to restart; and dockerd is not to be killed."""
    rival = Rival(PORT, "db", "restarting")
    assert "db too, which is restarting" in str(explain(replace(seen(), rivals=(rival,))))
    engine = Holder(Binding("tcp", "", 80), "process", "dockerd")
    assert "docker service ls" in explain(replace(seen(error=IN_USE), holders=Holders((engine,)))).advice
    assert "docker logs" in explain(seen(wanted=(), network_mode="host")).advice


def test_a_blind_look_is_not_good_news() -> None:
    """Where the sockets cannot be read, a refusal by the kernel is not called free again."""
    finding = explain(seen(error=IN_USE, blind="far away"))
    assert finding.confidence == "undecided" and "far away" in str(finding)
