"""The state of a container now, until it is another, and while something is done to it."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from typing import TYPE_CHECKING, Any

from labkit.errors import LabkitError, no_such
from labkit.lifecycle import STATES
from labkit.observe import Event, engine_time, events

if TYPE_CHECKING:
    from labkit.engine import Engine

__all__ = ["began", "inspected", "said", "state", "until", "until_ready", "until_says", "watch"]

FRESH = 0.7
"""Seconds."""

ALIVE = ("running", "paused", "restarting")
ABOVE = "run the cells above first, in their order"


def state(engine: Engine, container: str) -> str:
    """The state of *container* (its name) in the engine's word, or ``removed`` when there is none."""
    found = _inspect(engine, container)
    return str(found["State"]["Status"]) if found else "removed"


def _inspect(engine: Engine, container: str) -> dict[str, Any]:
    import docker.errors

    try:
        return dict(engine.client.api.inspect_container(container))
    except (docker.errors.NotFound, docker.errors.NullResource):  # nobody is called by an empty name
        return {}


def inspected(engine: Engine, container: str, *, alive: bool = False) -> dict[str, Any]:
    """What the engine knows of *container*.  Raises `LabkitError` where there is none, or where it has no process (*alive*)."""
    found = _inspect(engine, container)
    if not found:
        raise LabkitError(f"there is no container {container}", try_=ABOVE)
    if alive and (status := found["State"]["Status"]) not in ALIVE:
        told = f"docker logs {container}\n" if status == "exited" else ""
        raise LabkitError(
            f"{container} is {status}, not running",
            seen=f"exit code {found['State']['ExitCode']}" if told else "",
            try_=f"{told}docker start {container}\n{ABOVE}",
        )
    return found


def until(engine: Engine, container: str, wanted: str, *, restarts: int = 0, seconds: float = 60) -> str:
    """Wait until *container* is in the state *wanted*, and return that state.

    *restarts*: at least so often restarted by its policy, and the last end just past: before the sixth try the engine
    waits 3.2 s, which leaves time to look.  Raises `LabkitError` with the last state after so many *seconds*, and at once
    where there is no container that could get there.
    """
    if wanted not in STATES:
        raise no_such("state", wanted, STATES)
    deadline = time.monotonic() + seconds
    while not _is(engine, _inspect(engine, container), wanted, restarts):
        last = (
            inspected(engine, container)["State"]["Status"]
            if wanted != "removed"
            else state(engine, container)
        )
        if time.monotonic() > deadline:
            if restarts and (found := _inspect(engine, container)):
                last = f"{last}, restarts: {found['RestartCount']}"
                wanted = f"{wanted}, restarts: {restarts} or more, and an end less than {FRESH:g} s ago"
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


def until_says(engine: Engine, container: str, line: str, *, seconds: float = 60) -> None:
    """Wait until *container* has written *line* to its log, since it was started the last time.

    A shell that has just been started has not set its traps yet: let it say so, and wait for that.  Raises `LabkitError`
    at once when the container has ended, or was never started, without having said it, and with the end of the log after
    so many *seconds*.
    """
    deadline = time.monotonic() + seconds
    while True:
        # before the log: what has ended says no more
        status = inspected(engine, container)["State"]["Status"]
        if line in (log := said(engine, container)):
            return
        if status not in ALIVE:
            inspected(engine, container, alive=True)
        if time.monotonic() > deadline:
            raise LabkitError(
                f"{container} did not say {line!r} in {seconds:g} s",
                seen="\n".join(log[-5:]) or "nothing",
                try_=ABOVE,
            )
        time.sleep(0.02)


def until_ready(engine: Engine, container: str, *command: str, seconds: float = 60) -> None:
    """Wait until *command*, run in *container*, ends with 0: ``pg_isready`` of a database, say.

    Raises `LabkitError` at once when the container does not run, and with what the command said after so many *seconds*.
    """
    import docker.errors

    deadline = time.monotonic() + seconds
    while True:
        found = inspected(engine, container, alive=True)
        try:
            tried = engine.client.containers.get(found["Id"]).exec_run(list(command))
        except docker.errors.APIError as error:  # it has ended, or is about to
            code, told = None, str(error.explanation)
        else:
            code, told = tried.exit_code, tried.output.decode(errors="replace").strip()
        if code == 0:
            return
        if time.monotonic() > deadline:
            raise LabkitError(
                f"{' '.join(command)!r} did not succeed in {container} within {seconds:g} s",
                seen=f"exit code {code}: {told}",
                try_=f"docker logs {container}",
            )
        time.sleep(0.05)


def said(engine: Engine, container: str) -> list[str]:
    """The lines that *container* has written to its log since it was started the last time."""
    found = inspected(engine, container)
    record = found["State"]
    if record["StartedAt"].startswith("0001"):
        return []
    log = [] if record["Running"] else [event for event in events(engine) if event.id == found["Id"]]
    return str(_log(engine, container, began(record, log)).decode(errors="replace")).splitlines()


def began(record: dict[str, Any], log: Iterable[Event]) -> float:
    """A moment between the life before and the present one, in seconds since 1970.

    While it runs, that is the end of the life before, or long ago.  A container that has ended tells only its last end, and
    the engine writes the start down late, on a busy machine by seconds: so it is what the *log* of its events tells of before
    that, the death or the making; where that is forgotten, a little before the start.
    """
    if record["Running"]:
        return _seconds(record["FinishedAt"])
    started = _seconds(record["StartedAt"])
    told = [event.nano / 1e9 for event in log if event.action in ("create", "die")]
    return max((moment for moment in told if moment < started), default=started - 0.5)


def _seconds(moment: str) -> float:
    return 1.0 if moment.startswith("0001") else datetime.fromisoformat(moment).timestamp()


def _log(engine: Engine, container: str, since: float) -> bytes:
    return bytes(engine.client.api.logs(container, since=since))


@contextmanager
def watch(engine: Engine, container: str) -> Iterator[list[str]]:
    """Look at *container* all the time while the block runs; the list holds the states seen, each once it changed."""
    seen = [state(engine, container)]
    done = threading.Event()

    def look() -> None:
        while not done.wait(0.005):
            with suppress(Exception):  # a daemon that restarts, say: what happens meanwhile nobody sees
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
