"""A volume that has lost its content; its copy is in ``CONTAINER-data.tar`` of the present folder."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from labkit.faults import volumes, wire
from labkit.faults.variants import Variant

if TYPE_CHECKING:
    from labkit.engine import Engine

__all__ = ["VARIANTS", "inject", "oracle", "undo"]

VARIANTS = {
    "lost": Variant("the volume is gone", "missing", cured=True),
    "emptied": Variant("the volume was made anew, and is empty", "empty", cured=True),
    "in-use": Variant("the volume was made anew, and a container has begun to use it", "in-use", cured=False),
    "other": Variant("the volume holds something else", "occupied", cured=False),
}
NAME = "restore-volume"
_COPY = volumes.archive()
_OTHER = volumes.archive({"orders/1": "no apples"})


def inject(engine: Engine, variant: str, container: str = "web") -> None:
    """Make *variant*.  Raises `UsageError` when the container, the volume or the file is there already."""
    file = _file(container)
    volumes.need_free(engine, container, file)
    try:
        if variant != "lost":
            other = _OTHER if variant == "other" else None
            volumes.make(engine, container, NAME, other, up=variant == "in-use")
        volumes.write(file, _COPY, noted=_COPY)
    except BaseException:
        undo(engine, container)
        raise


def oracle(engine: Engine, container: str = "web") -> str | None:
    """The variant that is present: from checksums that a container makes of the volume's files."""
    if not _file(container).exists():
        return None
    if not wire.get(engine, f"/volumes/{container}-data"):
        return "lost"
    there = volumes.sums(engine, f"{container}-data")
    if there == volumes.sums_in(_file(container)):
        return None
    if there:
        return "other"
    return "in-use" if wire.container(engine, container) else "emptied"


def undo(engine: Engine, container: str = "web") -> None:
    """Remove everything that `inject` made, and the volume that was restored from it."""
    volumes.undo(engine, container, NAME)
    volumes.forget(_file(container), _COPY)


def _file(container: str) -> Path:
    return Path(f"{container}-data.tar")
