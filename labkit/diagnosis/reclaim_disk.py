"""Disk space that an engine's unused objects take: what could go, and how much would come back?

``docker system prune`` removes what it finds at that moment, not what it showed; ``-a`` adds every image without a
container, and since 23.0 ``--volumes`` means anonymous volumes alone.  Here each object is named first.  Volumes hold data
that exists nowhere else, so they are only ever removed when they are asked for.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import TYPE_CHECKING

from labkit import observe
from labkit.diagnosis.findings import Finding
from labkit.observe.quantities import ByteSize
from labkit.observe.records import Evidence

if TYPE_CHECKING:
    from labkit.engine import Engine

__all__ = ["CODES", "DEFAULT", "Seen", "diagnose", "explain", "look"]

TITLES = {
    "reclaimable": "There are objects that nobody uses.",
    "only-volumes": "All that is unused are volumes. They hold data, and go only when they are asked for.",
    "tidy": "Everything is in use, or is to be kept.",
}
CODES = tuple(TITLES)
DEFAULT = ("containers", "dangling-images", "networks")
"""What ``docker system prune`` takes too, but for the build cache."""


@dataclass(frozen=True)
class Seen:
    """What takes the space, what of that was asked for and is unused, and the unused volumes, asked for or not."""

    usage: observe.DiskUsage
    unused: observe.Unused
    volumes: observe.Unused


def diagnose(
    engine: Engine,
    container: str = "",
    *,
    what: Collection[str] = DEFAULT,
    keep: Collection[str] = (),
    older: float = 0,
) -> Finding:
    """Name what could go; *what*, *keep* and *older* as for `observe.unused`.  The *container* does not matter."""
    return explain(look(engine, what, keep, older))


def look(engine: Engine, what: Collection[str], keep: Collection[str], older: float) -> Seen:
    """Read the engine's disk usage and what nobody uses."""
    return Seen(
        observe.disk_usage(engine),
        observe.unused(engine, what, keep=keep, older=older),
        observe.unused(engine, ["volumes"], keep=keep, older=older),
    )


def explain(seen: Seen) -> Finding:
    """The finding that follows from what was *seen*."""
    code = "reclaimable" if seen.unused else "only-volumes" if seen.volumes else "tidy"
    advice = {
        "reclaimable": _gain(seen),
        "only-volumes": f"They hold {ByteSize(seen.volumes.size).rounded()}: look into them first, then ask for volumes.",
        "tidy": "",
    }[code]
    return Finding(
        diagnosis="reclaim-disk",
        object="the engine's disk",
        code=code,
        title=TITLES[code],
        confidence="certain",
        incident=code != "tidy",
        evidence=tuple(_evidence(seen)),
        remedy="remove" if code == "reclaimable" else "",
        advice=advice,
    )


def _gain(seen: Seen) -> str:
    """What would come back.  Of an image it is a guess: what its untagged parents or the build cache hold too stays with them."""
    size = ByteSize(seen.unused.size).rounded()
    if not seen.unused.of("image"):
        return f"{size} would come back."
    return f"About {size} would come back: a layer comes with the last that has it, as an untagged parent or the build cache."


def _evidence(seen: Seen) -> list[Evidence]:
    told = []
    for kind in dict.fromkeys(each.kind for each in seen.unused.found):
        objects = seen.unused.of(kind)
        size = ByteSize(sum(each.size for each in objects)).rounded()
        names = ", ".join(each.name or each.id for each in objects)
        plural = "" if len(objects) == 1 or kind == "build cache" else "s"
        told.append(
            Evidence(source="docker system df", fact=f"{len(objects)} {kind}{plural}, {size}", detail=names)
        )
    if seen.volumes and not seen.unused.of("volume"):
        size = ByteSize(seen.volumes.size).rounded()
        names = ", ".join(each.id for each in seen.volumes.found)
        told.append(
            Evidence(source="docker volume ls", fact=f"unused volumes, not asked for: {size}", detail=names)
        )
    kept = ", ".join(each.name or each.id for each in seen.unused.kept)
    return [*told, *([Evidence(source="parameters", fact=f"kept: {kept}")] if kept else [])]
