"""Engine packs: a Debian root filesystem that holds a whole Docker engine, made once by mmdebstrap and used offline.

A pack lies in ``home()/packs/NAME``: ``rootfs`` and ``pack.json``.  The name ``machine`` stands for the machine's own
root filesystem with the dockerd that is installed there.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from labkit import paths
from labkit.engine import archives
from labkit.engine.debian import Progress, debootstrap, in_user_namespace, rootless
from labkit.engine.keeper import erase
from labkit.engine.locks import working
from labkit.errors import EngineUnreachable, LabkitError, Refused, UsageError

__all__ = [
    "MACHINE",
    "RECIPES",
    "Pack",
    "build",
    "export_pack",
    "find",
    "import_pack",
    "names",
    "recipe",
    "remove",
    "tell_outdated",
]

MACHINE = "machine"
KIND = "engine"
NEEDED_BYTES = 2 * 2**30

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


@working()
def build(name: str, progress: Progress = print) -> Pack:
    """Make the pack *name* from Debian packages (about half a minute and 500 MiB); return it at once if it is there.

    *progress* is told what is going on, a line at a time.  Nothing half-made is left when it fails.
    """
    if name not in RECIPES:
        raise UsageError("no such engine pack to build", seen=repr(name), expected=", ".join(RECIPES))
    _check_user()
    with _making(name, progress) as fresh:
        if fresh is not None:
            suite, packages = RECIPES[name]
            progress(f"engine pack {name}: fetching and unpacking Debian {suite}")
            debootstrap(suite, packages, fresh / "rootfs", progress)
            _finish(name, fresh)
    pack = find(name)
    tell_outdated(pack, progress)
    return pack


def tell_outdated(pack: Pack, progress: Progress) -> None:
    """Tell *progress* of a pack that is outdated, and what to do; engines start from it all the same."""
    if pack.outdated:
        progress(
            f"engine pack {pack.name}: its recipe has changed since it was made; for a new one "
            f"`labkit pack remove {pack.name}` first"
        )


@contextmanager
def _making(name: str, progress: Progress) -> Iterator[Path | None]:
    """A fresh folder for the pack *name*, moved to its place at the end; None if the pack is there already."""
    from filelock import FileLock, Timeout

    folder = paths.home() / "packs"
    folder.mkdir(exist_ok=True)
    lock = FileLock(folder / f".{name}.lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        progress(f"engine pack {name}: waiting for another labkit that is making it")
        lock.acquire()
    fresh = folder / f".{name}.making"
    try:
        if (folder / name / "pack.json").exists():
            yield None
            return
        erase(fresh, rootless=rootless())
        erase(folder / name, rootless=rootless())
        paths.need_space(folder, NEEDED_BYTES, f"make the engine pack {name}")
        fresh.mkdir()
        yield fresh
        fresh.rename(folder / name)
    finally:
        erase(fresh, rootless=rootless())
        lock.release()


def _check_user() -> None:
    """Raise `EngineUnreachable` where this user cannot unpack, nor then run, what belongs to several users."""
    from labkit import doctor

    problem = next(
        (f for f in doctor.sandbox_findings() if f.name == "namespaces" and f.status == doctor.MISSING), None
    )
    if problem:
        raise EngineUnreachable(
            "an engine pack is of no use to this user yet",
            seen=problem.found,
            try_=f"{problem.remedy}\nor use an engine that runs already: LABKIT_PROVIDER=attach",
        )


def _finish(name: str, fresh: Path) -> None:
    """Write ``pack.json``: which versions are inside, and a digest over all packages."""
    status = (fresh / "rootfs/var/lib/dpkg/status").read_text(encoding="utf-8")
    entries = [
        dict(line.split(": ", 1) for line in e.splitlines() if ": " in line[:40])
        for e in status.split("\n\n")
        if e
    ]
    versions = {entry["Package"]: entry["Version"] for entry in entries}
    _need_engine(name, fresh / "rootfs")
    digest = hashlib.sha256(json.dumps(sorted(versions.items())).encode()).hexdigest()
    told = {
        key: versions[key] for key in ("docker.io", "containerd", "runc", "slirp4netns") if key in versions
    }
    facts = {"name": name, "digest": digest, "versions": told, "recipe": recipe(name)}
    (fresh / "pack.json").write_text(json.dumps(facts, indent=1), encoding="utf-8")


def _need_engine(name: str, rootfs: Path) -> None:
    if not (rootfs / "usr/sbin/dockerd").exists():
        raise LabkitError(f"the engine pack {name} holds no Docker engine", expected="/usr/sbin/dockerd")


def _unpack(tar: Path, folder: Path) -> None:
    # only root can make device nodes; an engine gets its own anyway (`labkit.engine.rootfs`)
    without = ["--exclude=./dev/*"] if rootless() else []
    command = [
        "tar",
        "--extract",
        "--numeric-owner",
        *without,
        "--file",
        str(tar),
        "--directory",
        str(folder),
    ]
    done = subprocess.run(in_user_namespace(command), capture_output=True, text=True, check=False)
    if done.returncode:
        raise LabkitError(
            f"could not unpack {tar.name}", seen="\n".join(done.stderr.strip().splitlines()[-4:])
        )


@working()
def export_pack(name: str, file: Path, progress: Progress = print) -> None:
    """Write the pack *name* to one file, with checksums."""
    pack = find(name)
    if pack.is_machine:
        raise UsageError(
            "the machine's own engine cannot be exported", expected="a pack: " + ", ".join(RECIPES)
        )
    archives.check_target(file)
    payload = paths.home() / "packs" / f".{name}.export.tar.gz"
    progress(f"engine pack {name}: compressing")
    try:
        command = [
            "tar",
            "--create",
            "--use-compress-program=gzip -3",
            "--numeric-owner",
            "--file",
            str(payload),
            "--directory",
            str(pack.rootfs),
            ".",
        ]
        subprocess.run(in_user_namespace(command), check=True, capture_output=True)
        facts: dict[str, Any] = json.loads((pack.rootfs.parent / "pack.json").read_text(encoding="utf-8"))
        archives.write(file, {"kind": KIND, "facts": facts}, payload)
    except subprocess.CalledProcessError as error:
        raise LabkitError(
            f"could not write {file}", seen=error.stderr.decode(errors="replace")[-1000:]
        ) from None
    finally:
        payload.unlink(missing_ok=True)


@working()
def import_pack(file: Path, progress: Progress = print) -> Pack:
    """Take the pack out of *file*; one of the same name that is here already is kept, and returned."""
    _check_user()
    payload = paths.home() / f".import-{os.getpid()}.tar.gz"
    try:
        progress(f"checking {file}")
        manifest = archives.read(file, KIND, payload)
        with archives.understood(file):
            facts = _facts(manifest["facts"])
        name = facts["name"]
        if not name.replace("-", "").replace(".", "").isalnum() or name.startswith(".") or name == MACHINE:
            raise UsageError(f"{file} names its pack badly", seen=repr(name))
        with _making(name, progress) as fresh:
            if fresh is None:
                progress(f"engine pack {name}: here already")
            else:
                progress(f"engine pack {name}: unpacking")
                (fresh / "rootfs").mkdir()
                _unpack(payload, fresh / "rootfs")
                _need_engine(name, fresh / "rootfs")
                (fresh / "pack.json").write_text(json.dumps(facts, indent=1), encoding="utf-8")
        return find(name)
    finally:
        payload.unlink(missing_ok=True)


def _facts(told: dict[str, Any]) -> dict[str, Any]:
    """What is kept of what a pack file says of itself."""
    return {
        "name": str(told["name"]),
        "digest": str(told["digest"]),
        "versions": {str(package): str(version) for package, version in told["versions"].items()},
        "recipe": str(told.get("recipe", "")),
    }


def remove(name: str) -> None:
    """Delete the pack *name*.  Raises `Refused` while engines run from it."""
    from labkit.engine import records

    pack = find(name)
    if pack.is_machine:
        raise UsageError("the machine's own engine is not labkit's to remove")
    if running := [record.id for record in records.listed() if record.alive and record.facts["pack"] == name]:
        raise Refused(
            f"engines run from the pack {name}",
            seen=", ".join(running),
            try_="\n".join(f"labkit engine stop {engine}" for engine in running),
        )
    erase(pack.rootfs.parent, rootless=rootless())
