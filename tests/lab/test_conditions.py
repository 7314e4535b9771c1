"""The vocabulary of checks: for each word, live situations that pass and that fail, with the exact text."""

from __future__ import annotations

import ast
import inspect
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from hashlib import md5
from typing import Any

import docker.errors
import pytest

from labkit import lab
from labkit.engine import Engine
from labkit.errors import UsageError
from labkit.lab.conditions import (
    Condition,
    Facts,
    any_of,
    container,
    image,
    in_turn,
    network,
    nothing_else,
    reachable,
    reaching,
    volume,
)
from labkit.lab.conditions.containers import Container
from labkit.lab.conditions.images import Image
from labkit.lab.conditions.stores import Network, Volume
from labkit.lab.registries import open_registry

IMAGE = "busybox:lab"


def checksum(text: str) -> str:
    """What ``md5sum`` prints first."""
    return md5(text.encode()).hexdigest()


LOOP = "trap 'exit 143' TERM; echo awake; while :; do sleep 0.1; done"
SERVER = "mkdir /www; echo hello >/www/index.html; httpd -p 80 -h /www; echo awake; sleep 1000"


class World:
    """One engine with all the situations that the table below asks about, made once."""

    def __init__(self, engine: Engine) -> None:
        self.engine, self.api = engine, engine.client.api
        self.api.create_network("near", internal=True)
        self.api.create_network("far")
        self.api.create_volume("pg")
        self.api.create_volume("idle")
        with ThreadPoolExecutor() as pool:
            for made in [
                pool.submit(part) for part in (self.images, self.full, self.others, self.ends, self.deceits)
            ]:
                made.result()
        self.until("x-again", lambda found: container("x-again").outlives().read(Facts(engine)).ok)
        self.prefix = self.api.inspect_container("x-plain")["Id"][:12]
        self.network_prefix = self.api.inspect_network("near")["Id"][:12]
        self.image_prefix = self.api.inspect_image("shop:1")["Id"].removeprefix("sha256:")[:12]

    def run(self, name: str, *command: str, wait: bool = True, **options: Any) -> None:
        self.engine.client.containers.run(IMAGE, list(command), name=name, detach=True, **options)
        if wait:
            lab.until_says(self.engine, name, "awake")

    def images(self) -> None:
        """``shop:1`` has two layers and settings; ``shop:2`` is built on it; ``shop:1b`` is the same; ``stale:1`` moved."""
        made = self.api.create_container(IMAGE, ["sh", "-c", "echo one >/one; rm /bin/vi"], name="builder")
        self.api.start(made)
        self.api.wait(made)
        changes = [
            'CMD ["serve", "now"]',
            "USER web",
            "EXPOSE 80",
            "LABEL who=ada",
            "ENV MODE=fast KEY_PASSWORD=seal",
            "WORKDIR /srv",
        ]
        self.api.commit("builder", "shop", "1", changes=changes)
        self.api.tag("shop:1", "shop", "1b")
        again = self.api.create_container(
            "shop:1", ["sh", "-c", "rm /one; echo two >/two"], user="root", name="more"
        )
        self.api.start(again)
        self.api.wait(again)
        self.api.commit("more", "shop", "2")
        self.api.tag("shop:1", "stale", "1")
        self.api.create_container("stale:1", name="x-stale")
        self.api.tag("shop:2", "stale", "1")
        self.api.create_container(self.api.inspect_image("shop:2")["Id"], name="x-by-id")
        for name in ("builder", "more"):
            self.api.remove_container(name)
        script = """cat /proc/sys/kernel/random/uuid >/dealt; md5sum </dealt >/sum; echo 0 >/other; echo kept >/note
            echo 0b5e1a43-5d1e-4d6e-8f0a-3f1d2c4b5a69 >/typed"""
        self.run("x-drawn", "sh", "-c", script, wait=False)
        self.api.wait("x-drawn")
        self.api.commit("x-drawn", "drawn", "1", changes='CMD ["/bin/cat", "/note"]')
        again = self.api.create_container("drawn:1", ["sh", "-c", "cat /dealt >/new; mv /new /dealt"])
        self.api.start(again)
        self.api.wait(again)
        self.api.commit(again, "drawn", "2")
        self.api.remove_container(again)
        registry = open_registry(self.engine)
        self.pushed = [f"{registry}/shop:{tag}" for tag in "12"]
        for tag in "12":
            self.api.tag(f"shop:{tag}", f"{registry}/shop", tag)
            self.api.push(f"{registry}/shop", tag)
        self.api.create_container(f"{registry}/shop@{registry.digest('shop:1')}", name="x-pinned")

    def full(self) -> None:
        """``x-full`` has everything that can be set."""
        script = f"echo kept >/data/note; mkdir /d; ln -s /data/note /link; ln -s /dev/zero /zero; {SERVER}"
        script = "printf 'a\r\nb' >/data/dos; ln -s /data/note /data/away; ln -s loop /data/loop; " + script
        self.run(
            "x-full", "sh", "-c", script, mem_limit="64m", nano_cpus=500_000_000, pids_limit=50, init=True,
            volumes={"pg": {"bind": "/data", "mode": "rw"}, "/etc": {"bind": "/etc-of-host", "mode": "ro"}},
            tmpfs={"/fast": "ro"}, ports={"80/tcp": 18080}, network="near",
            environment={"MODE": "slow", "DB_PASSWORD": "two words"},
            labels={"who": "ada", "api.token": "t0ken"}, restart_policy={"Name": "on-failure", "MaximumRetryCount": 3},
        )  # fmt: skip
        self.api.connect_container_to_network("x-full", "far")

    def others(self) -> None:
        """Containers without settings, on another network, paused."""
        self.run("x-plain", "sh", "-c", LOOP)
        self.run("x-near", "sh", "-c", LOOP, network="near", cpu_quota=50_000)
        self.run("x-guest", "sh", "-c", LOOP, network_mode="container:x-near")
        self.run("x-paused", "sh", "-c", LOOP, read_only=True)
        within = "mkdir in; ln -s /shelf/in one; ln -s in/.. two; ln -s /bin/sh file; ln -s /nowhere three; "
        self.run(
            "x-key", "sh", "-c", within + LOOP, read_only=True, cap_add=["SYS_ADMIN"],
            volumes=["/tmp:/sealed:ro", "/tmp/in:/inner:ro", "/tmp:/open", "shelf:/shelf"], working_dir="/shelf",
        )  # fmt: skip
        away = "mkdir /out; ln -s ../out log; "
        self.run("x-away", "sh", "-c", away + LOOP, volumes=["rack:/rack"], working_dir="/rack")
        self.api.pause("x-paused")

    def ends(self) -> None:
        """Containers that ended in one way or the other, or never began."""
        self.run("x-term", "sh", "-c", LOOP, volumes=["/anonymous"])
        self.api.kill("x-term", "SIGUSR1")
        self.api.kill("x-term", "SIGTERM")
        self.run("x-kill", "sh", "-c", LOOP)
        self.api.kill("x-kill")
        self.run(
            "x-loop",
            "sh",
            "-c",
            "exit 3",
            wait=False,
            restart_policy={"Name": "on-failure", "MaximumRetryCount": 2},
        )
        self.api.create_container(IMAGE, ["true"], name="x-created")
        with pytest.raises(docker.errors.APIError):
            self.run("x-nocmd", "nosuchcmd", wait=False)
        for name in ("x-term", "x-kill"):
            lab.until(self.engine, name, "exited")
        self.until(
            "x-loop", lambda found: found["RestartCount"] == 2 and found["State"]["Status"] == "exited"
        )
        self.eats("x-oom", "sleep 0.5; tail /dev/zero")
        self.eats(
            "x-oom-once", "if [ -e /once ]; then sleep 1000; fi; touch /once; sleep 0.5; tail /dev/zero"
        )
        self.api.start("x-oom-once")

    def eats(self, name: str, script: str) -> None:
        """A container that was killed for its memory; anew where a busy engine has missed that."""
        end = time.monotonic() + 120
        while time.monotonic() < end:
            self.run(name, "sh", "-c", script, wait=False, mem_limit="32m", memswap_limit="32m")
            self.api.wait(name)
            late = time.monotonic() + 5  # the note comes late, or never
            while time.monotonic() < late:
                if self.api.inspect_container(name)["State"]["OOMKilled"]:
                    return
                time.sleep(0.05)
            self.api.remove_container(name)
        pytest.fail(f"the engine did not tell that {name} was out of memory")

    def until(self, name: str, holds: Callable[[Any], bool]) -> None:
        end = time.monotonic() + 60
        while not holds(found := self.api.inspect_container(name)):
            assert time.monotonic() < end, (name, found["State"], found["RestartCount"])
            time.sleep(0.02)

    def deceits(self) -> None:
        """A name that is the beginning of an id, a label that hides a signal, signals to an earlier life."""
        self.run("x-fake", "sh", "-c", LOOP, labels={"signal": "15", "name": "x-created", "exitCode": "143"})
        self.api.kill("x-fake", "SIGUSR2")
        self.run("x-again", "sh", "-c", LOOP)
        self.api.kill("x-again", "SIGTERM")
        lab.until(self.engine, "x-again", "exited")
        self.api.start("x-again")
        self.run("x-twice", "sh", "-c", LOOP)
        self.api.kill("x-twice", "SIGTERM")
        lab.until(self.engine, "x-twice", "exited")
        self.api.remove_container("x-twice")
        self.run("x-twice", "sh", "-c", LOOP)


@pytest.fixture(scope="module")
def world(module_engine: Engine) -> Iterator[World]:
    made = World(module_engine)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reaching, "PATIENCE", 60)  # seconds, for a busy machine
        yield made
    for found in module_engine.client.containers.list(all=True):
        found.remove(force=True, v=True)


def rows(world: World) -> dict[Condition, str]:
    """Each condition and what its reading says; the text has ``expected`` exactly where it fails."""
    full, plain, near, term = (
        container("x-full"),
        container("x-plain"),
        container("x-near"),
        container("x-term"),
    )
    created, nocmd, fake, none = (
        container("x-created"),
        container("x-nocmd"),
        container("x-fake"),
        container("x-none"),
    )
    shop, onward, drawn = image("shop:1"), image("shop:2"), image("drawn:1")
    return {
        full.is_state("running"): "container x-full, state: running",
        container("x-paused").is_state("paused"): "container x-paused, state: paused",
        term.is_state("running"): "container x-term, state: exited, expected running",
        none.is_state("running"): "container x-none, state: no such container, expected running",
        none.is_state("removed"): "container x-none, state: no such container",
        plain.exists(): "container x-plain, state: running",
        none.exists(): "container x-none, state: no such container, expected a container",
        container(world.prefix).exists(): f"container {world.prefix}, state: no such container, expected a container",
        none.absent(): "container x-none, state: no such container",
        plain.absent(): "container x-plain, state: running, expected no such container",
        created.absent(): "container x-created, state: created, expected no such container",
        # -- its end
        term.exited(143): "container x-term, exit code: 143",
        container("x-oom").exited(137): "container x-oom, exit code: 137",
        container("x-kill").exited(143): "container x-kill, exit code: 137, expected 143",
        plain.exited(0): "container x-plain, exit code: none, it is running, expected 0",
        created.exited(0): "container x-created, exit code: none, it is created, expected 0",
        nocmd.exited(127): "container x-nocmd, exit code: none, its start failed (127), expected 127",
        none.exited(0): "container x-none, exit code: no such container, expected 0",
        container("x-loop").failed(): "container x-loop, exit code: 3",
        plain.failed(): "container x-plain, exit code: none, it is running, expected not 0",
        nocmd.failed(): "container x-nocmd, exit code: none, its start failed (127), expected not 0",
        nocmd.fails_to_start(127): "container x-nocmd, exit code of a start that fails: 127",
        nocmd.fails_to_start(126): "container x-nocmd, exit code of a start that fails: 127, expected 126",
        term.fails_to_start(127): "container x-term, exit code of a start that fails: exited, no start that failed, expected 127",
        container("x-oom").killed_for_memory(): "container x-oom, killed for memory: yes",
        container("x-oom-once").killed_for_memory(): "container x-oom-once, killed for memory: no, expected yes",
        container("x-kill").killed_for_memory(): "container x-kill, killed for memory: no, expected yes",
        created.killed_for_memory(): "container x-created, killed for memory: no, expected yes",
        container("x-loop").restarted(2): "container x-loop, restarts by its policy: 2",
        container("x-loop").restarted(at_least=1): "container x-loop, restarts by its policy: 2",
        container("x-loop").restarted(2, granted=2): "container x-loop, restarts by its policy: 2 of 2",
        container("x-loop").restarted(2, granted=3): "container x-loop, restarts by its policy: 2 of 2, expected 2 of 3",
        plain.restarted(2, granted=3): "container x-plain, restarts by its policy: 0 of 0, expected 2 of 3",
        container("x-loop").restarted(1): "container x-loop, restarts by its policy: 2, expected 1",
        container("x-again").restarted(at_least=1): "container x-again, restarts by its policy: 0, expected 1 or more",
        # -- what happened
        term.received("SIGTERM"): "container x-term, signals: SIGUSR1, SIGTERM",
        term.received("usr1"): "container x-term, signals: SIGUSR1, SIGTERM",
        container("x-kill").received("SIGTERM"): "container x-kill, signals: SIGKILL, expected SIGTERM",
        container("x-oom").received("SIGKILL"): "container x-oom, signals: none, expected SIGKILL",
        container("x-again").received("SIGTERM"): "container x-again, signals: none, expected SIGTERM",
        container("x-twice").received("SIGTERM"): "container x-twice, signals: none, expected SIGTERM",
        fake.received("SIGTERM"): "container x-fake, signals: one that a label hides, expected SIGTERM",
        created.received("SIGTERM"): "container x-created, signals: none, it was never started, expected SIGTERM",
        term.never_received("SIGKILL"): "container x-term, signals: SIGUSR1, SIGTERM",
        container("x-oom").never_received("SIGKILL"): "container x-oom, signals: none",
        container("x-kill").never_received("SIGKILL"): "container x-kill, signals: SIGKILL, expected no SIGKILL",
        fake.never_received("SIGKILL"): "container x-fake, signals: one that a label hides, expected no SIGKILL",
        created.never_received("SIGKILL"): "container x-created, signals: none, it was never started, expected no SIGKILL",
        none.never_received("SIGKILL"): "container x-none, signals: no such container, expected no SIGKILL",
        term.answered("SIGTERM", 143): "container x-term, last end: 143, after SIGUSR1, SIGTERM",
        container("x-again").answered("SIGTERM", 143): "container x-again, last end: 143, after SIGTERM",
        term.answered("SIGUSR1", 143): "container x-term, last end: 143, after SIGUSR1, SIGTERM, expected 143, after SIGUSR1",
        container("x-kill").answered("SIGTERM", 137):
            "container x-kill, last end: 137, after SIGKILL, expected 137, after SIGTERM",
        container("x-loop").answered("SIGTERM", 3): "container x-loop, last end: 3, unasked, expected 3, after SIGTERM",
        plain.answered("SIGTERM", 0): "container x-plain, last end: none, it has not ended, expected 0, after SIGTERM",
        container("x-again").outlives(): "container x-again, present life: longer than the one before",
        container("x-again").outlives(hearing="TERM"): "container x-again, present life: longer than the one before",
        container("x-again").outlives(hearing="QUIT"): (
            "container x-again, present life: longer than the one before, and deaf to SIGQUIT, "
            "expected longer than the one before, and not deaf to SIGQUIT"
        ),
        plain.outlives(): "container x-plain, present life: its first, expected longer than the one before",
        term.outlives(): "container x-term, present life: none, it is exited, expected longer than the one before",
        container("x-loop").never_stopped(): "container x-loop, stopped by hand: none",
        term.never_stopped(): "container x-term, stopped by hand: kill, expected none",
        none.never_stopped(): "container x-none, stopped by hand: no such container, expected none",
        term.happened_in_order("create", "SIGTERM", "die"): "container x-term, events: create, start, SIGUSR1, SIGTERM, die",
        term.happened_in_order("start", "create"): (
            "container x-term, events: create, start, SIGUSR1, SIGTERM, die, expected start, create"
        ),
        container("x-twice").happened_in_order("start", "die"): "container x-twice, events: create, start, expected start, die",
        # -- what it says, holds and reaches
        full.says("awake"): "container x-full, log: it says so",
        full.says("wake"): "container x-full, log: its last line is 'awake', expected the line 'wake'",
        created.says("awake"): "container x-created, log: nothing, expected the line 'awake'",
        full.file("/link", equals="kept"): "container x-full, file /link: 'kept'",
        full.file("/data/note", contains="ep"): "container x-full, file /data/note: 'ep' in it",
        full.file("/data/note", equals="kep"): "container x-full, file /data/note: 'kept', expected 'kep'",
        full.file("/d"): "container x-full, file /d: there",
        full.file("/d", equals="kept"): "container x-full, file /d: no text, expected 'kept'",
        full.file("/no"): "container x-full, file /no: absent, expected there",
        full.file("/no", absent=True): "container x-full, file /no: absent",
        full.file("/d", absent=True): "container x-full, file /d: there, expected absent",
        full.file("/fast/x", absent=True): (
            "container x-full, file /fast/x: not readable (it lies in memory, in a tmpfs), expected absent"
        ),
        full.file("/zero", absent=True): (
            "container x-full, file /zero: not readable (it lies in memory, the kernel makes it), expected absent"
        ),
        full.file("/data/dos", equals="a\r\nb"): r"container x-full, file /data/dos: 'a\r\nb'",
        none.file("/no", absent=True): "container x-none, file /no: no such container, expected absent",
        term.file("/bin/sh"): "container x-term, file /bin/sh: there",
        near.reaches("x-full:80"): "container x-near, way to x-full:80: an open port",
        near.reaches("x-full:81"): "container x-near, way to x-full:81: no open port, expected an open port",
        plain.reaches("x-full:80"): "container x-plain, way to x-full:80: no such name there, expected an open port",
        term.reaches("x-full:80"): "container x-term, way to x-full:80: none, it is exited, expected an open port",
        container("x-key").works_in("shelf", program="busybox"): "container x-key, where busybox works: volume shelf",
        container("x-away").works_in("rack", program="busybox"):
            "container x-away, where busybox works: its own layer, volume rack, expected volume rack",
        plain.works_in("pg", program="busybox"): "container x-plain, where busybox works: its own layer, expected volume pg",
        full.works_in("pg", program="postgres"):
            "container x-full, where postgres works: nowhere, it does not run, expected volume pg",
        term.works_in("pg", program="busybox"):
            "container x-term, where busybox works: nowhere, the container is exited, expected volume pg",
        # -- how it was made
        full.limited(memory="64m", cpus=0.5, pids=50): "container x-full, limits: memory 64m, CPUs 0.5, processes 50",
        near.limited(cpus="0.5"): "container x-near, limits: CPUs 0.5",
        full.limited(memory="65m"): "container x-full, limits: memory 64m, expected memory 65m",
        plain.limited(memory="64m", pids=50): (
            "container x-plain, limits: memory without a limit, processes without a limit, expected memory 64m, processes 50"
        ),
        full.mounts("/data/", volume="pg", read_only=False): "container x-full, mount at /data: volume pg, writable",
        full.mounts("/etc-of-host", bind="/etc"): "container x-full, mount at /etc-of-host: bind /etc, read-only",
        full.mounts("/fast", tmpfs=True, read_only=True): "container x-full, mount at /fast: tmpfs, read-only",
        term.mounts("/anonymous", anonymous=True): "container x-term, mount at /anonymous: a volume without a name, writable",
        full.mounts("/data", volume="pg", read_only=True): (
            "container x-full, mount at /data: volume pg, writable, expected volume pg, read-only"
        ),
        container("x-key").mounts("/sealed", bind="/tmp", read_only=True): (
            "container x-key, mount at /sealed: bind /tmp, read-only, and writable at /open, expected bind /tmp, read-only"
        ),
        container("x-key").mounts("/inner", bind="/tmp/in", read_only=True): (
            "container x-key, mount at /inner: bind /tmp/in, read-only, and writable at /open, expected bind /tmp/in, read-only"
        ),
        full.mounts("/data", bind="/srv"): "container x-full, mount at /data: volume pg, writable, expected bind /srv",
        term.mounts("/data"): "container x-term, mount at /data: nothing is mounted there, expected a mount",
        full.on_network("near"): "container x-full, networks: far, near",
        plain.on_network("near"): "container x-plain, networks: bridge, expected near",
        plain.on_network("nowhere"): "container x-plain, networks: bridge, expected nowhere",
        container("x-pinned").by_digest(): "container x-pinned, image asked for by: a digest",
        full.by_digest(): "container x-full, image asked for by: busybox:lab, a name without a digest, expected a digest",
        container("x-by-id").by_digest():
            "container x-by-id, image asked for by: an id, for which no registry can be asked, expected a digest",
        container("x-stale").by_digest():
            "container x-stale, image asked for by: stale:1, a name without a digest, expected a digest",
        full.made_from(IMAGE): "container x-full, image: busybox:lab",
        full.made_from("shop:1"): "container x-full, image: busybox:lab, expected shop:1",
        full.made_from("shop:9"): "container x-full, image: no such image shop:9, expected shop:9",
        container("x-stale").made_from("shop:1b"): "container x-stale, image: stale:1",
        container("x-stale").made_from("stale:1"): "container x-stale, image: another stale:1, expected stale:1",
        full.has_init(): "container x-full, init process: the engine's",
        plain.has_init(): "container x-plain, init process: none, expected the engine's",
        none.has_init(): "container x-none, init process: no such container, expected the engine's",
        container("x-paused").root_read_only(): "container x-paused, root file system: read-only",
        container("x-key").root_read_only():
            "container x-key, root file system: read-only, but it may mount it anew, expected read-only",
        plain.root_read_only(): "container x-plain, root file system: writable, expected read-only",
        none.root_read_only(): "container x-none, root file system: no such container, expected read-only",
        full.policy("on-failure", 3): "container x-full, restart policy: on-failure, 3 times at most",
        plain.policy("no"): "container x-plain, restart policy: no",
        full.policy("on-failure"): (
            "container x-full, restart policy: on-failure, 3 times at most, expected on-failure, however often"
        ),
        plain.policy("always"): "container x-plain, restart policy: no, expected always",
        full.environment(MODE="slow"): "container x-full, environment: MODE=slow",
        full.environment(MODE="fast"): "container x-full, environment: MODE=slow, expected MODE=fast",
        plain.environment(MODE="slow"): "container x-plain, environment: MODE is not set, expected MODE=slow",
        full.environment(DB_PASSWORD="two words"): "container x-full, environment: DB_PASSWORD=••••••",
        full.environment(MODE="slow", DB_PASSWORD="two"): (
            "container x-full, environment: MODE=slow, DB_PASSWORD=•••••• (another value), "
            "expected MODE=slow, DB_PASSWORD=••••••"
        ),
        full.label("api.token", "t0ken"): "container x-full, label api.token: '••••••'",
        full.label("api.token", "other"): (
            "container x-full, label api.token: '•••••• (another value)', expected '••••••'"
        ),
        full.published(18080, 80): "container x-full, port 80/tcp: port 18080 of the host",
        full.published(18081, 80): "container x-full, port 80/tcp: port 18080 of the host, expected port 18081 of the host",
        term.published(18080, 80): "container x-term, port 80/tcp: not published, it is exited, expected port 18080 of the host",
        full.label("who", "ada"): "container x-full, label who: 'ada'",
        full.label("who", "bob"): "container x-full, label who: 'ada', expected 'bob'",
        plain.label("who", "ada"): "container x-plain, label who: not set, expected 'ada'",
        # -- images
        shop.exists(): "image shop:1: there",
        image("shop").exists(): "image shop: no such image, expected there",
        image(world.image_prefix).exists(): f"image {world.image_prefix}: no such image, expected there",
        image("shop").absent(): "image shop: no such image",
        shop.absent(): "image shop:1: there, expected no such image",
        image("docker.io/library/shop:1").absent(): "image docker.io/library/shop:1: there, expected no such image",
        shop.layers(2): "image shop:1, layers: 2",
        shop.layers(at_most=2): "image shop:1, layers: 2",
        onward.layers(at_most=2): "image shop:2, layers: 3, expected 2 at most",
        onward.layers(2): "image shop:2, layers: 3, expected 2",
        onward.built_on("shop:1"): "image shop:2, built on: 2 of the 2 layers of shop:1",
        shop.built_on("shop:2"): (
            "image shop:1, built on: 2 of the 3 layers of shop:2, and none of its own, expected all layers of shop:2, and its own"
        ),
        shop.built_on("shop:1b"): (
            "image shop:1, built on: 2 of the 2 layers of shop:1b, and none of its own, "
            "expected all layers of shop:1b, and its own"
        ),
        drawn.built_on("shop:2"): (
            "image drawn:1, built on: 1 of the 3 layers of shop:2, expected all layers of shop:2, and its own"
        ),
        shop.same_as("shop:1b"): "image shop:1, compared with shop:1b: the same image",
        shop.same_as("shop:2"): "image shop:1, compared with shop:2: another image, expected the same image",
        shop.same_as("shop:9"): "image shop:1, compared with shop:9: no such image shop:9, expected the same image",
        shop.digest_of("shop:1b"): "image shop:1, digest compared with shop:1b: the same",
        shop.digest_of("shop:2"): "image shop:1, digest compared with shop:2: another, expected the same",
        shop.digest_of(IMAGE): "image shop:1, digest compared with busybox:lab: busybox:lab has no digest, expected the same",
        image(world.pushed[0]).pushed(): f"image {world.pushed[0]}, in its registry: there",
        shop.pushed(): "image shop:1, in its registry: never sent there, expected there",
        image("nowhere:1").pushed(): "image nowhere:1, in its registry: no such image, expected there",
        shop.has_file("/one", equals="one"): "image shop:1, file /one: 'one'",
        onward.has_file("/one", absent=True): "image shop:2, file /one: absent",
        shop.has_file("/bin/vi"): "image shop:1, file /bin/vi: absent, expected there",
        onward.has_file("/two", contains="one"): "image shop:2, file /two: 'two', expected 'one' in it",
        shop.adds("1k", to=IMAGE): "image shop:1, size added to busybox:lab: 4b",
        shop.adds("3b", to=IMAGE): "image shop:1, size added to busybox:lab: 4b, expected 3b at most",
        image(IMAGE).adds("1k", to="shop:2"): "image busybox:lab, size added to shop:2: 8b less",
        image(IMAGE).adds("1k", to="shop:9"):
            "image busybox:lab, size added to shop:9: no such image shop:9, expected 1k at most",
        shop.same_file("/etc/passwd", as_in=IMAGE): "image shop:1, file /etc/passwd compared with busybox:lab: the same",
        shop.same_file("/etc/passwd", as_in="shop:9"):
            "image shop:1, file /etc/passwd compared with shop:9: no such image shop:9, expected the same, on the same layers",
        shop.same_file("/one", as_in="shop:2"):
            "image shop:1, file /one compared with shop:2: absent: /one in shop:2, expected the same, on the same layers",
        onward.same_file("/one", as_in="shop:1"):
            "image shop:2, file /one compared with shop:1: absent: /one in shop:2, expected the same, on the same layers",
        shop.same_file("/bin", as_in=IMAGE):
            "image shop:1, file /bin compared with busybox:lab: no text, expected the same, on the same layers",
        drawn.same_file("/dealt", as_in="drawn:2"):
            "image drawn:1, file /dealt compared with drawn:2: the same text, made anew, expected the same, on the same layers",
        drawn.covers_nothing("/note"): "image drawn:1, file /note, in the layers below it: nothing",
        image("drawn:2").covers_nothing("/dealt"):
            "image drawn:2, file /dealt, in the layers below it: something in 1 of them, expected nothing",
        drawn.covers_nothing("/none"): "image drawn:1, file /none, in the layers below it: absent, expected nothing",
        drawn.covers_nothing("/bin"): "image drawn:1, file /bin, in the layers below it: no text, expected nothing",
        drawn.dealt("/dealt"): "image drawn:1, file /dealt: such a number",
        drawn.dealt("/typed"):
            "image drawn:1, file /typed: a number that was typed, expected a number of the kernel's, dealt while it was built",
        drawn.dealt("/note"):
            "image drawn:1, file /note: another text, expected a number of the kernel's, dealt while it was built",
        drawn.follows("/sum", of="/dealt", by=checksum): "image drawn:1, file /sum beside /dealt: fits",
        drawn.follows("/other", of="/dealt", by=checksum):
            "image drawn:1, file /other beside /dealt: does not fit, expected to fit",
        drawn.follows("/none", of="/dealt", by=checksum):
            "image drawn:1, file /none beside /dealt: absent: /none in drawn:1, expected to fit",
        drawn.follows("/sum", of="/none", by=checksum):
            "image drawn:1, file /sum beside /none: absent: /none in drawn:1, expected to fit",
        drawn.copied("/note", volume="pg", of="/note"): "image drawn:1, file /note compared with pg/note: the same text",
        drawn.copied("/note", volume="pg", of="/dos"):
            "image drawn:1, file /note compared with pg/dos: another text, expected the same text",
        drawn.copied("/none", volume="pg", of="/note"):
            "image drawn:1, file /none compared with pg/note: absent: /none in drawn:1, expected the same text",
        drawn.copied("/note", volume="no", of="/note"):
            "image drawn:1, file /note compared with no/note: no such volume no, expected the same text",
        drawn.copied("/note", volume="pg", of="/no"):
            "image drawn:1, file /note compared with pg/no: volume pg has no /no, expected the same text",
        drawn.photographed("x-drawn"): "image drawn:1, made of x-drawn: this image",
        image("drawn:2").photographed("x-drawn"): "image drawn:2, made of x-drawn: an image built on it",
        shop.photographed("x-drawn"): "image shop:1, made of x-drawn: another image, expected this image",
        drawn.photographed("x-plain"): "image drawn:1, made of x-plain: no commit of it, expected this image",
        shop.label("who", "ada"): "image shop:1, label who: 'ada'",
        shop.label("who", "bob"): "image shop:1, label who: 'ada', expected 'bob'",
        image(IMAGE).label("who", "ada"): "image busybox:lab, label who: not set, expected 'ada'",
        shop.configured(cmd=["serve", "now"], user="web"): "image shop:1, configuration: cmd ['serve', 'now'], user 'web'",
        shop.configured(exposes="80/tcp", environment={"MODE": "fast"}, workdir="/srv", healthcheck=False): (
            "image shop:1, configuration: workdir '/srv', exposes '80/tcp', environment {'MODE': 'fast'}, healthcheck False"
        ),
        shop.configured(environment={"KEY_PASSWORD": "seal"}):
            "image shop:1, configuration: environment {'KEY_PASSWORD': '••••••'}",
        shop.configured(environment={"KEY_PASSWORD": "open"}):
            "image shop:1, configuration: environment {'KEY_PASSWORD': '••••••'} (another value), "
            "expected environment {'KEY_PASSWORD': '••••••'}",
        shop.configured(starts=["serve", "now"]): "image shop:1, configuration: starts ['serve', 'now']",
        shop.configured(starts=["now"]): "image shop:1, configuration: starts ['serve', 'now'], expected starts ['now']",
        shop.configured(cmd=["serve"]): "image shop:1, configuration: cmd ['serve', 'now'], expected cmd ['serve']",
        drawn.configured(starts=["cat", "/note"]): "image drawn:1, configuration: starts ['/bin/cat', '/note']",
        drawn.configured(starts=["/usr/bin/cat", "/note"]):
            "image drawn:1, configuration: starts ['/bin/cat', '/note'], expected starts ['/usr/bin/cat', '/note']",
        drawn.configured(cmd=["cat", "/note"]):
            "image drawn:1, configuration: cmd ['/bin/cat', '/note'], expected cmd ['cat', '/note']",
        image(IMAGE).configured(user="web"): "image busybox:lab, configuration: user '', expected user 'web'",
        # -- volumes and networks
        volume("pg").exists(): "volume pg: there",
        volume("nope").exists(): "volume nope: no such volume, expected there",
        volume("no").exists(): "volume no: no such volume, expected there",
        volume("no").absent(): "volume no: no such volume",
        volume("pg").absent(): "volume pg: there, expected no such volume",
        volume("idle").absent(): "volume idle: there, expected no such volume",
        volume("pg").file("note", equals="kept"): "volume pg, file /note: 'kept'",
        volume("pg").file("/note", equals="lost"): "volume pg, file /note: 'kept', expected 'lost'",
        volume("pg").file("dos", equals="a\r\nb"): r"volume pg, file /dos: 'a\r\nb'",
        volume("pg").file("away", absent=True): (
            "volume pg, file /away: not readable (it is a link that leads to nothing in the volume), expected absent"
        ),
        volume("pg").file("loop", absent=True): (
            "volume pg, file /loop: not readable (it is a link that leads to nothing in the volume), expected absent"
        ),
        volume("idle").file("/note"): "volume idle, file /note: absent, expected there",
        volume("no").file("/note", absent=True): "volume no, file /note: no such volume, expected absent",
        volume("idle").unused(): "volume idle, containers that have it: none",
        volume("pg").unused(): "volume pg, containers that have it: x-full, expected none",
        volume("no").unused(): "volume no, containers that have it: no such volume, expected none",
        volume("pg").used(): "volume pg, containers that have it: x-full",
        volume("no").used(): "volume no, containers that have it: no such volume, expected some",
        volume("idle").used(): "volume idle, containers that have it: none, expected some",
        network("near").exists(): "network near: there",
        network(world.network_prefix).exists(): f"network {world.network_prefix}: no such network, expected there",
        network("nowhere").exists(): "network nowhere: no such network, expected there",
        network("nowhere").absent(): "network nowhere: no such network",
        network("near").absent(): "network near: there, expected no such network",
        network("far").absent(): "network far: there, expected no such network",
        network("bridge").absent(): "network bridge: there, expected no such network",
        network("nowhere").connects("x-full", "x-near"): "network nowhere, containers: no such network, expected x-full, x-near",
        network("near").connects("x-full", "x-near"): "network near, containers: x-full, x-near",
        network("near").connects("x-full", "x-plain"): "network near, containers: x-full, expected x-full, x-plain",
        network("far").connects("x-near", "x-plain"): "network far, containers: only x-full, expected x-near, x-plain",
        network("near").separates("x-plain", "x-near"): "network near, networks of x-plain, x-near: in common: none",
        network("far").separates("x-full", "x-near"): (
            "network far, networks of x-full, x-near: in common: near, expected far, and none in common"
        ),
        network("far").separates("x-plain", "x-near"): (
            "network far, networks of x-plain, x-near: none of them is connected, expected far, and none in common"
        ),
        network("near").separates("x-near", "x-term"): (
            "network near, networks of x-near, x-term: x-term not running, expected near, and none in common"
        ),
        network("near").separates("x-near", "x-guest"): (
            "network near, networks of x-near, x-guest: in common: near, expected near, and none in common"
        ),
        network("near").internal(): "network near, kind: internal",
        network("far").internal(): "network far, kind: with a way outside, expected internal",
        network("nowhere").internal(): "network nowhere, kind: no such network, expected internal",
        # -- the rest
        reachable("127.0.0.1:18080"): "address 127.0.0.1:18080: an open port",
        reachable("127.0.0.1:18080", status=200): "address 127.0.0.1:18080: HTTP status 200",
        reachable("127.0.0.1:18080", status=404): "address 127.0.0.1:18080: HTTP status 200, expected HTTP status 404",
        reachable("127.0.0.1:18081"): "address 127.0.0.1:18081: no container publishes it, expected an open port",
        nothing_else(networks=["near", "far"]): "other objects: nothing else",
        nothing_else(networks=["near"]): "other objects: network far, expected nothing else",
        nothing_else(
            volumes=["pg", "rack", "shelf"], images=[IMAGE, "shop:1", "shop:2", "stale:1", "drawn:1", "drawn:2", *world.pushed]
        ): (
            "other objects: volume idle, volume without a name, image shop:1b, expected nothing else"
        ),
        in_turn("awake", "awake", by=["x-plain", "x-near"]): "last lines of x-plain, x-near: awake, awake",
        in_turn("awake", "asleep", by=["x-plain", "x-near"]): (
            "last lines of x-plain, x-near: awake, awake, expected asleep, awake in some order, at the same time"
        ),
        in_turn("awake", "nothing", by=["x-plain", "x-created"]): (
            "last lines of x-plain, x-created: awake, nothing, one after the other, "
            "expected awake, nothing in some order, at the same time"
        ),
        any_of(term.exited(0), term.exited(143)): "either: container x-term, exit code 143",
        any_of(term.exited(0), none.exited(1)): (
            "either: container x-term, exit code 143; container x-none, exit code no such container, "
            "expected container x-term, exit code 0 or container x-none, exit code 1"
        ),
        any_of(none.exited(0), term.exited(1)): (
            "either: container x-none, exit code no such container; container x-term, exit code 143, "
            "expected container x-none, exit code 0 or container x-term, exit code 1"
        ),
    }  # fmt: skip


def test_each_word_passes_and_fails_with_these_texts(world: World) -> None:
    """Every condition of the table says exactly this of its live situation, and holds where nothing was expected."""
    facts = Facts(world.engine)
    read = {text: condition.read(facts) for condition, text in rows(world).items()}
    said = {text: (str(reading), reading.ok) for text, reading in read.items()}
    assert said == {text: (text, ", expected " not in text) for text in said}


def test_an_image_is_the_one_that_its_name_meant_when_the_lab_began(world: World) -> None:
    """A name that was moved to another image does not make that one the lab's, nor the lab's own another."""
    first = world.api.inspect_image("shop:1b")["Id"]
    facts = Facts(world.engine, originals={"stale:1": first, IMAGE: first})
    assert container("x-stale").made_from("stale:1").read(facts).ok
    assert str(container("x-plain").made_from(IMAGE).read(facts)).endswith(
        "another busybox:lab, expected busybox:lab"
    )
    assert not image("shop:1").built_on(IMAGE).read(facts).ok


def test_every_word_has_situations(world: World) -> None:
    """For each method of the vocabulary the table has one live situation that passes, and two that fail."""
    texts = rows(world)
    table = next(node for node in ast.walk(ast.parse(inspect.getsource(rows))) if isinstance(node, ast.Dict))
    seen: Counter[tuple[str, bool]] = Counter()
    for call, condition in zip(table.keys, texts, strict=True):
        assert isinstance(call, ast.Call)
        word = (
            call.func.id
            if isinstance(call.func, ast.Name)
            else f"{condition.looked_at.split()[0]}.{_method(call)}"
        )
        seen[word, ", expected " in texts[condition]] += 1
    words = [
        f"{kind.__name__.lower()}.{name}"
        for kind in (Container, Image, Volume, Network)
        for name, _ in inspect.getmembers(kind, inspect.isfunction)
        if not name.startswith("_")
    ]
    words += ["reachable", "nothing_else", "any_of", "in_turn"]
    assert [word for word in words if seen[word, False] < 1 or seen[word, True] < 2] == []


def _method(call: ast.Call) -> str:
    assert isinstance(call.func, ast.Attribute)
    return call.func.attr


MISTAKES: list[Callable[[], object]] = [
    lambda: container("two words"),
    lambda: container(""),
    lambda: container(7),  # type: ignore[arg-type]
    lambda: container("../x"),
    lambda: image(""),
    lambda: image("; rm"),
    lambda: image("shop/../../containers"),
    lambda: image("shop//2"),
    lambda: image("shop:"),
    lambda: image("shop@sha256:0"),
    lambda: volume("/srv"),
    lambda: network(None),  # type: ignore[arg-type]
    lambda: container("web").exited("143"),  # type: ignore[arg-type]
    lambda: container("web").exited(256),
    lambda: container("web").exited(True),
    lambda: container("web").fails_to_start(1),
    lambda: container("web").is_state("stopped"),
    lambda: container("web").received("SIGTREM"),
    lambda: container("web").received(15),  # type: ignore[arg-type]
    lambda: container("web").received("SIGRTMIN+99"),
    lambda: container("web").never_received(""),
    lambda: container("web").restarted(),
    lambda: container("web").restarted(1, at_least=1),
    lambda: container("web").restarted(-1),
    lambda: container("web").limited(),
    lambda: container("web").limited(memory="64q"),
    lambda: container("web").limited(memory=0),
    lambda: container("web").limited(cpus="many"),
    lambda: container("web").limited(pids=0),
    lambda: container("web").mounts("data"),
    lambda: container("web").mounts("/data", volume="a", tmpfs=True),
    lambda: container("web").mounts("/data", volume="a b"),
    lambda: container("web").mounts("/data", volume="a", tmpfs="yes"),  # type: ignore[arg-type]
    lambda: container("web").mounts("/data", read_only="yes"),  # type: ignore[arg-type]
    lambda: container("web").on_network(""),
    lambda: container("web").reaches("db"),
    lambda: container("web").reaches("db:99999"),
    lambda: container("web").reaches("$(id):1"),
    lambda: container("web").says(""),
    lambda: container("web").says("two\nlines"),
    lambda: container("web").file("etc/passwd"),
    lambda: container("web").file("/no-text-\udcff"),
    lambda: container("web").file("/etc", contains=""),
    lambda: container("web").file("/etc", contains="a", equals="b"),
    lambda: container("web").file("/etc", contains="a", absent=True),
    lambda: container("web").file("/etc", equals=7),  # type: ignore[arg-type]
    lambda: container("web").made_from("Bad Image"),
    lambda: container("web").policy("sometimes"),
    lambda: container("web").policy("always", 3),
    lambda: container("web").policy("on-failure", 0),
    lambda: container("web").environment(),
    lambda: container("web").environment(A=1),  # type: ignore[arg-type]
    lambda: container("web").published(0, 80),
    lambda: container("web").published(80, 80, protocol="http"),
    lambda: container("web").label("", "x"),
    lambda: container("web").happened_in_order(),
    lambda: container("web").happened_in_order("started"),
    lambda: image("web").layers(),
    lambda: image("web").layers(2, at_most=2),
    lambda: image("web").layers(0),
    lambda: image("web").configured(),
    lambda: image("web").configured(cmd="sh"),  # type: ignore[arg-type]
    lambda: image("web").configured(cmd=[1]),  # type: ignore[list-item]
    lambda: image("web").configured(starts="sh"),  # type: ignore[arg-type]
    lambda: image("web").same_as(""),
    lambda: image("web").adds("heavy", to=IMAGE),
    lambda: image("web").adds("1m", to=""),
    lambda: image("web").same_file("x", as_in=IMAGE),
    lambda: image("web").same_file("/x", as_in=""),
    lambda: image("web").has_file("x"),
    lambda: image("web").covers_nothing("x"),
    lambda: image("web").dealt("x"),
    lambda: image("web").follows("/x", of="y", by=str),
    lambda: image("web").copied("/x", volume="/srv", of="/y"),
    lambda: image("web").photographed("two words"),
    lambda: container("web").answered("SIGTERM", 256),
    lambda: container("web").restarted(1, granted=0),
    lambda: container("web").works_in("data", program=""),
    lambda: in_turn("one", by=["web"]),
    lambda: in_turn("one", "two", by=["web"]),
    lambda: volume("data").file(7),  # type: ignore[arg-type]
    lambda: network("net").connects("one"),
    lambda: network("net").connects("one", "one"),
    lambda: network("net").separates(),
    lambda: reachable("127.0.0.1"),
    lambda: reachable("127.0.0.1:80", status=99),
    nothing_else,
    lambda: nothing_else(containers="web"),
    lambda: nothing_else(containers=["a b"]),
    lambda: any_of(container("web").exists()),
    lambda: any_of(True, False),  # type: ignore[arg-type]
]


@pytest.mark.parametrize("mistake", MISTAKES, ids=range(len(MISTAKES)))
def test_a_mistake_is_told_when_the_condition_is_made(mistake: Callable[[], object]) -> None:
    """Wrong types, unknown words, sizes without a meaning: one clear message, before any engine is asked."""
    with pytest.raises(UsageError) as caught:
        mistake()
    assert caught.value.what and caught.value.expected
