"""Ends a process of a run at one exact place: imported by every Python that has this folder in ``PYTHONPATH``.

``LABKIT_TEST_KILL`` is ``before|after|during KIND NUMBER runner|kernel``: when the *NUMBER*-th entry of that kind is
about to be written, or has been, or when the engine then tells that it sends a signal, the runner or the kernel is ended with
SIGKILL.
"""

from __future__ import annotations

import os
import signal
import threading
from pathlib import Path
from typing import Any

from labkit.runbook.journal import Entry, Journal


def _end(victim: str, journal: Journal) -> None:
    named = [entry.facts["kernel"][0] for entry in journal.entries() if entry.kind == "step-started"]
    in_kernel = os.getpid() in named
    pids = {"kernel": named[-1], "runner": os.getppid() if in_kernel else os.getpid()}
    (journal.path.parent / "killed").touch()
    os.kill(pids[victim], signal.SIGKILL)
    if (
        in_kernel
    ):  # which ends with its runner, or when the run is resumed; until then it would do a little more
        signal.pause()


def _end_during(victim: str, journal: Journal) -> None:
    import docker

    told = docker.from_env().api.events(filters={"event": "kill"})  # from now on

    def wait() -> None:
        next(told)
        _end(victim, journal)

    threading.Thread(target=wait, daemon=True).start()


def _armed(when: str, kind: str, number: int, victim: str) -> Any:
    write = Journal.write

    def armed(self: Journal, what: Any, /, **facts: Any) -> Entry:
        mark = Path(self.path.parent / "killed")
        hit = what == kind and not mark.exists()
        hit = hit and sum(entry.kind == kind for entry in self.entries()) == number - 1
        if hit and when == "before":
            _end(victim, self)
        entry = write(self, what, **facts)
        if hit and when == "after":
            _end(victim, self)
        if hit and when == "during":
            _end_during(victim, self)
        return entry

    return armed


if "LABKIT_TEST_KILL" in os.environ:
    _when, _kind, _number, _victim = os.environ["LABKIT_TEST_KILL"].split()
    Journal.write = _armed(_when, _kind, int(_number), _victim)  # type: ignore[method-assign]
