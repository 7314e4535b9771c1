"""What the owner of a private engine writes down, for its keeper to boot from."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from labkit import paths
from labkit.engine import cgroups, commandline, debian, prepared, records, rootfs
from labkit.engine.processes import Process

if TYPE_CHECKING:
    from labkit.engine.sandbox import Sandbox

__all__ = ["write"]

HERE = Path(__file__).parent


def write(engine: Sandbox, owner: Process | None, bound: Sequence[str]) -> None:
    """Write the folders of *engine*, its mount table and its record; its data-root is there already.

    *owner*: with whose end it ends, if with somebody's; *bound*: the image layers of the store that it uses.
    """
    folder, data = engine.folder, engine.data
    for name in ("", "run", "host", "lower", "data", "upper"):
        (folder / name).mkdir(mode=0o700)
    rootless, machine = debian.rootless(), engine.pack.is_machine
    groups = cgroups.available()
    # dockerd's own rootless mode uses control groups through systemd only, and there is none on the host; with groups
    # of its own it runs as in any container that has a user namespace
    without_limits = rootless and not groups
    rootfs.write_skeleton(data / "upper", engine.name, engine.config, bound, rootless=without_limits)
    table = rootfs.mount_table(
        folder,
        engine.pack.rootfs,
        data,
        prepared.store() if bound else None,
        rootless=rootless,
        on_tmpfs=machine,
        cgroups=groups,
    )
    (folder / "fstab").write_text(table, encoding="utf-8")
    commandline.write(folder, engine.pack)
    record = {
        "id": engine.id,
        "name": engine.name,
        "hostname": engine.name,
        "owner": vars(owner) if owner else None,
        "created": time.time(),
        "state": "starting",
        "pack": engine.pack.name,
        "pack_folder": "" if machine else str(engine.pack.folder),
        "key": engine.key,
        "prepared": engine.state,
        "config": engine.config,
        "bound": bound,
        "folder": str(folder),
        "data": str(data),
        "rootless": rootless,
        "on_tmpfs": machine,
        "submounts": rootfs.submounts() if machine else [],
        "own_cgroups": groups,
        "boot": str(HERE / "boot.sh"),
        "slirp": engine.pack.program("usr/bin/slirp4netns"),
    }
    note = {"bound": bound, "prepared": engine.state, "runtime": str(paths.runtime())}
    (data / records.NOTE).write_text(json.dumps(note), encoding="utf-8")
    (folder / "engine.json").write_text(json.dumps(record), encoding="utf-8")
