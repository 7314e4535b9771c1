"""Prepared data-roots: the state of a stopped engine, kept to start others from in a moment.

Image layers are immutable, so they are never copied: they lie once in ``home()/layers`` and each engine gets them as
read-only bind mounts.  Everything else (metadata, volumes, containers' own layers) is copied for real.  Layout: moby's
``image/overlay2/layerdb`` names, for each layer, the folder below ``overlay2`` that holds it (``cache-id``).
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from labkit import paths
from labkit.engine.debian import in_user_namespace, rootless
from labkit.engine.keeper import erase
from labkit.engine.locks import working
from labkit.errors import LabkitError, UsageError

__all__ = [
    "FORMAT",
    "Prepared",
    "collect",
    "copy_into",
    "find",
    "keep",
    "made_of",
    "names",
    "note",
    "remove",
    "size",
    "store",
]

FORMAT = 3
"""Of what is kept; 1 kept the engine's ID as well, 2 the networks of a state that is made of images."""


@dataclass(frozen=True)
class Prepared:
    """A prepared state: its name, its ``docker`` data-root and the ids of the image layers that are bound into it."""

    name: str
    folder: Path
    layers: list[str]

    @property
    def docker(self) -> Path:
        """The data-root to copy."""
        return self.folder / "docker"


def _states() -> Path:
    return paths.home() / "prepared"


def store() -> Path:
    """Where image layers lie, a folder each."""
    return paths.home() / "layers"


def names() -> list[str]:
    """The prepared states on this machine."""
    return sorted(path.parent.name for path in _states().glob("*/state.json"))


def find(name: str) -> Prepared | None:
    """The prepared state *name*, or None."""
    if not name or "/" in name or name.startswith("."):
        raise UsageError(
            "a prepared state cannot have this name", seen=repr(name), expected="letters, digits, dashes"
        )
    folder = _states() / name
    try:
        return Prepared(
            name, folder, json.loads((folder / "state.json").read_text(encoding="utf-8"))["layers"]
        )
    except (OSError, ValueError):
        return None


def copy_into(prepared: Prepared, docker: Path) -> None:
    """Copy *prepared* to the new data-root *docker*; its layers are then still to be bound from `store`."""
    _run(["cp", "--archive", "--reflink=auto", str(prepared.docker), str(docker)])


@working()
def keep(name: str, docker: Path, bound: Sequence[str]) -> Prepared:
    """Make the data-root *docker* of an engine that has ended into the prepared state *name* (it is moved there).

    *bound*: ids of the layers that were bound into it already.  Raises `LabkitError` when that fails, as it does on a
    full disk; *docker* is then as it was.
    """
    find(name)  # refuses a bad name
    inherited = set(bound)
    own = {layer for layer in _image_layers(docker) if (docker / "overlay2" / layer / "diff").is_dir()}
    kept = own | {layer for layer in inherited if (docker / "overlay2" / layer).is_dir()}
    fresh = _states() / f".{name}.{os.getpid()}.making"
    with ExitStack() as undo:
        undo.callback(erase, fresh, rootless=rootless())
        try:
            store().mkdir(exist_ok=True)
            fresh.mkdir(parents=True)
            (fresh / "state.json").write_text(json.dumps({"layers": sorted(kept)}), encoding="utf-8")
            for layer in sorted(own - inherited):
                _store_layer(docker / "overlay2" / layer / "diff", store() / layer, undo)
            _move(docker, fresh / "docker", undo)
            # every engine that starts from here gets its own
            _run(["rm", "--force", str(fresh / "docker/engine-id")])
            remove(name)
            fresh.rename(_states() / name)
        except OSError as error:
            raise LabkitError(f"could not keep the prepared state {name!r}", seen=str(error)) from error
        undo.pop_all()
    found = find(name)
    assert found is not None
    return found


def _store_layer(diff: Path, stored: Path, undo: ExitStack) -> None:
    if not stored.exists():
        _move(diff, stored, undo)
        undo.callback(_run, ["rm", "--force", "--recursive", str(diff)])
        _run(["mkdir", str(diff)])


def _move(source: Path, target: Path, undo: ExitStack) -> None:
    _run(["mv", "--no-target-directory", str(source), str(target)])
    undo.callback(_run, ["mv", "--no-target-directory", str(target), str(source)])


def note(name: str, made_of: dict[str, Any]) -> None:
    """Write down what the prepared state *name* was made of, to tell later whether it is still wanted (`made_of`)."""
    file = _states() / name / "state.json"
    fresh = file.with_suffix(".new")
    fresh.write_text(
        json.dumps({**json.loads(file.read_text(encoding="utf-8")), "made_of": made_of}), encoding="utf-8"
    )
    fresh.replace(file)


def made_of(name: str) -> dict[str, Any]:
    """What was noted for the prepared state *name*; nothing where nothing was."""
    try:
        return dict(
            json.loads((_states() / name / "state.json").read_text(encoding="utf-8")).get("made_of", {})
        )
    except (OSError, ValueError):
        return {}


def size(docker: Path) -> int:
    """Bytes on disk of a data-root: what a copy of it takes."""
    command = in_user_namespace(["du", "--summarize", "--block-size=1", str(docker)])
    # files come and go under a daemon that runs, which du complains of
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return int(done.stdout.split()[0])


def _image_layers(docker: Path) -> set[str]:
    return {
        path.read_text(encoding="utf-8").strip()
        for path in docker.glob("image/overlay2/layerdb/sha256/*/cache-id")
    }


def remove(name: str) -> None:
    """Delete the prepared state *name*; its layers go with `collect`."""
    erase(_states() / name, rootless=rootless())


def collect(in_use: set[str]) -> int:
    """Delete the layers that no prepared state and none of the engines, which use *in_use*, needs; return how many.

    To be called only while nothing is made in home (`labkit.engine.locks.alone`).
    """
    wanted = {layer for name in names() if (state := find(name)) for layer in state.layers}
    stale = (
        [path for path in store().glob("*") if path.name not in wanted | in_use] if store().exists() else []
    )
    for path in stale:
        erase(path, rootless=rootless())
    return len(stale)


def fill(data: Path, state: str | None, docker: Path | None = None) -> list[str]:
    """Fill the data folder of an engine; return the layers of the store that it uses.

    Its data-root is *docker* (moved), or copied from the prepared *state*, or empty.  Raises `UsageError` for a state that
    there is not.
    """
    for name in ("upper", "work"):
        (data / name).mkdir()
    if docker is not None:
        docker.rename(data / "docker")
        return []
    found = find(state) if state else None
    if state and found is None:
        raise UsageError(
            "no such prepared state", seen=repr(state), expected=", ".join(names()) or "(none is kept)"
        )
    if found is None:
        (data / "docker").mkdir()
        return []
    copy_into(found, data / "docker")
    return found.layers


def _run(command: list[str]) -> None:
    done = subprocess.run(in_user_namespace(command), capture_output=True, text=True, check=False)
    if done.returncode:
        raise LabkitError(
            f"`{command[0]}` failed while a prepared state was copied",
            seen=done.stderr.strip()[-1000:],
            try_=f"free space: {shutil.disk_usage(paths.home()).free // 2**20} MiB are free in {paths.home()}",
        )
