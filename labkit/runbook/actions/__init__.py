"""What a runbook can do to an engine, each as data first: what it changes, why, and how to undo it.

A builder such as `raise_memory` looks at facts and returns an `Action`, or None when there is nothing to
do; `perform` carries an action out.  A new action is one builder, and one line in its module's ``VERBS``.
"""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

from labkit.errors import LabkitError
from labkit.runbook.actions import caches, containers, images, jobs, networks, restarts, volumes
from labkit.runbook.actions.base import Action, Change, Effect, Verb
from labkit.runbook.actions.caches import remove_build_cache
from labkit.runbook.actions.containers import raise_memory, remove_container, start_again, stop
from labkit.runbook.actions.images import remove_image
from labkit.runbook.actions.jobs import run_job
from labkit.runbook.actions.networks import remove_network
from labkit.runbook.actions.restarts import restart
from labkit.runbook.actions.unused import remove_unused
from labkit.runbook.actions.volumes import compare_volume, copy_in, copy_out, create_volume, remove_volume

if TYPE_CHECKING:
    from labkit.engine import Engine

__all__ = [
    "VERBS",
    "Action",
    "Change",
    "Effect",
    "compare_volume",
    "copy_in",
    "copy_out",
    "create_volume",
    "perform",
    "raise_memory",
    "remove_build_cache",
    "remove_container",
    "remove_image",
    "remove_network",
    "remove_unused",
    "remove_volume",
    "restart",
    "run_job",
    "start_again",
    "stop",
]

VERBS: dict[tuple[str, str], Verb] = {
    **containers.VERBS,
    **restarts.VERBS,
    **jobs.VERBS,
    **images.VERBS,
    **volumes.VERBS,
    **networks.VERBS,
    **caches.VERBS,
}
"""How each verb is carried out, by object kind and verb."""


def perform(engine: Engine, action: Action) -> dict[str, Any]:
    """Carry out *action*, as approved by whoever approved its plan; returns what is worth keeping about it.

    Raises `LabkitError` with the engine's own words when the engine refuses it.
    """
    import docker.errors
    import requests

    try:
        with ExitStack() as approvals:
            for kind, name in [(action.kind, action.name), (action.kind, action.id), *action.touches]:
                approvals.enter_context(engine.approve(kind, name))
            return VERBS[action.kind, action.verb].perform(engine, action)
    except docker.errors.APIError as error:
        raise LabkitError(
            f"the engine did not {action}",
            seen=str(error.explanation or error),
            expected="; ".join(map(str, action.changes)),
        ) from error
    except requests.exceptions.RequestException as error:
        raise LabkitError(
            f"the engine went away during: {action}", seen=str(error), try_="labkit resume, once it is back"
        ) from error
