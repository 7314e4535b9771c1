"""Verification: something was changed, so whatever is wrong afterwards is evidence, and never bad usage."""

from __future__ import annotations

from typing import Any

import pytest
import requests

from labkit import observe
from labkit.engine import Engine
from labkit.observe import Duration
from labkit.runbook import Plan, raise_memory, restart, start_again, stays_up
from labkit.runbook.plans import Applied
from tests.runbook.test_actions import container, down, running

pytestmark = pytest.mark.parametrize("module_engine", ["debian-13"], indirect=True)
WATCH = Duration(0.3)


@pytest.fixture
def applied(engine: Engine) -> Applied:
    """A container that was started by a plan."""
    return Plan.of(start_again(down(engine))).apply(engine)


def test_it_stays_up(engine: Engine, applied: Applied) -> None:
    """Without a break for as long as was asked."""
    assert stays_up(engine, "web", applied, watch=WATCH).ok is True


def test_to_look_once_proves_nothing(engine: Engine) -> None:
    """However short a watch is asked for, what ends a moment later does not stay up."""
    container(engine, command="sleep 0.2")
    applied = Plan.of(start_again(observe.container(engine, "web"))).apply(engine)
    assert stays_up(engine, "web", applied, watch=Duration(0)).ok is False


@pytest.mark.parametrize("again", [False, True], ids=["gone", "another"])
def test_a_container_that_vanishes_is_evidence(again: bool, engine: Engine, applied: Applied) -> None:
    """Also when there is another one of its name."""
    engine.client.api.remove_container("web", force=True)
    if again:
        engine.client.api.start(container(engine))
    seen = stays_up(engine, "web", applied, watch=WATCH)
    assert seen.ok is False
    assert seen.evidence[0].fact == ("web is another one by now" if again else "web is gone")


def test_an_engine_that_falls_silent_is_evidence(
    engine: Engine, applied: Applied, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It cannot be said that it holds."""

    def silent(*_: Any) -> observe.Container:
        raise requests.exceptions.ConnectionError("no answer")

    monkeypatch.setattr(observe, "container", silent)
    seen = stays_up(engine, "web", applied, watch=WATCH)
    assert (seen.ok, seen.evidence[0].fact) == (False, "the engine gave no answer")


def test_what_is_told_late_did_not_happen_after_the_change(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A busy engine tells of a kill after the update that followed it; the kernel's counters tell which came first.

    What nobody counted when the limit was raised, as in a run that was cut off, and what was killed since then, is evidence.
    """
    engine.capabilities.require("memory-limit")
    web = running(engine, mem_limit="16m", memswap_limit="16m")
    applied = Plan.of(raise_memory(web)).apply(engine)
    told = observe.events(engine, web)
    late = observe.EventLog((*told, observe.Event(told[-1].nano + 1, "container", "oom", web.id)))
    monkeypatch.setattr(observe, "events", lambda *_, **__: late)
    assert stays_up(engine, "web", applied, watch=WATCH).ok is True

    forgotten = [each.model_copy(update={"result": {}}) for each in applied.done]
    cut_off = applied.model_copy(update={"done": tuple(forgotten)})
    assert stays_up(engine, "web", cut_off, watch=WATCH).ok is False

    missed = [
        each.model_copy(update={"result": {**each.result, "shortage": [0, 7]}}) for each in applied.done
    ]
    meanwhile = applied.model_copy(update={"done": tuple(missed)})
    assert stays_up(engine, "web", meanwhile, watch=WATCH).ok is True, "killed while it was updated"

    killed = engine.client.containers.get("web").exec_run(
        ["dd", "if=/dev/zero", "of=/dev/null", "bs=60M", "count=1"]
    )
    assert killed.exit_code == 137
    assert stays_up(engine, "web", applied, watch=WATCH).ok is False
    assert stays_up(engine, "web", meanwhile, watch=WATCH).ok is False
    again = Plan.of(restart(observe.container(engine, "web"), "it is asked for")).apply(engine)
    assert stays_up(engine, "web", again, watch=WATCH).ok is True
