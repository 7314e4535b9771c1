"""A container that ends with exit code 137, for each of its real causes.

The memory eater is one ``dd`` that reads a single block of 40 MiB and then waits: more than the container
may use, less than twice that.  So it dies under its limit and lives on once the limit is doubled.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from labkit import labels
from labkit.engine import images
from labkit.errors import LabkitError, UsageError
from labkit.faults import wire
from labkit.faults.variants import Variant

if TYPE_CHECKING:
    from labkit.engine import Engine

__all__ = ["VARIANTS", "inject", "oracle", "undo"]

VARIANTS = {
    "oom-of-pid-1": Variant("PID 1 needs more memory than its container may use", "oom-of-pid-1", cured=True),
    "oom-of-child": Variant(
        "a worker needs too much, PID 1 lives and starts it again", "oom-of-child", cured=True
    ),
    "oom-passed-on": Variant("a worker needs too much, PID 1 ends with its code", "oom-of-child", cured=True),
    "killed": Variant("somebody runs docker kill", "killed", cured=False),
    "killed-on-host": Variant("somebody runs kill -9 on the engine's host", "killed", cured=False),
    "stop-timed-out": Variant("PID 1 does not act on SIGTERM", "stop-timed-out", cured=False),
}

LIMIT = "32m"
LABEL = labels.FAULT
_PIPE = "mkfifo /pipe; exec 3<>/pipe; sleep 0.3;"
"""A pipe that is never read: who writes more than 64 KiB to it waits for ever, and uses no processor.

Then a pause: of a process that is killed within milliseconds of its start, the engine may report no ``oom``.
"""
MISSED_SECONDS = 5.0
"""When PID 1 dies its control group goes too, and a busy engine may tell no ``oom``: after so long it is run again."""

_EATER = "dd if=/dev/zero bs=40M count=1 >&3 2>/dev/null"
_WITNESS = "the worker ended with 137"
_SCRIPTS = {
    "oom-of-pid-1": f"{_PIPE} exec {_EATER}",
    "oom-of-child": f"{_PIPE} while :; do {_EATER}; echo the worker ended with $?; sleep 4; done",
    "oom-passed-on": f"{_PIPE} {_EATER}; code=$?; echo the worker ended with $code; exit $code",
}


def inject(engine: Engine, variant: str, container: str = "web") -> None:
    """Make *variant* in a new container; returns when the oracle sees it.

    Raises `UsageError` when there is a container of this name already, `MissingCapability` where memory cannot be limited
    and the variant needs it, and `LabkitError` when the oracle does not see it within a minute (then nothing is left).
    """
    if wire.container(engine, container):
        raise UsageError(
            f"there is a container called {container!r} already",
            seen=f"engine {engine.name!r}",
            expected="a name that is free",
            try_="another --container\nlabkit fault undo exit-137, if it is left from this fault",
        )
    if variant in _SCRIPTS:
        engine.capabilities.require("memory-limit")
    images.ensure(engine, ["busybox"])
    try:
        _run(engine, variant, container)
        _end(engine, variant, container)
        began = lately = time.monotonic()
        while oracle(engine, container) != variant:
            now, found = time.monotonic(), wire.container(engine, container)
            if now > began + 60:
                raise LabkitError(f"the fault exit-137 ({variant}) did not take", seen=_told(found))
            if variant not in _SCRIPTS or (found and found["State"]["Running"]):
                lately = now
            elif now > lately + MISSED_SECONDS:
                undo(engine, container)
                _run(engine, variant, container)
                lately = time.monotonic()
            time.sleep(0.02)
    except BaseException:
        undo(engine, container)
        raise


def _told(found: dict[str, Any] | None) -> str:
    """What became of the container, in words."""
    if found is None:
        return "the container is gone"
    state = found["State"]
    return f"the container is {state['Status']}, exit code {state['ExitCode']}"


def _run(engine: Engine, variant: str, container: str) -> None:
    script = _SCRIPTS.get(variant)
    engine.client.containers.run(
        "busybox:lab",
        ["sh", "-c", script] if script else ["sleep", "1000000"],
        name=container,
        detach=True,
        labels={**labels.ours(engine.id), LABEL: "exit-137"},
        mem_limit=LIMIT,
        memswap_limit=LIMIT,  # no swap, so that the limit is met on every machine
        network_mode="none",
    )


def _end(engine: Engine, variant: str, container: str) -> None:
    """For the variants that somebody has to cause: cause it."""
    if variant == "killed":
        engine.client.api.kill(container)
    elif variant == "killed-on-host":
        pid = engine.client.api.inspect_container(container)["State"]["Pid"]
        engine.host.run(["sh", "-c", 'kill -9 "$0"', str(pid)])
    elif variant == "stop-timed-out":
        engine.client.api.stop(container, timeout=1)


def oracle(engine: Engine, container: str = "web") -> str | None:
    """The variant that is present: from the raw API, and from what the container itself has written."""
    found = wire.container(engine, container)
    if found is None or not (found["State"]["Running"] or found["State"]["ExitCode"] == 137):
        return None
    state, happened = found["State"], wire.events(engine, found["Id"])
    since_update = happened[
        max((i for i, (action, _) in enumerate(happened) if action == "update"), default=0) :
    ]
    signals = [signal for action, signal in since_update if action == "kill"]
    if ("oom", "") in since_update:
        return _of_memory(engine, container, running=state["Running"])
    if state["Running"]:
        return None
    if "9" not in signals:
        return "killed-on-host"
    return "stop-timed-out" if ("stop", "") in since_update else "killed"


def _of_memory(engine: Engine, container: str, *, running: bool) -> str | None:
    """Whose memory it was: a PID 1 that outlived its worker has said so in its log."""
    written = wire.get(engine, f"/containers/{container}/logs?stdout=1") or b""
    outlived = _WITNESS.encode() in written
    if running:
        return "oom-of-child" if outlived else None
    return "oom-passed-on" if outlived else "oom-of-pid-1"


def undo(engine: Engine, container: str = "web") -> None:
    """Remove the container, if this fault made it."""
    found = engine.client.api.containers(
        all=True, filters={"name": f"^/{container}$", "label": f"{LABEL}=exit-137"}
    )
    for each in found:
        engine.client.api.remove_container(each["Id"], force=True, v=True)
