"""What can be done to an image: remove it, tags and all, by its id."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING, Any

from labkit.errors import Refused, UsageError
from labkit.observe.quantities import ByteSize
from labkit.runbook.actions import facts
from labkit.runbook.actions.base import Action, Verb, changes, effects

if TYPE_CHECKING:
    from labkit.engine import Engine

__all__ = ["VERBS", "remove_image"]


def remove_image(engine: Engine, image: str, reason: str, *, going: Collection[str] = ()) -> Action:
    """Remove an image, called by its id or a tag, with all the tags that it has now.

    Layers that other images or untagged parents need stay.  *going*: ids of containers that the plan removes
    before.  Raises `UsageError` when there is no such image and `Refused` when another container uses it.
    """
    seen = facts.read(engine, "image", image)
    if not seen["exists"]:
        raise UsageError(f"no image called {image!r}", try_="docker images")
    refuse_used("image", image, seen["used_by"], going)
    tags = seen["tags"]
    name = tags[0] if tags else seen["id"].removeprefix("sha256:")[:12]
    size = ByteSize(seen["size"]) if seen["size"] else "empty"
    return Action(
        verb="remove",
        kind="image",
        id=seen["id"],
        name=name,
        reason=reason,
        changes=changes(("image", size, "removed"), ("tags", " ".join(tags), "")),
        arguments={"tags": tags},
        relies_on={"tags": tags, "used_by": seen["used_by"]},
        effects=effects("image", seen["id"], name, ("untag", "delete") if tags else ("delete",)),
    )


def refuse_used(kind: str, name: str, used_by: Collection[str], going: Collection[str]) -> None:
    """Raise `Refused` when somebody uses the object who is not *going*."""
    staying = sorted(set(used_by) - set(going))
    if staying:
        raise Refused(
            f"the {kind} {name} is not removed: it is in use",
            seen="by " + ", ".join(each[:12] for each in staying),
            try_="remove what uses it first",
        )


def _remove(engine: Engine, action: Action) -> dict[str, Any]:
    """Take each tag away, if it still is this image's; the last one takes the image along.

    Parents without a tag stay (noprune): they were not shown.
    """
    api = engine.client.api
    for tag in action.arguments["tags"]:
        if facts.read(engine, "image", tag).get("id") == action.id:
            with engine.approve("image", tag):
                api.remove_image(tag, noprune=True)
    if facts.read(engine, "image", action.id)["exists"]:
        api.remove_image(action.id, noprune=True)
    return {}


def _removed(engine: Engine, action: Action) -> bool:
    return not facts.read(engine, "image", action.id)["exists"]


VERBS = {("image", "remove"): Verb(_remove, _removed, lasts=True)}
