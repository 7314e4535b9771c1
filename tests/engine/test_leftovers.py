"""`labkit engine gc`: what a cut-off work or engine left goes; what anybody uses, from wherever, stays."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

import labkit
from labkit import paths
from labkit.engine import images, leftovers, locks, packs, prepared, records
from labkit.engine.host import Host
from labkit.engine.processes import Process
from labkit.errors import EngineFailed, EngineUnreachable


def aged(path: Path) -> Path:
    """*path*, as if nobody had touched it for a minute."""
    os.utime(path, (time.time() - 60, time.time() - 60))
    return path


def quiet(_: str) -> None:
    pass


def test_gc_spares_engines_of_another_runtime_folder(
    own_folders: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """An engine that was started with another LABKIT_RUNTIME keeps its data and the image layers that are bound into it.

    The prepared state to which it goes back is kept too, whatever has changed since.
    """
    home, _ = own_folders
    with labkit.open_engine(name="afar", images=["busybox"]) as engine:
        for folder in (home / "engines").iterdir():
            aged(folder)
        (state,) = prepared.names()
        other = Path(f"/tmp/lk-other-{os.getpid()}")
        with monkeypatch.context() as patch:
            patch.setenv("LABKIT_RUNTIME", str(other))
            patch.setattr(images, "stale_states", prepared.names)
            told = leftovers.collect()
            assert prepared.names() == [state]
            prepared.remove(state)
            told += leftovers.collect()
            assert records.listed() == []
        for entry in (other / ".labkit", other):
            entry.unlink() if entry.is_file() else entry.rmdir()
        assert told == []
        assert engine.client.containers.run("busybox:lab", ["echo", "on"], remove=True) == b"on\n"
    assert "image layers that nothing uses" in " ".join(leftovers.collect())


def test_gc_removes_the_data_of_an_engine_that_nobody_keeps(own_folders: tuple[Path, Path]) -> None:
    """Data and runtime folder of an engine without record go once nobody uses them; folders of other names stay."""
    home, runtime = own_folders
    for folder in (home / "engines/lost-0a1b2c", runtime / "lost-0a1b2c", runtime / "letters"):
        folder.mkdir(parents=True)
        aged(folder)
    (runtime / ".labkit").touch()
    with locks.using(home / "engines/lost-0a1b2c"):
        records.collect()
        assert (home / "engines/lost-0a1b2c").exists()
    told = records.collect()
    assert len(told) == 1, told
    assert not (home / "engines/lost-0a1b2c").exists() and not (runtime / "lost-0a1b2c").exists()
    assert (runtime / "letters").exists()


HALF_MADE = [
    ".import-4194300.tar.gz",
    ".lab-0a1b2c.saved/docker",
    "images/.import-4194300.tar",
    "images/.export-4194300.tar",
    "images/.nginx.tar",
    "images/.nginx.json.4194300.fresh",
    "images/.nginx.json.4194300.former",
    "packs/.debian-13.making/rootfs",
    "packs/.debian-13.export.tar.gz",
    "packs/.scratch-x1/file",
    "prepared/.images-0.7.making/docker",
]


def test_gc_removes_what_is_half_made_but_not_under_a_worker(own_folders: tuple[Path, Path]) -> None:
    """Half-made files stay while something is being made, and go afterwards; images and packs stay."""
    home, _ = own_folders
    for name in HALF_MADE:
        (home / name).parent.mkdir(parents=True, exist_ok=True)
        (home / name).write_bytes(b"x")
    with locks.working():
        assert "making something" in " ".join(leftovers.collect())
        assert all((home / name).exists() for name in HALF_MADE)
    assert len(leftovers.collect()) == len(HALF_MADE)
    assert [name for name in HALF_MADE if (home / name.split("/")[0] / Path(name).name).exists()] == []
    assert not any((home / name).exists() for name in HALF_MADE)
    assert images.stored("busybox") and packs.names()
    assert leftovers.collect() == []


def test_gc_removes_the_socket_of_a_killed_trace(own_folders: tuple[Path, Path]) -> None:
    """A socket where nobody listens goes; one that is listened at, or that is quite new, stays."""
    _, runtime = own_folders
    held = [socket.socket(socket.AF_UNIX) for _ in range(3)]
    places = [paths.runtime() / f"trace-0000000{number}.sock" for number in range(3)]
    for each, place in zip(held, places, strict=True):
        each.bind(str(place))
    held[1].listen()
    for place in places[:2]:
        aged(place)
    assert leftovers.collect() == [f"{places[0]}: removed"]
    assert sorted(runtime.glob("trace-*")) == places[1:]
    for each in held:
        each.close()


def test_gc_removes_prepared_images_that_have_changed(own_folders: tuple[Path, Path]) -> None:
    """A prepared state goes when an image, or the pack, is no longer the one that it was made of; a person's own stays."""
    home, _ = own_folders
    state = images.prepared_with(["busybox"], packs.find("debian-13"), quiet)
    with labkit.open_engine(name="mine", state=state) as engine:
        engine.save("mine")
    assert leftovers.collect() == []
    facts = home / "images/busybox.json"
    facts.write_text(json.dumps({**json.loads(facts.read_text()), "id": "sha256:0"}))
    told = leftovers.collect()
    assert any(state in line for line in told), told
    assert prepared.names() == ["mine"]
    with labkit.open_engine(name="mine", state="mine") as engine:
        assert engine.client.containers.run("busybox:lab", ["echo", "on"], remove=True) == b"on\n"


def test_an_engine_that_starts_can_be_stopped_and_is_not_taken_for_dead(
    own_folders: tuple[Path, Path],
) -> None:
    """From the moment its record is there, an engine counts as alive, gc spares it, --host says that there is none, and
    stop ends it."""
    home, _ = own_folders
    starting = subprocess.Popen(
        [sys.executable, "-c", "import labkit; labkit.open_engine(name='slow')"],
        env={**os.environ, "PYTHONPATH": str(slow_labkit(home.parent))},
        cwd=home.parent,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        end = time.monotonic() + 60
        while not (records.listed() and records.listed()[0].facts.get("keeper")):
            assert time.monotonic() < end and starting.poll() is None
            time.sleep(0.005)
        (record,) = records.listed()
        assert record.init is None
        for folder in (record.folder, Path(record.facts["data"])):
            aged(folder)
        assert record.alive and records.collect() == []
        command = [sys.executable, "-m", "labkit", "engine", "exec", "--host", "slow", "touch", "/tmp/x"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 3 and "still starting" in done.stderr
        assert record.stop()
        assert starting.wait(60) == 1
    finally:
        starting.kill()
        starting.communicate()


def slow_labkit(folder: Path) -> Path:
    """A folder with a labkit whose engines take long to boot, as on a machine that is busy or short of memory."""
    half_written = shutil.ignore_patterns("*.pyc.*")  # by another process, just now
    shutil.copytree(Path(labkit.__file__).parent, folder / "lib/labkit", ignore=half_written)
    (folder / "lib/labkit/engine/boot.sh").write_text("exec sleep 1000\n")
    return folder / "lib"


def test_commands_do_not_enter_what_took_the_hosts_number(own_folders: tuple[Path, Path]) -> None:
    """A host whose first process has ended is gone, even if another process has its number by now."""
    from labkit.engine.host import NamespaceHost

    me = Process.current()
    assert NamespaceHost(me).argv(["true"])
    with pytest.raises(EngineUnreachable, match="gone"):
        NamespaceHost(Process(me.pid, me.started - 1)).run("true")


def test_a_state_that_cannot_be_kept_costs_nothing(own_folders: tuple[Path, Path]) -> None:
    """Where save() fails, the engine goes on with its containers, volumes and images, and nothing half-made is left."""
    home, _ = own_folders
    with labkit.open_engine(name="keeps", images=["busybox"]) as engine:
        write = ["sh", "-c", "echo 42 >/data/answer"]
        engine.client.containers.run("busybox:lab", write, name="writer", volumes=["data:/data"])
        engine.client.containers.get("writer").commit("answered", "lab")
        layers = sorted((home / "layers").iterdir())
        (home / "prepared").rename(home / "kept")
        (home / "prepared").touch()
        with pytest.raises(labkit.LabkitError, match="could not keep"):
            engine.save("never")
        (home / "prepared").unlink()
        (home / "kept").rename(home / "prepared")
        read = engine.client.containers.run("answered:lab", ["cat", "/data/answer"], volumes=["data:/data"])
        assert read == b"42\n"
        assert sorted((home / "layers").iterdir()) == layers
        assert not list(home.glob(".*.saved"))
        engine.save("now")
        assert "now" in prepared.names()


MOUNTED = """
import labkit, subprocess
from labkit import paths
with labkit.open_engine(name="late", images=["busybox"]) as engine:
    engine.client.containers.run("busybox:lab", ["sh", "-c", "echo 42 >/answer"], name="writer")
    engine.client.containers.get("writer").commit("answered", "lab")
    layers = sorted(path.name for path in (paths.home() / "layers").iterdir())
    place = paths.home() / "prepared/never"
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", place], check=True)
    try:
        engine.save("never")
    except labkit.LabkitError as error:
        print("told:", error)
    print(engine.client.containers.run("answered:lab", ["cat", "/answer"], remove=True))
    print(layers == sorted(path.name for path in (paths.home() / "layers").iterdir()))
    print(sorted(path.name for path in (paths.home() / "prepared").glob(".*")))
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount")
def test_a_state_that_fails_at_the_last_step_is_put_back(own_folders: tuple[Path, Path]) -> None:
    """Layers and data-root that were moved to the new state already are moved back when its last step fails."""
    done = subprocess.run(
        ["unshare", "--mount", sys.executable, "-c", MOUNTED],
        capture_output=True,
        text=True,
        check=False,
        timeout=280,
    )
    assert "told: could not keep" in done.stdout, done.stdout + done.stderr
    assert done.stdout.endswith("b'42\\n'\nTrue\n[]\n"), done.stdout + done.stderr


FILLED = """
import labkit, os, shutil, sys
from labkit import paths
with labkit.open_engine(name="full") as engine:
    engine.client.volumes.create("data")
    engine.host.write("/var/lib/docker/volumes/data/_data/answer", "42")
    descriptor = os.open(paths.home() / "runs", os.O_CREAT | os.O_WRONLY)
    for size in (4096, 1):
        try:
            while True:
                os.write(descriptor, b"x" * size)
        except OSError:
            pass
    try:
        engine.save("never")
    except labkit.LabkitError as error:
        print("told:", error)
    print(engine.ping(), engine.host.read("/var/lib/docker/volumes/data/_data/answer"))
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount a small disk")
def test_a_full_disk_does_not_cost_the_engine(own_folders: tuple[Path, Path]) -> None:
    """On a disk that is full to the last byte, save() is an error before anything is stopped."""
    home, _ = own_folders
    script = (
        'mkdir "$0.d" && mount -t tmpfs -o mode=0700,size=300m tmpfs "$0.d" && mkdir "$0.d/packs" && '
        'ln -s "$0"/packs/* "$0.d/packs" && LABKIT_HOME="$0.d" "$1" -c "$2"'
    )
    done = subprocess.run(
        ["unshare", "--mount", "sh", "-c", script, str(home), sys.executable, FILLED],
        capture_output=True,
        text=True,
        check=False,
        timeout=280,
    )
    assert "told: not enough disk space to save" in done.stdout, done.stdout + done.stderr
    assert "True 42" in done.stdout


def test_an_interrupt_is_told_though_the_command_has_just_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C in the moment in which a command on the host ends is Ctrl-C, and no error of ours."""

    class Here(Host):
        available, reason = True, "this machine"

        def argv(self, command: Sequence[str]) -> list[str]:
            return list(command)

    class Interrupted(subprocess.Popen[bytes]):
        def communicate(self, *given: Any) -> Any:
            super().communicate(*given)  # as it waits itself after Ctrl-C, for a quarter of a second
            raise KeyboardInterrupt

    monkeypatch.setattr(subprocess, "Popen", Interrupted)
    with pytest.raises(KeyboardInterrupt):
        Here().run(["true"])


def test_a_late_command_dies_and_is_told() -> None:
    """A command on the host that takes too long is an error of ours, and nothing of it lives on."""
    from labkit.engine.host import CommandFailed

    with labkit.open_engine(name="late") as engine:
        with pytest.raises(CommandFailed, match="within 5 s") as caught:
            engine.host.run("echo begun; sleep 4321 & sleep 4321; echo never", check=False, timeout=5)
        assert caught.value.completed.stdout == "begun\n"
        deadline = time.monotonic() + 60
        # all have been killed; one that has just now no turn dies when it gets one
        while "sleep 4321" in engine.host.run("ps -eo args=").stdout:
            assert time.monotonic() < deadline
        engine.stop()
        with pytest.raises(EngineFailed):
            engine.reload({"debug": True})
        engine.start()
        assert engine.host.run("true").ok
