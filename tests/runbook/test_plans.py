"""Plans: what they show, what they are pinned to, and when they are refused."""

from __future__ import annotations

import docker.errors
import pytest

import labkit
from labkit import observe
from labkit.engine import Engine
from labkit.errors import LabkitError, Refused, UsageError
from labkit.observe import ByteSize
from labkit.runbook import Plan, raise_memory, start_again


@pytest.fixture
def web(engine: Engine) -> observe.Container:
    """A container that is not labkit's, down, with a limit."""
    engine.client.containers.run(
        "busybox:lab",
        ["sleep", "1000"],
        name="web",
        detach=True,
        mem_limit="32m",
        memswap_limit="48m",
        network_mode="none",
    )
    engine.client.api.kill("web")
    engine.client.api.wait("web")
    return observe.container(engine, "web")


def plan_for(facts: observe.Container) -> Plan:
    return Plan.of(raise_memory(facts), start_again(facts))


def test_a_plan_shows_what_it_changes_and_how_to_undo_it(web: observe.Container) -> None:
    """Verb, object, before and after, reason and undo are in the table; ids are not."""
    shown = repr(plan_for(web))
    assert "memory limit: 32m → 64m; with swap: 48m → 80m" in shown
    assert "docker update --memory 32m --memory-swap 48m web" in shown
    assert "status: exited → running" in shown
    assert web.id not in shown


def test_the_hash_stands_for_the_plan_and_for_what_was_seen(web: observe.Container) -> None:
    """The same plan on the same facts has the same hash; another limit, or other facts, another one."""
    assert plan_for(web).hash == plan_for(web).hash
    assert plan_for(web).hash != Plan.of(raise_memory(web, ByteSize.parse("1g"))).hash
    assert Plan.of(start_again(web)).digest != plan_for(web).digest


def test_a_plan_survives_json(web: observe.Container) -> None:
    """What was shown can be kept and read again, and is still the same plan."""
    kept = plan_for(web).model_dump_json()
    assert Plan.model_validate_json(kept).hash == plan_for(web).hash


def test_applied_it_does_what_it_said(engine: Engine, web: observe.Container) -> None:
    """Each planned change is there afterwards, and each is named as done."""
    applied = plan_for(web).apply(engine)
    after = observe.container(engine, "web")
    assert (after.status, str(after.memory), str(after.memory_swap)) == ("running", "64m", "80m")
    assert [each.action for each in applied.done] == ["update container web", "start container web"]


def test_it_is_refused_when_the_engine_has_moved_on(engine: Engine, web: observe.Container) -> None:
    """Started, changed or removed by somebody else: nothing is done, and the fact that differs is named."""
    plan = plan_for(web)
    engine.client.api.start("web")
    with pytest.raises(Refused, match="status is running"):
        plan.apply(engine)
    assert str(observe.container(engine, "web").memory) == "32m", "not even the first action"
    engine.client.api.remove_container("web", force=True)
    with pytest.raises(Refused, match="gone"):
        plan.apply(engine)


def test_it_is_refused_for_another_container_of_the_same_name(engine: Engine, web: observe.Container) -> None:
    """A plan is for an object, not for whatever has its name now."""
    plan = plan_for(web)
    engine.client.api.remove_container("web")
    engine.client.containers.create("busybox:lab", ["sleep", "1"], name="web", mem_limit="32m")
    with pytest.raises(Refused, match="gone"):
        plan.apply(engine)


def test_it_is_not_applied_twice(engine: Engine, web: observe.Container) -> None:
    """Once applied, what it was pinned to is no longer true."""
    plan = plan_for(web)
    plan.apply(engine)
    with pytest.raises(Refused):
        plan.apply(engine)


def test_it_acts_on_a_shared_engine_only_on_what_it_names(
    engine: Engine, web: observe.Container, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is not labkit's is changed when its plan is approved, and no longer than the action lasts."""
    monkeypatch.setenv("DOCKER_HOST", engine.url)
    with labkit.open_engine("attach") as shared:
        plan = plan_for(web)
        with pytest.raises(Refused, match="nobody has approved it"):
            plan.apply(shared)
        with pytest.raises(Refused, match="was not approved"):
            plan.apply(shared, approved="00000000")
        assert observe.container(engine, "web") == web, "nothing was done"
        plan.apply(shared, approved=plan.hash)
        with pytest.raises(Refused):
            shared.client.api.stop("web")


def test_a_failing_action_says_what_was_done_before_it(engine: Engine, web: observe.Container) -> None:
    """Half-done is told, with the way back."""
    update, start = plan_for(web).actions
    broken = Plan(actions=(update, start.model_copy(update={"id": "0" * 64, "relies_on": {}})))
    with pytest.raises((LabkitError, Refused)):
        broken.apply(engine)
    impossible = update.model_copy(update={"arguments": {"mem_limit": 1}, "relies_on": {}})
    with pytest.raises(LabkitError, match=r"(?s)done before it: start container web.*docker stop web"):
        Plan(actions=(start, impossible)).apply(engine)


def test_an_empty_plan_does_nothing(engine: Engine) -> None:
    """Nothing planned, nothing done, and it says so."""
    assert not Plan()
    assert Plan().apply(engine).done == ()
    assert "nothing to do" in repr(Plan().wait())


def test_a_limit_that_is_no_raise_is_a_usage_error(web: observe.Container) -> None:
    """Less memory, or as much, is not what was meant."""
    with pytest.raises(UsageError, match="-p memory=64m"):
        raise_memory(web, ByteSize.parse("32m"))


def test_the_engine_refuses_memory_above_memory_and_swap(engine: Engine, web: observe.Container) -> None:
    """What the runbook's text says about ``docker update --memory`` alone is true of every engine version."""
    with pytest.raises(docker.errors.APIError, match="smaller than already set memoryswap limit"):
        engine.client.api.update_container("web", mem_limit="64m")
