"""The user's machine is as it was: after engines have come and gone, beside one that runs, and with ten at once."""

from __future__ import annotations

import concurrent.futures
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import labkit
from labkit import paths
from labkit.engine import packs
from labkit.engine.opening import open_sandbox
from tests.engine import machine

pytestmark = pytest.mark.alone

OWNER = """
import sys, time, labkit
engine = labkit.open_engine(name=sys.argv[1], images=["busybox"])
engine.client.networks.create("extra")
options = {"network": "extra", "ports": {"80/tcp": None}, "mem_limit": "64m"}
engine.client.containers.run("busybox:lab", ["sleep", "1000"], detach=True, **options)
engine.host.run("truncate -s 1M /srv/disk /var/lib/docker/disk")
engine.host.run("losetup /dev/loop7 /srv/disk && losetup /dev/loop6 /var/lib/docker/disk")
print("up", flush=True)
sys.stdin.readline()
engine.close()
"""


DIES_UNHEARD = """
import os, signal
from labkit.engine import detached, keeping
def die(keeper, _):
    keeper.stdin.write(keeping.GO)
    keeper.stdin.close()
    os.kill(os.getpid(), signal.SIGKILL)
keeping.await_answer = die
detached.start("early")
"""


def start_owner(name: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", OWNER, name]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def test_twenty_starts_and_ends_leave_nothing() -> None:
    """After 20 engines with containers, networks and ports, half of them ended by kill -9 of their owner, the machine has the
    same processes, mounts, interfaces, firewall rules, cgroup folders and loop devices as before."""
    for tool in ("iptables", "nft"):
        if not shutil.which(tool, path="/usr/sbin:/sbin:/usr/bin"):
            print(f"{tool} is not installed here: its rules are read through the pack's own {tool}")
    before = {**machine.snapshot(), "pack's iptables": rules_seen_by_the_pack()}
    for number in range(20):
        owner = start_owner(f"residue-{number}")
        assert owner.stdout is not None and owner.stdin is not None
        assert owner.stdout.readline() == "up\n"
        if number % 2:
            owner.send_signal(signal.SIGKILL)
        else:
            owner.stdin.write("\n")
            owner.stdin.flush()
        owner.wait()
        owner.stdin.close()
        owner.stdout.close()
    end = time.monotonic() + 60
    while True:
        after = {**machine.snapshot(), "pack's iptables": rules_seen_by_the_pack()}
        new = {kind: after[kind] - before[kind] for kind in before if after[kind] - before[kind]}
        lost = {
            kind: before[kind] - after[kind]
            for kind in before
            if before[kind] - after[kind] and kind != "processes"
        }
        if (not new and not lost) or time.monotonic() > end:
            break
        time.sleep(0.1)
    assert new == {}
    assert lost == {}


def rules_seen_by_the_pack() -> set[str]:
    """The machine's own firewall rules, read with the pack's programs (nothing need be installed here)."""
    rootfs = str(packs.find().rootfs)
    found = set()
    for command in ("iptables-nft-save", "iptables-legacy-save", "nft list ruleset"):
        done = subprocess.run(
            ["chroot", rootfs, *command.split()], capture_output=True, text=True, check=False
        )
        found |= {line for line in done.stdout.splitlines() if line and line[0] not in "#:"}
    return found


def test_an_engine_that_runs_already_is_undisturbed() -> None:
    """A Docker engine of this machine's own keeps its bridge's address, its firewall rules and its running containers while
    private engines start, work and end in the same network namespace."""
    with open_sandbox("resident", images=["busybox"]) as resident:
        container = resident.client.containers.run(
            "busybox:lab", ["sleep", "1000"], name="tenant", detach=True, ports={"80/tcp": 8080}
        )
        container.reload()
        address = container.attrs["NetworkSettings"]["IPAddress"]
        assert address

        def state() -> tuple[str, ...]:
            rules = resident.host.run(
                "iptables-save | sed 's/\\[[0-9:]*\\]//; /^#/d'; ip -4 -o addr show docker0; ip -o link | wc -l"
            )
            facts = resident.client.api.inspect_container("tenant")
            return (
                rules.stdout,
                facts["State"]["StartedAt"],
                str(facts["State"]["Pid"]),
                facts["NetworkSettings"]["IPAddress"],
            )

        before = state()
        # to a process in the resident engine's network namespace, the resident is "the Docker of this machine"
        inside = ["nsenter", f"--target={resident.host.pid}", "--net", sys.executable, "-c", NEIGHBOUR]  # type: ignore[attr-defined]
        done = subprocess.run(inside, capture_output=True, text=True, check=False, timeout=120)
        assert done.returncode == 0, done.stderr
        assert done.stdout.count("172.17.0.1/16") == 5
        assert state() == before
        assert before[3] == address


NEIGHBOUR = """
import labkit
from labkit import paths
for number in range(5):
    with labkit.open_engine(name="neighbour", images=["busybox"]) as engine:
        engine.client.containers.run("busybox:lab", ["true"], ports={"80/tcp": 8080})
        print(engine.host.run("ip -4 -o addr show docker0").stdout)
"""


def test_ten_engines_at_once_do_not_see_each_other() -> None:
    """Ten engines run at once, each with a container of the same name; each sees its own alone, on host and API."""

    def open_one(number: int) -> labkit.Engine:
        engine = labkit.open_engine(name=f"ten-{number}", images=["busybox"])
        engine.client.containers.run("busybox:lab", ["sleep", str(1000 + number)], name="web", detach=True)
        return engine

    with concurrent.futures.ThreadPoolExecutor(10) as pool:
        engines = list(pool.map(open_one, range(10)))
        try:
            for number, engine in enumerate(engines):
                (container,) = engine.client.containers.list(all=True)
                assert container.attrs["Config"]["Cmd"] == ["sleep", str(1000 + number)]
                running = engine.host.run("ps -eo args=").stdout
                assert [line for line in running.splitlines() if line.startswith("sleep 1")] == [
                    f"sleep {1000 + number}"
                ]
            assert len({engine.client.info()["ID"] for engine in engines}) == 10
        finally:
            list(pool.map(lambda engine: engine.close(), engines))


def test_an_owner_killed_while_its_engine_starts_leaves_nothing() -> None:
    """An owner that is killed while its engine starts leaves nothing, at whatever moment that is.

    Nor does who starts one for no owner, and is killed before it has heard of it.
    """
    assert subprocess.run([sys.executable, "-c", DIES_UNHEARD], check=False).returncode == -signal.SIGKILL
    for milliseconds in (0, 3, 6, 10, 15, 20, 30, 60, 100, 150, 200, 300, 400):
        command = [
            sys.executable,
            "-c",
            "import labkit; labkit.open_engine(name='early', images=['busybox'])",
        ]
        owner = subprocess.Popen(command, env=os.environ)
        deadline = time.monotonic() + 60
        while not list((Path(paths.home()) / "engines").glob("early-*")) and time.monotonic() < deadline:
            time.sleep(0.001)
        time.sleep(milliseconds / 1000)
        owner.kill()
        owner.wait()

    def left() -> dict[str, list[str]]:
        found = {
            kind: [item for item in items if "early-" in item] for kind, items in machine.snapshot().items()
        }
        return {kind: items for kind, items in found.items() if items}

    end = time.monotonic() + 60
    while left() and time.monotonic() < end:
        time.sleep(0.1)
    assert left() == {}
