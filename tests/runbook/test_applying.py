"""Carrying out a plan that is interrupted at every moment: nothing twice, and the same end."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from labkit import observe
from labkit.engine import Engine
from labkit.errors import EngineUnreachable, LabkitError, Refused, UsageError
from labkit.runbook import Plan, actions, applying
from labkit.runbook.actions import VERBS, Action
from labkit.runbook.actions.base import Verb
from labkit.runbook.journal import Journal
from labkit.runbook.plans import Applied
from tests.runbook.test_actions import container, content, down, filled, image, running

pytestmark = pytest.mark.parametrize("module_engine", ["debian-13"], indirect=True)


class Crash(BaseException):
    """The process dies here."""


@pytest.fixture
def journal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Journal:
    """The journal of a run that this process belongs to."""
    folder = tmp_path / "run"
    folder.mkdir()
    monkeypatch.setenv("LABKIT_RUN_DIR", str(folder))
    return Journal.create(folder, {"runbook": "x"})


@pytest.fixture
def performed(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How often each action was carried out."""
    counted: Counter[str] = Counter()

    def counting(name: tuple[str, str], verb: Verb) -> Verb:
        def perform(engine: Engine, action: Action) -> dict[str, Any]:
            counted[" ".join(name)] += 1
            return verb.perform(engine, action)

        return replace(verb, perform=perform)

    for name, verb in list(VERBS.items()):
        monkeypatch.setitem(VERBS, name, counting(name, verb))
    return counted


def situation(engine: Engine) -> Plan:
    """One of everything that a runbook does."""
    engine.client.volumes.create("data")
    image(engine, "old:1")
    engine.client.networks.create("old")
    container(engine, mem_limit="32m", memswap_limit="32m")
    container(engine, "other")
    web, other = observe.container(engine, "web"), observe.container(engine, "other")
    job = ["sh", "-c", "date > /v/file"]
    return Plan.of(
        actions.raise_memory(web),
        actions.start_again(web),
        actions.remove_container(other, "old"),
        actions.run_job(
            engine, "busybox:lab", job, name="x", reason="x", volumes={"data": "/v"}, repeatable=True
        ),
        actions.create_volume(engine, "new", "x"),
        actions.remove_volume(engine, "data", "old"),
        actions.remove_image(engine, "old:1", "old"),
        actions.remove_network(engine, "old", "old"),
    )


def state(engine: Engine) -> dict[str, Any]:
    client = engine.client
    return {
        "containers": [
            (each.name, each.status, each.attrs["HostConfig"]["Memory"])
            for each in client.containers.list(all=True)
        ],
        "volumes": [each.name for each in client.volumes.list()],
        "networks": sorted(each.name for each in client.networks.list()),
        "images": sorted(str(each.tags) for each in client.images.list()),
    }


END = {
    "containers": [("web", "running", 64 * 2**20)],
    "volumes": ["new"],
    "networks": ["bridge", "host", "none"],
    "images": ["['busybox:lab']"],
}
WRITES = 18
"""Entries of this plan: its approval, two an action, and the comparison."""


CRASHES = [
    *((number, False) for number in range(1, WRITES + 1)),
    *((number, True) for number in range(2, WRITES, 2)),
    (WRITES, True),
]
"""Before each entry; and after those that announce an action, and the last.  After any other is before the next."""


@pytest.mark.parametrize(("crash", "after"), CRASHES)
def test_killed_at_any_boundary_it_ends_in_the_same_state(
    crash: int,
    after: bool,
    engine: Engine,
    journal: Journal,
    performed: Counter[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Before and after each entry of the journal; the second pass knows only the journal and the engine."""
    plan = situation(engine)
    honest, count = Journal.write, [0]

    def write(self: Journal, kind: Any, /, **facts: Any) -> Any:
        count[0] += 1
        if count[0] == crash and not after:
            raise Crash
        entry = honest(self, kind, **facts)
        if count[0] == crash:
            raise Crash
        return entry

    with monkeypatch.context() as patch, pytest.raises(Crash):
        patch.setattr(Journal, "write", write)
        plan.apply(engine)
    applying._calls.clear()  # a new process

    applied = (plan if crash == 1 and not after else Plan()).apply(engine)

    assert [each.action for each in applied.done] == [str(action) for action in plan.actions]
    assert state(engine) == END
    again = {name: times for name, times in performed.items() if times > 1}
    assert set(again) <= {"container run"}, "only a job whose end was not journaled is run again"
    assert len(performed) == len(plan.actions)
    journal.verify()
    written = Counter(entry.kind for entry in journal.entries())
    assert (written["approval"], written["effects"]) == (1, 1)


def test_the_count_of_boundaries_is_true(engine: Engine, journal: Journal, performed: Counter[str]) -> None:
    """Uninterrupted, the plan writes as many entries as the test above tries; each is ahead of its action."""
    situation(engine).apply(engine)
    kinds = [entry.kind for entry in journal.entries()[1:]]
    assert len(kinds) == WRITES
    assert kinds == ["approval", *["action-started", "action-done"] * 8, "effects"]
    assert state(engine) == END


def test_killed_in_the_middle_of_an_action_it_carries_on(
    engine: Engine, journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One of two tags is gone, the image is not: what is left of the action is done."""
    image(engine, "one:1", "two:2")
    plan = Plan.of(actions.remove_image(engine, "one:1", "old"))

    def half(engine: Engine, action: Action) -> dict[str, Any]:
        engine.client.api.remove_image("one:1")
        raise Crash

    with monkeypatch.context() as patch, pytest.raises(Crash):
        patch.setitem(VERBS, ("image", "remove"), Verb(half, VERBS["image", "remove"].holds))
        plan.apply(engine)
    applying._calls.clear()
    assert len(Plan().apply(engine).done) == 1
    assert state(engine)["images"] == ["['busybox:lab']"]


def test_an_object_that_changed_during_the_interruption_is_not_touched(
    engine: Engine, journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was not begun is checked again; who uses it now is not robbed."""
    filled(engine)
    web = down(engine)
    plan = Plan.of(actions.start_again(web), actions.remove_volume(engine, "data", "old"))
    with monkeypatch.context() as patch, pytest.raises(Crash):
        patch.setitem(VERBS, ("container", "start"), Verb(_dies, VERBS["container", "start"].holds))
        plan.apply(engine)
    applying._calls.clear()
    down(engine, "user", volumes={"data": {"bind": "/v", "mode": "rw"}})
    with pytest.raises(Refused, match="used_by"):
        Plan().apply(engine)
    assert observe.container(engine, "web").status == "exited"


def cut_off_after_the_first_action(plan: Plan, engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Apply *plan* until its first action is journaled as done; what comes next is a new process."""
    honest = Journal.write

    def write(self: Journal, kind: Any, /, **facts: Any) -> Any:
        entry = honest(self, kind, **facts)
        if kind == "action-done":
            raise Crash
        return entry

    with monkeypatch.context() as patch, pytest.raises(Crash):
        patch.setattr(Journal, "write", write)
        patch.setattr(applying._Application, "_put_right", lambda self: None)  # the dead put nothing right
        plan.apply(engine)
    applying._calls.clear()


@pytest.mark.parametrize("undone", [True, False])
def test_what_somebody_has_undone_meanwhile_is_not_called_done(
    undone: bool, engine: Engine, journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The memory was raised, the run was killed, somebody set another: refused, and the next action is not done."""
    container(engine, mem_limit="32m", memswap_limit="32m")
    web = observe.container(engine, "web")
    plan = Plan.of(actions.raise_memory(web), actions.start_again(web))
    cut_off_after_the_first_action(plan, engine, monkeypatch)
    if not undone:
        assert len(Plan().apply(engine).done) == 2
        return
    engine.client.api.update_container("web", mem_limit="100m", memswap_limit="100m")
    with pytest.raises(Refused, match="it is so no longer"):
        Plan().apply(engine)
    assert observe.container(engine, "web").status != "running"


def test_a_run_that_may_not_go_on_starts_again_who_it_had_stopped(
    engine: Engine, journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stopped, killed; what the plan would do next is refused by now; the container does not stay down for it."""
    filled(engine)
    web = running(engine)
    plan = Plan.of(
        actions.stop(web, "x", patience=1),
        actions.remove_volume(engine, "data", "old"),
        actions.start_again(web, stopped=True),
    )
    cut_off_after_the_first_action(plan, engine, monkeypatch)
    assert observe.container(engine, "web").status == "exited"
    container(engine, "user", volumes={"data": {"bind": "/v", "mode": "rw"}})
    with pytest.raises(
        Refused, match=r"(?s)used_by.*done before it: stop.*done after it: start container web"
    ):
        Plan().apply(engine)
    assert observe.container(engine, "web").running


def test_who_was_stopped_by_somebody_else_stays_down(
    engine: Engine, journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Approved, killed before the first action; what somebody stopped meanwhile is none of the plan's doing."""
    web = running(engine)
    plan = Plan.of(actions.stop(web, "x", patience=1), actions.start_again(web, stopped=True))
    with monkeypatch.context() as patch, pytest.raises(Crash):
        patch.setattr(applying, "used", lambda plan: (_ for _ in ()).throw(Crash))
        plan.apply(engine)
    applying._calls.clear()
    engine.client.api.stop("web", timeout=0)
    with pytest.raises(Refused, match="status is exited") as refused:
        Plan().apply(engine)
    assert not refused.value.begun
    assert observe.container(engine, "web").status == "exited"


def die_in(plan: Plan, engine: Engine, monkeypatch: pytest.MonkeyPatch, verb: tuple[str, str]) -> None:
    """Apply *plan* until an action of this kind has begun; what comes next is a new process."""
    with monkeypatch.context() as patch, pytest.raises(Crash):
        patch.setitem(VERBS, verb, replace(VERBS[verb], perform=_dies))
        plan.apply(engine)
    applying._calls.clear()


@pytest.mark.parametrize("repeatable", [True, False])
def test_a_job_that_was_cut_off_is_run_again_only_if_it_says_so(
    repeatable: bool, engine: Engine, journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody can tell what its command has done by then; refused, and told so."""
    job = actions.run_job(engine, "busybox:lab", ["true"], name="x", reason="x", repeatable=repeatable)
    die_in(Plan.of(job), engine, monkeypatch, ("container", "run"))
    if repeatable:
        assert len(Plan().apply(engine).done) == 1
        return
    with pytest.raises(Refused, match="cut off in the middle of: run container"):
        Plan().apply(engine)


MEANWHILE: dict[str, Callable[[Engine], object]] = {
    "nothing": lambda engine: None,
    "somebody has put something in": lambda engine: filled(engine, "new", "precious"),
    "somebody has begun to use it": lambda engine: running(
        engine, volumes={"new": {"bind": "/v", "mode": "rw"}}
    ),
}


@pytest.mark.parametrize("meanwhile", MEANWHILE)
@pytest.mark.parametrize("begun", [("volume", "create"), ("volume", "copy into")])
def test_a_volume_is_filled_once_and_nobody_is_robbed(
    meanwhile: str,
    begun: tuple[str, str],
    engine: Engine,
    journal: Journal,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Killed before it was made, or in the middle of filling it: carried on with only what that has left."""
    filled(engine)
    file = tmp_path / "data.tar"
    told = {"image": "busybox:lab", "reason": "x"}
    with monkeypatch.context() as patch:
        patch.delenv("LABKIT_RUN_DIR")
        Plan.of(actions.copy_out(engine, "data", file, **told)).apply(engine)
    plan = Plan.of(
        actions.create_volume(engine, "new", "x"),
        actions.copy_in(engine, "new", file, created=True, **told),
    )
    die_in(plan, engine, monkeypatch, begun)
    MEANWHILE[meanwhile](engine)
    if meanwhile == "nothing":
        assert len(Plan().apply(engine).done) == 2
        assert content(engine, "new") == content(engine, "data")
        return
    before = content(engine, "new")
    with pytest.raises(Refused):
        Plan().apply(engine)
    assert content(engine, "new") == before


def _dies(engine: Engine, action: Action) -> dict[str, Any]:
    raise Crash


def test_each_application_finds_its_own_traces(engine: Engine, journal: Journal) -> None:
    """A runbook that applies two plans resumes each of them."""
    first, second = (Plan.of(actions.create_volume(engine, name, "x")) for name in ("one", "two"))
    assert Plan().apply(engine).done == ()
    first.apply(engine)
    second.apply(engine)
    applying._calls.clear()
    told = [[each.action for each in Plan().apply(engine).done] for _ in range(3)]
    assert told == [[], ["create volume one"], ["create volume two"]]


def test_a_comparison_that_failed_fails_again(
    engine: Engine, journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A resumption does not make a run verified."""
    from labkit.errors import ApplyUnverified

    honest = VERBS["volume", "create"]

    def more(engine: Engine, action: Action) -> dict[str, Any]:
        engine.client.api.remove_volume("precious")
        return honest.perform(engine, action)

    engine.client.volumes.create("precious")
    monkeypatch.setitem(VERBS, ("volume", "create"), Verb(more, honest.holds))
    for plan in (Plan.of(actions.create_volume(engine, "one", "x")), Plan()):
        with pytest.raises(ApplyUnverified, match="destroy volume precious"):
            plan.apply(engine)
        applying._calls.clear()


@pytest.mark.parametrize(
    ("raised", "seen"), [(EngineUnreachable, 3), (UsageError, 1), (Refused, 6), (LabkitError, 1)]
)
def test_an_error_stays_what_it_is(
    raised: type[LabkitError], seen: int, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Class, expectation and exit code; but once an action has begun nobody says that nothing was touched."""

    def fail(engine: Engine, action: Action) -> dict[str, Any]:
        raise raised("it broke", seen="smoke", expected="no smoke", try_="again")

    monkeypatch.setitem(VERBS, ("container", "start"), Verb(fail, lambda *_: False))
    plan = Plan.of(actions.create_volume(engine, "new", "x"), actions.start_again(down(engine)))
    with pytest.raises(LabkitError) as caught:
        plan.apply(engine)
    assert caught.value.exit_code == seen
    assert isinstance(caught.value, raised) or raised is UsageError
    assert (caught.value.expected, caught.value.try_) == ("no smoke", "again")
    assert "smoke\ndone before it: create volume new (undo: docker volume rm new)" in caught.value.seen


def test_nothing_is_journaled_outside_of_a_run(engine: Engine) -> None:
    """In a notebook by hand there is no journal, and a plan is applied all the same."""
    applied = Plan.of(actions.create_volume(engine, "new", "x")).apply(engine)
    assert isinstance(applied, Applied)
    assert applied.effects is not None and applied.effects.ok
