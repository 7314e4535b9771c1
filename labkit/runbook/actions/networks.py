"""What can be done to a network: remove it, by its id."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING, Any

from labkit.errors import UsageError
from labkit.runbook.actions import facts
from labkit.runbook.actions.base import Action, Verb, changes, effects
from labkit.runbook.actions.images import refuse_used

if TYPE_CHECKING:
    from labkit.engine import Engine

__all__ = ["VERBS", "remove_network"]


def remove_network(engine: Engine, network: str, reason: str, *, going: Collection[str] = ()) -> Action:
    """Remove a network that no container belongs to, running or not.

    *going*: ids of containers that the plan removes before.  Raises `UsageError` when there is no such
    network and `Refused` when another container belongs to it.
    """
    seen = facts.read(engine, "network", network)
    if not seen["exists"]:
        raise UsageError(f"no network called {network!r}", try_="docker network ls")
    refuse_used("network", seen["name"], seen["used_by"], going)
    return Action(
        verb="remove",
        kind="network",
        id=seen["id"],
        name=seen["name"],
        reason=reason,
        changes=changes(("network", seen["driver"], "removed")),
        relies_on={"used_by": seen["used_by"]},
        effects=effects("network", seen["id"], seen["name"], ("destroy",)),
    )


def _remove(engine: Engine, action: Action) -> dict[str, Any]:
    engine.client.api.remove_network(action.id)
    return {}


def _removed(engine: Engine, action: Action) -> bool:
    return not facts.read(engine, "network", action.id)["exists"]


VERBS = {("network", "remove"): Verb(_remove, _removed, lasts=True)}
