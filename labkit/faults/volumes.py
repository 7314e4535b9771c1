"""A volume with known files in it, and what an oracle reads of it: with a container's own tools."""

from __future__ import annotations

import hashlib
import io
import tarfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from labkit import labels
from labkit.engine import images
from labkit.errors import LabkitError, UsageError
from labkit.faults import wire

if TYPE_CHECKING:
    from labkit.engine import Engine

__all__ = ["FILES", "archive", "forget", "make", "need_free", "note", "sums", "sums_in", "undo", "write"]

LABEL = "labkit.fault"
FILES = {"orders/1": "two apples", "orders/2": "a pear", "customers": "Ada, Grace"}
_HEEDS = "ready"
"""What the container says once it ends when it is asked to."""
_SUMS = "cd /data && find . -type f -exec sha256sum {} +"


def archive(files: dict[str, str] = FILES) -> bytes:
    """A tar archive of *files*, the same bytes each time."""
    made = io.BytesIO()
    with tarfile.TarFile(fileobj=made, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for folder in (".", *sorted({name.rpartition("/")[0] for name in files} - {""})):
            member = tarfile.TarInfo(folder)
            member.type, member.mode = tarfile.DIRTYPE, 0o755
            tar.addfile(member)
        for name, text in sorted(files.items()):
            member = tarfile.TarInfo(name)
            member.size = len(text)
            tar.addfile(member, io.BytesIO(text.encode()))
    return made.getvalue()


def need_free(engine: Engine, container: str, file: Path) -> None:
    """Raise `UsageError` unless there is no such container, volume and file."""
    taken = [f"a container called {container}"] if wire.container(engine, container) else []
    if wire.get(engine, f"/volumes/{container}-data"):
        taken.append(f"a volume called {container}-data")
    taken += [f"a file {each}" for each in (file, note(file)) if each.exists()]
    if taken:
        raise UsageError(
            "there is " + " and ".join(taken) + " already", try_="another --container, or another folder"
        )
    images.ensure(engine, ["busybox"])


def note(file: Path) -> Path:
    """The file beside *file* that holds its checksum."""
    return file.with_name(f"{file.name}.sha256")


def write(file: Path, content: bytes, noted: bytes) -> None:
    """Write *content* to *file*, and the checksum of *noted* beside it."""
    file.write_bytes(content)
    note(file).write_text(f"{hashlib.sha256(noted).hexdigest()}  {file.name}\n", encoding="utf-8")


def forget(file: Path, *contents: bytes) -> None:
    """Remove *file* and its note, if it is one of *contents*."""
    if file.is_file() and file.read_bytes() in contents:
        file.unlink()
        note(file).unlink(missing_ok=True)


def make(engine: Engine, container: str, fault: str, content: bytes | None, *, up: bool) -> None:
    """A volume ``CONTAINER-data``, filled from an archive, and a container that has it; it ends at once when it is asked to."""
    client, made = engine.client, {**labels.ours(engine.id), LABEL: fault}
    client.volumes.create(f"{container}-data", labels=made)
    script = f"trap 'exit 0' TERM; echo {_HEEDS}; while :; do sleep 1000000 & wait; done"
    running = client.containers.create(
        "busybox:lab",
        ["sh", "-c", script],
        name=container,
        labels=made,
        network_mode="none",
        volumes={f"{container}-data": {"bind": "/data", "mode": "rw"}},
    )
    if content:
        running.put_archive("/data", content)
    if up:
        running.start()
        _await_trap(engine, container)
    else:
        running.remove()


def _await_trap(engine: Engine, container: str) -> None:
    """Wait until its shell acts on SIGTERM: a process 1 that has no trap yet is not told, and the signal is lost."""
    deadline = time.monotonic() + 60
    while _HEEDS.encode() not in (wire.get(engine, f"/containers/{container}/logs?stdout=1") or b""):
        if time.monotonic() > deadline:
            raise LabkitError(f"the container {container} did not begin to serve")
        time.sleep(0.02)


def sums(engine: Engine, volume: str) -> dict[str, str]:
    """The sha256 of each file in *volume*, as a container's ``sha256sum`` prints them."""
    made = labels.ours(engine.id)
    printed = engine.client.containers.run(
        "busybox:lab",
        ["sh", "-c", _SUMS],
        volumes={volume: {"bind": "/data", "mode": "ro"}},
        network_mode="none",
        labels=made,
        remove=True,
    )
    lines = [line.split("  ", 1) for line in printed.decode().splitlines()]
    return {name.removeprefix("./"): sum for sum, name in lines}


def sums_in(file: Path) -> dict[str, str]:
    """The sha256 of each file in the archive *file*; empty for one that cannot be read."""
    found = {}
    try:
        with tarfile.open(file) as tar:
            for member in tar:
                if opened := tar.extractfile(member):
                    found[member.name.removeprefix("./")] = hashlib.sha256(opened.read()).hexdigest()
    except (tarfile.TarError, OSError):
        return {}
    return found


def undo(engine: Engine, container: str, fault: str) -> None:
    """Remove the container and the volume, if the *fault* made them."""
    api, made = engine.client.api, f"{LABEL}={fault}"
    for each in api.containers(all=True, filters={"name": f"^/{container}$", "label": made}):
        api.remove_container(each["Id"], force=True, v=True)
    volume = f"{container}-data"
    ours = api.volumes(filters={"label": made})["Volumes"] or []
    if volume in [each["Name"] for each in ours] or (fault == "restore-volume" and _restored(engine, volume)):
        api.remove_volume(volume)


def _restored(engine: Engine, volume: str) -> bool:
    """Whether a volume is there that labkit made when it restored."""
    found = engine.client.api.volumes(filters={"label": labels.KIT})["Volumes"] or []
    return volume in [each["Name"] for each in found]
