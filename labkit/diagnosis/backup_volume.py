"""Is there a copy of this volume, whole and of what is in it now?

A file that is there is no backup yet: it can have been cut short by a full disk, or be of last year.  It is read to its end,
its checksum compared with the one noted when it was made, and its content with the volume's.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from labkit import observe
from labkit.diagnosis.findings import Finding
from labkit.errors import UsageError
from labkit.observe import contents
from labkit.observe.records import Evidence

if TYPE_CHECKING:
    from labkit.engine import Engine

__all__ = ["CODES", "diagnose"]

TITLES = {
    "no-backup": "There is no copy in this file.",
    "damaged": "The file that should be its copy is damaged, or is another one.",
    "outdated": "There is a copy, and the volume has other content by now.",
    "backed-up": "There is a copy, whole, and the same as the volume.",
}
CODES = tuple(TITLES)
_NEVER_OVER = "It is not written over: name another file."
ADVICE = {"damaged": _NEVER_OVER, "outdated": _NEVER_OVER}


def diagnose(
    engine: Engine, container: str = "web", *, volume: str = "", file: Path | None = None
) -> Finding:
    """Look whether *file* holds a copy of *volume*; by default ``CONTAINER-data.tar`` here, of ``CONTAINER-data``."""
    volume = volume or f"{container}-data"
    there, copy = observe.volume(engine, volume), observe.copy(file or Path(f"{volume}.tar"))
    if not there.exists:
        raise UsageError(f"no volume called {volume!r}", try_="docker volume ls")
    code, seen = _compare(engine, volume, copy)
    return Finding(
        diagnosis="backup-volume",
        object=volume,
        code=code,
        title=TITLES[code],
        confidence="certain",
        incident=code != "backed-up",
        evidence=(*_of_users(there), seen),
        remedy="copy" if code == "no-backup" else "",
        advice=ADVICE.get(code, ""),
    )


def _compare(engine: Engine, volume: str, copy: observe.Copy) -> tuple[str, Evidence]:
    source = str(copy.file)
    if not copy.exists:
        return "no-backup", Evidence(source=source, fact="no such file")
    if copy.troubles or copy.contents is None:
        return "damaged", Evidence(
            source=source, fact="; ".join(copy.troubles), detail=f"sha256 {copy.sha256}"
        )
    try:
        different = copy.contents.differences(contents.of_volume(engine, volume))
    except contents.ContentsBroken as broken:
        return "outdated", Evidence(
            source=source, fact="the volume changes while it is read", detail=str(broken)
        )
    whole = f"whole, {copy.contents.files} files"
    if different:
        detail = ", ".join(different[:20])
        return "outdated", Evidence(
            source=source, fact=f"{whole}; {len(different)} differ from the volume", detail=detail
        )
    return "backed-up", Evidence(
        source=source, fact=f"{whole}, the same as in the volume", detail=f"sha256 {copy.sha256}"
    )


def _of_users(volume: observe.Volume) -> list[Evidence]:
    """Who has the volume, and may write while it is copied."""
    source = f"docker ps --all --filter volume={volume.name}"
    if not volume.users:
        return [Evidence(source=source, fact="no container has it")]
    return [
        Evidence(
            source=source,
            fact=f"{user.container.name} is {user.container.status}, and may {'write' if user.writes else 'only read'}",
            detail=f"id {user.container.id}, at {user.path}",
        )
        for user in volume.users
    ]
