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
import tempfile
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from labkit import paths
from labkit.engine import archives
from labkit.engine.keeper import DIES_WITH_ME, erase
from labkit.engine.locks import working
from labkit.errors import EngineUnreachable, LabkitError, UsageError

__all__ = [
    "MACHINE",
    "RECIPES",
    "Pack",
    "build",
    "export_pack",
    "find",
    "import_pack",
    "names",
    "remove",
    "rootless",
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

Progress = Callable[[str], None]


@dataclass(frozen=True)
class Pack:
    """A root filesystem to start engines from.  *digest* tells one making of it from another."""

    name: str
    rootfs: Path
    digest: str
    versions: dict[str, str]

    @property
    def is_machine(self) -> bool:
        """Whether it is the machine's own root filesystem."""
        return self.name == MACHINE

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


def rootless() -> bool:
    """Whether engines of this user need a user namespace."""
    return os.geteuid() != 0


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
    chosen = name or os.environ.get("LABKIT_PACK") or "debian-13"
    if chosen == MACHINE:
        return _machine()
    folder = paths.home() / "packs" / chosen
    try:
        facts = json.loads((folder / "pack.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        if chosen not in RECIPES and chosen not in names():
            raise UsageError(
                "no such engine pack",
                seen=repr(chosen),
                expected=", ".join(dict.fromkeys([*RECIPES, *names()])),
            ) from None
        raise LabkitError(
            f"the engine pack {chosen} is not on this machine yet",
            try_=f"labkit pack build {chosen}        (needs a Debian package mirror)\n"
            "labkit pack import FILE       (from another machine's `labkit pack export`)\n"
            "labkit doctor                 (says which ways to an engine are open here)",
        ) from None
    return Pack(chosen, folder / "rootfs", facts["digest"], facts["versions"])


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
    return find(name)


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
    if "docker.io" not in versions or not (fresh / "rootfs/usr/sbin/dockerd").exists():
        raise LabkitError(f"the engine pack {name} holds no Docker engine", expected="/usr/sbin/dockerd")
    digest = hashlib.sha256(json.dumps(sorted(versions.items())).encode()).hexdigest()
    told = {
        key: versions[key] for key in ("docker.io", "containerd", "runc", "slirp4netns") if key in versions
    }
    (fresh / "pack.json").write_text(
        json.dumps({"name": name, "digest": digest, "versions": told}, indent=1), encoding="utf-8"
    )


def in_user_namespace(command: Sequence[str]) -> list[str]:
    """*command* as root of a user namespace, where this user is not root: files of other users stay what they are."""
    return ["unshare", "--user", "--map-root-user", "--map-auto", *command] if rootless() else list(command)


def debootstrap(
    suite: str, packages: Sequence[str], target: Path, progress: Progress, variant: str = "essential"
) -> None:
    """Fill the folder *target* (or the file, if it ends in ``.tar``) with a Debian root filesystem.

    Raises `LabkitError` with the end of mmdebstrap's output when that fails.
    """
    program = shutil.which("mmdebstrap")
    if program is None:
        raise LabkitError(
            "mmdebstrap is missing: it makes root filesystems", try_="apt-get install mmdebstrap (as root)"
        )
    mirror = [m] if (m := os.environ.get("LABKIT_DEBIAN_MIRROR", "")) else []
    slim = [
        f"--dpkgopt=path-exclude=/usr/share/{d}/*"
        for d in ("doc", "man", "locale", "info", "bash-completion")
    ]
    command = [
        program,
        f"--variant={variant}",
        "--mode=root",
        f"--include={','.join(packages)}",
        '--aptopt=Acquire::Languages "none"',
        "--aptopt=Acquire::Retries 3",
        *slim,
        suite,
        str(target),
        *mirror,
    ]
    # in namespaces of its own, so that a kill leaves neither mounts nor processes behind; a new user namespace undoes what
    # ends it with us (prctl(2), PR_SET_PDEATHSIG)
    apart = [*DIES_WITH_ME, "unshare", "--mount", "--pid", "--fork", "--kill-child", *command]
    wrapped = [*DIES_WITH_ME, *in_user_namespace(apart)]
    last = deque[str](maxlen=30)
    with (
        _scratch(target.parent) as environ,
        subprocess.Popen(
            wrapped,
            stderr=subprocess.PIPE,
            stdin=subprocess.DEVNULL,
            text=True,
            cwd="/",
            errors="replace",
            env=environ,
        ) as process,
    ):
        try:
            assert process.stderr is not None
            for line in process.stderr:
                last.append(line.rstrip())
                if line.startswith("I: "):
                    progress(f"  {line[3:].strip()}")
        except BaseException:
            process.kill()
            raise
    if process.returncode:
        raise LabkitError(
            f"could not make a Debian {suite} root filesystem",
            seen="\n".join([line for line in last if line.startswith(("E:", "W:"))] or list(last)[-8:]),
            try_="is a Debian mirror reachable? LABKIT_DEBIAN_MIRROR names another one\nlabkit pack import FILE needs no mirror",
        )


@contextmanager
def _scratch(folder: Path) -> Iterator[dict[str, str]]:
    """An environment whose folder for temporary files is inside *folder*, so that a kill leaves none elsewhere."""
    scratch = Path(tempfile.mkdtemp(prefix=".scratch-", dir=folder))
    try:
        yield {**os.environ, "TMPDIR": str(scratch)}
    finally:
        erase(scratch, rootless=rootless())


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
        raise LabkitError(f"could not unpack {tar.name}", seen=done.stderr.strip()[-1000:])


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
        name = str(manifest["facts"]["name"])
        if not name.replace("-", "").replace(".", "").isalnum() or name.startswith(".") or name == MACHINE:
            raise UsageError(f"{file} names its pack badly", seen=repr(name))
        with _making(name, progress) as fresh:
            if fresh is None:
                progress(f"engine pack {name}: here already")
            else:
                progress(f"engine pack {name}: unpacking")
                (fresh / "rootfs").mkdir()
                _unpack(payload, fresh / "rootfs")
                (fresh / "pack.json").write_text(json.dumps(manifest["facts"], indent=1), encoding="utf-8")
        return find(name)
    finally:
        payload.unlink(missing_ok=True)


def remove(name: str) -> None:
    """Delete the pack *name*."""
    pack = find(name)
    if pack.is_machine:
        raise UsageError("the machine's own engine is not labkit's to remove")
    erase(pack.rootfs.parent, rootless=rootless())
