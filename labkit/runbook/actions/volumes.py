"""What can be done to a volume: create and remove it, copy its content out to a file and in from one."""

from __future__ import annotations

import hashlib
import os
import shlex
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from labkit.errors import LabkitError, UsageError
from labkit.labels import ours
from labkit.runbook.actions import facts
from labkit.runbook.actions.base import Action, Verb, changes, effects
from labkit.runbook.actions.images import refuse_used
from labkit.runbook.actions.jobs import LIFE, job, job_name, mounted, need_image

if TYPE_CHECKING:
    from labkit.engine import Engine

__all__ = ["VERBS", "copy_in", "copy_out", "create_volume", "remove_volume"]

_AT = "/volume"
_CHUNK = 2**20


def create_volume(
    engine: Engine, volume: str, reason: str, labels: Mapping[str, str] | None = None
) -> Action:
    """Create an empty local volume.  Raises `UsageError` when there is one of that name."""
    if facts.read(engine, "volume", volume)["exists"]:
        raise UsageError(f"there is a volume called {volume} already", try_="choose another name")
    return Action(
        verb="create",
        kind="volume",
        id=volume,
        name=volume,
        reason=reason,
        changes=changes(("volume", "absent", "empty")),
        undo=f"docker volume rm {volume}",
        arguments={"labels": dict(labels or {})},
        relies_on={"exists": False},
        effects=effects("volume", volume, volume, ("create",)),
    )


def remove_volume(engine: Engine, volume: str, reason: str, *, going: Collection[str] = ()) -> Action:
    """Remove a volume with all that is in it.

    *going*: ids of containers that the plan removes before.  Raises `UsageError` when there is no such volume
    and `Refused` when another container uses it, running or not.
    """
    seen = _need(engine, volume)
    refuse_used("volume", volume, seen["used_by"], going)
    return Action(
        verb="remove",
        kind="volume",
        id=volume,
        name=volume,
        reason=reason,
        changes=changes(("volume", seen["driver"], "removed")),
        relies_on={"created_at": seen["created_at"], "used_by": seen["used_by"]},
        effects=effects("volume", volume, volume, ("destroy",)),
    )


def copy_out(engine: Engine, volume: str, to: Path, *, image: str, reason: str) -> Action:
    """Copy a volume's content to the new file *to* on this machine, a tar archive with owners and modes.

    It is read through a container of *image* that is created and never started, so any image will do.  What
    is written meanwhile may be half in it: stop who writes first.  Keeps the file's sha256 and its bytes.

    Raises `UsageError` when there is no such volume or image, or when *to* exists.
    """
    seen, to = _need(engine, volume), to.absolute()
    if to.exists():
        raise UsageError(f"{to} exists already", try_="choose another file")
    arguments = {"file": str(to), "image": need_image(engine, image)}
    name = job_name("copy", [volume, arguments])
    return Action(
        verb="copy out",
        kind="volume",
        id=volume,
        name=volume,
        reason=reason,
        changes=changes((str(to), "absent", "a copy")),
        undo=f"rm {shlex.quote(str(to))}",
        arguments={**arguments, "job": name},
        relies_on={"created_at": seen["created_at"]},
        effects=(*effects("container", "", name, (*LIFE, "archive-path")), *mounted(volume)),
    )


def copy_in(
    engine: Engine, volume: str, source: Path, *, image: str, reason: str, created: bool = False
) -> Action:
    """Put the archive *source*, as `copy_out` makes it, into a volume, over what is there.

    *created*: the volume is one that the plan creates before.  The file is pinned by its sha256.  Raises
    `UsageError` when there is no such volume, image or file.
    """
    seen = facts.GONE if created else _need(engine, volume)
    source = source.absolute()
    if not source.is_file():
        raise UsageError(f"no file {source}")
    arguments = {"file": str(source), "sha256": _sha256(source), "image": need_image(engine, image)}
    name = job_name("copy", [volume, arguments])
    return Action(
        verb="copy into",
        kind="volume",
        id=volume,
        name=volume,
        reason=reason,
        changes=changes(("content", "empty" if created else "as it is", f"that of {source}")),
        undo=f"docker volume rm {volume}" if created else "",
        arguments={**arguments, "job": name},
        relies_on={"exists": False} if created else {"created_at": seen["created_at"]},
        effects=(*effects("container", "", name, (*LIFE, "extract-to-dir")), *mounted(volume)),
    )


def _need(engine: Engine, volume: str) -> facts.Facts:
    seen = facts.read(engine, "volume", volume)
    if not seen["exists"]:
        raise UsageError(f"no volume called {volume!r}", try_="docker volume ls")
    return seen


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


# -- carrying out


def _create(engine: Engine, action: Action) -> dict[str, Any]:
    labels = {**action.arguments["labels"], **ours(engine.id)}
    engine.client.api.create_volume(action.id, labels=labels)
    return {}


def _created(engine: Engine, action: Action) -> bool:
    return bool(facts.read(engine, "volume", action.id)["exists"])


def _remove(engine: Engine, action: Action) -> dict[str, Any]:
    engine.client.api.remove_volume(action.id)
    return {}


def _removed(engine: Engine, action: Action) -> bool:
    return not _created(engine, action)


def _copy_out(engine: Engine, action: Action) -> dict[str, Any]:
    to = Path(action.arguments["file"])
    with _mounted(engine, action, ":ro") as container:
        content, _ = engine.client.api.get_archive(container, f"{_AT}/.")
        return _write(to, content)


def _write(to: Path, content: Iterable[bytes]) -> dict[str, Any]:
    """Write *content* to the new file *to*, readable by its user alone, whole or not at all."""
    aside, digest = to.with_name(f".{to.name}.part"), hashlib.sha256()
    try:
        with os.fdopen(
            os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600), "wb"
        ) as file:
            for chunk in content:
                file.write(chunk)
                digest.update(chunk)
            file.flush()
            os.fsync(file.fileno())
            size = file.tell()
        os.link(aside, to)  # fails when somebody made that file meanwhile
    except FileExistsError:
        raise LabkitError(f"{to} was made by somebody meanwhile, and is left alone") from None
    except OSError as error:
        raise LabkitError(f"{to} cannot be written", seen=error.strerror or str(error)) from error
    finally:
        with suppress(OSError):
            aside.unlink()
    return {"sha256": digest.hexdigest(), "bytes": size}


def _copied_out(engine: Engine, action: Action) -> bool:
    return Path(action.arguments["file"]).exists()


def _copy_in(engine: Engine, action: Action) -> dict[str, Any]:
    source, expected = Path(action.arguments["file"]), action.arguments["sha256"]
    if not source.is_file() or _sha256(source) != expected:
        raise LabkitError(f"{source} is not the file of the plan any more", expected=f"sha256 {expected}")
    with _mounted(engine, action, "") as container:
        engine.client.api.put_archive(container, _AT, _chunks(source))
    return {"sha256": expected, "bytes": source.stat().st_size}


def _chunks(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            yield chunk


def _mounted(engine: Engine, action: Action, mode: str) -> Any:
    """A container with the volume in it; created and not started, so nothing of the image runs."""
    host = {"binds": [f"{action.id}:{_AT}{mode}"], "network_mode": "none"}
    given = action.arguments
    return job(engine, given["job"], given["image"], command=["labkit"], host=host)


def _again(engine: Engine, action: Action) -> bool:
    """Half a copy looks like a whole one: it is done again."""
    return False


VERBS = {
    ("volume", "create"): Verb(_create, _created),
    ("volume", "remove"): Verb(_remove, _removed),
    ("volume", "copy out"): Verb(_copy_out, _copied_out),
    ("volume", "copy into"): Verb(_copy_in, _again),
}
