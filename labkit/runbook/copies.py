"""Copying a volume and bringing it back: the plans, and whether what lies there afterwards is what was planned."""

from __future__ import annotations

from collections.abc import Iterator
from math import ceil
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from labkit import observe
from labkit.errors import Refused, UsageError
from labkit.observe.quantities import Duration
from labkit.observe.records import Evidence
from labkit.runbook import actions
from labkit.runbook.plans import Applied, Done, Plan
from labkit.runbook.verification import Verification

if TYPE_CHECKING:
    from labkit.engine import Engine

__all__ = ["is_copied", "is_restored", "plan_backup", "plan_restore"]

Consistency = Literal["stop", "none"]


def plan_backup(
    engine: Engine, volume: str, file: Path, *, consistent: Consistency, patience: Duration
) -> Plan:
    """Stop who may write to *volume*, copy it to the new *file*, compare, and start them again, whatever fails.

    *consistent* ``none`` stops nobody; then the copy is compared with the volume only if nobody may write to it.
    *patience*: how long each container may take to end before it is killed.  Raises `Refused` for a container that
    was run with ``--rm`` or has a volume in memory, since it, or its content, would be gone; and for one that is paused.
    """
    seen, image = observe.volume(engine, volume), _any_image(engine)
    stopped = seen.writers if consistent == "stop" else ()
    quiet = consistent == "stop" or not seen.writers
    for each in stopped:
        if why := _not_to_be_stopped(each, seen):
            raise Refused(f"the container {each.name} is not stopped: {why[0]}", try_=why[1])
    return Plan.of(
        *[actions.stop(each, "it may write to the volume", ceil(patience)) for each in stopped],
        actions.copy_out(engine, volume, file, image=image, reason="there is no copy", quiet=quiet),
        actions.compare_volume(engine, volume, file, image=image, reason="to be sure") if quiet else None,
        *[actions.start_again(each, stopped=True) for each in stopped],
    )


def _not_to_be_stopped(container: observe.Container, volume: observe.Volume) -> tuple[str, str] | None:
    """Why not, and what to do."""
    if container.auto_remove:
        return "it was run with --rm, and would be gone", "stop it yourself, or -p consistent=none"
    if volume.in_memory:
        return "the volume is a tmpfs, and its content would be gone with it", "-p consistent=none"
    if container.status == "paused":
        # it would be killed, and run on afterwards
        return (
            "it is paused, and cannot end by itself",
            f"docker unpause {container.name}, or -p consistent=none",
        )
    return None


def plan_restore(engine: Engine, volume: str, file: Path) -> Plan:
    """Fill *volume* from the copy *file*, and compare; it is created unless it is there, empty."""
    image, create = _any_image(engine), not observe.volume(engine, volume).exists
    return Plan.of(
        actions.create_volume(engine, volume, "it is not there") if create else None,
        actions.copy_in(engine, volume, file, image=image, reason="it is empty", created=create),
        actions.compare_volume(engine, volume, file, image=image, reason="to be sure", created=create),
    )


def _any_image(engine: Engine) -> str:
    """An image to read volumes through; nothing of it runs."""
    images = sorted(engine.client.api.images(quiet=True))
    if not images:
        raise UsageError(
            "no image on the engine to read a volume through", try_="docker pull, or docker load"
        )
    return str(images[0])


def is_copied(engine: Engine, applied: Applied, file: Path) -> Verification:
    """Whether the copy in *file* is whole, has its checksum, and whoever was stopped for it is up again."""
    made, compared = _result(applied, "copy out "), _result(applied, "compare ")
    if not made:
        return Verification()
    # what a run that was killed had copied before is known by its comparison, or by the note beside it
    told = made.result or (compared.result if compared else {})
    found = observe.copy(Path(told.get("file", file)))
    expected = told.get("sha256", found.expected)
    down = _down(engine, applied)
    evidence = [_of_file(found, expected), _of_comparison(applied), *_of_stops(engine, applied), *down]
    ok = not found.troubles and found.sha256 == expected and not down
    return Verification(ok=ok, evidence=tuple(evidence))


def is_restored(engine: Engine, applied: Applied, volume: str) -> Verification:
    """Whether *volume* is there, was the same as its copy, and the copy is still what it was before."""
    compared = _result(applied, "compare ")
    if not compared:
        return Verification()
    told = compared.result  # that of the copy is lost when its run was killed
    found = observe.copy(Path(told["file"]), told["sha256"])
    ok = not found.troubles and observe.volume(engine, volume).exists
    return Verification(ok=ok, evidence=(_of_file(found, told["sha256"]), _of_comparison(applied)))


def _result(applied: Applied, beginning: str) -> Done | None:
    return next((each for each in applied.done if each.action.startswith(beginning)), None)


def _of_file(found: observe.Copy, sha256: str) -> Evidence:
    if found.troubles or found.sha256 != sha256:
        fact = "; ".join(found.troubles) or "it has changed since"
        return Evidence(source=str(found.file), fact=fact, detail=f"sha256 {found.sha256}, was {sha256}")
    size = found.file.stat().st_size
    inside = found.contents.files if found.contents else 0
    return Evidence(
        source=str(found.file), fact=f"{inside} files, whole to the end, {size} bytes, sha256 {sha256}"
    )


def _of_comparison(applied: Applied) -> Evidence:
    compared = _result(applied, "compare ")
    if not compared:
        fact = "not compared, since it could be written to: not a copy of one moment"
        return Evidence(source="volume and copy", fact=fact)
    return Evidence(
        source="volume and copy",
        fact=f"{compared.result['files']} files, each with the same bytes, mode and owner",
    )


def _of_stops(engine: Engine, applied: Applied) -> Iterator[Evidence]:
    """How each container that was stopped took it, and for how long it was down."""
    for stopped in (each for each in applied.done if each.action.startswith("stop ")):
        name = stopped.action.rpartition(" ")[2]
        try:
            events = list(observe.events(engine, observe.container(engine, stopped.id)))
        except UsageError:
            continue  # it is gone, which is told elsewhere
        ends = [event for event in events if event.action == "die"]
        starts = [
            event for event in events if event.action == "start" and ends and event.nano > ends[-1].nano
        ]
        if not starts:
            yield Evidence(source="docker events", fact=f"{name}: its stop and start are not on record")
            continue
        seconds = (starts[0].nano - ends[-1].nano) / 1e9
        code = ends[-1].attributes.get("exitCode", "?")
        how = "killed, so as after a power cut" if code == "137" else f"ended by itself, exit code {code}"
        yield Evidence(
            source="docker events",
            fact=f"{name}: {how}; down for {seconds:.1f} s",
            detail=f"{ends[-1].at.isoformat()} to {starts[0].at.isoformat()}",
        )


def _down(engine: Engine, applied: Applied) -> list[Evidence]:
    """Those that were started again and are down."""
    found = []
    for started in (each for each in applied.done if each.action.startswith("start ")):
        try:
            status = observe.container(engine, started.id).status
        except UsageError:
            status = "gone"
        if status not in ("running", "paused"):
            name = started.action.rpartition(" ")[2]
            found.append(Evidence(source="docker inspect", fact=f"{name} is {status}, and was up before"))
    return found
