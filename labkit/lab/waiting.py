"""The state of a container now, until it is another, and while something is done to it."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import TYPE_CHECKING, Any

from labkit.errors import LabkitError, UsageError
from labkit.lifecycle import STATES
from labkit.observe import engine_time

if TYPE_CHECKING:
    from labkit.engine import Engine

__all__ = ["state", "until", "until_says", "watch"]

FRESH = 0.7
"""Seconds."""


def state(engine: Engine, container: str) -> str:
    """The state of *container* (its name) in the engine's word, or ``removed`` when there is none."""
    found = _inspect(engine, container)
    return str(found["State"]["Status"]) if found else "removed"


def _inspect(engine: Engine, container: str) -> dict[str, Any]:
    import docker.errors

    try:
        return dict(engine.client.api.inspect_container(container))
    except docker.errors.NotFound:
        return {}


def until(engine: Engine, container: str, wanted: str, *, restarts: int = 0, seconds: float = 60) -> str:
    """Wait until *container* is in the state *wanted*, and return that state.

    *restarts*: at least so often restarted by its policy, and the last end just past: before the sixth try the engine
    waits 3.2 s, which leaves time to look.  Raises `LabkitError` with the last state after so many *seconds*.
    """
    if wanted not in STATES:
        raise UsageError("no such state", seen=repr(wanted), expected=", ".join(STATES))
    deadline = time.monotonic() + seconds
    while not _is(engine, found := _inspect(engine, container), wanted, restarts):
        if time.monotonic() > deadline:
            last = found["State"]["Status"] if found else "removed"
            raise LabkitError(f"{container} did not get there in {seconds:g} s", seen=last, expected=wanted)
        time.sleep(0.02)
    return wanted


def _is(engine: Engine, found: dict[str, Any], wanted: str, restarts: int) -> bool:
    if not found or found["State"]["Status"] != wanted:
        return not found and wanted == "removed"
    return not restarts or (found["RestartCount"] >= restarts and _since_end(engine, found) < FRESH)


def _since_end(engine: Engine, found: dict[str, Any]) -> float:
    """Seconds since the container ended, by the engine's clock: the one that its times are from."""
    ended = datetime.fromisoformat(found["State"]["FinishedAt"])
    return float(engine_time(engine)) - ended.timestamp()


def until_says(engine: Engine, container: str, line: str, *, times: int = 1, seconds: float = 60) -> None:
    """Wait until *container* has written *line* to its log so many *times*.

    A shell that has just been started has not set its traps yet: let it say so, and wait for that.  Raises `LabkitError`
    with the end of the log after so many *seconds*.
    """
    deadline = time.monotonic() + seconds
    while (log := _log(engine, container)).count(line) < times:
        if time.monotonic() > deadline:
            raise LabkitError(
                f"{container} did not say so in {seconds:g} s",
                seen="\n".join(log[-5:]),
                expected=f"{times} x {line}",
            )
        time.sleep(0.02)


def _log(engine: Engine, container: str) -> list[str]:
    return str(engine.client.api.logs(container).decode(errors="replace")).splitlines()


@contextmanager
def watch(engine: Engine, container: str) -> Iterator[list[str]]:
    """Look at *container* all the time while the block runs; the list holds the states seen, each once it changed."""
    seen = [state(engine, container)]
    done = threading.Event()

    def look() -> None:
        while not done.wait(0.005):
            now = state(engine, container)
            if now != seen[-1]:
                seen.append(now)

    thread = threading.Thread(target=look, daemon=True)
    thread.start()
    try:
        yield seen
    finally:
        done.set()
        thread.join()
        last = state(engine, container)
        if last != seen[-1]:
            seen.append(last)
