"""Who may say yes to a plan: plans that wait, and what is carried out without one."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

import labkit
from labkit import faults, observe, runbook
from labkit.engine import Engine
from labkit.errors import Refused, UsageError
from labkit.runbook import Plan, actions, approvals, live
from labkit.runbook.approvals import Waiting
from labkit.runbook.outcomes import Outcome
from labkit.runbook.parameters import Parameters
from tests.runbook.test_actions import down, filled

pytestmark = pytest.mark.parametrize("module_engine", ["debian-13"], indirect=True)
NAME = "diagnose-exit-137"

Keep = Callable[..., Waiting]


@pytest.fixture(autouse=True)
def own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Plans of other tests are not seen."""
    monkeypatch.setenv("LABKIT_HOME", str(tmp_path / "home"))


@pytest.fixture
def shared(engine: Engine) -> Iterator[Engine]:
    with labkit.open_engine("attach", url=engine.url) as attached:
        yield attached


@pytest.fixture
def keep(shared: Engine) -> Keep:
    """Keeps a plan as a run that has shown it does."""

    def make(plan: Plan, expires: float = 600, **given: object) -> Waiting:
        id_ = shared.client.info()["ID"]
        outcome = Outcome(status="incident", plan=plan, engine="here", engine_id=id_)
        kept = approvals.keep(outcome, NAME, given, expires=expires)
        assert kept is not None
        return kept

    return make


def plan_of(engine: Engine) -> Plan:
    return Plan.of(actions.start_again(down(engine)))


# -- plans that wait


def test_a_plan_that_was_shown_waits(shared: Engine, keep: Keep) -> None:
    """With all that is needed to make it again; its file is its user's alone; found by the beginning of its hash."""
    kept = keep(plan_of(shared), container="web", memory=None)
    assert approvals.waiting() == [kept]
    assert approvals.find(kept.hash[:4]) == kept
    assert kept.parameters == {"container": "web", "memory": None}
    assert stat.S_IMODE(kept.path.stat().st_mode) == 0o600
    assert kept.plan == Waiting.model_validate_json(kept.path.read_text()).plan
    for unknown in ("", "zzzz", "../../etc/passwd"):
        with pytest.raises(UsageError, match=f"{kept.hash}\n.*used up, and told by labkit runs"):
            approvals.find(unknown)


def test_nothing_waits_where_nothing_is_to_be_done(shared: Engine) -> None:
    """A healthy run, and one that leaves the decision to a person, keep no plan."""
    assert approvals.keep(Outcome(status="healthy"), NAME, {}) is None
    assert approvals.keep(Outcome(status="incident", plan=Plan()), NAME, {}) is None
    assert approvals.waiting() == []


def test_a_secret_is_not_kept(shared: Engine, keep: Keep) -> None:
    """It has to be given again."""
    typed = {"password": "planted-canary-1", "pin": "env:LABKIT_SECRET_PIN"}
    kept = keep(plan_of(shared), container="web", token="file:/run/token", **typed)
    assert kept.parameters == {"container": "web", "token": "file:/run/token"}
    assert kept.withheld == ("password", "pin")
    assert "canary" not in kept.path.read_text()
    with pytest.raises(UsageError, match="-p pin=ask"):
        kept.complete({"password": "x"})
    assert kept.complete(typed) == {**kept.parameters, **typed}


def test_an_approval_is_for_exactly_this_plan(
    shared: Engine, keep: Keep, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In time, on this engine, of the same hash, and once; then it may change what is not labkit's."""
    plan = plan_of(shared)
    kept = keep(plan)
    monkeypatch.setenv(approvals.APPROVED, kept.hash)
    other = Plan(actions=(plan.actions[0].model_copy(update={"reason": "another"}),))
    with pytest.raises(Refused, match="does not fit any more"):
        other.apply(shared)
    with pytest.raises(Refused, match="not planned any more: start container web"):
        Plan().apply(shared)
    kept.path.write_text(kept.model_copy(update={"engine_id": "another"}).model_dump_json())
    with pytest.raises(Refused, match="for another engine"):
        plan.apply(shared)
    expired = keep(plan, expires=0)
    assert approvals.waiting() == []
    with pytest.raises(Refused, match="has expired"):
        plan.apply(shared)
    assert observe.container(shared, "web").status == "exited", "nothing was done"
    keep(plan)
    plan.apply(shared)
    assert not expired.path.exists()


HOLD = """
import sys
from labkit.runbook import locks
with locks.claimed({sys.argv[1]: "container web"}):
    print("claimed", flush=True)
    sys.stdin.read()
"""


def test_two_runs_do_not_change_the_same_object(shared: Engine) -> None:
    """The second is refused while the first goes on."""
    plan = plan_of(shared)
    key = f"{shared.client.info()['ID']} container {plan.actions[0].id}"
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, key], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout and other.stdout.readline() == "claimed\n"
        with pytest.raises(Refused, match=f"(?s)another run is changing container web.*process {other.pid}"):
            plan.apply(shared, approved=plan.hash)
    plan.apply(shared, approved=plan.hash)


# -- without one


class Given(Parameters):
    """Parameters that name a container and volumes, and have some other text."""

    container: live.Container
    volumes: tuple[live.Volume, ...] = ()
    what: tuple[str, ...] = ()


def test_what_a_parameter_names_may_be_changed(shared: Engine) -> None:
    """A container by its own type; anything else that is not labkit's is refused, with nothing done."""
    filled(shared)
    web = down(shared)
    plan = Plan.of(actions.start_again(web), actions.remove_volume(shared, "data", "old"))
    for named in (
        None,
        Given(container=live.Container("other")),
        Given(container=live.Container("web")),
        Given(container=live.Container("data")),
        Given(container=live.Container("web"), what=("data",)),  # a text that says something else
    ):
        with pytest.raises(Refused, match=r"(?s)nobody has approved it.*volume data"):
            plan.apply(shared, named=named)
    assert observe.container(shared, "web") == web
    plan.apply(shared, named=Given(container=live.Container("web"), volumes=(live.Volume("data"),)))


def test_what_a_job_works_on_counts_as_well(shared: Engine) -> None:
    """The container is labkit's own; the volume that it is given is not."""
    filled(shared)
    job = actions.run_job(shared, "busybox:lab", ["true"], name="x", reason="test", volumes={"data": "/v"})
    with pytest.raises(Refused, match="volume data"):
        Plan.of(job).apply(shared)
    Plan.of(job).apply(shared, named=Given(container=live.Container("x"), volumes=(live.Volume("data"),)))


def test_what_labkit_made_needs_no_name(shared: Engine) -> None:
    """It carries our label."""
    Plan.of(actions.create_volume(shared, "data", "for a copy")).apply(shared)
    Plan.of(actions.remove_volume(shared, "data", "done")).apply(shared)


# -- as an operator does it


def labkit_command(
    *words: str, stdin: int = subprocess.DEVNULL, **more: object
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "labkit", *words],
        stdin=stdin,
        stdout=subprocess.PIPE,
        stderr=more.get("stderr", subprocess.PIPE),  # type: ignore[arg-type]
        text=True,
        check=False,
        timeout=120,
    )


def test_shown_then_approved_then_done(
    engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The run shows a hash and exits with 4; ``labkit apply HASH`` does exactly that, once."""
    monkeypatch.setenv("DOCKER_HOST", engine.url)
    faults.inject(engine, "exit-137")
    shown = labkit_command("run", NAME, "-p", "watch=1s", "--out", str(tmp_path))
    hash_ = approvals.waiting()[0].hash
    assert (shown.returncode, f"labkit apply {hash_}" in shown.stdout) == (4, True), shown
    assert hash_ in labkit_command("plans").stdout

    refused = labkit_command("apply", hash_, "--out", str(tmp_path))
    assert (refused.returncode, "nobody can answer" in refused.stderr) == (6, True)
    done = labkit_command("apply", hash_, "--yes", "--out", str(tmp_path))
    assert done.returncode == 0, done
    assert str(observe.container(engine, "web").memory) == "64m"
    assert labkit_command("apply", hash_, "--yes").returncode == 2


def test_what_has_changed_since_is_said(
    engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """6, with the facts that differ, and nothing is done; an expired plan is not even tried, nor one whose object is gone."""
    monkeypatch.setenv("DOCKER_HOST", engine.url)
    faults.inject(engine, "exit-137")
    dry = runbook.run(NAME, {}, out_dir=tmp_path, expires=600)
    engine.client.api.update_container("web", mem_limit="31m")
    done = labkit_command("apply", dry.plan_hash, "--yes", "--out", str(tmp_path))
    assert done.returncode == 6
    assert "does not fit any more" in done.stderr
    assert "memory is" in done.stderr
    assert observe.container(engine, "web").status == "exited"

    dry = runbook.run(NAME, {}, out_dir=tmp_path, expires=0)
    late = labkit_command("apply", dry.plan_hash, "--yes")
    assert (late.returncode, "has expired" in late.stderr) == (6, True)

    dry = runbook.run(NAME, {}, out_dir=tmp_path, expires=600)
    engine.client.containers.get("web").remove(force=True)
    gone = labkit_command("apply", dry.plan_hash, "--yes")
    assert (gone.returncode, "does not fit any more: no container called 'web'" in gone.stderr) == (6, True)


@pytest.mark.parametrize(("answer", "code"), [(b"n\n", 6), (b"\n", 6), (b"\x04", 6)])
def test_a_person_is_asked_on_the_terminal(answer: bytes, code: int, shared: Engine, keep: Keep) -> None:
    """The plan is shown, and anything but yes is no."""
    import pty

    kept = keep(plan_of(shared), container="web")
    ours, theirs = pty.openpty()
    os.write(ours, answer)
    done = labkit_command("apply", kept.hash, stdin=theirs, stderr=theirs)
    os.close(theirs)
    seen = b""
    with suppress(OSError):  # Linux ends a terminal without a process with an error
        while chunk := os.read(ours, 10000):
            seen += chunk
    os.close(ours)
    assert done.returncode == code
    assert b"start container web" in seen
    assert b"was not approved" in seen


def test_an_interrupted_question_is_130(shared: Engine, keep: Keep) -> None:
    """Ctrl-C in place of an answer: nothing is done."""
    import pty

    kept = keep(plan_of(shared), container="web")
    ours, theirs = pty.openpty()
    words = [sys.executable, "-m", "labkit", "apply", kept.hash]
    asked = subprocess.Popen(words, stdin=theirs, stdout=subprocess.DEVNULL, stderr=theirs)
    seen = b""
    while b"[y/N]" not in seen:
        seen += os.read(ours, 10000)
    asked.send_signal(signal.SIGINT)
    assert asked.wait(60) == 130
    os.close(ours)
    os.close(theirs)
    assert observe.container(shared, "web").status == "exited"
