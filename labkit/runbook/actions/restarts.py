"""Restarting a container, once: of a restart that was cut off, the engine's facts say whether it was taken up.

An engine that was asked carries on when who asked is gone.  Asked again meanwhile, it would restart the container twice.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from labkit import observe
from labkit.errors import Refused
from labkit.observe.containers import moment
from labkit.observe.events import engine_time
from labkit.runbook.actions import facts
from labkit.runbook.actions.base import Action, Verb
from labkit.runbook.actions.containers import JOINS, PATIENCE, STOPS, effects_on, on

if TYPE_CHECKING:
    from labkit.engine import Engine

__all__ = ["VERBS", "restart"]

TAKEN_UP = 10.0
"""Seconds after which a request that an engine was sent shows: it has told the process to end, or started it."""
LONGEST = 30.0
"""Seconds that a restart may take beside the patience that it has with the process."""


def restart(of: observe.Container, reason: str, patience: int = PATIENCE) -> Action:
    """Stop a container if it is up, with *patience* in seconds, and start it.  What it held in memory is lost."""
    return on(
        of,
        "restart",
        reason,
        changed=[("process", of.status, "a new one")],
        arguments={"timeout": patience},
        relies_on=["status", "started_at"],
        effects=effects_on(of, ("start", "restart"), ("stop", *STOPS, *JOINS)),
    )


def _restart(engine: Engine, action: Action) -> dict[str, Any]:
    engine.client.api.restart(action.id, **action.arguments)
    return {}


def _restarted(engine: Engine, action: Action) -> bool:
    now = facts.read(engine, "container", action.id)
    return bool(
        now["exists"] and now["status"] == "running" and now["started_at"] != action.relies_on["started_at"]
    )


def _came_about(engine: Engine, action: Action, since: str) -> bool:
    """Whether it has a process that was started after *since*, also one that has ended again; waits for it while it may come.

    False when nothing was done to it in all that time.  Raises `Refused` when it was told to end and was not started.
    """
    begin = float(since)
    while True:
        clock = float(engine_time(engine))  # before the looks: what is not there by then comes late
        now = facts.read(engine, "container", action.id)
        if not now["exists"] or _at(now["started_at"]) > begin:
            return bool(now["exists"])
        told = {
            e.action
            for e in observe.events(engine, since=begin)
            if (e.kind, e.id) == ("container", action.id)
        }
        ending = _at(now["finished_at"]) > begin or told & {"kill", "die", "stop"}
        if not ending and clock > begin + TAKEN_UP:
            return False
        if clock > begin + max(TAKEN_UP, action.arguments["timeout"] + LONGEST):
            raise Refused(
                f"the run was cut off in the middle of: {action}",
                seen=f"it was told to end and has not been started since; it is {now['status']}",
                try_=f"docker start {action.name}, then run the runbook again for a new plan",
            )
        time.sleep(0.1)


def _at(told: str | None) -> float:
    """Seconds since 1970 of an engine's time stamp; 0 for never."""
    when = moment(told or "")
    return when.timestamp() if when else 0.0


VERBS = {("container", "restart"): Verb(_restart, _restarted, came_about=_came_about)}
