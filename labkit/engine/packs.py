"""Engine packs: a Debian root filesystem that holds a whole Docker engine, made once (``making.py``) and used offline.

A pack lies in ``home()/packs/NAME``: ``rootfs`` and ``pack.json``.  The name ``machine`` stands for the machine's own
root filesystem with the dockerd that is installed there.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from labkit import paths
from labkit.engine import locks
from labkit.engine.debian import Progress, rootless
from labkit.engine.keeper import erase
from labkit.errors import LabkitError, Refused, UsageError

__all__ = [
    "MACHINE",
    "RECIPES",
    "Pack",
    "find",
    "names",
    "recipe",
    "remove",
    "tell_outdated",
]

MACHINE = "machine"

_COMMON = [
    "ca-certificates",
    "containerd",
    "curl",
    "docker-registry",
    "docker.io",
    "e2fsprogs",
    "iproute2",
    "iptables",
    "kmod",
    "mount",
    "nftables",
    "passwd",
    "procps",
    "runc",
    "slirp4netns",
]

RECIPES: dict[str, tuple[str, list[str]]] = {
    "debian-13": ("trixie", [*_COMMON, "docker-buildx", "docker-cli", "docker-compose"]),
    "debian-12": ("bookworm", _COMMON),
}
"""Pack name: the Debian release and the packages that make it."""


@dataclass(frozen=True)
class Pack:
    """A root filesystem to start engines from.  *digest* tells one making of it from another, *recipe* what it was made by."""

    name: str
    rootfs: Path
    digest: str
    versions: dict[str, str]
    recipe: str = ""

    @property
    def folder(self) -> Path:
        """Where it lies; whoever runs an engine from it uses this folder (`labkit.engine.locks`)."""
        return self.rootfs.parent

    @property
    def is_machine(self) -> bool:
        """Whether it is the machine's own root filesystem."""
        return self.name == MACHINE

    @property
    def outdated(self) -> bool:
        """Whether it would be made in another way today; false where nobody noted how it was made."""
        return bool(self.recipe) and self.name in RECIPES and self.recipe != recipe(self.name)

    def program(self, path: str) -> list[str] | None:
        """A command line that runs the pack's program *path* on this machine, with the pack's own libraries."""
        if not (self.rootfs / path).exists():
            return None
        if self.is_machine:
            return [f"/{path}"]
        # not the link in /lib64: it may be absolute, and then leads to the machine's loader, which fits another libc
        loaders = sorted(self.rootfs.glob("usr/lib/*-linux-gnu*/ld-linux-*.so*"))
        libraries = ":".join(str(path) for path in sorted(self.rootfs.glob("usr/lib/*-linux-gnu*")))
        return [
            str(loaders[0]),
            "--argv0",
            Path(path).name,
            "--library-path",
            libraries,
            str(self.rootfs / path),
        ]


def recipe(name: str) -> str:
    """A digest of what decides how the pack *name* is made."""
    return hashlib.sha256(json.dumps(RECIPES[name]).encode()).hexdigest()


def names() -> list[str]:
    """The packs that are ready to use, and ``machine`` if a dockerd is installed here."""
    folder = paths.home() / "packs"
    ready = sorted(path.parent.name for path in folder.glob("*/pack.json"))
    return [*ready, MACHINE] if _machine_dockerd() else ready


def _machine_dockerd() -> str | None:
    return shutil.which("dockerd", path="/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")


def find(name: str | None = None) -> Pack:
    """The pack *name* (default: ``LABKIT_PACK``, else ``debian-13``).

    Raises `UsageError` for an unknown name and `LabkitError` for a pack that has not been made yet.
    """
    chosen = (os.environ.get("LABKIT_PACK") or "debian-13") if name is None else name
    if chosen == MACHINE:
        return _machine()
    if chosen not in RECIPES and chosen not in names():  # a path into the folder would be found, and removed
        known = ", ".join(dict.fromkeys([*RECIPES, *names()]))
        raise UsageError("no such engine pack", seen=repr(chosen), expected=known)
    folder = paths.home() / "packs" / chosen
    try:
        facts = json.loads((folder / "pack.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        raise LabkitError(
            f"the engine pack {chosen} is not on this machine yet",
            try_=f"labkit pack build {chosen}        (needs a Debian package mirror)\n"
            "labkit pack import FILE       (from another machine's `labkit pack export`)\n"
            "labkit doctor                 (says which ways to an engine are open here)",
        ) from None
    return Pack(chosen, folder / "rootfs", facts["digest"], facts["versions"], facts.get("recipe", ""))


def _machine() -> Pack:
    dockerd = _machine_dockerd()
    if dockerd is None:
        raise LabkitError(
            "no dockerd is installed on this machine",
            try_="use an engine pack instead: labkit pack build debian-13",
        )
    version = subprocess.run(
        [dockerd, "--version"], capture_output=True, text=True, check=False
    ).stdout.strip()
    return Pack(MACHINE, Path("/"), hashlib.sha256(version.encode()).hexdigest(), {"dockerd": version})


def tell_outdated(pack: Pack, progress: Progress) -> None:
    """Tell *progress* of a pack that is outdated, and what to do; engines start from it all the same."""
    if pack.outdated:
        progress(
            f"engine pack {pack.name}: its recipe has changed since it was made; `labkit pack build {pack.name}` makes it anew"
        )


def remove(name: str) -> None:
    """Delete the pack *name*.  Raises `Refused` while engines run from it."""
    from labkit.engine import records

    pack = find(name)
    if pack.is_machine:
        raise UsageError("the machine's own engine is not labkit's to remove")
    running = [record.id for record in records.listed() if record.alive and record.facts["pack"] == name]
    with locks.alone(pack.folder) as free:
        if running or not free:
            raise Refused(
                f"engines run from the pack {name}",
                seen=", ".join(running)
                or f"of another runtime folder: {', '.join(records.elsewhere()) or '(unknown)'}",
                try_="\n".join(f"labkit engine stop {engine}" for engine in running),
            )
        erase(pack.folder, rootless=rootless())
