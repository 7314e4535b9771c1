"""Containers of labkit's own that do one thing for a plan and are gone afterwards."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from labkit.errors import LabkitError, Refused, UsageError
from labkit.labels import is_ours, of_run, ours
from labkit.runbook.actions import facts
from labkit.runbook.actions.base import Action, Change, Effect, Verb, effects

if TYPE_CHECKING:
    from labkit.engine import Engine

__all__ = ["VERBS", "job", "job_name", "mounted", "need_image", "run_job"]

LIFE = ("create", "destroy")
_MAY = ("network connect", "network disconnect", "kill")
_SHOWN = 2000
"""Characters of a job's output that are kept."""


def run_job(
    engine: Engine,
    image: str,
    command: Sequence[str],
    *,
    name: str,
    reason: str,
    volumes: Mapping[str, str] | None = None,
    changes: Sequence[Change] = (),
    undo: str = "",
    network: str = "none",
    user: str = "",
    patience: float = 600,
    repeatable: bool = False,
) -> Action:
    """Create a container from *image*, run *command* in it to its end, and remove it.

    *volumes*: names of volumes to the paths where they are mounted, ``/path:ro`` for reading alone.  What the
    command changes there, and how that is undone, only its author knows: *changes* and *undo*; also whether it
    is *repeatable*, so that a run that was cut off in the middle of it may run it again.  *patience*: seconds
    that it may take.

    Raises `UsageError` for an image or a volume that is not there.
    """
    image_id = need_image(engine, image)
    for volume in volumes or {}:
        if not facts.read(engine, "volume", volume)["exists"]:
            raise UsageError(f"no volume called {volume!r}", try_="docker volume ls")
    arguments = {
        "image": image_id,
        "command": list(command),
        "volumes": dict(volumes or {}),
        "network": network,
        "user": user,
        "patience": patience,
        "repeatable": repeatable,
    }
    name = job_name(name, arguments)
    return Action(
        verb="run",
        kind="container",
        id=name,
        name=name,
        reason=reason,
        changes=tuple(changes),
        undo=undo,
        arguments=arguments,
        relies_on={"exists": False},
        effects=(*effects("container", "", name, (*LIFE, "start", "die"), _MAY), *mounted(*volumes or {})),
        touches=tuple(("volume", volume) for volume in volumes or {}),
    )


def job_name(purpose: str, arguments: Any) -> str:
    """The container's name, the same for the same job: so a leftover of a crash is found again."""
    digest = hashlib.sha256(json.dumps(arguments, sort_keys=True, default=str).encode()).hexdigest()
    return f"labkit-{purpose}-{digest[:8]}"


def mounted(*volumes: str) -> tuple[Effect, ...]:
    """What an engine may tell of volumes that a new container is given: 20.10 says that it creates them."""
    return tuple(each for name in volumes for each in effects("volume", name, name, (), ("create",)))


def need_image(engine: Engine, image: str) -> str:
    """The id of *image*, which must be on the engine already.  Raises `UsageError` when it is not."""
    seen = facts.read(engine, "image", image)
    if not seen["exists"]:
        raise UsageError(f"no image called {image!r} on the engine", try_="docker images")
    return str(seen["id"])


@contextmanager
def job(engine: Engine, name: str, image: str, **options: Any) -> Iterator[str]:
    """A created container *name* of labkit's own, by its id; removed at the end, and before if it was left.

    *options* are those of the SDK's ``create_container`` and, as ``host``, of its ``create_host_config``.
    """
    api = engine.client.api
    _remove_leftover(engine, name)
    host = api.create_host_config(**options.pop("host", {}))
    labels = {**ours(engine.id), **of_run()}
    made = api.create_container(image, name=name, labels=labels, host_config=host, **options)
    try:
        yield made["Id"]
    finally:
        api.remove_container(made["Id"], force=True, v=True)  # v: volumes that the image asks for


def _remove_leftover(engine: Engine, name: str) -> None:
    left = facts.read(engine, "container", name)
    if left["exists"] and not is_ours(left["labels"]):
        raise Refused(f"a container called {name} is there, and it is not labkit's")
    if left["exists"]:
        engine.client.api.remove_container(left["id"], force=True, v=True)


def _run(engine: Engine, action: Action) -> dict[str, Any]:
    import requests

    api, given = engine.client.api, action.arguments
    binds = [f"{volume}:{path}" for volume, path in given["volumes"].items()]
    host = {"binds": binds, "network_mode": given["network"]}
    with job(
        engine, action.name, given["image"], command=given["command"], user=given["user"] or None, host=host
    ) as container:
        api.start(container)
        try:
            code = api.wait(container, timeout=given["patience"])["StatusCode"]
        except requests.exceptions.RequestException:
            raise LabkitError(f"{action} took more than {given['patience']:g} s, and was ended") from None
        output = api.logs(container, tail=100).decode(errors="replace")[-_SHOWN:]
    if code:
        raise LabkitError(
            f"{action} failed", seen=f"exit code {code}\n{output}".strip(), expected="exit code 0"
        )
    return {"output": output}


def _never(engine: Engine, action: Action) -> bool:
    """What a command did cannot be seen from outside."""
    return False


def _repeatable(action: Action) -> bool:
    return bool(action.arguments["repeatable"])


VERBS = {("container", "run"): Verb(_run, _never, repeatable=_repeatable)}
