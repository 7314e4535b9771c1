"""Who holds the port: every verdict from what was seen, without an engine."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from labkit import observe
from labkit.diagnosis.port_in_use import CODES, Seen, explain
from labkit.observe import Binding, Holders, Unreadable
from labkit.observe.listeners import Holder

ALLOCATED = "driver failed …: Bind for 0.0.0.0:80 failed: port is already allocated"
IN_USE = "driver failed …: listen tcp4 0.0.0.0:80: bind: address already in use"
PORT = Binding("tcp", "", 80)


def container(**changes: Any) -> observe.Container:
    known = dict.fromkeys(observe.Container.__dataclass_fields__)
    ordinary = {"id": "1" * 64, "name": "web", "status": "created", "error": ALLOCATED, "labels": {}}
    return replace(observe.Container(**known), **{**ordinary, **changes})  # type: ignore[arg-type]


def seen(*kinds: str, wanted: tuple[Binding, ...] = (PORT,), blind: str = "", **changes: Any) -> Seen:
    found = tuple(Holder(Binding("tcp", "0.0.0.0", 80), kind, f"the {kind}") for kind in kinds)  # type: ignore[arg-type]
    return Seen(container(**changes), wanted, Holders(found, Unreadable("sockets", blind) if blind else None))


CASES = {
    "container": seen("container"),
    "host-network": seen("host-network container", error=IN_USE),
    "process": seen("process", error=IN_USE),
    "other-engine": seen("other engine's container", error=IN_USE),
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


def test_a_blind_look_is_not_good_news() -> None:
    """Where the sockets cannot be read, a refusal by the kernel is not called free again."""
    finding = explain(seen(error=IN_USE, blind="far away"))
    assert finding.confidence == "undecided" and "far away" in str(finding)
