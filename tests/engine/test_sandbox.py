"""The life of a private engine: its daemon's operations, its states, its owner's end."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path

import docker
import pytest

import labkit
from labkit import paths
from labkit.engine import Engine, prepared, records
from labkit.errors import EngineFailed, UsageError
from tests.engine import machine


def wait_until(holds, seconds: float = 60) -> None:  # type: ignore[no-untyped-def]
    """Wait for something to become true; fail when it does not."""
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, "it did not become true in time"
        time.sleep(0.02)


def run_sleeper(engine: Engine, name: str = "sleeper"):  # type: ignore[no-untyped-def]
    return engine.client.containers.run("busybox:lab", ["sleep", "1000"], name=name, detach=True, init=True)


def test_socket_and_folders_are_the_users_alone(engine: Engine) -> None:
    """The API socket has mode 0600 and lies in folders of mode 0700; other users reach nothing."""
    path = Path(engine.url.removeprefix("unix://"))
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert stat.S_IMODE(path.parent.parent.stat().st_mode) == 0o700


def test_stop_and_start(engine: Engine) -> None:
    """A stopped daemon does not answer, its host stays, and it starts again with its containers."""
    run_sleeper(engine)
    engine.stop()
    assert not engine.ping()
    assert "docker: not running" in engine.host.run(["engine-service", "status"], check=False).stdout
    engine.start()
    assert [c.name for c in engine.client.containers.list(all=True)] == ["sleeper"]


def test_kill_leaves_containers_that_the_next_daemon_cleans_up(engine: Engine) -> None:
    """A daemon killed with SIGKILL leaves its containers running, as a crash does."""
    run_sleeper(engine)
    engine.kill()
    assert not engine.ping()
    assert "sleep 1000" in engine.host.run("cat /proc/*/cmdline | tr '\\0' ' '").stdout
    engine.start()
    assert engine.ping()


def test_restart_with_live_restore_keeps_containers_running(engine: Engine) -> None:
    """daemon.json can be changed with a restart; with live-restore the container does not notice."""
    engine.reload({"live-restore": True})
    container = run_sleeper(engine)
    pid = container.attrs["State"]["Pid"] or engine.client.api.inspect_container("sleeper")["State"]["Pid"]
    engine.restart({"debug": True})
    assert engine.client.info()["Debug"] is True
    assert engine.client.api.inspect_container("sleeper")["State"]["Pid"] == pid
    engine.restart({"live-restore": None, "debug": None})
    assert engine.client.info()["LiveRestoreEnabled"] is False


def test_reload_changes_labels_live(engine: Engine) -> None:
    """reload() has the daemon read daemon.json again without a restart."""
    engine.reload({"labels": ["room=7"]})
    assert engine.client.info()["Labels"] == ["room=7"]
    engine.reload({"labels": []})


def test_bad_configuration_is_refused_and_put_back(engine: Engine) -> None:
    """A daemon.json that the daemon rejects is an error that shows the daemon's words; the former one is put back."""
    before = engine.host.read("/etc/docker/daemon.json")
    with pytest.raises(EngineFailed) as caught:
        engine.restart({"storage-driver": "punch-cards"})
    assert "punch-cards" in str(caught.value)
    with pytest.raises(UsageError, match="as in daemon"):
        engine.restart({"labels": {"no list, and no JSON"}})
    assert engine.host.read("/etc/docker/daemon.json") == before
    assert engine.ping(), "the daemon runs with the former configuration"


@pytest.mark.parametrize(
    "config", [{"labels": "no list"}, {"colour": "red"}, {"max-concurrent-downloads": -5}]
)
def test_bad_configuration_is_refused_by_a_reload_too(engine: Engine, config: dict[str, object]) -> None:
    """A reload that the daemon refuses is an error that shows the daemon's words; the former file is back, and in force."""
    engine.reload({"debug": True})
    before = engine.host.read("/etc/docker/daemon.json")
    with pytest.raises(
        EngineFailed, match=r"level=error .*(labels|colour|invalid max concurrent downloads: -5)"
    ):
        engine.reload(config)
    assert engine.host.read("/etc/docker/daemon.json") == before
    engine.restart()
    assert engine.client.info()["Debug"] is True
    engine.restart({"debug": None})


def test_images_survive_daemon_restarts(engine: Engine) -> None:
    """Image layers that come from the store are still there after the daemon was restarted."""
    engine.restart()
    assert engine.client.containers.run("busybox:lab", ["echo", "there"], remove=True) == b"there\n"


def test_reset_gives_the_state_at_the_start(engine: Engine) -> None:
    """After reset() the images are there, and nothing else is; the URL is the same."""
    url = engine.url
    run_sleeper(engine)
    engine.client.volumes.create("data")
    engine.reset()
    assert engine.url == url
    assert engine.client.containers.list(all=True) == []
    assert engine.client.volumes.list() == []
    assert [image.tags for image in engine.client.images.list()] == [["busybox:lab"]]


def test_removing_an_image_does_not_touch_the_store(engine: Engine) -> None:
    """An image that is removed on one engine is there again after a reset: its layers are shared read-only."""
    engine.client.images.remove("busybox:lab", force=True)
    engine.reset()
    assert engine.client.containers.run("busybox:lab", ["ls", "/bin/sleep"], remove=True) == b"/bin/sleep\n"


def test_saved_state_can_be_opened_by_another_engine(engine: Engine) -> None:
    """save() keeps containers, volumes and images; a new engine starts with them, and changes do not flow back."""
    name = f"test-{engine.pack.name}-{os.getpid()}"  # type: ignore[attr-defined]
    engine.client.containers.run(
        "busybox:lab", ["sh", "-c", "echo 42 >/data/answer"], name="writer", volumes=["data:/data"]
    )
    engine.client.containers.get("writer").commit("answered", "lab")
    former = engine.state  # type: ignore[attr-defined]
    try:
        engine.save(name)
        with labkit.open_engine(name="other", pack=engine.pack.name, state=name) as other:  # type: ignore[attr-defined]
            read = ["cat", "/data/answer"]
            assert (
                other.client.containers.run("answered:lab", read, volumes=["data:/data"], remove=True)
                == b"42\n"
            )
            other.client.containers.get("writer").remove(v=True)
            other.client.volumes.get("data").remove()
        assert [c.name for c in engine.client.containers.list(all=True)] == ["writer"]
        assert engine.client.volumes.get("data")
    finally:
        engine.state = former  # type: ignore[attr-defined]
        engine.reset()
        prepared.remove(name)
    assert name not in prepared.names()


def test_the_log_is_the_daemons_own(engine: Engine) -> None:
    """logs() gives the daemon's log, and its last lines on request."""
    assert "API listen on" in engine.logs()
    assert len(engine.logs(tail=2).splitlines()) == 2


def test_the_hosts_first_process_collects_zombies(engine: Engine) -> None:
    """A process that loses its parent on the host is collected: no zombie stays."""
    engine.host.run("(sleep 0.01 &) ; (sleep 0.02 &)")
    wait_until(lambda: "Z" not in engine.host.run("ps -eo stat=").stdout)


def test_same_name_again_starts_afresh() -> None:
    """Opening the same name twice in one process ends the first engine: a notebook's first cell can be run again."""
    first = labkit.open_engine(name="again", images=["busybox"])
    run_sleeper(first)
    with labkit.open_engine(name="again", images=["busybox"]) as second:
        assert not Path(first.url.removeprefix("unix://")).exists()
        assert second.client.containers.list(all=True) == []
        assert "closed" in repr(first)


OWNER = """
import sys, time, labkit
engine = labkit.open_engine(name="owned", images=["busybox"])
engine.client.containers.run("busybox:lab", ["sleep", "1000"], detach=True, ports={"80/tcp": None}).pause()
print(engine.id, engine.host.pid, flush=True)
time.sleep(1000)
"""


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_engine_ends_with_its_owner(number: signal.Signals) -> None:
    """Whatever ends the owner, kill -9 included, ends the engine: no process, no folder, no cgroup stays."""
    owner = subprocess.Popen(
        [sys.executable, "-c", OWNER], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    assert owner.stdout is not None
    id_, init = owner.stdout.readline().split()
    record = records.ready(id_)
    assert record is not None
    owner.send_signal(number)
    owner.wait()
    wait_until(lambda: not record.alive)  # its keeper, which goes last
    assert not (paths.runtime() / id_).exists()
    assert not Path(f"/proc/{init}").exists()
    assert not (paths.home() / "engines" / id_).exists()
    assert not [group for group in machine.groups() if id_ in group]


def test_gc_removes_what_a_killed_keeper_leaves() -> None:
    """When keeper and owner are both killed, the kernel ends the engine, and gc removes its folders and cgroups."""
    owner = subprocess.Popen(
        [sys.executable, "-c", OWNER], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    assert owner.stdout is not None
    id_, init = owner.stdout.readline().split()
    record = records.find(id_)
    os.kill(record.facts["keeper"]["pid"], signal.SIGKILL)
    owner.kill()
    owner.wait()
    wait_until(lambda: not record.alive)
    records.collect()
    wait_until(lambda: not Path(f"/proc/{init}").exists())
    # that of another test may have begun with it
    wait_until(lambda: not (paths.runtime() / id_).exists() and not (paths.home() / "engines" / id_).exists())
    wait_until(lambda: not [group for group in machine.groups() if id_ in group])


def test_gc_leaves_running_engines_alone(engine: Engine) -> None:
    """gc touches nothing of an engine that runs."""
    container = run_sleeper(engine)
    records.collect()
    container.reload()
    assert container.status == "running"
    assert (
        engine.client.containers.run("busybox:lab", ["echo", "on"], remove=True, mem_limit="32m") == b"on\n"
    )


def test_a_start_that_fails_leaves_nothing() -> None:
    """A daemon that cannot start is one error, how it went and then the end of its log, and leaves no folder."""
    with pytest.raises(EngineFailed) as caught:
        labkit.open_engine(name="doomed", config={"bip": "not-an-address", "debug": True})
    assert "not-an-address" in str(caught.value)
    assert str(caught.value.seen).startswith("the daemon "), "however long the log is"
    assert not list(paths.runtime().glob("doomed-*"))
    assert not list((paths.home() / "engines").glob("doomed-*"))


def test_images_of_a_private_engine_cost_no_copy(engine: Engine) -> None:
    """Image layers are bound from the store, read-only: the engine's own data-root holds no copy of them."""
    assert "busybox:lab" in engine.client.images.list()[0].tags
    layers = engine.host.run(
        "findmnt --noheadings --list --output TARGET,OPTIONS | grep overlay2 | grep diff"
    ).stdout
    assert layers.splitlines()
    assert all(" ro" in line for line in layers.splitlines())


def test_docker_errors_are_not_swallowed(engine: Engine) -> None:
    """The daemon's refusals reach the caller as they are."""
    with pytest.raises(docker.errors.APIError, match=r"executable file not found|no such file"):
        engine.client.containers.run("busybox:lab", ["no-such-program"])


def test_the_command_line_leaves_nothing_in_the_users_temporary_folder(
    engine: Engine, tmp_path: Path
) -> None:
    """What a build from standard input leaves lies in the engine's own folder, and goes with it."""
    done = subprocess.run(
        ["docker", "build", "--quiet", "-"],
        input=b"FROM busybox:lab\nLABEL a=b\n",
        env={**os.environ, **engine.environ, "TMPDIR": str(tmp_path)},
        check=False,
        capture_output=True,
    )
    assert done.stdout.startswith(b"sha256:"), done.stderr
    assert list(tmp_path.iterdir()) == []
