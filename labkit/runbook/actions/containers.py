"""What can be done to a container: update, start, stop, remove."""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from labkit import observe
from labkit.errors import Refused, UsageError
from labkit.observe.quantities import ByteSize
from labkit.observe.readings import Unreadable
from labkit.runbook.actions import facts
from labkit.runbook.actions.base import Action, Effect, Verb, changes, effects
from labkit.runbook.journal import Journal

if TYPE_CHECKING:
    from labkit.engine import Engine

__all__ = [
    "JOINS",
    "PATIENCE",
    "STOPS",
    "VERBS",
    "effects_on",
    "on",
    "raise_memory",
    "remove_container",
    "start_again",
    "stop",
]

NO_SWAP_LIMIT = -1
PATIENCE = 10
"""Seconds that a stop waits for the process before it is killed, unless told otherwise."""
_BETWEEN = 5.0
"""Seconds for which an update is tried on a container that ends and starts all the time."""
JOINS = ("network connect",)
_ENDS = ("die", "network disconnect")
STOPS = ("kill", "unpause", *_ENDS)
_LATE = ("stop", *_ENDS)
"""What may still be told of an end that the plan has seen already: ``die`` comes after the state is written."""


def raise_memory(of: observe.Container, to: ByteSize | None = None) -> Action | None:
    """Raise a container's memory limit to *to* bytes, or to twice the present one; None without a limit.

    The limit of memory and swap together goes up by as much, since the engine refuses a memory limit above
    it.  Raises `UsageError` when *to* is not more than the present limit; but a run that was resumed may have raised it
    itself, and carries on with the plan that it had shown.
    """
    if of.memory is None:
        return None
    limit = to or ByteSize(2 * of.memory)
    if limit <= of.memory:
        if Journal.carries_on():
            return None
        raise UsageError(
            f"a limit of {limit} does not give {of.name} more memory",
            seen=f"its present limit is {of.memory}",
            try_=f"-p memory={ByteSize(2 * of.memory)}",
        )
    arguments = {"mem_limit": int(limit)}
    changed: list[tuple[str, object, object]] = [("memory limit", of.memory, limit)]
    undo = f"docker update --memory {of.memory}"
    if of.memory_swap is not None:
        together = of.memory_swap if of.memory_swap == NO_SWAP_LIMIT else of.memory_swap + limit - of.memory
        arguments["memswap_limit"] = int(together)
        undo += f" --memory-swap {_option(of.memory_swap)}"
        changed.append(("with swap", _shown(of.memory_swap), _shown(together)))
    lives_on = of.status == "restarting" or of.restart_policy != "no"
    return on(
        of,
        "update",
        "it ran out of the memory that it may use",
        changed=changed,
        undo=f"{undo} {of.name}",
        arguments=arguments,
        relies_on=["memory", "memory_swap"],
        # who restarts it is the engine, at any moment
        effects=effects_on(of, ("update",), ("start", *JOINS, *_ENDS) if lives_on else ()),
    )


def start_again(of: observe.Container, *, stopped: bool = False) -> Action | None:
    """Start a container that is down; None when it is up, or when its restart policy does it.

    *stopped*: the plan stops it before.  Then it is started also when something between failed.
    """
    if (of.running or of.status == "restarting") and not stopped:
        return None
    return on(
        of,
        "start",
        "it was up before" if stopped else "it is down",
        changed=[("status", "exited" if stopped else of.status, "running")],
        undo="" if of.auto_remove else f"docker stop {of.name}",
        relies_on=["status", "started_at", *(() if stopped else ("finished_at",))],
        # whether it stays up is for the verification to say
        effects=effects_on(of, ("start",), (*JOINS, *_LATE)),
        always=stopped,
    )


def stop(of: observe.Container, reason: str, patience: int = PATIENCE) -> Action | None:
    """Stop a container, with *patience* in seconds before it is killed; None when it is down."""
    if not of.running and of.status != "restarting":
        return None
    goes = ("destroy",) if of.auto_remove else ()
    return on(
        of,
        "stop",
        reason,
        changed=[("status", of.status, "removed" if of.auto_remove else "exited")],
        undo=_started_again(of),
        arguments={"timeout": patience},
        relies_on=["status", "started_at"],
        effects=effects_on(of, (*(("die",) if of.running else ()), "stop", *goes), STOPS),
    )


def remove_container(of: observe.Container, reason: str, *, even_running: bool = False) -> Action:
    """Remove a container with all that was written in it; its volumes stay.

    Raises `Refused` for one that runs, unless *even_running*: then it is killed.
    """
    up = of.running or of.status == "restarting"
    if up and not even_running:
        raise Refused(f"the container {of.name} is not removed: it is {of.status}", try_="stop it first")
    return on(
        of,
        "remove",
        reason,
        changed=[("container", of.status, "removed")],
        arguments={"force": up},
        relies_on=["status", "finished_at"],
        effects=effects_on(of, ("destroy",), STOPS if up else _LATE),
    )


def effects_on(of: observe.Container, needed: tuple[str, ...], may: tuple[str, ...]) -> tuple[Effect, ...]:
    """Those on the container; one that was run with ``--rm`` takes its volumes without a name along."""
    if not (of.auto_remove and "die" in (*needed, *may)):
        return effects("container", of.id, of.name, needed, may)
    along = [
        Effect(kind="volume", action="destroy", id=name, name=name[:12], needed=False) for name in of.unnamed
    ]
    return (*effects("container", of.id, of.name, needed, (*may, "destroy")), *along)


def _started_again(of: observe.Container) -> str:
    """The command that brings back what is stopped; one that was run with ``--rm`` is gone then."""
    if of.auto_remove:
        return ""
    return f"docker start {of.name}" + (f" && docker pause {of.name}" if of.status == "paused" else "")


def on(
    of: observe.Container,
    verb: str,
    reason: str,
    *,
    changed: Iterable[tuple[str, object, object]],
    relies_on: Iterable[str],
    effects: tuple[Effect, ...],
    **more: Any,
) -> Action:
    """*verb* to a container, as it is now: *changed* are (what, before, after), *relies_on* the facts that have to stay so."""
    return Action(
        verb=verb,
        kind="container",
        id=of.id,
        name=of.name,
        reason=reason,
        changes=changes(*changed),
        relies_on={name: facts.plain(getattr(of, name)) for name in relies_on},
        effects=effects,
        **more,
    )


def _shown(size: int) -> str:
    return "unlimited" if size == NO_SWAP_LIMIT else str(ByteSize(size))


def _option(size: int) -> str:
    return str(int(size)) if size == NO_SWAP_LIMIT else str(ByteSize(size))


# -- carrying out


def _update(engine: Engine, action: Action) -> dict[str, Any]:
    """Update it, again if it was just between its end and its restart: runc does not update what has stopped.

    Keeps what had been counted before it and after it, by which a kill for memory before the update can be told from a later
    one.
    """
    import docker.errors

    deadline = time.monotonic() + _BETWEEN
    while True:
        before = _shortage(engine, action.id)
        try:
            engine.client.api.update_container(action.id, **action.arguments)
        except docker.errors.APIError as error:
            if "cannot update a stopped container" not in str(error) or time.monotonic() > deadline:
                raise
            time.sleep(0.05)
        else:
            return {"shortage": before, "shortage_since": _shortage(engine, action.id)}


def _shortage(engine: Engine, container: str) -> list[int] | None:
    """What has been counted of its shortage of memory; None where that cannot be read, or it is gone."""
    try:
        counted = observe.memory(engine, observe.container(engine, container))
    except UsageError:
        return None
    return None if isinstance(counted, Unreadable) else counted.shortage


def _updated(engine: Engine, action: Action) -> bool:
    now = facts.read(engine, "container", action.id)
    limits = {"memory": "mem_limit", "memory_swap": "memswap_limit"}
    return bool(now["exists"]) and all(
        now[fact] == action.arguments[name] for fact, name in limits.items() if name in action.arguments
    )


def _start(engine: Engine, action: Action) -> dict[str, Any]:
    engine.client.api.start(action.id)
    return {}


def _started(engine: Engine, action: Action) -> bool:
    """Up, or down again since."""
    now = facts.read(engine, "container", action.id)
    return bool(now["exists"]) and (
        now["status"] in ("running", "paused", "restarting")
        or now["started_at"] != action.relies_on["started_at"]
    )


def _stop(engine: Engine, action: Action) -> dict[str, Any]:
    engine.client.api.stop(action.id, **action.arguments)
    return {}


def _stopped(engine: Engine, action: Action) -> bool:
    now = facts.read(engine, "container", action.id)
    return bool(not now["exists"] or now["status"] not in ("running", "paused", "restarting"))


def _remove(engine: Engine, action: Action) -> dict[str, Any]:
    engine.client.api.remove_container(action.id, v=False, **action.arguments)
    return {}


def _removed(engine: Engine, action: Action) -> bool:
    return not facts.read(engine, "container", action.id)["exists"]


VERBS = {
    ("container", "update"): Verb(_update, _updated, lasts=True),
    ("container", "start"): Verb(_start, _started),
    ("container", "stop"): Verb(_stop, _stopped, lasts=True),
    ("container", "remove"): Verb(_remove, _removed, lasts=True),
}
