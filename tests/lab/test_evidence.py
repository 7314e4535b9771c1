"""What a lab shows of a live engine."""

from __future__ import annotations

import os
import time
from types import SimpleNamespace
from typing import cast

import pytest
import requests
from docker.errors import APIError
from docker.models.containers import Container

import labkit
from labkit import lab, observe
from labkit.engine import Engine
from labkit.errors import LabkitError, Refused, UsageError
from labkit.lab import waiting
from labkit.lab.evidence import freezer, undeletable, written
from labkit.lab.waiting import began, until_ready

LOOP = 'trap "exit 0" TERM; echo awake; while :; do sleep 0.1; done'


def run(engine: Engine, name: str, script: str = LOOP) -> None:
    engine.client.containers.run("busybox:lab", ["sh", "-c", script], name=name, detach=True)
    lab.until_says(engine, name, "awake")


def test_signals_and_times_of_a_stop(engine: Engine) -> None:
    """A stop within its grace period is one SIGTERM; beyond it SIGKILL follows, that many seconds later."""
    run(engine, "polite")
    run(engine, "stubborn", "echo awake; while :; do sleep 0.1; done")
    for name, seconds in (("polite", 60), ("stubborn", 2)):
        engine.client.api.stop(name, timeout=seconds)
    assert lab.signals(engine, "polite") == ["SIGTERM"]
    assert lab.signals(engine, "stubborn") == ["SIGTERM", "SIGKILL"]
    assert lab.seconds(engine, "polite", "SIGTERM", "die") < 60
    assert lab.seconds(engine, "stubborn", "SIGTERM", "SIGKILL") >= 2
    assert sorted(lab.happened(engine, "polite")) == ["create", "die", "kill", "start", "stop"]


def test_what_a_container_wrote_itself(engine: Engine) -> None:
    """The bytes in a container's own layer are those that it wrote, none to begin with, running or not."""
    run(engine, "writer")
    assert written(engine, "writer") == 0
    engine.client.containers.get("writer").exec_run("dd if=/dev/zero of=/new bs=1000 count=3")
    assert written(engine, "writer") == 3000
    engine.client.api.kill("writer")
    assert written(engine, "writer") == 3000
    with pytest.raises(LabkitError, match="no container nobody"):
        written(engine, "nobody")


def test_waiting_until_a_command_succeeds(engine: Engine) -> None:
    """It returns once the command ends with 0; one that never does, and a container that ends, are told."""
    run(engine, "slow", "echo awake; sleep 0.3; touch /ready; until [ -e /end ]; do sleep 0.05; done")
    until_ready(engine, "slow", "test", "-e", "/ready")
    with pytest.raises(
        LabkitError, match=r"'ls /never' did not succeed in slow within 0.1 s[^$]*No such file"
    ):
        until_ready(engine, "slow", "ls", "/never", seconds=0.1)
    engine.client.containers.get("slow").exec_run("touch /end")
    with pytest.raises(LabkitError, match="slow is exited"):
        until_ready(engine, "slow", "ls", "/never")


def test_time_between_what_did_not_happen_is_an_error(engine: Engine) -> None:
    """Without the events there is no time between them; the error lists those that there are."""
    engine.client.containers.create("busybox:lab", name="web")
    with pytest.raises(LabkitError, match=r"no SIGTERM before a die[^$]*create"):
        lab.seconds(engine, "web", "SIGTERM", "die")


def test_freezer_tells_a_pause_from_a_stop_signal(engine: Engine) -> None:
    """The control group is frozen while paused, and not while stopped by SIGSTOP."""
    engine.capabilities.require("pause")
    run(engine, "web")
    seen = [lab.freezer(engine, "web")]
    engine.client.api.pause("web")
    seen.append(lab.freezer(engine, "web"))
    engine.client.api.unpause("web")
    engine.client.api.kill("web", signal="SIGSTOP")
    seen.append(lab.freezer(engine, "web"))
    assert seen == ["thawed", "frozen", "thawed"]


UNIFIED = "30 20 0:26 / /cg rw - cgroup2 cgroup2 rw\n"
FREEZER = "31 20 0:27 /part /frz rw - cgroup cgroup rw,freezer\n"


@pytest.mark.parametrize(
    ("mounts", "groups", "files", "expected"),
    [
        (UNIFIED, "0::/a/b\n", {"/cg/a/b/cgroup.events": "populated 1\nfrozen 1\n"}, "frozen"),
        (UNIFIED, "0::/a/b\n", {"/cg/a/b/cgroup.events": "populated 1\nfrozen 0\n"}, "thawed"),
        (FREEZER, "9:freezer:/part/a\n0::/\n", {"/frz/a/freezer.state": "FROZEN\n"}, "frozen"),
        (FREEZER, "9:freezer:/part/a\n0::/\n", {"/frz/a/freezer.state": "THAWED\n"}, "thawed"),
        (UNIFIED, "0::/\n", {}, "nothing (this engine gives its containers no control group)"),
        (
            "",
            "0::/\n",
            {},
            "nothing (no cgroup2 file system with the unified hierarchy is mounted on the host)",
        ),
    ],
)
def test_freezer_is_read_in_both_versions(
    mounts: str, groups: str, files: dict[str, str], expected: str
) -> None:
    """The file is found, wherever the hierarchy is mounted, and understood in version 1 and in version 2."""
    api = SimpleNamespace(inspect_container=lambda name: {"State": {"Pid": 7, "Status": "running"}})
    there = {"/proc/self/mountinfo": mounts, "/proc/7/cgroup": groups, **files}
    fake = SimpleNamespace(client=SimpleNamespace(api=api), host=SimpleNamespace(read=there.__getitem__))
    assert freezer(cast("Engine", fake), "web") == expected


@pytest.mark.skipif(os.geteuid() != 0, reason="only root's engine has a host that can make files immutable")
def test_a_layer_that_cannot_be_deleted_makes_a_removal_fail(engine: Engine) -> None:
    """Inside the block a removal leaves the container dead; after it, also after an error, the same removal succeeds."""
    engine.client.containers.create("busybox:lab", name="web")
    with pytest.raises(APIError, match="operation not permitted"), lab.undeletable(engine, "web"):
        engine.client.api.remove_container("web")
    assert lab.state(engine, "web") == "dead"
    engine.client.api.remove_container("web")
    assert lab.state(engine, "web") == "removed"


def test_a_host_without_immutable_files_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    """The reason is printed, the block runs, and nothing is undone that was not done."""
    said = "chattr: Operation not permitted while setting flags on /upper/keep\n"
    ran: list[list[str]] = []

    def chattr(command: list[str], check: bool = True) -> object:
        ran.append(command)
        return SimpleNamespace(ok=False, stderr=said)

    api = SimpleNamespace(inspect_container=lambda name: {"GraphDriver": {"Data": {"UpperDir": "/upper"}}})
    host = SimpleNamespace(run=chattr, write=lambda path, text: None)
    fake = SimpleNamespace(client=SimpleNamespace(api=api), host=host, capabilities={"host": True})
    with undeletable(cast("Engine", fake), "web"):
        ran.append(["the block"])
    assert ran == [["chattr", "+i", "/upper/keep"], ["the block"]]
    assert "Operation not permitted" in capsys.readouterr().out


def test_until_goes_by_the_engines_clock() -> None:
    """Whether a container's end is just past is told by the engine's clock, however this machine's is set."""
    found = {"State": {"Status": "exited", "FinishedAt": "2001-01-01T00:00:00.5Z"}, "RestartCount": 6}
    api = SimpleNamespace(inspect_container=lambda name: found)
    clock = {"SystemTime": "2001-01-01T00:00:01Z"}
    fake = cast("Engine", SimpleNamespace(client=SimpleNamespace(api=api, info=lambda: clock)))
    assert waiting.until(fake, "web", "exited", restarts=6, seconds=0.1) == "exited"
    clock["SystemTime"] = "2001-01-01T00:00:02Z"
    with pytest.raises(LabkitError, match="did not get there") as caught:
        waiting.until(fake, "web", "exited", restarts=6, seconds=0.1)
    assert caught.value.seen == "exited, restarts: 6", "what is not so is told"
    assert caught.value.expected == "exited, restarts: 6 or more, and an end less than 0.7 s ago"


def test_a_signal_without_a_name_is_counted_from_the_first(engine: Engine) -> None:
    """Real-time signals are named as kill(1) takes them."""
    run(engine, "web", 'trap "echo got" RTMIN+3; echo awake; while :; do sleep 0.1; done')
    engine.client.api.kill("web", signal="SIGRTMIN+3")
    assert lab.signals(engine, "web") == ["SIGRTMIN+3"]


def test_until_reports_where_it_stuck(engine: Engine) -> None:
    """A state that does not come ends in an error with the last one; a state that does not exist is refused."""
    engine.client.containers.create("busybox:lab", name="web")
    with pytest.raises(LabkitError, match="created"):
        lab.until(engine, "web", "running", seconds=0.1)
    with pytest.raises(UsageError, match="frozen"):
        lab.until(engine, "web", "frozen")
    assert lab.until(engine, "nobody", "removed") == "removed"
    assert lab.state(engine, "") == "removed"


def test_until_says_reports_what_was_said(engine: Engine) -> None:
    """A line that does not come ends in an error with the end of the log."""
    run(engine, "web")
    with pytest.raises(LabkitError, match=r"did not say 'asleep'[^$]*awake"):
        lab.until_says(engine, "web", "asleep", seconds=0.1)


def test_what_an_earlier_life_said_does_not_count(engine: Engine) -> None:
    """After a restart the container has to say it again; its whole log still holds both."""
    later = "count=$(cat /count); echo once >> /count; rm /go; echo $count later; sleep 1000"
    run(engine, "web", f"echo awake; until [ -e /go ]; do sleep 0.05; done; {later}")
    engine.client.containers.get("web").exec_run("touch /go")
    lab.until_says(engine, "web", "later")
    engine.client.api.restart("web", timeout=0)
    lab.until_says(engine, "web", "awake")
    assert lab.said(engine, "web") == ["awake"]
    engine.client.containers.get("web").exec_run("touch /go")
    lab.until_says(engine, "web", "once later")
    assert engine.client.api.logs("web").count(b"awake") == 2


def test_what_a_container_said_before_it_ended_is_found(engine: Engine) -> None:
    """A container that has ended is not waited for: what it said counts, what it did not say is an error at once."""
    engine.client.containers.run("busybox:lab", ["echo", "hello"], name="brief")
    lab.until_says(engine, "brief", "hello")
    with pytest.raises(
        LabkitError, match=r"brief is exited, not running[^$]*exit code 0[^$]*docker logs brief"
    ):
        lab.until_says(engine, "brief", "goodbye")


@pytest.mark.parametrize(
    ("running", "log", "expected"),
    [
        (True, [], 20),
        (False, [(10, "create"), (12, "start"), (20, "die"), (30, "start"), (31, "die")], 20),
        (False, [(10, "create"), (29.9, "kill"), (30, "start"), (30.1, "die")], 10),
        (False, [(30, "start"), (31, "die")], 29.5),
    ],
    ids=["it runs", "its second life", "its first", "forgotten"],
)
def test_a_start_that_is_written_down_late_hides_nothing_of_that_life(
    running: bool, log: list[tuple[float, str]], expected: float
) -> None:
    """However late a busy engine wrote a start down, what was said since the life before is of this one."""
    record = {
        "Running": running,
        "StartedAt": "1970-01-01T00:00:30Z",
        "FinishedAt": "1970-01-01T00:00:20Z" if running else "1970-01-01T00:00:31Z",
    }
    told = [observe.Event(int(at * 1e9), "container", action, "1") for at, action in log]
    assert began(record, told) == expected


def test_cells_out_of_order_are_told_at_once(engine: Engine) -> None:
    """A container that was not started, or is not there, is named with what to do; no minute passes, nothing of docker's."""
    engine.client.containers.create("busybox:lab", name="web")
    for ask in (
        lambda: lab.until_says(engine, "web", "awake"),
        lambda: lab.freezer(engine, "web"),
    ):
        with pytest.raises(LabkitError, match=r"web is created, not running[^$]*docker start web"):
            ask()
    for ask in (
        lambda: lab.until_says(engine, "nobody", "awake"),
        lambda: lab.until(engine, "nobody", "exited"),
        lambda: lab.said(engine, "nobody"),
        lambda: lab.freezer(engine, "nobody"),
        lambda: lab.writable_layer(engine, "nobody"),
    ):
        with pytest.raises(LabkitError, match=r"no container nobody[^$]*cells above"):
            ask()


def test_watch_sees_each_state_once(engine: Engine) -> None:
    """States are listed as they come, the last one too."""
    engine.capabilities.require("pause")
    run(engine, "web")
    with lab.watch(engine, "web") as seen:
        engine.client.api.pause("web")
        while "paused" not in seen:
            time.sleep(0.01)
        engine.client.api.remove_container("web", force=True)
    assert seen[:2] == ["running", "paused"] and seen[-1] == "removed"


def test_able_says_why_not(engine: Engine, capsys: pytest.CaptureFixture[str]) -> None:
    """What the engine has is silent; what it lacks is named with the reason."""
    assert lab.able(engine, "host")
    assert not capsys.readouterr().out
    lacking = next(found for found in engine.capabilities.values() if not found)
    assert not lab.able(engine, "host", lacking.name)
    assert capsys.readouterr().out == f"Skipped: this engine lacks {lacking.name} ({lacking.reason}).\n"


def test_a_name_that_is_taken_is_left_alone(
    engine: Engine, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The lab refuses to begin where its names are in use, and tidies up only what bears them, also what goes by itself."""
    remove = Container.remove

    def removed(self: Container, **options: bool) -> None:
        if self.name == "ada-twin":
            engine.client.api.remove_container(self.id)
        remove(self, **options)

    monkeypatch.setattr(Container, "remove", removed)
    for name in ("ada", "ada-twin", "adam"):
        engine.client.containers.create("busybox:lab", name=name)
    engine.client.volumes.create("ada-letters")
    with pytest.raises(Refused, match="ada, ada-letters, ada-twin"):
        lab.reserve(engine, "ada")
    lab.tidy(engine, "ada")
    lab.reserve(engine, "ada")
    assert capsys.readouterr().out == "removed: containers 2, volumes 1\n"
    assert [found.name for found in engine.client.containers.list(all=True)] == ["adam"]


def test_on_a_shared_engine_only_the_labs_own_goes(
    engine: Engine, capsys: pytest.CaptureFixture[str]
) -> None:
    """What somebody made is left and shown, whatever it is called; what came after the name was reserved goes."""
    somebody = engine.client
    with labkit.open_engine("attach", url=engine.url) as shared:
        lab.reserve(shared, "web")
        somebody.containers.create("busybox:lab", name="web")  # as `!docker run` makes it, without a label
        somebody.volumes.create("web-data")
        for tag in ("web-shop", "web", "shop-web-shop"):
            somebody.api.tag("busybox:lab", tag)
        lab.tidy(shared, "web")
        assert capsys.readouterr().out == "removed: containers 1, volumes 1, images 1\n"
        tags = [tag for found in somebody.images.list() for tag in found.tags]
        assert sorted(tags) == ["busybox:lab", "shop-web-shop:latest", "web:latest"]
        somebody.containers.create("busybox:lab", name="shop-prod")
        somebody.volumes.create("shop-orders")
        shared.client.containers.create("busybox:lab", name="shop-lab")
        shared.client.volumes.create("shop-lab")
        with pytest.raises(Refused, match="shop-prod, shop-web-shop:latest"):
            lab.reserve(shared, "shop")
        lab.tidy(shared, "shop")
    assert capsys.readouterr().out.splitlines() == [
        "removed: containers 1, volumes 1",
        "left, not made by this lab: docker rm --force shop-prod",
        "left, not made by this lab: docker volume rm shop-orders",
    ]
    assert somebody.images.get("shop-web-shop") and [
        found.name for found in somebody.containers.list(all=True)
    ] == ["shop-prod"]
    assert [found.name for found in somebody.volumes.list()] == ["shop-orders"]


def test_watching_goes_on_after_an_engine_that_did_not_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the container does once its engine answers again is seen."""
    answers = iter(["running", None, "paused"])

    def state(engine: Engine, container: str) -> str:
        if (answer := next(answers, "paused")) is None:
            raise requests.ConnectionError
        return answer

    monkeypatch.setattr(waiting, "state", state)
    with waiting.watch(cast("Engine", None), "web") as seen:
        end = time.monotonic() + 60
        while len(seen) < 2 and time.monotonic() < end:
            time.sleep(0.01)
        assert seen == ["running", "paused"]
