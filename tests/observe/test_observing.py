"""What the views show of a live engine, on every engine version."""

from __future__ import annotations

import time
from types import SimpleNamespace
from typing import Any, cast

import docker
import pytest

from labkit import observe
from labkit.engine import Engine
from labkit.errors import UsageError
from labkit.observe import Event, EventLog, disk
from tests.kernel_budget import kernel_budget

__all__ = ["kernel_budget"]


def run(engine: Engine, script: str, **options: object) -> observe.Container:
    engine.client.containers.run(
        "busybox:lab", ["sh", "-c", script], name="web", detach=True, network_mode="none", **options
    )
    return observe.container(engine, "web")


def events_until(engine: Engine, of: observe.Container, action: str) -> EventLog:
    """The events of a container, once *action* is one of them: who waits for an end hears of it before it is told."""
    end = time.monotonic() + 60
    while True:
        log = observe.events(engine, of)
        if action in [event.action for event in log] or time.monotonic() > end:
            return log


def test_a_container_is_read_as_typed_facts(engine: Engine) -> None:
    """Sizes, states and times come typed, and the short view holds nothing that varies."""
    engine.capabilities.require("memory-limit", "swap-limit")
    seen = run(engine, "sleep 1000", mem_limit="32m", memswap_limit="48m")
    assert (seen.status, seen.running, seen.exit_code, seen.oom_killed) == ("running", True, 0, False)
    assert (str(seen.memory), str(seen.memory_swap), seen.restart_policy) == ("32m", "48m", "no")
    assert seen.started_at is not None
    assert seen.finished_at is None
    assert seen.id not in repr(seen)
    assert seen.id in repr(seen.details())


def test_an_unknown_container_is_named_with_the_nearest_one(engine: Engine) -> None:
    """A typo costs nothing: the message names what there is."""
    run(engine, "sleep 1000")
    with pytest.raises(UsageError, match=r"try: +web"):
        observe.container(engine, "wbe")


def test_events_are_the_containers_own_and_in_order(engine: Engine) -> None:
    """Asked by id: an earlier container of the same name is not mixed in."""
    run(engine, "exit 3")
    engine.client.api.remove_container("web", force=True)
    seen = run(engine, "exit 4")
    engine.client.api.wait("web")
    log = events_until(engine, seen, "die")
    assert [str(event) for event in log][:2] == ["create", "start"]
    assert "die (exit code 4)" in repr(log)
    assert "exit code 3" not in repr(log)


def test_labels_are_not_taken_for_what_the_engine_says(engine: Engine) -> None:
    """A label takes the place of an attribute in the engine's events; what is lost so is not told, nor guessed."""
    seen = run(engine, "sleep 1000", labels={"signal": "USR1", "exitCode": "none"})
    engine.client.api.kill("web")
    engine.client.api.wait("web")
    told = {event.action: event for event in events_until(engine, seen, "die")}
    assert (told["kill"].signal, told["die"].exit_code) == (None, None)
    assert str(told["kill"]) == "kill"
    unasked = [event for event in observe.events(engine) if event.id == seen.id]
    assert {event.signal for event in unasked} == {event.exit_code for event in unasked} == {None}


@pytest.mark.parametrize(
    ("action", "told", "number", "name"),
    [
        ("kill", "9", 9, "SIGKILL"),
        ("kill", "37", 37, "SIGRTMIN+3"),
        ("kill", "SIGTERM", 15, "SIGTERM"),
        ("kill", "USR1", None, ""),
        ("kill", "", None, ""),
        ("start", "9", None, ""),
    ],
)
def test_signals_are_named(action: str, told: str, number: int | None, name: str) -> None:
    """Only a kill has a signal; those without a name of their own are counted from SIGRTMIN."""
    event = Event(0, "container", action, "id", {"signal": told})
    assert (event.signal, event.signal_name) == (number, name)


def test_events_since_a_moment(engine: Engine) -> None:
    """A later stretch leaves out what came before it."""
    seen = run(engine, "sleep 1000")
    since = float(observe.engine_time(engine))
    engine.client.api.rename("web", "other")
    assert [event.action for event in observe.events(engine, seen, since=since)] == ["rename"]


def test_memory_counters_count_a_killed_child(engine: Engine) -> None:
    """PID 1 lives on, and its cgroup's counter tells of the child."""
    engine.capabilities.require("host", "memory-limit")
    seen = run(engine, "tail /dev/zero; sleep 1000", mem_limit="32m", memswap_limit="32m")
    end = time.monotonic() + 60
    while True:
        counters = observe.memory(engine, seen)
        assert isinstance(counters, observe.MemoryCounters), counters
        if counters.oom_kills or time.monotonic() > end:
            break
    assert counters.oom_kills == 1
    assert str(counters.limit) == "32m"
    log = observe.kernel_log(engine, seen)
    assert isinstance(log, observe.KernelLog), log
    assert [(kill.victim, kill.first) for kill in log.kills] == [("tail", False)]


def test_counters_of_a_dead_container_are_unreadable_and_say_why(engine: Engine) -> None:
    """No cgroup, no numbers: never zeros."""
    seen = run(engine, "exit 0")
    engine.client.api.wait("web")
    counters = observe.memory(engine, observe.container(engine, seen.name))
    assert not counters
    assert "not running" in repr(counters)


def test_a_typo_is_told_while_a_container_goes() -> None:
    """One that is being removed has no name any more; those that there are are named all the same, by their own names."""

    def gone(name: str) -> None:
        raise docker.errors.NotFound(name)

    rows = [{"Id": "1" * 64, "Names": None}, {"Id": "2" * 64, "Names": ["/app/alias", "/web"]}]
    api = SimpleNamespace(inspect_container=gone, containers=lambda **_: rows)
    with pytest.raises(UsageError) as told:
        observe.container(cast("Engine", SimpleNamespace(client=SimpleNamespace(api=api))), "wbe")
    assert (told.value.seen, told.value.try_) == (f"{'1' * 12}, web", "web")


def test_what_goes_between_the_list_and_the_look_is_left_out() -> None:
    """An ended container that is removed meanwhile is no leftover, and no user of a volume; the others are told."""
    shown = {
        "Path": "true",
        "Args": [],
        "RestartCount": 0,
        "Config": {"Image": "busybox:lab"},
        "HostConfig": {},
    }
    state = {"Status": "exited", "ExitCode": 0, "OOMKilled": False, "Error": "", "Pid": 0}
    never = "0001-01-01T00:00:00Z"

    def inspect(id_: str) -> dict[str, Any]:
        if id_ == "gone":
            raise docker.errors.NotFound(id_)
        return {
            "Id": id_,
            "Name": "/there",
            "State": {**state, "StartedAt": never, "FinishedAt": never},
            **shown,
        }

    mount = {"Name": "letters", "Destination": "/data", "RW": True}
    rows = [
        {"Id": id_, "Names": [f"/{id_}"], "State": "exited", "Created": 0, "Mounts": [mount]}
        for id_ in ("gone", "there")
    ]
    api = SimpleNamespace(
        inspect_container=inspect, containers=lambda **_: rows, inspect_volume=lambda _: {"Driver": "local"}
    )
    engine = cast("Engine", SimpleNamespace(client=SimpleNamespace(api=api)))
    assert [found.name for found, _ in disk._containers(engine, {"Containers": rows}, frozenset())] == [
        "there"
    ]
    assert [user.container.name for user in observe.volume(engine, "letters").users] == ["there"]
