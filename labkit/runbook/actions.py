"""What a runbook can do to an engine, each as data first: what it changes, why, and how to undo it.

A builder such as `raise_memory` looks at facts and returns an `Action`, or None when there is nothing to
do; `perform` carries an action out.  A new action is one builder, and one line in ``_VERBS``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict

from labkit import observe
from labkit.errors import LabkitError, UsageError
from labkit.observe.quantities import ByteSize

if TYPE_CHECKING:
    from labkit.engine import Engine

__all__ = ["Action", "Change", "perform", "raise_memory", "start_again"]

NO_SWAP_LIMIT = -1


class Change(BaseModel):
    """One property of an object, *before* and *after*."""

    model_config = ConfigDict(frozen=True)

    what: str
    before: str
    after: str

    def __str__(self) -> str:
        return f"{self.what}: {self.before} → {self.after}"


class Action(BaseModel):
    """One thing to do: *verb* to the object *kind*, *name* with *id*.

    *arguments* are what the engine is given; *relies_on* are the facts under which it was planned (it is
    refused when they are no longer true); *undo* is the command that takes it back, if *reversible*.
    """

    model_config = ConfigDict(frozen=True)

    verb: str
    kind: str
    id: str
    name: str
    reason: str
    changes: tuple[Change, ...]
    undo: str
    reversible: bool = True
    arguments: dict[str, Any] = {}
    relies_on: dict[str, Any] = {}

    def __str__(self) -> str:
        return f"{self.verb} {self.kind} {self.name}"


def raise_memory(of: observe.Container, to: ByteSize | None = None) -> Action | None:
    """Raise a container's memory limit to *to* bytes, or to twice the present one; None without a limit.

    The limit of memory and swap together goes up by as much, since the engine refuses a memory limit above
    it.  Raises `UsageError` when *to* is not more than the present limit.
    """
    if of.memory is None:
        return None
    limit = to or ByteSize(2 * of.memory)
    if limit <= of.memory:
        raise UsageError(
            f"a limit of {limit} does not give {of.name} more memory",
            seen=f"its present limit is {of.memory}",
            try_=f"-p memory={ByteSize(2 * of.memory)}",
        )
    arguments = {"mem_limit": int(limit)}
    changes = [Change(what="memory limit", before=str(of.memory), after=str(limit))]
    undo = f"docker update --memory {of.memory}"
    if of.memory_swap is not None:
        together = of.memory_swap if of.memory_swap == NO_SWAP_LIMIT else of.memory_swap + limit - of.memory
        arguments["memswap_limit"] = int(together)
        undo += f" --memory-swap {_swap(of.memory_swap)}"
        changes.append(Change(what="with swap", before=_swap(of.memory_swap), after=_swap(together)))
    return Action(
        verb="update",
        kind="container",
        id=of.id,
        name=of.name,
        reason="it ran out of the memory that it may use",
        changes=tuple(changes),
        undo=f"{undo} {of.name}",
        arguments=arguments,
        relies_on={"memory": of.memory, "memory_swap": of.memory_swap},
    )


def start_again(of: observe.Container) -> Action | None:
    """Start a container that is down; None when it is up, or when its restart policy does it."""
    if of.running or of.status == "restarting":
        return None
    return Action(
        verb="start",
        kind="container",
        id=of.id,
        name=of.name,
        reason="it is down",
        changes=(Change(what="status", before=of.status, after="running"),),
        undo=f"docker stop {of.name}",
        relies_on={"status": of.status, "finished_at": str(of.finished_at)},
    )


def _swap(size: int) -> str:
    return "unlimited" if size == NO_SWAP_LIMIT else str(ByteSize(size))


def _update(engine: Engine, action: Action) -> None:
    engine.client.api.update_container(action.id, **action.arguments)


def _start(engine: Engine, action: Action) -> None:
    engine.client.api.start(action.id)


_VERBS: dict[tuple[str, str], Callable[[Engine, Action], None]] = {
    ("container", "update"): _update,
    ("container", "start"): _start,
}


def perform(engine: Engine, action: Action) -> None:
    """Carry out *action*, as approved by whoever asked for it by name.

    Raises `LabkitError` with the engine's own words when the engine refuses it.
    """
    import docker.errors

    try:
        with engine.approve(action.kind, action.name):
            _VERBS[action.kind, action.verb](engine, action)
    except docker.errors.APIError as error:
        raise LabkitError(
            f"the engine did not {action}",
            seen=str(error.explanation or error),
            expected=str(action.changes[0]),
        ) from error
