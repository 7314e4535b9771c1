"""A private engine is opened: started anew, or taken up again where one of this name, key and owner runs."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

from labkit.engine import daemon, packs, records
from labkit.engine.processes import Process
from labkit.engine.records import Record
from labkit.engine.sandbox import Sandbox, by_name
from labkit.engine.turns import turn
from labkit.errors import EngineUnreachable, UsageError

__all__ = ["DEFAULT_CONFIG", "DETACHED", "open_sandbox"]

DETACHED = 0
DEFAULT_CONFIG = {
    # 10.0.2.2 is this machine as the engine sees it (slirp4netns(1)): a registry here needs no certificate
    "insecure-registries": ["10.0.2.2/32"],
}


def open_sandbox(
    name: str = "engine",
    *,
    pack: str | None = None,
    images: Sequence[str] = (),
    state: str | None = None,
    config: dict[str, Any] | None = None,
    owner: int | None = None,
    key: str = "",
) -> Sandbox:
    """Start a private engine and return it when it answers.

    *name*: letters, digits and dashes; opening the same name again in one process ends the former engine first.
    *pack*: the engine pack to start from, or ``"machine"`` for the dockerd installed here (default: ``LABKIT_PACK``,
    else ``debian-13``).  *images*: names from the catalogue (`labkit.engine.images`) that shall be ready.
    *state*: a prepared state (`Engine.save`) to start from instead.  *config*: merged into ``daemon.json``.
    *owner*: the process with whose end the engine ends (default: this one; 0: none, see `labkit.engine.detached`).
    *key*: an engine of this name, key and owner that runs already is taken up again, with all that is on it.

    Raises `UsageError` for a bad argument, `LabkitError` when the pack or an image is missing, `EngineUnreachable` when
    this machine cannot run one, `EngineFailed` (with the end of the log) when the daemon does not start.
    """
    from labkit import doctor

    records.check_name(name)
    doctor.require_sandbox()
    found, settings = packs.find(pack), {**DEFAULT_CONFIG, **daemon.settings(config)}
    if images and state:
        raise UsageError(
            "an engine starts from images or from a state", seen=f"images={list(images)}, state={state!r}"
        )
    if images:
        from labkit.engine.images import prepared_with

        state = prepared_with(images, found)
    try:
        process = None if owner == DETACHED else Process.of(owner or os.getpid())
    except ProcessLookupError as error:
        raise UsageError("the owner of an engine has to be a running process", seen=str(error)) from None
    with turn(name, key, process):
        if (
            key
            and (record := records.running(name, key, process))
            and (again := _again(record, images, state))
        ):
            return again
        former = by_name.pop(name, None)
        if former is not None:
            former.close()
        engine = Sandbox(name, found, state, settings, process, key)
        by_name[name] = engine
        return engine


def _again(record: Record, images: Sequence[str], state: str | None) -> Sandbox | None:
    """The engine that runs already, with *images*; None if it, or its daemon, has ended and does not start any more."""
    engine = by_name.get(record.facts["name"])
    if engine is None or engine.id != record.id:
        engine = by_name[record.facts["name"]] = Sandbox.__new__(Sandbox)
        engine.take_up(record)
    try:
        if not daemon.answers(record.folder / "run/docker.sock"):
            engine.start()
    except EngineUnreachable:  # or its host is gone, and its keeper is about to clear it away
        return None  # whoever opens the name again ends it
    from labkit.engine.images import ensure

    ensure(engine, images)
    engine.state, engine.taken_up = state or engine.state, True
    return engine
