"""A volume in use of which there is no good copy.  The copy is looked for in ``CONTAINER-data.tar`` of the present folder."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from labkit.faults import volumes, wire
from labkit.faults.variants import Variant

if TYPE_CHECKING:
    from labkit.engine import Engine

__all__ = ["VARIANTS", "inject", "oracle", "undo"]

VARIANTS = {
    "never": Variant("nobody has made a copy", "no-backup", cured=True),
    "outdated": Variant("a copy was made, and then something written", "outdated", cured=False),
    "cut-short": Variant("the disk was full before the copy was whole", "damaged", cured=False),
}
NAME = "backup-volume"
_WHOLE = volumes.archive()
_SHORT = _WHOLE[:-9000]
_LATER = {**volumes.FILES, "orders/3": "five plums"}


def inject(engine: Engine, variant: str, container: str = "web") -> None:
    """Make *variant*.  Raises `UsageError` when the container, the volume or the file is there already."""
    file = _file(container)
    volumes.need_free(engine, container, file)
    try:
        later = volumes.archive(_LATER) if variant == "outdated" else _WHOLE
        volumes.make(engine, container, NAME, later, up=True)
        if variant != "never":
            volumes.write(file, _SHORT if variant == "cut-short" else _WHOLE, noted=_WHOLE)
    except BaseException:
        undo(engine, container)
        raise


def oracle(engine: Engine, container: str = "web") -> str | None:
    """The variant that is present: from checksums that a container makes of the volume's files."""
    if not wire.get(engine, f"/volumes/{container}-data"):
        return None
    file = _file(container)
    if not file.exists():
        return "never"
    copied, there = volumes.sums_in(file), volumes.sums(engine, f"{container}-data")
    if copied == there:
        return None
    return "outdated" if copied and copied.items() <= there.items() else "cut-short"


def undo(engine: Engine, container: str = "web") -> None:
    """Remove everything that `inject` made; a copy that somebody made since is theirs."""
    volumes.undo(engine, container, NAME)
    volumes.forget(_file(container), _WHOLE, _SHORT)


def _file(container: str) -> Path:
    return Path(f"{container}-data.tar")
