"""Engines that belong to no process: ``labkit engine start``; they run until somebody ends them."""

from __future__ import annotations

from collections.abc import Sequence

from labkit.engine import records
from labkit.engine.opening import DETACHED, open_sandbox
from labkit.engine.records import Record
from labkit.errors import UsageError

__all__ = ["start"]


def start(name: str, *, pack: str | None = None, images: Sequence[str] = ()) -> Record:
    """Start a private engine that belongs to no process: it runs until its keeper is asked to end it (`Record.stop`).

    Raises what `open_sandbox` raises, and `UsageError` where one of this name runs; of two at once, the later has to go.
    """
    records.need_free(name)
    engine = open_sandbox(name, pack=pack, images=images, owner=DETACHED)
    record = records.find(engine.id)
    try:
        records.need_free(name, before=record)
    except UsageError:
        engine.close()
        raise
    engine.let_go()
    return record
