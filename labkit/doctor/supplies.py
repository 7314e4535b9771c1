"""What has to be at hand: an engine pack or the means to make one, space, memory; or an engine that runs already."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from labkit import paths
from labkit.doctor.findings import DEGRADED, MISSING, OK, Finding, install
from labkit.engine import packs
from labkit.errors import LabkitError

__all__ = ["disk", "memory", "mmdebstrap", "pack", "running_engine"]


def pack() -> Finding:
    """The root file system that engines start from."""
    try:
        ready = packs.names()
    except LabkitError as error:
        return Finding(
            "engine pack", MISSING, f"not looked at: {error.what}", "no engine of our own", error.try_
        )
    if ready:
        return Finding("engine pack", OK, ", ".join(ready))
    return Finding(
        "engine pack", MISSING, "none yet", "no engine of our own", "labkit setup\nlabkit pack import FILE"
    )


def mmdebstrap() -> Finding:
    """What makes packs and images from Debian packages."""
    if shutil.which("mmdebstrap"):
        return Finding("mmdebstrap", OK, shutil.which("mmdebstrap") or "")
    return Finding(
        "mmdebstrap",
        DEGRADED,
        "not installed",
        "packs and images cannot be made here, only imported",
        install(["mmdebstrap"]),
    )


def disk() -> Finding:
    """Space for what is kept, and for sockets."""
    try:
        folder, _ = paths.home(), paths.runtime()
    except LabkitError as error:
        seen = f"{error.what}: {error.seen}".replace("\n", " ")
        return Finding("disk", MISSING, seen, "no engine can start, and nothing is kept", error.try_)
    if not os.access(folder, os.W_OK):
        return Finding(
            "disk", MISSING, f"{folder} cannot be written", "no engine can start", "set LABKIT_HOME"
        )
    free = paths.free_bytes(folder)
    found = f"{free / 2**30:.1f} GiB free in {folder}"
    if free < 256 * 2**20:
        return Finding("disk", MISSING, found, "no engine can start", "free some space, or set LABKIT_HOME")
    if free < 4 * 2**30:
        return Finding(
            "disk", DEGRADED, found, "set-up takes about 3 GiB", "free some space, or set LABKIT_HOME"
        )
    return Finding("disk", OK, found)


def memory() -> Finding:
    """Memory for an engine and JupyterLab."""
    lines = dict(
        line.split(":", 1) for line in Path("/proc/meminfo").read_text(encoding="utf-8").splitlines()
    )
    free = int(lines["MemAvailable"].split()[0]) * 1024
    found = f"{free / 2**30:.1f} GiB available"
    if free < 2**30:
        return Finding(
            "memory", DEGRADED, found, "an engine takes about 0.15 GiB, JupyterLab 0.3", "close something"
        )
    return Finding("memory", OK, found)


def running_engine() -> Finding:
    """An engine that is not ours, and could be attached to."""
    from labkit.engine.attach import open_attached

    try:
        with open_attached() as engine:
            return Finding(
                "running engine", OK, f"Docker {engine.client.version()['Version']} at {engine.url}"
            )
    except LabkitError as error:
        return Finding(
            "running engine",
            DEGRADED,
            error.what,
            "only private engines can be used",
            "not needed; to use one: DOCKER_HOST=…",
        )
