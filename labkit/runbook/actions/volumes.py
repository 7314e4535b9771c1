"""What can be done to a volume: create and remove it, copy its content out to a file and in from one, compare."""

from __future__ import annotations

import io
import posixpath
import shlex
import tarfile
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from labkit import observe
from labkit.errors import ApplyUnverified, LabkitError, Refused, UsageError
from labkit.labels import is_ours, ours
from labkit.observe import contents
from labkit.observe.copies import checksum, note_of
from labkit.runbook.actions import facts, files
from labkit.runbook.actions.base import Action, Verb, changes, effects
from labkit.runbook.actions.images import refuse_used
from labkit.runbook.actions.jobs import LIFE, job, job_name, mounted, need_image
from labkit.runbook.actions.links import apart

if TYPE_CHECKING:
    from labkit.engine import Engine

__all__ = ["VERBS", "compare_volume", "copy_in", "copy_out", "create_volume", "remove_volume"]


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


def copy_out(
    engine: Engine, volume: str, to: Path, *, image: str, reason: str, quiet: bool = False
) -> Action:
    """Copy a volume's content to the new file *to* on this machine, a tar archive with owners and modes.

    Its sha256 is noted in a file beside it.  It is read through a container of *image* that is created and
    never started, so any image will do.  What is written meanwhile may be half in it: stop who writes first;
    with *quiet* it is refused when somebody may write.  Keeps the file's sha256 and its bytes.

    Raises `UsageError` when there is no such volume or image, or when one of the files exists.
    """
    seen, file, note = _need(engine, volume), to.absolute(), note_of(to)
    files.need_new(file)
    arguments = {"file": str(file), "image": need_image(engine, image), "quiet": quiet}
    name = job_name("copy", [volume, arguments])
    return Action(
        verb="copy out",
        kind="volume",
        id=volume,
        name=volume,
        reason=reason,
        changes=changes((str(to), "absent", "a copy"), (str(note), "absent", "its sha256")),
        undo=shlex.join(["rm", str(to), str(note)]),
        arguments={**arguments, "job": name},
        # not on its creation: what 20.10 calls so is the last change of its topmost folder
        relies_on={"driver": seen["driver"]},
        effects=(*effects("container", "", name, (*LIFE, "archive-path")), *mounted(volume)),
    )


def compare_volume(
    engine: Engine, volume: str, file: Path, *, image: str, reason: str, created: bool = False
) -> Action:
    """Compare a volume with the archive *file*, file by file; changes nothing, and fails when they differ.

    *created*: the volume is one that the plan creates before.  Keeps how many files were the same, and the
    archive's sha256.  Raises `UsageError` when there is no such volume or image.
    """
    seen = facts.GONE if created else _need(engine, volume)
    arguments = {"file": str(file.absolute()), "image": need_image(engine, image)}
    name = job_name("compare", [volume, arguments])
    return Action(
        verb="compare",
        kind="volume",
        id=volume,
        name=volume,
        reason=reason,
        changes=(),
        undo="true  # it changes nothing",
        arguments={**arguments, "job": name},
        relies_on={"exists": False} if created else {"driver": seen["driver"]},
        effects=(*effects("container", "", name, (*LIFE, "archive-path")), *mounted(volume)),
    )


def copy_in(
    engine: Engine, volume: str, source: Path, *, image: str, reason: str, created: bool = False
) -> Action:
    """Fill an empty volume from the archive *source*, as `copy_out` makes it.

    *created*: the volume is one that the plan creates before.  The file is pinned by its sha256.  It is refused
    when a container that is up has the volume, or when something is in it that filling it from the same file, cut
    off in the middle, cannot have left.  Raises `UsageError` when there is no such volume, image or file.
    """
    seen = facts.GONE if created else _need(engine, volume)
    if not source.is_file():
        raise UsageError(f"no file {source}")
    arguments = {
        "file": str(source.absolute()),
        "sha256": checksum(source),
        "image": need_image(engine, image),
    }
    name = job_name("copy", [volume, arguments])
    return Action(
        verb="copy into",
        kind="volume",
        id=volume,
        name=volume,
        reason=reason,
        changes=changes(("content", "empty", f"that of {source}")),
        undo=f"docker volume rm {volume}" if created else "",
        arguments={**arguments, "job": name},
        relies_on={"exists": False} if created else {"created_at": seen["created_at"]},
        effects=(
            *effects("container", "", name, (*LIFE, "archive-path", "extract-to-dir")),
            *mounted(volume),
        ),
    )


def _need(engine: Engine, volume: str) -> facts.Facts:
    seen = facts.read(engine, "volume", volume)
    if not seen["exists"]:
        raise UsageError(f"no volume called {volume!r}", try_="docker volume ls")
    return seen


# -- carrying out


def _create(engine: Engine, action: Action) -> dict[str, Any]:
    if facts.read(engine, "volume", action.id)["exists"]:  # the engine would say nothing
        raise Refused(f"there is a volume {action.name} by now", try_="run the runbook again for a new plan")
    labels = {**action.arguments["labels"], **ours(engine.id)}
    engine.client.api.create_volume(action.id, labels=labels)
    return {}


def _created(engine: Engine, action: Action) -> bool:
    """There, and not made by somebody else."""
    seen = facts.read(engine, "volume", action.id)
    found = seen.get("labels") or {}
    return is_ours(found) and action.arguments["labels"].items() <= found.items()


def _remove(engine: Engine, action: Action) -> dict[str, Any]:
    engine.client.api.remove_volume(action.id)
    return {}


def _removed(engine: Engine, action: Action) -> bool:
    return not facts.read(engine, "volume", action.id)["exists"]


def _copy_out(engine: Engine, action: Action) -> dict[str, Any]:
    _need_quiet(engine, action)
    with (
        _mounted(engine, action, ":ro") as container,
        contents.archive(engine, container, contents.AT) as content,
    ):
        return files.write(
            Path(action.arguments["file"]),
            content,
            check=lambda aside: _need_whole(engine, action, aside),
        )


def _need_whole(engine: Engine, action: Action, aside: Path) -> None:
    """The engine ends its answer early, and as if all were well, when a file shrinks while it is read."""
    contents.of_file(aside)
    _need_quiet(engine, action)


def _need_quiet(engine: Engine, action: Action) -> None:
    up = observe.volume(engine, action.id).writers if action.arguments["quiet"] else ()
    if up:
        raise Refused(
            f"the volume {action.name} is not copied: it may be written to",
            seen=", ".join(f"{each.name} is {each.status}" for each in up),
            expected="nobody who may write to it is up",
            try_="run the runbook again for a new plan",
        )


def _copied_out(engine: Engine, action: Action) -> bool:
    """There, whole, and with the checksum that was noted for it."""
    return not observe.copy(Path(action.arguments["file"])).troubles


def _copy_in(engine: Engine, action: Action) -> dict[str, Any]:
    source, expected = Path(action.arguments["file"]), action.arguments["sha256"]
    if not source.is_file() or checksum(source) != expected:
        raise LabkitError(f"{source} is not the file of the plan any more", expected=f"sha256 {expected}")
    whole = contents.of_file(source)
    with _mounted(engine, action, "") as container:
        _need_room(engine, action, contents.of_container(engine, container, contents.AT).not_left_by(whole))
        most, links = apart(source, contents.AT)
        engine.client.api.put_archive(container, contents.AT, most)
        if links:
            engine.client.api.put_archive(container, "/", links)
        _set_top(engine, container, whole.members.get("."))
    return {"sha256": expected, "bytes": source.stat().st_size, "file": str(source)}


def _need_room(engine: Engine, action: Action, there: list[str]) -> None:
    up = [each.container.name for each in observe.volume(engine, action.id).users if each.up]
    if up or there:
        raise Refused(
            f"the volume {action.name} is not filled",
            seen=f"used by {', '.join(up)}" if up else f"there is in it: {', '.join(there[:5])}",
            expected="an empty one that nobody uses, or what a crash left of filling it from the same file",
            try_="run the runbook again for a new plan",
        )


def _copied_in(engine: Engine, action: Action) -> bool:
    source, there = Path(action.arguments["file"]), observe.volume(engine, action.id)
    if not there.exists or there.in_use or not source.is_file():
        return False
    return checksum(source) == action.arguments["sha256"] and not contents.of_file(source).differences(
        contents.of_volume(engine, action.id)
    )


def _set_top(engine: Engine, container: str, top: contents.Member | None) -> None:
    """Mode and owner of the volume's own folder: of an archive the engine leaves the topmost one out.

    PostgreSQL for one refuses to start in a folder that is not its own.
    """
    if not top:
        return
    archive, parent = io.BytesIO(), posixpath.dirname(contents.AT)
    with tarfile.TarFile(fileobj=archive, mode="w") as tar:
        folder = tarfile.TarInfo(posixpath.basename(contents.AT))
        folder.type, folder.mode, folder.uid, folder.gid = tarfile.DIRTYPE, top.mode, top.user, top.group
        tar.addfile(folder)
    engine.client.api.put_archive(container, parent, archive.getvalue())


def _compare(engine: Engine, action: Action) -> dict[str, Any]:
    file = Path(action.arguments["file"])
    archive = contents.of_file(file)
    with _mounted(engine, action, ":ro") as container:
        there = contents.of_container(engine, container, contents.AT)
    different = archive.differences(there)
    if different:
        raise ApplyUnverified(
            f"the volume {action.name} and {file} are not the same",
            seen=f"{len(different)} differ: " + ", ".join(different[:5]),
            expected=f"{archive.files} files, each with the same bytes, mode and owner",
        )
    return {"files": archive.files, "sha256": checksum(file), "file": str(file)}


def _mounted(engine: Engine, action: Action, mode: str) -> Any:
    """A container with the volume in it; created and not started, so nothing of the image runs."""
    given = action.arguments
    host = contents.options(engine, given["image"], action.id, mode)
    return job(engine, given["job"], given["image"], command=["labkit"], host=host)


def _again(engine: Engine, action: Action) -> bool:
    """What was compared may have changed."""
    return False


VERBS = {
    ("volume", "create"): Verb(_create, _created, lasts=True),
    ("volume", "remove"): Verb(_remove, _removed, lasts=True),
    ("volume", "copy out"): Verb(_copy_out, _copied_out, lasts=True),
    ("volume", "copy into"): Verb(_copy_in, _copied_in),
    ("volume", "compare"): Verb(_compare, _again),
}
