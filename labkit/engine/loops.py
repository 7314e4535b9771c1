"""Loop devices that an engine leaves: unlike mounts, they belong to the kernel, not to a namespace, and outlive it.

Facts: loop(4), ``LOOP_GET_STATUS64`` (linux/loop.h); a device knows its backing file by device and inode number.
"""

from __future__ import annotations

import fcntl
import os
import struct
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

__all__ = ["detach", "filesystems"]

GET_STATUS64, CLR_FD = 0x4C05, 0x4C01


def filesystems(init: int) -> list[int]:
    """The device numbers of the file systems that only the engine with first process *init* has: overlays and tmpfs."""
    found = set()
    with suppress(OSError):
        for line in Path(f"/proc/{init}/mountinfo").read_text(encoding="utf-8").splitlines():
            if line.partition(" - ")[2].split()[0] in ("overlay", "tmpfs"):
                major, minor = line.split()[2].split(":")
                found.add(os.makedev(int(major), int(minor)))
    return sorted(found)


def detach(devices: Sequence[int], folder: Path) -> list[str]:
    """Let go of the loop devices whose file lies on one of *devices*, or is in *folder*; return their names."""
    if os.geteuid() != 0:
        return []
    done: list[str] = []
    if not folder.exists():
        return done
    inside: set[tuple[int, int]] | None = None
    for place in Path("/sys/block").glob("loop*/loop"):
        name = place.parent.name
        with suppress(OSError), Path("/dev", name).open("rb") as device:
            status = fcntl.ioctl(device, GET_STATUS64, bytes(232))
            backing: tuple[int, int] = struct.unpack_from("QQ", status)
            if backing[0] == folder.stat().st_dev and inside is None:
                inside = _files(folder)
            if backing[0] in devices or (inside and backing in inside):
                fcntl.ioctl(device, CLR_FD)
                done.append(name)
    return done


def _files(folder: Path) -> set[tuple[int, int]]:
    """Device and inode number of every file in *folder*."""
    found = set()
    for below, _, names in os.walk(folder):
        for name in names:
            with suppress(OSError):
                status = os.lstat(f"{below}/{name}")
                found.add((status.st_dev, status.st_ino))
    return found
