"""Engine packs made: of Debian packages by mmdebstrap, or out of a file; and written to one.

A pack that is made anew takes its place at once.  The former one stays, out of sight, as long as engines run from it.
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from labkit import paths
from labkit.engine import archives, locks, packs
from labkit.engine.debian import Progress, debootstrap, in_user_namespace, rootless
from labkit.engine.keeper import erase
from labkit.engine.locks import working
from labkit.engine.packs import Pack
from labkit.errors import EngineUnreachable, LabkitError, UsageError

__all__ = ["build", "collect_former", "export_pack", "import_pack"]

KIND = "engine"
NEEDED_BYTES = 2 * 2**30


@working()
def build(name: str, progress: Progress = print) -> Pack:
    """Make the pack *name* from Debian packages (about half a minute and 500 MiB); return it at once if it is there.

    One that is outdated is made anew.  *progress* is told what is going on, a line at a time.  When it fails, nothing
    half-made is left, and a former pack stays.
    """
    if name not in packs.RECIPES:
        raise UsageError("no such engine pack to build", seen=repr(name), expected=", ".join(packs.RECIPES))
    _check_user(["mmdebstrap"])
    with _making(name, progress) as fresh:
        if fresh is not None:
            suite, packages = packs.RECIPES[name]
            progress(f"engine pack {name}: fetching and unpacking Debian {suite}")
            debootstrap(suite, packages, fresh / "rootfs", progress)
            _finish(name, fresh)
    return packs.find(name)


@contextmanager
def _making(name: str, progress: Progress, *, anew: bool = True) -> Iterator[Path | None]:
    """A fresh folder for the pack *name*, moved to its place at the end; None if the pack is there already.

    *anew*: also in place of one that is outdated.
    """
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
        here = _here(name)
        if here and not (anew and here.outdated):
            yield None
            return
        if here:
            progress(f"engine pack {name}: its recipe has changed since it was made, so it is made anew")
        erase(fresh, rootless=rootless())
        paths.need_space(folder, NEEDED_BYTES, f"make the engine pack {name}")
        fresh.mkdir()
        yield fresh
        _put_in_place(fresh, folder / name)
        if collect_former(name)[1]:
            progress(
                f"engine pack {name}: engines run from the former one; it stays until they have ended, "
                "and `labkit engine gc` removes it"
            )
    finally:
        erase(fresh, rootless=rootless())
        lock.release()


def _here(name: str) -> Pack | None:
    """The pack *name*, if it is there whole."""
    with suppress(LabkitError):
        return packs.find(name)
    return None


def _put_in_place(fresh: Path, folder: Path) -> None:
    """Make *fresh* the pack in *folder*; what was there steps aside, whole: a file system that is mounted goes along."""
    if os.path.lexists(folder):
        folder.rename(folder.with_name(f".{folder.name}.{secrets.token_hex(3)}.former"))
    fresh.rename(folder)


def collect_former(name: str = "*") -> tuple[list[Path], list[Path]]:
    """Remove what was the pack *name* before (of all packs: ``*``); return what is gone, and what engines still run from."""
    gone: list[Path] = []
    kept: list[Path] = []
    for folder in sorted((paths.home() / "packs").glob(f".{name}.*.former")):
        with locks.alone(folder) as free:
            removed = free and erase(folder, rootless=rootless())
        (gone if removed else kept).append(folder)
    return gone, kept


def _check_user(packages: Sequence[str] = ()) -> None:
    """Raise `EngineUnreachable` where this user cannot unpack, nor then run, what belongs to several users.

    The remedy names the Debian *packages* too that are not there, so that one command installs all.
    """
    from labkit import doctor

    problem = next(
        (f for f in doctor.sandbox_findings() if f.name == "namespaces" and f.status == doctor.MISSING), None
    )
    if problem:
        raise EngineUnreachable(
            "an engine pack is of no use to this user yet",
            seen=problem.found,
            try_="\n".join(
                [
                    *doctor.remedies([problem], doctor.lacking(packages)),
                    "or use an engine that runs already: LABKIT_PROVIDER=attach",
                ]
            ),
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
    facts = {"name": name, "digest": digest, "versions": told, "recipe": packs.recipe(name)}
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
    pack = packs.find(name)
    if pack.is_machine:
        raise UsageError(
            "the machine's own engine cannot be exported", expected="a pack: " + ", ".join(packs.RECIPES)
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
    """Take the pack out of *file*; one of the same name that is here already is kept, and returned.

    In place of one that is outdated it is taken if it is not outdated itself.
    """
    _check_user()
    payload = paths.home() / f".import-{os.getpid()}.tar.gz"
    try:
        progress(f"checking {file}")
        manifest = archives.read(file, KIND, payload)
        with archives.understood(file):
            facts = _facts(manifest["facts"])
        name = facts["name"]
        if (
            not name.replace("-", "").replace(".", "").isalnum()
            or name.startswith(".")
            or name == packs.MACHINE
        ):
            raise UsageError(f"{file} names its pack badly", seen=repr(name))
        current = name in packs.RECIPES and facts["recipe"] == packs.recipe(name)
        with _making(name, progress, anew=current) as fresh:
            if fresh is None:
                progress(f"engine pack {name}: here already")
            else:
                progress(f"engine pack {name}: unpacking")
                (fresh / "rootfs").mkdir()
                _unpack(payload, fresh / "rootfs")
                _need_engine(name, fresh / "rootfs")
                (fresh / "pack.json").write_text(json.dumps(facts, indent=1), encoding="utf-8")
        return packs.find(name)
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
