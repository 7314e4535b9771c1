"""What changed on a live engine between two looks."""

from __future__ import annotations

import json
import random
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest
from docker.errors import APIError

import labkit
from labkit.engine import Engine
from labkit.errors import EngineUnreachable
from labkit.lab import until_says
from labkit.lab.changes import Changes, Looks
from labkit.lab.changes.comparing import folded
from labkit.lab.changes.fields import differences
from labkit.lab.changes.snapshots import look
from labkit.observe import events

LOOP = ["sh", "-c", "trap 'exit 3' TERM; echo awake; while :; do sleep 0.05; done"]


@pytest.fixture
def looks(engine: Engine) -> Iterator[Looks]:
    """Looks that have begun, on an engine whose ``docker`` this process uses."""
    engine.use()
    looks = Looks(engine)
    looks.begin()
    yield looks
    engine.unuse()


def docker(*arguments: str) -> None:
    subprocess.run(["docker", *arguments], check=True, capture_output=True)


def rows(found: Changes) -> list[tuple[str, str, str, str]]:
    return [(each.object, each.what, each.before, each.after) for each in found.changes]


def test_nothing_is_said_to_be_nothing(looks: Looks) -> None:
    """Two looks with nothing between them say so, in text and in HTML, and are false."""
    found = looks.changed()
    assert not found
    assert repr(found) == "nothing changed on the engine"
    assert "nothing changed on the engine" in found._repr_mimebundle_()[0]["text/html"]


def test_what_came_and_went_and_differs(engine: Engine, looks: Looks) -> None:
    """Objects of each kind that came, differ and went are told by name, with the events in their order, and with no id."""
    docker("volume", "create", "data")
    docker("network", "create", "net")
    docker(
        "run", "-d", "--name", "web", "-v", "data:/data", "-v", "/anon", "-p", "8080:80", "busybox:lab", *LOOP
    )
    until_says(engine, "web", "awake")
    came = looks.changed()
    assert rows(came) == [
        ("container web", "came", "-", "running, busybox:lab"),
        ("volume data", "came", "-", "local"),
        ("volume ‹of web at /anon›", "came", "-", "local"),
        ("network net", "came", "-", "bridge"),
    ]
    assert came.events[-1] == "container web: start" and not came.notes
    docker("update", "--memory", "64m", "--memory-swap", "64m", "web")
    docker("network", "connect", "net", "web")
    docker("rename", "web", "shop")
    docker("tag", "busybox:lab", "app:one")
    docker("stop", "shop")
    assert rows(looks.changed()) == [
        ("container shop", "Name", "web", "shop"),
        ("container shop", "State.Status", "running", "exited"),
        ("container shop", "State.ExitCode", "0", "3"),
        ("container shop", "HostConfig.Memory", "-", "64m"),
        ("container shop", "HostConfig.MemorySwap", "-", "64m"),
        ("container shop", "NetworkSettings.Networks.net", "-", "joined"),
        ("container shop", "NetworkSettings.Ports.80/tcp", "8080", "-"),
        ("image app:one", "RepoTags", "busybox:lab", "app:one, busybox:lab"),
    ]
    docker("rm", "-v", "shop")
    docker("volume", "rm", "data")
    docker("network", "rm", "net")
    docker("rmi", "app:one")
    gone = looks.changed()
    assert [each[:2] for each in rows(gone)] == [
        ("container shop", "gone"),
        ("image busybox:lab", "RepoTags"),
        ("volume data", "gone"),
        ("volume ‹of shop at /anon›", "gone"),
        ("network net", "gone"),
    ]
    assert looks.changed().changes == ()


def test_an_object_made_anew_is_told_from_the_former(engine: Engine, looks: Looks) -> None:
    """Another object under the same name is "made anew", with what differs; what only passed through is told once."""
    for kind in ("volume", "network"):
        docker(kind, "create", "same")
    docker("create", "--name", "web", "-e", "API_TOKEN=hunter22", "-e", "COLOUR=red", "busybox:lab", "true")
    looks.changed()
    docker("rm", "web")
    docker("create", "--name", "web", "-e", "API_TOKEN=hunter33", "-e", "COLOUR=blue", "busybox:lab", "true")
    for kind in ("volume", "network"):
        docker(kind, "rm", "same")
        docker(kind, "create", "--label", "by=ada", "same")
    for name in ("brief", "often", "often"):
        docker("run", "--rm", "--name", name, "busybox:lab", "true")
    found = looks.changed()
    assert rows(found) == [
        ("container brief", "came and went", "-", "-"),
        ("container often", "came and went, 2 times", "-", "-"),
        ("container web", "made anew", "created, busybox:lab", "created, busybox:lab"),
        ("container web", "Config.Env.API_TOKEN", "••••••", "•••••• (another)"),
        ("container web", "Config.Env.COLOUR", "red", "blue"),
        ("volume same", "made anew", "local", "local"),
        ("volume same", "Labels.by", "-", "ada"),
        ("network same", "made anew", "bridge", "bridge"),
        ("network same", "Labels.by", "-", "ada"),
    ]
    assert "hunter" not in repr(found) + found._repr_mimebundle_()[0]["text/html"]


def test_text_is_the_same_every_time(engine: Engine, looks: Looks) -> None:
    """The same commands once more make the same text: no ids, times, processes, free ports."""
    told = set()
    for _ in range(2):
        docker("run", "-d", "--name", "web", "-P", "--expose", "80", "-v", "/anon", "busybox:lab", *LOOP)
        until_says(engine, "web", "awake")  # it acts on SIGTERM from then on
        first = looks.changed()
        docker("exec", "web", "true")
        docker("restart", "web")
        until_says(engine, "web", "awake")
        second = looks.changed()
        docker("stop", "web")
        third = looks.changed()
        docker("rm", "-f", "-v", "web")
        told.add("\n".join(map(repr, (first, second, third, looks.changed()))))
    assert len(told) == 1, told
    assert "a free port" in told.pop()


def test_more_events_than_the_engine_remembers(engine: Engine, looks: Looks) -> None:
    """When the log has lost the event that tells of a change, the change is found all the same, and the loss is told."""
    docker("create", "--name", "web", "busybox:lab", "true")
    looks.changed()
    docker("update", "--memory", "64m", "--memory-swap", "64m", "web")
    for number in range(130):  # two events each; the row of `web` in the list stays as it is
        engine.client.api.create_volume(f"v{number}")
        engine.client.api.remove_volume(f"v{number}")
    found = looks.changed()
    assert ("container web", "HostConfig.Memory", "-", "64m") in rows(found)
    assert found.notes == ("events may be missing: the engine remembers its last 256",)


def test_a_quick_look_sees_what_a_whole_look_sees(engine: Engine) -> None:
    """After each of many acts in any order, the snapshot that asks only for what was touched is that of everything anew.

    And all events of that time are told, each once.
    """
    chance, api = random.Random(20), engine.client.api
    names = ["one", "two"]

    def create(name: str) -> None:
        api.create_container(
            "busybox:lab", LOOP, name=name, host_config=api.create_host_config(binds=["data:/data"])
        )

    def kill(name: str) -> None:
        api.kill(name)
        api.wait(name)

    acts: list[Callable[[str], object]] = [
        create,
        create,
        api.start,
        api.start,
        api.pause,
        api.unpause,
        kill,
        lambda name: api.rename(name, chance.choice(names)),
        lambda name: api.update_container(name, cpu_shares=chance.randrange(2, 2000)),
        lambda name: api.exec_start(api.exec_create(name, ["touch", "/made"])["Id"]),
        lambda name: api.connect_container_to_network(name, "net"),
        lambda name: api.disconnect_container_from_network(name, "net", force=True),
        lambda name: api.remove_container(name, force=True),
        lambda name: api.tag("busybox:lab", "made", tag=name),
        lambda name: api.remove_image(f"made:{name}"),
        api.create_volume,
        api.remove_volume,
    ]
    api.create_network("net")
    before, done = look(engine), 0
    told = [event.nano for event in before.events]
    began = before.mark
    assert began
    for _ in range(50):
        with suppress(APIError):
            chance.choice(acts)(chance.choice(names))
            done += 1
        before = look(engine, before)
        told += [event.nano for event in before.events]
        anew = look(engine)
        assert {key: each.raw for key, each in before.things.items()} == {
            key: each.raw for key, each in anew.things.items()
        }
        assert not before.gap
    happened = [event.nano for event in events(engine) if event.nano > began.nano]
    assert done > 12 and told == happened
    for name in names:
        with suppress(APIError):
            api.remove_image(f"made:{name}")


def test_a_daemon_that_was_started_again(engine: Engine, looks: Looks) -> None:
    """Changes before and after a restart of the daemon are found, the lost events told; its own networks are not changes."""
    docker("run", "-d", "--name", "web", "busybox:lab", *LOOP)
    looks.changed()
    docker("update", "--restart", "on-failure", "web")
    engine.stop()
    with pytest.raises(EngineUnreachable):
        looks.changed()
    engine.start()
    found = looks.changed()
    assert ("container web", "HostConfig.RestartPolicy.Name", "no", "on-failure") in rows(found)
    assert {each.object for each in found.changes} == {"container web"}
    assert "started again" in found.notes[0]
    assert not looks.changed()


def test_a_clock_that_was_set_back(engine: Engine, looks: Looks) -> None:
    """What changed is found, and that its events cannot be told is said, once; old events are not told as new ones."""
    for name in ("old", "older"):
        engine.client.volumes.create(name)
    looks.changed()
    last = looks._last
    assert last and last.mark
    looks._last = replace(last, mark=replace(last.mark, nano=last.mark.nano + 3600 * 10**9))
    engine.client.volumes.create("new")
    found = looks.changed()
    assert rows(found) == [("volume new", "came", "-", "local")]
    assert (found.events, found.notes) == ((), ("events may be missing: the clock was set back since",))
    engine.client.volumes.get("new").remove()
    assert looks.changed().events == ("volume new: destroy",)


def test_an_engine_that_was_reset(module_engine: Engine) -> None:
    """After a reset what was there is gone, what is there anew is found."""
    looks = Looks(module_engine)
    module_engine.client.api.create_container("busybox:lab", name="web")
    looks.begin()
    module_engine.reset()
    module_engine.client.api.create_container("busybox:lab", name="other")
    found = looks.changed()
    assert [each[:2] for each in rows(found)] == [("container other", "came"), ("container web", "gone")]
    module_engine.client.api.remove_container("other")


def test_a_health_check_is_no_event(engine: Engine, looks: Looks) -> None:
    """What a health check runs is not told, however often it did; what somebody runs there is, and so is the health."""
    health = ["--health-cmd", "test -e /tmp", "--health-interval", "20ms"]
    docker("run", "-d", "--name", "web", *health, "busybox:lab", *LOOP)
    deadline = time.monotonic() + 60
    while (
        engine.client.api.inspect_container("web")["State"]["Health"]["Status"] != "healthy"
        and time.monotonic() < deadline
    ):
        time.sleep(0.02)
    docker("exec", "web", "echo", "by hand")
    docker("exec", "web", "true")
    told = " ".join(looks.changed().events)
    assert "test -e" not in told and "health_status: healthy" in told
    assert "exec_start: echo by hand, exec_die (exit code 0)" in told
    assert "exec_start: true, exec_die (exit code 0)" in told


@pytest.mark.parametrize(
    ("done", "told"),
    [
        ("a a a b", "3 × (a), b"),
        ("s e s e s e s x", "3 × (s, e), s, x"),
        ("a b a", "a, b, a"),
        ("a a b a a b", "2 × (a), b, 2 × (a), b"),
        ("a", "a"),
        ("", ""),
    ],
)
def test_what_is_done_again_and_again_is_told_once(done: str, told: str) -> None:
    """Alone or in pairs, with how often; never of two objects together."""
    parts = [("web", what) for what in done.split()]
    assert ", ".join(what for _, what in folded(parts)) == told
    assert folded([("web", "a"), ("db", "a")] * 2) == [("web", "a"), ("db", "a")] * 2


def test_a_shared_engine_leaves_open_who_did_it(engine: Engine) -> None:
    """On a shared engine each change bears the note that nobody knows who made it."""
    with labkit.open_engine("attach", url=engine.url) as shared:
        looks = Looks(shared)
        looks.begin()
        assert not looks.changed().notes
        engine.client.volumes.create("theirs")
        found = looks.changed()
    assert rows(found) == [("volume theirs", "came", "-", "local")]
    assert found.notes == ("a shared engine: who did it cannot be known",)


def test_following_shows_what_a_cell_changed(
    engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Switched on, each cell's changes are displayed after it, a cell that changed nothing has none, and off is off."""
    from IPython.core.interactiveshell import InteractiveShell
    from IPython.utils.capture import capture_output

    monkeypatch.setenv("IPYTHONDIR", str(tmp_path))
    shell = InteractiveShell.instance()
    try:
        shell.user_ns.update(looks=Looks(engine), api=engine.client.api)
        cells = [
            "looks.follow()",
            "api.create_volume('one') and None",
            "1",
            "looks.follow(False)",
            "api.create_volume('two') and None",
            "looks.follow(); type(looks)(looks._engine).end()",
            "api.create_volume('three') and None",
            "looks.end()",
            "api.create_volume('four') and None",
        ]
        shown = []
        for cell in cells:
            with capture_output() as captured:
                shell.run_cell(cell)
            shown.append("".join(output.data["text/plain"] for output in captured.outputs) + captured.stdout)
        assert "volume one" in shown[1]
        assert "volume" not in shown[0] + shown[2] + shown[3] + shown[4]
        assert "volume three" in shown[6] and "volume" not in shown[5] + shown[7] + shown[8]
    finally:
        Looks._following = None
        InteractiveShell.clear_instance()


@pytest.mark.parametrize(
    ("field", "value", "told"),
    [
        (("HostConfig", "NanoCpus"), 1_500_000_000, ("HostConfig.NanoCpus", "-", "1.5")),
        (("HostConfig", "MemorySwap"), -1, ("HostConfig.MemorySwap", "-", "no limit")),
        (
            ("Config", "Cmd"),
            ["redis", "--requirepass", "hunter22"],
            ("Config.Cmd", "-", "redis --requirepass ••••••"),
        ),
        (("Config", "Labels"), {"db.password": "x"}, ("Config.Labels.db.password", "-", "••••••")),
        (("HostConfig", "ReadonlyRootfs"), True, ("HostConfig.ReadonlyRootfs", "-", "yes")),
        (("State", "Pid"), 77, None),
        (("HostConfig", "ConsoleSize"), [24, 80], None),
    ],
)
def test_fields_are_told_as_people_write_them(
    field: tuple[str, str], value: object, told: tuple[str, str, str] | None
) -> None:
    """Sizes, shares of a CPU, words of a command and switches are readable; secrets are masked; what passes is left out."""
    bare = {
        "Id": "ab" * 32,
        "Name": "/web",
        "State": {"StartedAt": "0001-01-01T00:00:00Z"},
        "Config": {},
        "HostConfig": {},
        "NetworkSettings": {},
    }
    other = json.loads(json.dumps(bare))
    other[field[0]][field[1]] = value
    assert list(differences("container", bare, other, {})) == ([told] if told else [])
