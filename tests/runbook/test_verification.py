"""Verification: something was changed, so whatever is wrong afterwards is evidence, and never bad usage."""

from __future__ import annotations

from typing import Any

import pytest
import requests

from labkit import observe
from labkit.engine import Engine
from labkit.observe import Duration
from labkit.runbook import Plan, start_again, stays_up
from labkit.runbook.plans import Applied
from tests.runbook.test_actions import container, down

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
