"""Planned equals done: what a plan foresees against what the engine tells of the time when it is applied."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from labkit.engine import Engine
from labkit.errors import ApplyUnverified, LabkitError
from labkit.observe import Event
from labkit.runbook import Plan, actions
from labkit.runbook.actions import VERBS, Action, Effect
from labkit.runbook.actions.base import Verb
from labkit.runbook.effects import Comparison, compare
from labkit.runbook.recordings import Recording
from tests.runbook.test_actions import container, down, image, running

# -- in thought


def event(told: str, id: str = "a", **attributes: str) -> Event:
    kind, _, action = told.partition(" ")
    return Event(1, kind, action, id, attributes)


STOP = (
    Effect(kind="container", action="stop", id="a", name="web"),
    Effect(kind="container", action="die", id="a", name="web"),
    Effect(kind="container", action="kill", id="a", name="web", needed=False),
    Effect(kind="container", action="network disconnect", id="a", name="web", needed=False),
)
STOPPED = [event("container kill"), event("container die"), event("container stop")]


def compared(
    *more: Event, planned: tuple[Effect, ...] = STOP, ours: bool = False, **given: Any
) -> Comparison:
    return compare(planned, [*STOPPED, *more], by_us=lambda each: ours, **given)


def test_what_was_planned_happened() -> None:
    """In whatever order: 26.1 tells of the stop before the end, 20.10 after it."""
    assert compared().ok
    assert compare(STOP, STOPPED[::-1], by_us=lambda each: False).ok


def test_leaving_a_network_is_the_containers_own() -> None:
    """The event is the network's; the effect belongs to the container that left it, and to no other."""
    assert compared(event("network disconnect", "net", container="a")).ok
    other = compared(event("network connect", "net", container="a"))
    assert [line.actual for line in other.faults] == ["network connect container web"]
    assert compared(event("network connect", "net", container="b")).ok


def test_what_did_not_happen_is_a_fault() -> None:
    """A needed effect that is missing; one that only may come is not."""
    missing = compare(STOP, STOPPED[:2], by_us=lambda each: False)
    assert [line.planned for line in missing.faults] == ["stop container web"]
    assert "(did not happen)" in repr(missing)
    assert compare(STOP, STOPPED[1:], by_us=lambda each: False).ok


@pytest.mark.parametrize(
    "told", ["container start", "container rename", "container update", "container destroy"]
)
def test_any_other_change_of_a_planned_object_is_a_fault(told: str) -> None:
    """Whoever did it."""
    assert not compared(event(told)).ok


def test_what_was_planned_once_is_a_fault_the_second_time() -> None:
    """Somebody else has updated it too; not where a run that was resumed may have done it twice."""
    planned = (Effect(kind="container", action="update", id="a", name="web"),)
    twice = [event("container update"), event("container update")]
    assert compare(planned, twice[:1], by_us=lambda each: True).ok
    assert compare(planned * 2, twice, by_us=lambda each: True).ok
    assert compare(planned, twice, by_us=lambda each: True, resumed=True).ok
    (fault,) = compare(planned, twice, by_us=lambda each: True).faults
    assert (fault.planned, fault.actual) == ("", "update container web")


@pytest.mark.parametrize(
    "told", ["container exec_create: ls", "container health_status: healthy", "container top"]
)
def test_what_changes_nothing_is_no_fault(told: str) -> None:
    """Neither on a planned object, nor worth mentioning on another."""
    assert compared(event(told), event(told, "b")).ok
    assert compared(event(told, "b")).meanwhile == ()


@pytest.mark.parametrize(
    "told",
    [
        "container destroy",
        "container rename",
        "container update",
        "image delete",
        "image untag",
        "volume destroy",
        "network destroy",
        "builder prune",
        "plugin remove",
    ],
)
def test_a_loss_that_was_not_planned_is_a_fault(told: str) -> None:
    """Whatever is removed, renamed, updated or untagged, of whomever."""
    (fault,) = compared(event(told, "b", name="other")).faults
    assert (fault.planned, fault.actual.split()[0]) == ("", told.split()[1])
    assert "(not planned)" in repr(compared(event(told, "b")))


@pytest.mark.parametrize(
    "told", ["container start", "container die", "container stop", "volume create", "image tag"]
)
def test_other_peoples_life_goes_on(told: str) -> None:
    """It is told as what happened meanwhile, and fails nothing."""
    seen = compared(event(told, "b", name="other"))
    assert seen.ok
    assert len(seen.meanwhile) == 1


def test_what_goes_by_itself_is_no_fault() -> None:
    """A container run with --rm; and whatever came and went in that time."""
    assert compared(event("container destroy", "b"), passing=[("container", "b")]).ok
    assert compared(event("container create", "b"), event("container destroy", "b")).ok
    assert not compared(event("container destroy", "b")).ok


def test_a_volume_that_was_there_before_is_not_taken_for_new() -> None:
    """20.10 tells of one as created whenever a container is given it."""
    seen = compared(event("volume create", "v"), event("volume destroy", "v"), standing=[("volume", "v")])
    assert not seen.ok


def test_what_we_make_is_planned_or_a_fault() -> None:
    """Also when it is gone again."""
    assert not compared(event("container create", "b"), ours=True).ok
    assert not compared(event("container create", "b"), event("container destroy", "b"), ours=True).ok


def test_a_container_without_an_id_is_known_by_its_name() -> None:
    """Before it is created it has none."""
    planned = (*STOP, Effect(kind="container", action="create", name="job"))
    assert compared(event("container create", "x", name="job"), planned=planned, ours=True).ok
    assert not compared(event("container create", "x", name="bob"), planned=planned, ours=True).ok


def test_lost_events_prove_nothing() -> None:
    """Without them nobody knows; only of the time before a resumption that is accepted, and said."""
    assert not compared(lost="of that time").ok
    earlier = compared(lost="before the run was interrupted", resumed=True)
    assert earlier.ok
    assert "lost" in repr(earlier)


# -- on an engine


def spoiled(monkeypatch: pytest.MonkeyPatch, kind: str, verb: str, more: Any) -> None:
    """Let the verb do *more* than it says, in secret."""
    honest = VERBS[kind, verb]

    def perform(engine: Engine, action: Action) -> dict[str, Any]:
        result = honest.perform(engine, action)
        more(engine)
        return result

    monkeypatch.setitem(VERBS, (kind, verb), Verb(perform, honest.holds))


SECRETS: dict[str, Any] = {
    "destroy volume precious": lambda engine: engine.client.api.remove_volume("precious"),
    "untag image": lambda engine: engine.client.api.remove_image("theirs:1"),
    "rename container other": lambda engine: engine.client.api.rename("bystander", "other"),
    "update container bystander": lambda engine: engine.client.api.update_container(
        "bystander", cpu_shares=512
    ),
    "destroy container bystander": lambda engine: engine.client.api.remove_container("bystander", force=True),
    "start container web": lambda engine: engine.client.api.start("web"),
    "destroy network": lambda engine: engine.client.networks.get("theirs").remove(),
}


@pytest.mark.parametrize("told", SECRETS)
def test_an_action_that_does_more_than_it_says_is_caught(
    told: str, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Exit code 5, the secret deed by name, and the way back for what was planned."""
    spoiled(monkeypatch, "container", "stop", SECRETS[told])
    for name in ("precious", "data"):
        engine.client.volumes.create(name)
    engine.client.networks.create("theirs")
    image(engine, "theirs:1", "theirs:2")
    running(engine, "bystander")
    with pytest.raises(ApplyUnverified) as caught:
        Plan.of(actions.stop(running(engine), "x")).apply(engine)
    assert caught.value.exit_code == 5
    assert told in caught.value.seen
    assert "(not planned)" in caught.value.seen
    assert "docker start" in caught.value.try_
    engine.client.api.remove_image(engine.client.images.get("theirs:2").id, force=True)


def test_an_action_that_does_nothing_is_caught(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """It said that it was done; the engine knows nothing of it."""
    monkeypatch.setattr("labkit.runbook.recordings.PATIENCE", 0.5)
    monkeypatch.setitem(VERBS, ("container", "stop"), Verb(lambda *_: {}, lambda *_: True))
    with pytest.raises(ApplyUnverified, match=r"stop container web\s+\(did not happen\)"):
        Plan.of(actions.stop(running(engine), "x")).apply(engine)


def test_what_we_make_beside_the_plan_is_caught(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Containers, volumes and networks that carry our label."""
    from labkit.labels import ours

    spoiled(
        monkeypatch,
        "container",
        "stop",
        lambda engine: engine.client.volumes.create("extra", labels=ours(engine.id)),
    )
    with pytest.raises(ApplyUnverified, match="create volume extra"):
        Plan.of(actions.stop(running(engine), "x")).apply(engine)


def test_a_busy_engine_does_not_fail_a_run(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Others start, stop, run with --rm, and make volumes; more events than the engine remembers."""
    passing = running(engine, "passing", auto_remove=True, volumes=["/unnamed"])

    def busy(engine: Engine) -> None:
        api = engine.client.api
        api.kill(passing.id)
        api.stop(container(engine, "theirs"))
        api.start("theirs")
        api.kill("theirs")
        engine.client.volumes.create("theirs")
        engine.client.containers.run("busybox:lab", ["true"], network_mode="none", remove=True)
        for number in range(130):
            api.create_volume(f"passing-{number}")
            api.remove_volume(f"passing-{number}")

    spoiled(monkeypatch, "container", "stop", busy)
    applied = Plan.of(actions.stop(running(engine), "x")).apply(engine)
    assert applied.effects is not None
    assert "start container theirs" in applied.effects.meanwhile
    assert [line.actual for line in applied.effects.lines if "web" in line.actual]


def test_a_failing_action_tells_what_else_happened(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """The error stays what it was, and what was not planned is in it."""

    def fail(engine: Engine) -> None:
        engine.client.api.remove_volume("precious")
        raise LabkitError("it broke", seen="smoke", expected="none", try_="again")

    engine.client.volumes.create("precious")
    spoiled(monkeypatch, "container", "stop", fail)
    with pytest.raises(
        LabkitError, match=r"(?s)it broke.*smoke.*not planned: destroy volume precious.*none.*again"
    ):
        Plan.of(actions.stop(running(engine), "x")).apply(engine)


@pytest.mark.parametrize("late", [False, True])
def test_a_recording_leaves_nothing_behind(
    late: bool, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No thread and no connection outlives it, also where it ends before the engine has begun to tell."""
    ended = threading.Event()
    api, events = engine.client.api, engine.client.api.events

    def begun(**options: Any) -> Any:
        assert not late or ended.wait(60)
        return events(**options)

    monkeypatch.setattr(api, "events", begun)
    with Recording(engine) as recording:
        if not late:
            down(engine)
    ended.set()
    recording._thread.join(60)
    assert not recording._thread.is_alive()


def test_a_stream_that_breaks_off_is_made_good_or_told(engine: Engine) -> None:
    """From the engine's memory where it reaches far enough; otherwise the comparison does not hold."""
    engine.client.volumes.create("before")  # something that the engine remembers of before
    for full in (True, False):
        with Recording(engine) as recording:
            seen = running(engine, f"web-{full}")
            plan = Plan.of(actions.stop(seen, "x"))
            with recording._came:
                assert recording._came.wait_for(lambda: recording._events, 60)
            recording._stream.close()
            recording._thread.join()
            engine.client.api.stop(seen.id)
            for number in range(0 if full else 130):
                engine.client.api.create_volume(f"passing-{number}")
                engine.client.api.remove_volume(f"passing-{number}")
            effects = [
                *plan.actions[0].effects,
                *(
                    Effect(kind="container", action=action, id=seen.id, name="x", needed=False)
                    for action in ("create", "start", "network connect")
                ),
            ]
            compared = recording.compare(effects if full else [])
        assert compared.ok is full, compared
        assert bool(compared.lost) is not full
