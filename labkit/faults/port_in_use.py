"""A container that cannot start because its port is in use, for each kind of holder.

The holder is real in every variant: for another engine a second daemon runs on the engine's host, with its own data and its
own bridge.  (With ``--bridge none`` a daemon removes ``docker0``, whoever's it is.)
"""

from __future__ import annotations

import json
import time
from contextlib import suppress
from typing import TYPE_CHECKING

from labkit import labels
from labkit.engine.ports import own_name_of
from labkit.errors import LabkitError
from labkit.faults import wire
from labkit.faults.variants import Variant

if TYPE_CHECKING:
    from labkit.engine import Engine

__all__ = ["VARIANTS", "inject", "oracle", "undo"]

VARIANTS = {
    "container": Variant("another container has published the port", "container", cured=True),
    "host-network": Variant("a container on the host's network listens on it", "host-network", cured=True),
    "process": Variant("a process on the host listens on it", "process", cured=False),
    "other-engine": Variant(
        "a container of another engine on the same host has published it", "other-engine", cured=False
    ),
    "other-engine-host-network": Variant(
        "a container of another engine listens on it, on the host's network", "other-engine", cured=False
    ),
}

PORT = 8137
LABEL = labels.FAULT
FOLDER = "/run/labkit-fault-port"
"""On the engine's host, in memory."""
_LISTEN = ["nc", "-l", "-p", str(PORT)]
_PERL = f"use Socket; socket(S, PF_INET, SOCK_STREAM, 0); bind(S, sockaddr_in({PORT}, INADDR_ANY)) or die; listen(S, 5); sleep"
_PROCESS = f"mkdir -p {FOLDER}; setsid perl -e '{_PERL}' >/dev/null 2>&1 & echo $! >{FOLDER}/pid"
_OTHER = f"docker --host unix://{FOLDER}/sock"
_OTHER_ENGINE = f"""
mkdir -p {FOLDER}
echo "{{}}" >{FOLDER}/daemon.json
ip link add name labkit-other type bridge
ip address add 172.31.37.1/24 dev labkit-other
ip link set labkit-other up
setsid dockerd --bridge labkit-other --iptables=false --ip6tables=false --data-root {FOLDER}/data --exec-root {FOLDER}/exec \
    --containerd /run/containerd/containerd.sock --containerd-namespace other --containerd-plugins-namespace other-plugins \
    --config-file {FOLDER}/daemon.json --pidfile {FOLDER}/pid --host unix://{FOLDER}/sock >{FOLDER}/log 2>&1 &
daemon=$!
until [ -S {FOLDER}/sock ]; do kill -0 $daemon || {{ cat {FOLDER}/log >&2; exit 1; }}; sleep 0.01; done
docker save busybox:lab | {_OTHER} load
"""
_THEIRS = {
    "other-engine": f"{_OTHER} run --detach --name theirs --publish {PORT}:80 busybox:lab sleep 1000000",
    "other-engine-host-network": f"{_OTHER} run --detach --name theirs --network host busybox:lab {' '.join(_LISTEN)}",
}
_END = f"""
[ ! -S {FOLDER}/sock ] || {_OTHER} rm --force theirs >/dev/null 2>&1
pid=$(cat {FOLDER}/pid 2>/dev/null) && kill "$pid" 2>/dev/null && while kill -0 "$pid" 2>/dev/null; do sleep 0.02; done
awk -v place={FOLDER}/ 'index($2, place) == 1 {{ print $2 }}' /proc/self/mounts | sort -r |
    while read -r mount; do umount "$mount"; done
ip link delete labkit-other 2>/dev/null
rm -rf {FOLDER}
"""


def inject(engine: Engine, variant: str, container: str = "web") -> None:
    """Take the port as *variant* does, then try to start a new container that wants it.

    Raises `LabkitError` when the oracle does not see it within a minute (then nothing is left of it).
    """
    import docker.errors

    try:
        _hold(engine, variant, container)
        _await_listener(engine)
        made = engine.client.containers.create(
            "busybox:lab",
            ["sleep", "1000000"],
            name=container,
            ports={"80/tcp": PORT},
            labels=_labels(engine),
        )
        with suppress(docker.errors.APIError):
            made.start()
        if oracle(engine, container) != variant:
            raise LabkitError(f"the fault port-in-use ({variant}) did not take", seen=made.status)
    except BaseException:
        undo(engine, container)
        raise


def _hold(engine: Engine, variant: str, container: str) -> None:
    if variant == "process":
        engine.host.run(_PROCESS)
    elif variant in _THEIRS:
        engine.host.run(_OTHER_ENGINE + _THEIRS[variant])
    else:
        own = {"ports": {"80/tcp": PORT}} if variant == "container" else {"network_mode": "host"}
        command = ["sleep", "1000000"] if variant == "container" else _LISTEN
        name = f"{container}-holder"
        engine.client.containers.run(
            "busybox:lab",
            command,
            name=name,
            detach=True,
            labels=_labels(engine),
            stop_signal="SIGKILL",  # as PID 1 it would sit out the ten seconds of a stop
            **own,
        )


def _labels(engine: Engine) -> dict[str, str]:
    return {**labels.ours(engine.id), LABEL: "port-in-use"}


def _await_listener(engine: Engine) -> None:
    deadline = time.monotonic() + 60
    while not _is_listening(engine):
        if time.monotonic() > deadline:
            raise LabkitError(f"nobody came to listen on port {PORT}")
        time.sleep(0.02)


def _is_listening(engine: Engine) -> bool:
    """Whether the kernel has a listening socket for the port: state 0A in /proc/net/tcp (proc(5))."""
    rows = engine.host.run("cat /proc/net/tcp /proc/net/tcp6", check=False).stdout.splitlines()
    return any(
        row.split()[1].endswith(f":{PORT:04X}") and row.split()[3] == "0A" for row in rows if ":" in row
    )


def oracle(engine: Engine, container: str = "web") -> str | None:
    """The variant that is present: the container is down, the kernel has a listener, and this is whose it is."""
    found = wire.container(engine, container)
    if found is None or found["State"]["Running"] or not _is_listening(engine):
        return None
    if f"{PORT}" not in json.dumps(found["HostConfig"]["PortBindings"]):
        return None
    holder = wire.container(engine, f"{container}-holder")
    if holder is not None and holder["State"]["Running"]:
        return "host-network" if holder["HostConfig"]["NetworkMode"] == "host" else "container"
    theirs = engine.host.run(
        f"{_OTHER} inspect --format '{{{{.HostConfig.NetworkMode}}}}' theirs", check=False
    )
    if not theirs.ok:
        return "process"
    return "other-engine-host-network" if theirs.stdout.strip() == "host" else "other-engine"


def undo(engine: Engine, container: str = "web") -> None:
    """Remove the containers, the process and the other engine, if this fault made them."""
    engine.host.run(_END)
    for row in engine.client.api.containers(all=True, filters={"label": f"{LABEL}=port-in-use"}):
        if own_name_of(row) in (container, f"{container}-holder"):
            engine.client.api.remove_container(row["Id"], force=True, v=True)
