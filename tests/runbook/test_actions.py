"""Every sort of action: it does what it says, foresees its events, can be told from outside, and its undo works."""

from __future__ import annotations

import os
import subprocess
import tarfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from labkit import observe
from labkit.engine import Engine
from labkit.errors import LabkitError, Refused, UsageError
from labkit.observe import ByteSize
from labkit.runbook import Plan, actions
from labkit.runbook.actions import VERBS, Action, facts

Make = Callable[[Engine, Path], Action | None]
SITUATIONS: dict[str, tuple[tuple[str, str], Make]] = {}
"""Each builds a situation on an engine, and the action for it, of this kind and verb."""

STEADY = ("status", "memory", "memory_swap", "exists", "tags", "records", "used_by")
"""Facts that an undo brings back; clock times are not among them."""


def situation(kind: str, verb: str) -> Callable[[Make], Make]:
    def add(make: Make) -> Make:
        SITUATIONS[make.__name__] = (kind, verb), make
        return make

    return add


def container(engine: Engine, name: str = "web", command: str = "sleep 1000", **options: Any) -> str:
    """A container's id; it ends at once when it is stopped."""
    given = {"network_mode": "none", "stop_signal": "SIGKILL", **options}
    return str(engine.client.containers.create("busybox:lab", ["sh", "-c", command], name=name, **given).id)


def running(engine: Engine, name: str = "web", **options: Any) -> observe.Container:
    engine.client.api.start(container(engine, name, **options))
    return observe.container(engine, name)


def down(engine: Engine, name: str = "web", **options: Any) -> observe.Container:
    running(engine, name, **options)
    engine.client.api.kill(name)
    engine.client.api.wait(name)
    return observe.container(engine, name)


def image(engine: Engine, *tags: str, of: str = "made") -> str:
    """A new image on top of busybox; returns its id."""
    made = engine.client.containers.create("busybox:lab", ["true"], name=of)
    id_ = made.commit(changes=f"LABEL made.by={of}").id
    made.remove()
    for tag in tags:
        engine.client.api.tag(id_, *tag.split(":"))
    return str(id_)


def filled(engine: Engine, volume: str = "data", text: str = "hello") -> None:
    """A volume with a file in it that belongs to somebody."""
    engine.client.containers.run(
        "busybox:lab",
        ["sh", "-c", f"echo {text} > /v/file; chown 70:71 /v/file; chmod 640 /v/file"],
        volumes={volume: {"bind": "/v", "mode": "rw"}},
        network_mode="none",
        remove=True,
    )


def content(engine: Engine, volume: str = "data") -> str:
    """Owners, modes and texts of the files in *volume*."""
    command = "cd /v; ls -ln | awk 'NR > 1 {print $1, $3, $4, $NF}'; cat * 2>/dev/null; true"
    out = engine.client.containers.run(
        "busybox:lab",
        ["sh", "-c", command],
        volumes={volume: {"bind": "/v", "mode": "ro"}},
        network_mode="none",
        remove=True,
    )
    return str(out.decode())


@situation("container", "update")
def update(engine: Engine, folder: Path) -> Action | None:
    return actions.raise_memory(down(engine, mem_limit="32m", memswap_limit="48m"))


@situation("container", "update")
def update_without_a_limit_for_swap(engine: Engine, folder: Path) -> Action | None:
    return actions.raise_memory(down(engine, mem_limit="32m", memswap_limit=-1))


@situation("container", "update")
def update_of_a_container_that_crashes(engine: Engine, folder: Path) -> Action | None:
    policy = {"Name": "always", "MaximumRetryCount": 0}
    container(engine, command="sleep 1; exit 1", mem_limit="32m", memswap_limit="32m", restart_policy=policy)
    engine.client.api.start("web")
    return actions.raise_memory(observe.container(engine, "web"))


@situation("container", "start")
def start(engine: Engine, folder: Path) -> Action | None:
    return actions.start_again(down(engine, network_mode="bridge"))


@situation("container", "start")
def start_of_what_ends_at_once(engine: Engine, folder: Path) -> Action | None:
    container(engine, command="true")
    engine.client.api.start("web")
    engine.client.api.wait("web")
    return actions.start_again(observe.container(engine, "web"))


@situation("container", "stop")
def stop(engine: Engine, folder: Path) -> Action | None:
    return actions.stop(running(engine, network_mode="bridge"), "it has to")


@situation("container", "stop")
def stop_of_a_paused_one(engine: Engine, folder: Path) -> Action | None:
    running(engine)
    engine.client.api.pause("web")
    return actions.stop(observe.container(engine, "web"), "it has to", patience=1)


@situation("container", "stop")
def stop_of_one_that_goes_with_it(engine: Engine, folder: Path) -> Action | None:
    return actions.stop(running(engine, auto_remove=True, volumes=["/unnamed"]), "it has to")


@situation("container", "restart")
def restart(engine: Engine, folder: Path) -> Action | None:
    return actions.restart(running(engine, volumes={"data": {"bind": "/v", "mode": "rw"}}), "it has to")


@situation("container", "restart")
def restart_of_one_that_is_down(engine: Engine, folder: Path) -> Action | None:
    return actions.restart(down(engine), "it has to")


@situation("container", "remove")
def remove(engine: Engine, folder: Path) -> Action | None:
    return actions.remove_container(down(engine), "it is old")


@situation("container", "remove")
def remove_one_that_runs(engine: Engine, folder: Path) -> Action | None:
    seen = running(engine, network_mode="bridge", volumes=["/unnamed"])
    return actions.remove_container(seen, "it is old", even_running=True)


@situation("container", "remove")
def remove_one_that_goes_by_itself(engine: Engine, folder: Path) -> Action | None:
    seen = running(engine, auto_remove=True, volumes=["/unnamed"])
    return actions.remove_container(seen, "it is old", even_running=True)


@situation("image", "remove")
def remove_image_with_two_tags(engine: Engine, folder: Path) -> Action | None:
    return actions.remove_image(engine, image(engine, "one:1", "two:2"), "nobody uses it")


@situation("image", "remove")
def remove_image_without_a_tag(engine: Engine, folder: Path) -> Action | None:
    return actions.remove_image(engine, image(engine), "nobody uses it")


@situation("volume", "create")
def create_volume(engine: Engine, folder: Path) -> Action | None:
    return actions.create_volume(engine, "data", "for a copy", {"purpose": "test"})


@situation("volume", "remove")
def remove_volume(engine: Engine, folder: Path) -> Action | None:
    filled(engine)
    return actions.remove_volume(engine, "data", "nobody uses it")


@situation("volume", "copy out")
def copy_out(engine: Engine, folder: Path) -> Action | None:
    filled(engine)
    return actions.copy_out(engine, "data", folder / "a copy.tar", image="busybox:lab", reason="backup")


@situation("volume", "compare")
def compare_volume(engine: Engine, folder: Path) -> Action | None:
    filled(engine)
    file = folder / "data.tar"
    Plan.of(actions.copy_out(engine, "data", file, image="busybox:lab", reason="backup")).apply(engine)
    return actions.compare_volume(engine, "data", file, image="busybox:lab", reason="to be sure")


@situation("volume", "copy into")
def copy_in(engine: Engine, folder: Path) -> Action | None:
    filled(engine)
    file = folder / "data.tar"
    Plan.of(actions.copy_out(engine, "data", file, image="busybox:lab", reason="backup")).apply(engine)
    engine.client.volumes.create("other")
    return actions.copy_in(engine, "other", file, image="busybox:lab", reason="restore")


@situation("network", "remove")
def remove_network(engine: Engine, folder: Path) -> Action | None:
    engine.client.networks.create("net")
    return actions.remove_network(engine, "net", "nobody uses it")


@situation("build cache", "remove")
def remove_build_cache(engine: Engine, folder: Path) -> Action | None:
    return actions.remove_build_cache(engine, built(engine, folder), "it is old")


@situation("container", "run")
def run_job(engine: Engine, folder: Path) -> Action | None:
    filled(engine)
    undo = "docker run --rm --network none --volume data:/v busybox:lab rm /v/sum"
    return actions.run_job(
        engine,
        "busybox:lab",
        ["sh", "-c", "md5sum /v/file | tee /v/sum"],
        name="sum",
        reason="to compare",
        volumes={"data": "/v"},
        undo=undo,
    )


def built(engine: Engine, folder: Path) -> list[str]:
    """Build something; returns the records of the build cache."""
    (folder / "Dockerfile").write_text("FROM busybox:lab\nRUN echo a > /a\nRUN echo b > /b\n")
    docker(engine, "docker build --network none --tag built .", cwd=folder)
    docker(engine, "docker rmi built")
    return [record["ID"] for record in engine.client.api.df()["BuildCache"]]


def docker(engine: Engine, command: str, cwd: Path | None = None) -> None:
    """A command line as a person types it; again where what crashes was just between its end and its next start."""
    environ, deadline = {**os.environ, **engine.environ, "DOCKER_BUILDKIT": "1"}, time.monotonic() + 60
    while True:
        done = subprocess.run(
            command, shell=True, env=environ, cwd=cwd, capture_output=True, text=True, check=False
        )
        if "cannot update a stopped container" not in done.stderr or time.monotonic() > deadline:
            break
    assert done.returncode == 0, done.stderr


def told(engine: Engine, action: Action) -> dict[str, Any]:
    seen = facts.read(engine, action.kind, action.id)
    if seen.get("restart_policy") == "always":
        del seen["status"]  # it comes and goes
    return {name: seen[name] for name in STEADY if name in seen}


@pytest.mark.parametrize("name", SITUATIONS)
def test_an_action_does_what_it_says(name: str, engine: Engine, tmp_path: Path) -> None:
    """Applied without an unplanned or a missing event; its effect then holds; its undo restores what was."""
    declared, make = SITUATIONS[name]
    action = make(engine, tmp_path)
    assert action is not None
    assert (action.kind, action.verb) == declared
    before = told(engine, action)
    data = content(engine) if name == "run_job" else ""
    assert not action.holds(engine)
    assert all(each.before != each.after for each in action.changes)

    applied = Plan.of(action).apply(engine)

    assert [each.action for each in applied.done] == [str(action)]
    assert applied.effects is not None and applied.effects.ok
    assert applied.effects.meanwhile == ()
    if declared not in [("container", "run"), ("volume", "copy into"), ("volume", "compare")]:
        assert action.holds(engine)
    assert action.reversible is bool(action.undo)
    if action.reversible:
        docker(engine, action.undo)
        assert told(engine, action) == before
        assert not data or content(engine) == data


def test_every_verb_has_a_situation() -> None:
    """No verb is left untried."""
    assert {verb for verb, _ in SITUATIONS.values()} == set(VERBS)


@pytest.mark.parametrize("gone", ["remove", "remove_image_with_two_tags", "remove_volume", "remove_network"])
def test_what_is_removed_does_not_come_back(gone: str, engine: Engine, tmp_path: Path) -> None:
    """A removal says that it cannot be undone."""
    action = SITUATIONS[gone][1](engine, tmp_path)
    assert action is not None
    assert not action.reversible
    assert "cannot be undone" in repr(Plan.of(action))


# -- containers


def test_an_unlimited_swap_is_undone_as_the_command_line_takes_it(engine: Engine, tmp_path: Path) -> None:
    """``--memory-swap -1``, and no change is shown where there is none."""
    action = update_without_a_limit_for_swap(engine, tmp_path)
    assert action is not None
    assert action.undo == "docker update --memory 32m --memory-swap -1 web"
    assert [each.what for each in action.changes] == ["memory limit"]


def test_a_container_that_goes_with_its_end_cannot_be_brought_back(engine: Engine, tmp_path: Path) -> None:
    """``--rm`` makes a stop final."""
    action = stop_of_one_that_goes_with_it(engine, tmp_path)
    assert action is not None
    assert (action.undo, action.changes[0].after) == ("", "removed")


def test_a_container_that_runs_is_not_removed_unasked(engine: Engine) -> None:
    """Removing what runs needs to be said."""
    with pytest.raises(Refused, match="it is running"):
        actions.remove_container(running(engine), "it is old")


def test_volumes_outlive_their_container(engine: Engine, tmp_path: Path) -> None:
    """Also those without a name: data is removed only by name."""
    action = remove_one_that_runs(engine, tmp_path)
    Plan.of(action).apply(engine)
    assert len(engine.client.volumes.list()) == 1


# -- exactly what was shown


def test_parents_of_a_removed_image_stay(engine: Engine) -> None:
    """The engine would remove untagged parents along; they were not shown."""
    parent = image(engine, of="parent")
    made = engine.client.containers.create(parent, ["true"], name="child")
    made.commit(repository="child", tag="1")
    made.remove()
    Plan.of(actions.remove_image(engine, "child:1", "old")).apply(engine)
    assert facts.read(engine, "image", parent)["exists"]
    engine.client.api.remove_image(parent)


@pytest.mark.parametrize("kind", ["image", "volume", "network"])
def test_what_is_in_use_is_not_removed(kind: str, engine: Engine, tmp_path: Path) -> None:
    """Refused when planned; and when somebody takes it into use after it was shown, with nothing done."""
    id_ = image(engine, "mine:1")
    volume, network = engine.client.volumes.create("data"), engine.client.networks.create("net")
    build = {
        "image": lambda: actions.remove_image(engine, "mine:1", "old"),
        "volume": lambda: actions.remove_volume(engine, volume.name, "old"),
        "network": lambda: actions.remove_network(engine, network.name, "old"),
    }[kind]
    first = actions.remove_container(down(engine), "old")
    plan = Plan.of(first, build())
    user = engine.client.containers.create(
        id_, ["true"], name="user", network="net", volumes={"data": {"bind": "/v", "mode": "rw"}}
    )
    with pytest.raises(Refused, match="used_by"):
        plan.apply(engine)
    assert observe.container(engine, "web").status == "exited", "not even the first action"
    with pytest.raises(Refused, match="in use"):
        build()
    user.remove()
    plan.apply(engine)


def test_a_user_that_the_plan_removes_is_no_obstacle(engine: Engine) -> None:
    """First the container, then the volume and the image that only it used."""
    id_ = image(engine, "mine:1")
    user = engine.client.containers.create(
        id_, ["true"], name="user", network_mode="none", volumes={"data": {"bind": "/v", "mode": "rw"}}
    )
    plan = Plan.of(
        actions.remove_container(observe.container(engine, "user"), "old"),
        actions.remove_volume(engine, "data", "old", going=[user.id]),
        actions.remove_image(engine, "mine:1", "old", going=[user.id]),
    )
    plan.apply(engine)
    assert engine.client.volumes.list() == []


def test_an_image_that_got_another_tag_is_drift(engine: Engine) -> None:
    """A tag that was not shown is not taken away."""
    id_ = image(engine, "mine:1")
    plan = Plan.of(actions.remove_image(engine, "mine:1", "old"))
    engine.client.api.tag(id_, "theirs", "1")
    with pytest.raises(Refused, match="theirs:1"):
        plan.apply(engine)
    engine.client.api.remove_image(id_, force=True)


def test_a_volume_made_anew_is_another_one(engine: Engine) -> None:
    """The same name, filled again by somebody: not what was shown."""
    import time

    engine.client.volumes.create("data")
    plan = Plan.of(actions.remove_volume(engine, "data", "old"))
    engine.client.api.remove_volume("data")
    time.sleep(1.1)  # the engine keeps the time of creation in seconds
    engine.client.volumes.create("data")
    with pytest.raises(Refused, match="created_at"):
        plan.apply(engine)


def test_only_the_shown_records_of_the_build_cache_go(engine: Engine, tmp_path: Path) -> None:
    """A record that came later stays; one that others build on, too, and that is an error."""
    shown = built(engine, tmp_path)
    plan = Plan.of(actions.remove_build_cache(engine, shown, "old"))
    (tmp_path / "Dockerfile").write_text("FROM busybox:lab\nRUN echo new > /new\n")
    docker(engine, "docker build --network none --tag new .", cwd=tmp_path)
    with pytest.raises(Refused, match="records"):
        plan.apply(engine)  # the new build has used some of them
    before = {each["ID"] for each in engine.client.api.df()["BuildCache"]}
    docker(engine, "docker rmi new")
    leaf = next(
        each for each in before - set(shown) if facts.read(engine, "build cache", each)["size"] is not None
    )
    Plan.of(actions.remove_build_cache(engine, [leaf], "old")).apply(engine)
    assert {each["ID"] for each in engine.client.api.df()["BuildCache"]} == before - {leaf}
    docker(engine, "docker builder prune --all --force")


def test_records_of_a_shared_engine_take_an_approved_plan(
    engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody can say whose a record is: it goes with an approval of exactly this plan, and only so."""
    import labkit

    shown = built(engine, tmp_path)
    monkeypatch.setenv("DOCKER_HOST", engine.url)
    with labkit.open_engine("attach") as shared:
        plan = Plan.of(actions.remove_build_cache(shared, shown, "old"))
        with pytest.raises(Refused, match="nobody has approved"):
            plan.apply(shared)
        plan.apply(shared, approved=plan.hash)
    assert not {each["ID"] for each in engine.client.api.df()["BuildCache"] or []} & set(shown)


# -- copies and jobs


def test_a_copy_brings_everything_back(engine: Engine, tmp_path: Path) -> None:
    """Owners, modes and content, into a volume that the plan creates; the file is its user's alone."""
    filled(engine)
    file = tmp_path / "data.tar"
    out = Plan.of(actions.copy_out(engine, "data", file, image="busybox:lab", reason="backup")).apply(engine)
    assert file.stat().st_mode & 0o077 == 0
    assert out.done[0].result["bytes"] == file.stat().st_size
    with tarfile.open(file) as archive:
        assert "./file" in archive.getnames()
    back = Plan.of(
        actions.create_volume(engine, "other", "restore"),
        actions.copy_in(engine, "other", file, image="busybox:lab", reason="restore", created=True),
    )
    applied = back.apply(engine)
    assert content(engine, "other") == content(engine, "data") != ""
    assert applied.done[1].result["sha256"] == out.done[0].result["sha256"]
    assert engine.client.containers.list(all=True) == []
    for each in reversed(applied.done):
        if each.undo != "docker volume rm other":
            docker(engine, each.undo)
    docker(engine, "docker volume rm other")


def test_a_copy_never_writes_over_a_file(engine: Engine, tmp_path: Path) -> None:
    """Not when planned, not when somebody made it meanwhile; and another file is not put in."""
    filled(engine)
    file = tmp_path / "data.tar"
    plan = Plan.of(actions.copy_out(engine, "data", file, image="busybox:lab", reason="backup"))
    file.write_text("mine")
    with pytest.raises(UsageError, match="exists already"):
        actions.copy_out(engine, "data", file, image="busybox:lab", reason="backup")
    with pytest.raises(LabkitError, match="left alone"):
        plan.apply(engine)
    assert [path.name for path in tmp_path.iterdir()] == ["data.tar"]
    assert file.read_text() == "mine"
    back = Plan.of(actions.copy_in(engine, "data", file, image="busybox:lab", reason="restore"))
    file.write_text("not mine")
    with pytest.raises(LabkitError, match="not the file of the plan"):
        back.apply(engine)


def test_a_job_that_fails_says_why_and_leaves_nothing(engine: Engine) -> None:
    """Its exit code and its words are in the message; its container is gone."""
    job = actions.run_job(engine, "busybox:lab", ["sh", "-c", "echo oh; exit 3"], name="x", reason="test")
    with pytest.raises(LabkitError, match=r"(?s)exit code 3.*oh"):
        Plan.of(job).apply(engine)
    slow = actions.run_job(engine, "busybox:lab", ["sleep", "100"], name="x", reason="test", patience=1)
    with pytest.raises(LabkitError, match="more than 1 s"):
        Plan.of(slow).apply(engine)
    assert engine.client.containers.list(all=True) == []


def test_a_job_takes_the_place_of_its_own_leftover(engine: Engine) -> None:
    """Killed in the middle it is run again; a stranger's container of that name is left alone."""
    from labkit.labels import ours

    job = actions.run_job(engine, "busybox:lab", ["true"], name="x", reason="test")
    engine.client.containers.create("busybox:lab", ["true"], name=job.name, labels=ours("somebody"))
    VERBS["container", "run"].perform(engine, job)
    engine.client.containers.create("busybox:lab", ["true"], name=job.name)
    with pytest.raises(Refused, match="not labkit's"):
        VERBS["container", "run"].perform(engine, job)


@pytest.mark.parametrize("build", ["remove_image", "remove_volume", "remove_network"])
def test_an_object_that_is_not_there_is_a_usage_error(build: str, engine: Engine) -> None:
    """Before anything is planned."""
    with pytest.raises(UsageError, match="nobody"):
        getattr(actions, build)(engine, "nobody", "old")


def test_sizes_are_shown(engine: Engine) -> None:
    """What comes back is in the plan."""
    image(engine, "mine:1")
    action = actions.remove_image(engine, "mine:1", "old")
    assert ByteSize.parse(action.changes[0].before) > 2**20
    Plan.of(action).apply(engine)
