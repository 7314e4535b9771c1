"""The engines of this user on this machine: a record each (``engine.json``), kept by its keeper.

A record outlives its engine only when both owner and keeper were killed, or the power was cut; `collect` removes what
such an engine left.
"""

from __future__ import annotations

import json
import os
import re
import select
import signal
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from labkit import paths
from labkit.engine import cgroups, locks
from labkit.engine.host import NamespaceHost
from labkit.engine.keeper import clear, erase
from labkit.engine.processes import Process
from labkit.errors import UsageError

__all__ = [
    "NOTE",
    "Record",
    "bound_layers",
    "check_name",
    "collect",
    "elsewhere",
    "find",
    "listed",
    "need_free",
    "prepared_states",
    "ready",
    "running",
    "stale",
]

NOTE = "engine.json"
"""In an engine's data folder: what it uses of home, and where its runtime folder is."""


@dataclass(frozen=True)
class Record:
    """What is written down about one engine; *facts* is the whole of ``engine.json``."""

    id: str
    folder: Path
    facts: dict[str, Any]

    def _process(self, role: str) -> Process | None:
        return Process(**self.facts[role]) if self.facts.get(role) else None

    @property
    def alive(self) -> bool:
        """Whether its keeper runs."""
        keeper = self._process("keeper")
        # a keeper writes its number down a moment after its start; until then its owner uses the data folder
        return keeper.alive if keeper else locks.in_use(Path(self.facts["data"]))

    @property
    def init(self) -> Process | None:
        """The first process of the engine's host, seen from here."""
        return self._process("init")

    @property
    def host(self) -> NamespaceHost:
        """The engine's host."""
        return NamespaceHost(Process(**self.facts["init"]), user=self.facts["rootless"])

    @property
    def cut_off(self) -> str:
        """Why nothing leads from this machine to its network and back any more; empty while something does."""
        return str(self.facts.get("cut_off", ""))

    @property
    def url(self) -> str:
        """Where its API answers."""
        return f"unix://{self.folder}/run/docker.sock"

    def stop(self, timeout: float = 15) -> bool:
        """Ask its keeper to end it, and wait up to *timeout* seconds; true if nothing of it is left."""
        keeper = self._process("keeper")
        if keeper is None:
            return False
        with suppress(ProcessLookupError):
            descriptor = keeper.open()
            try:
                keeper.signal(signal.SIGTERM)
                poll = select.poll()
                poll.register(descriptor, select.POLLIN)
                poll.poll(timeout * 1000)
            finally:
                os.close(descriptor)
        return not self.folder.exists()

    def clear_away(self) -> list[str]:
        """Remove what the engine left whose keeper was killed; return what could not be removed."""
        if self.init is not None:
            self.init.signal(signal.SIGKILL)
        cgroups.thaw([Path(path) for path in self.facts.get("cgroups", [])])
        return clear(self.facts)


def listed() -> list[Record]:
    """All records, oldest first."""
    records = []
    for file in paths.runtime().glob("*/engine.json"):
        with suppress(OSError, ValueError):
            facts = json.loads(file.read_text(encoding="utf-8"))
            records.append(Record(file.parent.name, file.parent, facts))
    return sorted(records, key=lambda record: (record.facts.get("created", 0), record.id))


def check_name(name: str) -> None:
    """Raise `UsageError` for a *name* that an engine cannot have."""
    if not isinstance(name, str) or not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9-]{0,30}", name):
        raise UsageError(
            "an engine cannot have this name", seen=repr(name), expected="up to 31 letters, digits, dashes"
        )


def need_free(name: str, before: Record | None = None) -> None:
    """Raise `UsageError` where an engine called *name* runs or starts; *before*: where there was one before that."""
    for record in listed():
        if record.id == (before and before.id):
            return
        if record.alive and record.facts["name"] == name:
            raise UsageError(
                "an engine of this name runs already", seen=repr(name), try_=f"labkit engine stop {name}"
            )


def find(name: str) -> Record:
    """The record of the running engine with this id or name; of several with the name, the youngest.

    Raises `UsageError` when there is none.
    """
    records = [record for record in listed() if record.alive]
    for record in reversed(records):
        if name and name in (record.id, record.facts["name"]):
            return record
    raise UsageError(
        "no such engine is running",
        seen=repr(name),
        expected=", ".join(record.id for record in records)
        or "(none runs: start one with `labkit engine start`)",
    )


def ready(engine: str) -> Record | None:
    """What is written down now about the engine with this id, if it has started; its keeper may have been killed since."""
    found = [each for each in listed() if each.id == engine and each.facts["state"] == "ready"]
    return found[0] if found else None


def running(name: str, key: str, owner: Process | None) -> Record | None:
    """The record of the engine *name* that *owner* has under this *key*; of one that is starting, once it has started."""
    wanted = {"name": name, "key": key, "owner": vars(owner) if owner else None}
    while True:
        found = [each for each in listed() if wanted.items() <= each.facts.items() and each.alive]
        if not found or found[-1].facts["state"] == "ready":
            return found[-1] if found else None
        time.sleep(0.01)


def stale() -> list[Record]:
    """Records of engines whose keeper is gone."""
    return [record for record in listed() if not record.alive]


def collect() -> list[str]:
    """Remove what engines left whose keeper is gone; return a line for each thing removed or that resisted.

    An engine's data may be kept from another runtime folder: only data that nobody uses are removed.
    """
    told = []
    for record in stale():
        left = record.clear_away()
        told.append(f"{record.id}: " + (f"could not remove {', '.join(left)}" if left else "removed"))
    for folder in _abandoned():
        erased = erase(folder, rootless=os.geteuid() != 0)
        told.append(f"{folder}: " + ("removed" if erased else "could not be removed"))
    known = {record.id for record in listed()} | set(elsewhere())
    for parent in cgroups.parents():
        for group in parent.glob("*/"):
            abandoned = group.name not in known and not _young(group) and cgroups.is_empty(group)
            if abandoned and cgroups.remove(group, deadline=0.5):
                told.append(f"{group}: removed")
    return told


def _abandoned() -> list[Path]:
    """Folders of engines that have no record, and that nobody uses."""
    known = {record.id for record in listed()}
    data = [folder for folder in _data_folders() if not locks.in_use(folder)]
    runtime = [
        path for path in paths.runtime().iterdir() if path.is_dir() and not (path / "engine.json").exists()
    ]
    return [
        folder
        for folder in (*data, *runtime)
        if paths.is_engine(folder.name) and folder.name not in known and not _young(folder)
    ]


def _data_folders() -> list[Path]:
    return sorted((paths.home() / "engines").glob("*"))


def elsewhere() -> dict[str, str]:
    """Engines that run from another runtime folder with data in our home, and that folder."""
    known = {record.id for record in listed()}
    found = {}
    for folder in _data_folders():
        if folder.name not in known and locks.in_use(folder):
            found[folder.name] = str(_noted(folder).get("runtime", "(unknown)"))
    return found


def bound_layers() -> set[str]:
    """Ids of the stored image layers that engines use, whatever their runtime folder."""
    return {str(layer) for facts in _told() for layer in facts.get("bound", [])}


def prepared_states() -> set[str]:
    """Names of the prepared states that engines go back to when they are reset."""
    return {facts["prepared"] for facts in _told() if facts.get("prepared")}


def _told() -> list[dict[str, Any]]:
    return [record.facts for record in listed()] + [_noted(folder) for folder in _data_folders()]


def _noted(data: Path) -> dict[str, Any]:
    with suppress(OSError, ValueError):
        noted: dict[str, Any] = json.loads((data / NOTE).read_text(encoding="utf-8"))
        return noted
    return {}


def _young(folder: Path) -> bool:
    """Whether it was made in the last half minute: an engine may be starting whose record is not written yet."""
    with suppress(OSError):
        return time.time() - folder.stat().st_mtime < 30
    return True
