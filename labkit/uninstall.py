"""Take away everything that labkit keeps on this machine, and nothing else."""

from __future__ import annotations

from pathlib import Path

from labkit import paths, server
from labkit.engine import locks, records
from labkit.engine.debian import rootless
from labkit.engine.keeper import erase
from labkit.errors import LabkitError
from labkit.kernels import starting
from labkit.progress import Tell

__all__ = ["folders", "uninstall"]


def folders() -> dict[str, Path]:
    """The folders that are emptied, by the variable that moves each."""
    return {"LABKIT_HOME": paths.home(), "LABKIT_RUNTIME": paths.runtime()}


def uninstall(tell: Tell) -> None:
    """End every lab and engine of this user and delete what labkit made in its two folders.

    A folder goes too when nothing else is in it.  Raises `LabkitError`, with nothing deleted, for a lab or an engine
    that does not end, or that another runtime folder keeps.
    """
    server.end_all()
    starting.end_all()
    _end_engines()
    with locks.alone(paths.home()) as free:
        if not free:
            raise LabkitError(
                "labkit is making something just now, so nothing was deleted", try_="later again"
            )
        _refuse_others()
        _delete(tell)


def _delete(tell: Tell) -> None:
    for variable, folder in folders().items():
        ours, strange = paths.contents(folder, variable)
        left = [entry for entry in ours if not erase(entry, rootless=rootless())]
        if left:
            raise LabkitError(f"could not delete all of {folder}", seen="\n".join(map(str, left)))
        (folder / paths.MARKER).unlink()
        if strange:
            names = ", ".join(entry.name for entry in strange)
            tell(f"emptied {folder}; left there, since labkit did not make it: {names}")
        else:
            folder.rmdir()
            tell(f"deleted {folder}")


def _end_engines() -> None:
    for record in records.listed():
        record.stop()
        if record.alive:
            keeper = (record.facts.get("keeper") or {}).get("pid", "(starting)")
            raise LabkitError(
                f"the engine {record.id} does not end, so nothing was deleted",
                seen=f"its keeper, process {keeper}, still runs",
                try_=f"kill -9 {keeper}, then again",
            )
    told = records.collect()
    if stuck := [line for line in told if "could not" in line]:
        raise LabkitError("what ended engines left could not be removed", seen="\n".join(stuck))


def _refuse_others() -> None:
    for engine, runtime in records.elsewhere().items():
        raise LabkitError(
            f"the engine {engine} runs, so nothing was deleted",
            seen=f"its runtime folder is {runtime}",
            try_=f"LABKIT_RUNTIME={runtime} labkit engine stop {engine}",
        )
