"""Can this copy become that volume, and is it perhaps there already?

The copy decides first: one that is cut short, was changed since, or would reach out of the volume is refused before anything
is looked at.  Then the volume: only one that is absent, or empty and used by nobody, is filled.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from labkit import observe
from labkit.diagnosis.findings import Finding
from labkit.observe import contents
from labkit.observe.contents import Contents
from labkit.observe.records import Evidence

if TYPE_CHECKING:
    from labkit.engine import Engine

__all__ = ["CODES", "diagnose"]

TITLES = {
    "missing": "There is no such volume, and a good copy.",
    "empty": "The volume is empty and nobody uses it, and there is a good copy.",
    "in-use": "The volume is empty, and a container that is up has it.",
    "occupied": "The volume holds something else than the copy.",
    "restored": "The volume holds what the copy holds.",
}
CODES = tuple(TITLES)
REMEDIES = {"missing": "create", "empty": "fill"}
ADVICE = {
    "in-use": "Stop the container first, or restore into a new volume.",
    "occupied": "It is left alone: restore into a new volume, look at both, and decide.",
}


def diagnose(
    engine: Engine,
    container: str = "web",
    *,
    volume: str = "",
    file: Path | None = None,
    sha256: str | None = None,
) -> Finding:
    """Look whether *volume* can be restored from *file*; by default ``CONTAINER-data`` from ``CONTAINER-data.tar`` here.

    Raises `UsageError` where there is no file or nothing says what its checksum has to be, and `Refused` for one that is
    damaged or dangerous.
    """
    volume = volume or f"{container}-data"
    copy = observe.copy(file or Path(f"{volume}.tar"), sha256)
    wanted = copy.trusted()
    code, seen = _compare(engine, observe.volume(engine, volume), wanted)
    good = f"sha256 as {copy.told_by} says; {wanted.files} files, whole to the end"
    return Finding(
        diagnosis="restore-volume",
        object=volume,
        code=code,
        title=TITLES[code],
        confidence="certain",
        incident=code != "restored",
        evidence=(Evidence(source=str(copy.file), fact=good, detail=copy.sha256), seen),
        remedy=REMEDIES.get(code, ""),
        advice=ADVICE.get(code, ""),
    )


def _compare(engine: Engine, volume: observe.Volume, wanted: Contents) -> tuple[str, Evidence]:
    source = f"docker volume inspect {volume.name}"
    if not volume.exists:
        return "missing", Evidence(source=source, fact="no such volume")
    try:
        found = contents.of_volume(engine, volume.name)
    except contents.ContentsBroken as broken:
        return "occupied", Evidence(source=source, fact="it changes while it is read", detail=str(broken))
    different = wanted.differences(found)
    if not different:
        return "restored", Evidence(source=source, fact=f"{found.files} files, the same as in the copy")
    if not found.empty:
        fact = f"{found.files} files; {len(different)} differ from the copy"
        return "occupied", Evidence(source=source, fact=fact, detail=", ".join(different[:20]))
    up = [each.container.name for each in volume.users if each.up]
    if up:
        return "in-use", Evidence(source=source, fact=f"empty, used by {', '.join(up)}")
    return "empty", Evidence(source=source, fact="empty, nobody uses it")
