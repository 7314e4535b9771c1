"""What a run that was cut off has left: processes of its kernel, and containers that its actions made for their work."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from labkit.engine.processes import Process
from labkit.errors import LabkitError
from labkit.labels import RUN
from labkit.runbook.journal import Entry

if TYPE_CHECKING:
    from labkit.engine import Engine

__all__ = ["end_processes", "remove_containers"]

PATIENCE = 10
"""Seconds that the kernel of the operating system may take to end a process."""


def end_processes(entries: Sequence[Entry]) -> list[int]:
    """End the kernels that a journal names, with all processes of their sessions; returns their numbers.

    Raises `LabkitError` when one of them does not end, since it might still change something.
    """
    named = {tuple(e.facts["kernel"]) for e in entries if e.kind == "step-started" and e.facts["kernel"]}
    ended: set[int] = set()
    deadline = time.monotonic() + PATIENCE
    # look again until nothing is left: one that was listed may have started another before its signal came
    while left := [each for kernel in named for each in _session(Process(*kernel))]:
        if time.monotonic() > deadline:
            raise LabkitError(
                "a process of the run before does not end",
                seen=", ".join(str(each.pid) for each in left),
                try_="labkit resume again, when it has ended",
            )
        for process in left:
            process.signal(signal.SIGKILL)
        ended.update(process.pid for process in left)
        time.sleep(0.01)
    return sorted(ended)


def _session(kernel: Process) -> Iterator[Process]:
    """The kernel, and what else is in its session, as far as it still runs.

    A kernel leads a session of its own.  While that has members, no other process can get its number; so
    when another process has it now, nothing is left.
    """
    try:
        now: Process | None = Process.of(kernel.pid)
    except ProcessLookupError:
        now = None
    if now not in (kernel, None):
        return
    for path in Path("/proc").glob("[0-9]*"):
        try:
            process = Process.of(int(path.name))
            if os.getsid(process.pid) == kernel.pid and process.started >= kernel.started and process.alive:
                yield process
        except (ProcessLookupError, PermissionError):
            continue


def remove_containers(engine: Engine, run: str) -> list[str]:
    """Remove the containers that carry the label of the *run*; returns their names.

    The engine may be removing one of them already: whoever had asked for it was ended before the answer.
    """
    import docker.errors

    found = engine.client.containers.list(all=True, filters={"label": f"{RUN}={run}"}, ignore_removed=True)
    for container in found:
        try:
            with engine.approve("container", container.name):
                container.remove(force=True, v=True)
        except docker.errors.APIError as error:
            if error.status_code != 404 and "already in progress" not in str(error.explanation):
                raise
    return [container.name for container in found]
