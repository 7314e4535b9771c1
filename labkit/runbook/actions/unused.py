"""The removal of what nobody uses: an action an object, in an order in which they can go."""

from __future__ import annotations

from typing import TYPE_CHECKING

from labkit import observe
from labkit.runbook.actions.base import Action
from labkit.runbook.actions.caches import remove_build_cache
from labkit.runbook.actions.containers import remove_container
from labkit.runbook.actions.images import remove_image
from labkit.runbook.actions.networks import remove_network
from labkit.runbook.actions.volumes import remove_volume

if TYPE_CHECKING:
    from labkit.engine import Engine

__all__ = ["remove_unused"]


def remove_unused(engine: Engine, unused: observe.Unused) -> list[Action]:
    """The actions that remove everything in *unused*, and nothing else.

    Raises `Refused` or `UsageError` when one of the objects has come into use or has gone meanwhile.
    """
    going = [each.id for each in unused.of("container")]
    cache = remove_build_cache(engine, [each.id for each in unused.of("build cache")], "no build runs")
    return [
        *(remove_container(observe.container(engine, each.id), each.why) for each in unused.of("container")),
        *(remove_image(engine, each.id, each.why, going=going) for each in unused.of("image")),
        *(remove_network(engine, each.id, each.why, going=going) for each in unused.of("network")),
        *(remove_volume(engine, each.id, each.why, going=going) for each in unused.of("volume")),
        *([cache] if cache else []),
    ]
