"""A control-group folder of an engine's own in every hierarchy, and the mounts that show it to the engine as the root.

Where a service manager hands groups out, an engine takes one from there: systemd does so for a *scope* with
``Delegate=yes`` (systemd.scope(5)), which it also removes when its last process has ended.  An ordinary user gets none
otherwise; root makes a folder, and what had to be changed above it is noted there, and undone with the last engine.

Facts: cgroups(7), cgroup_namespaces(7), and the kernel's admin-guide/cgroup-v2 ("no internal processes").
"""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path

__all__ = [
    "Hierarchy",
    "available",
    "controllers",
    "create",
    "hierarchies",
    "in_scope",
    "is_empty",
    "of",
    "parents",
    "remove",
    "scoped",
    "thaw",
]

PARENT = "labkit"
"""Folder at the top of each hierarchy under which engines have theirs."""
NOTE = "trusted.labkit.enabled" if os.geteuid() == 0 else "user.labkit.enabled"
"""Extended attribute of that folder: the controllers that the group above handed down to nobody before."""


@dataclass(frozen=True)
class Hierarchy:
    """One mounted cgroup hierarchy: where it is mounted, its type (``cgroup`` or ``cgroup2``) and mount options."""

    mountpoint: Path
    type: str
    options: str

    @property
    def unified(self) -> bool:
        """Whether this is version 2 as the machine's only hierarchy (not the empty one of a hybrid set-up)."""
        return self.type == "cgroup2" and self.mountpoint == Path("/sys/fs/cgroup")


def hierarchies(mountinfo: str | None = None) -> list[Hierarchy]:
    """The cgroup hierarchies below ``/sys/fs/cgroup``, from ``/proc/self/mountinfo`` (proc(5))."""
    found = []
    for line in (mountinfo or Path("/proc/self/mountinfo").read_text(encoding="utf-8")).splitlines():
        left, _, right = line.partition(" - ")
        mountpoint, (type_, _, options) = Path(left.split()[4]), right.split(maxsplit=2)
        if type_ in ("cgroup", "cgroup2") and mountpoint.is_relative_to("/sys/fs/cgroup"):
            wanted = [
                o
                for o in options.split(",")
                if o not in ("rw", "ro") and not o.startswith(("xattr", "release_agent"))
            ]
            found.append(Hierarchy(mountpoint, type_, ",".join(wanted)))
    return found


def _base(hierarchy: Hierarchy) -> Path | None:
    """The folder below which we may make ours: the top as root, one's own delegated group otherwise."""
    if os.geteuid() == 0:
        return hierarchy.mountpoint
    if not hierarchy.unified:
        return None
    own = next(
        (
            line[3:]
            for line in Path("/proc/self/cgroup").read_text(encoding="utf-8").splitlines()
            if line.startswith("0::")
        ),
        "/",
    )
    # a service manager delegates a subtree by giving its folder to the user; the nearest such folder above us is it
    path = hierarchy.mountpoint / own.lstrip("/")
    candidates = [
        p for p in (path, *path.parents) if p.is_relative_to(hierarchy.mountpoint) and _delegated(p)
    ]
    return candidates[-1] if candidates else None


def _delegated(folder: Path) -> bool:
    writable = all(
        os.access(folder / name, os.W_OK) for name in ("", "cgroup.procs", "cgroup.subtree_control")
    )
    with suppress(OSError):
        return writable and bool((folder / "cgroup.controllers").read_text(encoding="utf-8").split())
    return False


def available() -> bool:
    """Whether an engine of this user gets groups of its own, and so limits for its containers."""
    return bool(parents() or scoped())


def parents() -> list[Path]:
    """The folders below which this user's engines have theirs, where no service manager has to be asked."""
    return [base / PARENT for hierarchy in hierarchies() if (base := _base(hierarchy))]


def controllers() -> list[str]:
    """What can be limited in an engine's groups: ``memory``, ``pids``, …"""
    if scoped():
        return sorted(_scope_controllers() or [])
    found: list[str] = []
    for hierarchy in hierarchies():
        base = _base(hierarchy)
        if base is not None and hierarchy.unified:
            found = [*found, *handed_down(base)]
        elif base is not None and hierarchy.type == "cgroup" and not hierarchy.options.startswith("name="):
            found = [*found, *hierarchy.mountpoint.name.split(",")]
    return sorted(found)


def handed_down(group: Path) -> set[str]:
    """The controllers that a group of version 2 hands down to those below it, or can be made to.

    One that holds processes itself takes up no more of them, unless it is the real root, which alone has no
    ``cgroup.type`` (kernel, admin-guide/cgroup-v2).
    """
    now = _words(group / "cgroup.subtree_control")
    full = (group / "cgroup.type").exists() and _words(group / "cgroup.procs")
    return now if full else now | _words(group / "cgroup.controllers")


def _words(file: Path) -> set[str]:
    with suppress(OSError):
        return set(file.read_text(encoding="utf-8").split())
    return set()


def scoped() -> bool:
    """Whether this user's service manager gives each engine a scope."""
    found = _scope_controllers()
    # root loses nothing by a manager that delegates little; others have no groups then
    return bool(found) or (found is not None and os.geteuid() == 0)


@cache
def _scope_controllers() -> list[str] | None:
    """The controllers of a scope that this user's service manager delegates; None where it gives no scope."""
    if not any(hierarchy.unified for hierarchy in hierarchies()) or not Path("/run/systemd/system").exists():
        return None
    script = 'cat "/sys/fs/cgroup$(sed -n s/^0:://p /proc/self/cgroup)/cgroup.controllers"'
    with suppress(OSError, subprocess.TimeoutExpired):
        done = subprocess.run(
            in_scope(f"probe-{os.getpid()}", ["sh", "-c", script]),
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
            timeout=10,
            check=False,
        )
        return done.stdout.split() if done.returncode == 0 else None
    return None


def in_scope(engine_id: str, command: Sequence[str]) -> list[str]:
    """*command* as the first process of a new scope of this user's service manager, delegated to it (systemd-run(1))."""
    scope = ["--scope", "--quiet", "--collect", "--property=Delegate=yes", f"--unit={PARENT}-{engine_id}"]
    # an ordinary user's engine has no such session on its host: runc, for one, would write there
    without = ["env", "--unset=XDG_RUNTIME_DIR", "--unset=DBUS_SESSION_BUS_ADDRESS"]
    return [*_of_manager("systemd-run"), *scope, *(without if os.geteuid() else []), *command]


def _of_manager(program: str) -> list[str]:
    """*program* of systemd, to be told what this user's service manager is to do."""
    if os.geteuid() == 0:
        return [program]
    folder = f"/run/user/{os.geteuid()}"  # whatever the session, or the lack of one, says
    reach = ["env", f"XDG_RUNTIME_DIR={folder}", f"DBUS_SESSION_BUS_ADDRESS=unix:path={folder}/bus"]
    return [*reach, program, "--user"]


def create(engine_id: str) -> list[Path]:
    """Make the engine's folder in each hierarchy where that is allowed, with all controllers at hand; return the folders.

    There is none where a service manager makes it (`in_scope`).
    """
    made: list[Path] = []
    if scoped():
        return made
    for hierarchy in hierarchies():
        base = _base(hierarchy)
        if base is None:
            continue
        folder = base / PARENT / engine_id
        if not _make(folder):
            continue
        made.append(folder)
        if hierarchy.type == "cgroup2":
            _hand_down(base, folder)
        for parent, child in ((base, base / PARENT), (base / PARENT, folder)):
            for name in ("cpuset.cpus", "cpuset.mems"):
                if (
                    hierarchy.type == "cgroup"
                    and (child / name).exists()
                    and not (child / name).read_text(encoding="utf-8").strip()
                ):
                    (child / name).write_text((parent / name).read_text(encoding="utf-8"), encoding="utf-8")
    return made


def _make(folder: Path) -> bool:
    for _ in range(5):  # an engine that ends may take the parent away in between
        try:
            folder.mkdir(parents=True)
            return True
        except FileNotFoundError:
            continue
        except OSError:
            break
    return False


def _hand_down(base: Path, folder: Path) -> None:
    """Hand the controllers of *base* down to the engine's *folder*, and note what *base* did not hand down before."""
    parent = folder.parent
    for _ in range(5):  # an engine that ends may undo it in between
        before = _words(base / "cgroup.subtree_control")
        _note(parent, handed_down(base) - before)
        for group in (base, parent):
            for controller in sorted(handed_down(group)):
                with suppress(OSError):
                    (group / "cgroup.subtree_control").write_text(f"+{controller}", encoding="utf-8")
        if _words(folder / "cgroup.controllers") >= before | _words(base / "cgroup.subtree_control"):
            return


def _note(parent: Path, new: set[str]) -> None:
    if new:
        with suppress(OSError):  # a kernel before 5.7 knows no such attribute for ordinary users
            os.setxattr(parent, NOTE, " ".join(sorted(new | _noted(parent))).encode())


def _noted(parent: Path) -> set[str]:
    with suppress(OSError):
        return set(os.getxattr(parent, NOTE).decode().split())
    return set()


def of(pid: int) -> Path:
    """The group of a process in version 2's hierarchy."""
    lines = Path(f"/proc/{pid}/cgroup").read_text(encoding="utf-8").splitlines()
    return Path("/sys/fs/cgroup", next(line[3:].lstrip("/") for line in lines if line.startswith("0::")))


def thaw(folders: Sequence[Path]) -> None:
    """Let go of what a paused container holds frozen: in version 1 a frozen process does not even die of SIGKILL."""
    for folder in folders:
        # what an engine that ends takes away meanwhile is passed over
        for below, _, files in os.walk(folder):
            if "freezer.state" in files:
                with suppress(OSError):
                    Path(below, "freezer.state").write_text("THAWED", encoding="utf-8")


def is_empty(folder: Path) -> bool:
    """Whether no process is in the group or below it."""
    with suppress(OSError):
        return not any(procs.read_text(encoding="utf-8").strip() for procs in folder.rglob("cgroup.procs"))
    return False


def remove(folder: Path, deadline: float = 10.0) -> bool:
    """Remove an engine's folder with all below it, waiting up to *deadline* seconds for its last process to be gone."""
    end = time.monotonic() + deadline
    if folder.suffix == ".scope":
        _stop(folder.name, deadline)
    while folder.exists():
        for below, _, _ in os.walk(folder, topdown=False):
            with suppress(OSError):
                Path(below).rmdir()
        if not folder.exists():
            break
        if time.monotonic() > end:
            return False
        time.sleep(0.01)
    if folder.parent.name == PARENT:
        _turn_off_the_light(folder.parent)
    return True


def _stop(scope: str, deadline: float) -> None:
    """Have the service manager end a *scope* whose processes are ending, and return when it has forgotten it.

    It removes the folder too.  Were we to do that, the kernel's notice that the group is empty could be lost with it: the
    manager would hold the scope for active for ever, and refuse another of the name.
    """
    with suppress(OSError, subprocess.TimeoutExpired):
        subprocess.run(
            [*_of_manager("systemctl"), "stop", scope],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=deadline,
            check=False,
        )


def _turn_off_the_light(parent: Path) -> None:
    """Remove the folder of all engines if none is left, and take back what was handed down for them."""
    noted = _noted(parent)
    try:
        parent.rmdir()
    except OSError:
        return
    for controller in noted:
        try:
            (parent.parent / "cgroup.subtree_control").write_text(f"-{controller}", encoding="utf-8")
        except OSError:
            _note(parent, {controller})  # the next engine is there already, and has it taken up
