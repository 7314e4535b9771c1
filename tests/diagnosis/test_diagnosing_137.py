"""Exit code 137 on live engines of every version, in the situations that mislead."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace

import pytest

from labkit.diagnosis import Finding
from labkit.diagnosis.exit_137 import diagnose, explain, look
from labkit.engine import Engine
from labkit.observe import Unreadable
from tests.containers import said

EATS = "tail /dev/zero"


def run(engine: Engine, script: str, **options: object) -> None:
    limits = {"mem_limit": "32m", "memswap_limit": "32m"}
    engine.client.containers.run(
        "busybox:lab",
        ["sh", "-c", script],
        name="web",
        detach=True,
        network_mode="none",
        **{**limits, **options},
    )


def until(engine: Engine, true: Callable[[dict[str, object]], bool]) -> None:
    deadline = time.monotonic() + 60
    while not true(engine.client.api.inspect_container("web")):
        assert time.monotonic() < deadline, "the situation did not come about"
        time.sleep(0.02)


def dead(engine: Engine) -> None:
    until(engine, lambda facts: facts["State"]["Status"] == "exited")  # type: ignore[index]


def dead_of_memory(engine: Engine, script: str) -> None:
    """Run what eats, and wait until the engine knows of what it died; anew where a busy engine has missed that."""
    end = time.monotonic() + 120
    while time.monotonic() < end:
        run(engine, script)
        dead(engine)
        late = time.monotonic() + 5
        while time.monotonic() < late:
            if engine.client.api.inspect_container("web")["State"]["OOMKilled"]:
                return
            time.sleep(0.02)
        engine.client.api.remove_container("web")
    pytest.fail("the engine did not tell that it was out of memory")


def found(engine: Engine) -> tuple[str, str]:
    finding: Finding = diagnose(engine, "web")
    return finding.code, finding.confidence


@pytest.fixture(autouse=True)
def needs_limits(engine: Engine) -> None:
    engine.capabilities.require("host", "memory-limit", "kernel-log")


def test_a_child_killed_long_before_a_docker_kill(engine: Engine) -> None:
    """``OOMKilled`` is true, but it was ``docker kill`` that ended PID 1."""
    run(engine, f"until [ -e /go ]; do sleep 0.05; done; {EATS}; exec sleep 1000")
    # of a kill that came before a busy engine has begun to listen for one, it would tell nothing
    said(engine.client.containers.get("web"), ["touch", "/go"])
    until(engine, lambda _: found(engine)[0] == "oom-of-child")
    until(engine, lambda _: "oom" in [event.action for event in look(engine, "web").events])
    engine.client.api.kill("web")
    dead(engine)
    assert engine.client.api.inspect_container("web")["State"]["OOMKilled"] is True
    assert found(engine) == ("killed", "certain")


def test_a_second_life_is_not_judged_by_the_first(engine: Engine) -> None:
    """Started again after a kill for memory, 20.10 still shows ``OOMKilled``; 26.1 does not."""
    dead_of_memory(engine, f"[ -e /again ] && exec sleep 1000; touch /again; exec {EATS}")
    assert found(engine) == ("oom-of-pid-1", "certain")
    engine.client.api.start("web")
    old = engine.client.version()["Version"].startswith("20.")
    assert engine.client.api.inspect_container("web")["State"]["OOMKilled"] is old
    assert found(engine) == ("running", "certain")
    engine.client.api.stop("web", timeout=1)
    assert engine.client.api.inspect_container("web")["State"]["OOMKilled"] is False
    assert found(engine) == ("stop-timed-out", "certain")


def test_an_application_that_answers_a_stop_with_137(engine: Engine) -> None:
    """It ended by itself when asked: no SIGKILL was sent, so no stop has timed out."""
    run(engine, 'trap "exit 137" TERM; echo ready; while :; do sleep 0.05; done')
    until(engine, lambda _: b"ready" in engine.client.api.logs("web"))
    engine.client.api.stop("web", timeout=60)
    finding = diagnose(engine, "web")
    assert (finding.code, finding.confidence) == ("killed", "likely")
    assert "returned 137 itself" in finding.advice


def test_a_restart_policy_shows_only_the_last_death(engine: Engine) -> None:
    """A container that dies again and again is diagnosed while it waits and while it runs."""
    run(engine, f"sleep 0.7; exec {EATS}", restart_policy={"Name": "always"})
    until(engine, lambda facts: int(facts["RestartCount"]) >= 2)  # type: ignore[call-overload]
    seen = set()
    for _ in range(12):
        seen.add((engine.client.api.inspect_container("web")["State"]["Status"], found(engine)))
        time.sleep(0.05)
    assert {verdict for _, verdict in seen} == {("oom-of-pid-1", "certain")}, seen


def test_a_restart_by_a_person_is_no_incident(engine: Engine) -> None:
    """``docker restart`` kills a PID 1 that ignores SIGTERM and starts it again: all is well."""
    run(engine, "exec sleep 1000")
    engine.client.api.restart("web", timeout=0)
    assert found(engine) == ("running", "certain")


def test_other_exits_are_not_ours(engine: Engine) -> None:
    """A clean end, a failure and another signal are left alone."""
    for code in (0, 1, 143):
        run(engine, f"exit {code}")
        dead(engine)
        assert found(engine) == ("not-137", "certain")
        engine.client.api.remove_container("web")


def test_when_the_events_are_gone_the_kernels_log_decides(engine: Engine) -> None:
    """A restarted daemon has forgotten the death.  The kernel has not; without it nothing can be decided."""
    run(engine, f"exec {EATS}")
    dead(engine)
    engine.restart()
    seen = look(engine, "web")
    assert not [event for event in seen.events if event.action == "die"]
    assert explain(seen).code == "oom-of-pid-1"
    blind = explain(replace(seen, kernel=Unreadable("kernel log", "not here")))
    assert blind.code == "undecided"
    assert "oom-of-pid-1" in blind.candidates
