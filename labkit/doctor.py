"""What labkit needs of a machine: what is there, what that costs where it is not, and the remedy (``labkit doctor``)."""

from __future__ import annotations

import os
import platform
import shutil
import struct
import subprocess
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from labkit import paths
from labkit.engine import packs
from labkit.engine.cgroups import available, controllers, hierarchies

__all__ = ["Finding", "examine", "sandbox_findings", "verdict"]

OK, DEGRADED, MISSING = "ok", "degraded", "missing"


@dataclass(frozen=True)
class Finding:
    """One need: its *status* (ok, degraded, missing), what was *found*, what it *costs*, and the *remedy*."""

    name: str
    status: str
    found: str
    cost: str = ""
    remedy: str = ""


def examine() -> list[Finding]:
    """Every need of labkit, looked at now."""
    checks: list[Callable[[], Finding]] = [
        _kernel,
        _overlay,
        _namespaces,
        _tools,
        _tun,
        _iptables,
        _cgroups,
        _seccomp,
        _apparmor,
        _pack,
        _mmdebstrap,
        _disk,
        _memory,
        _watches,
        _running_engine,
    ]
    return [check() for check in checks]


def sandbox_findings() -> list[Finding]:
    """Only what a private engine cannot do without, and cheap to look at (about a millisecond)."""
    return [check() for check in (_kernel, _overlay, _namespaces, _tools, _tun)]


def verdict(findings: list[Finding]) -> str:
    """One sentence: which ways to an engine are open here."""
    missing = [f.name for f in findings if f.status == MISSING and f.name != "running engine"]
    kind = "rootless " if packs.rootless() else ""
    running = any(f.name == "running engine" and f.status == OK for f in findings)
    attach = (
        "an engine that runs here can be used (LABKIT_PROVIDER=attach)"
        if running
        else "no engine runs here to attach to"
    )
    if missing:
        return f"No private engine can be started here (missing: {', '.join(missing)}); {attach}."
    return f"A private {kind}engine can be started here; {attach}."


def _kernel() -> Finding:
    found = platform.release()
    numbers = tuple(int(part) for part in found.split("-")[0].split(".")[:2])
    minimum = (5, 11) if packs.rootless() else (5, 3)
    if struct.calcsize("P") != 8:
        return Finding("kernel", MISSING, "32-bit", "Docker needs a 64-bit machine", "use a 64-bit system")
    if numbers < minimum:
        wanted = ".".join(map(str, minimum))
        return Finding(
            "kernel",
            MISSING,
            found,
            "process file descriptors and overlay need a newer one",
            f"Linux {wanted} or later",
        )
    return Finding("kernel", OK, f"{found}, 64-bit")


def _overlay() -> Finding:
    if "\toverlay\n" in Path("/proc/filesystems").read_text():
        return Finding("overlay", OK, "in /proc/filesystems")
    modules = Path("/lib/modules") / platform.release()
    if any(modules.glob("kernel/fs/overlayfs/*")):
        # the kernel loads the module when somebody mounts, even as an ordinary user, and even if the mount then fails
        user = ["--user", "--map-root-user"] if packs.rootless() else []
        mount = ["unshare", *user, "--mount", "mount", "-t", "overlay", "overlay", "/mnt"]
        subprocess.run(mount, capture_output=True, check=False)
        if "\toverlay\n" in Path("/proc/filesystems").read_text():
            return Finding("overlay", OK, "kernel module, loaded now")
        return Finding(
            "overlay",
            MISSING,
            "kernel module, not loaded",
            "no engine of our own",
            "modprobe overlay (as root)",
        )
    return Finding(
        "overlay",
        MISSING,
        "not in /proc/filesystems, no module",
        "no engine of our own",
        "a kernel with CONFIG_OVERLAY_FS",
    )


def _namespaces() -> Finding:
    if not packs.rootless():
        return Finding("namespaces", OK, "as root, no user namespace needed")
    reasons, remedies = [], []
    if (
        _read("/proc/sys/user/max_user_namespaces") == "0"
        or _read("/proc/sys/kernel/unprivileged_userns_clone") == "0"
    ):
        reasons.append("user namespaces are switched off")
        remedies.append("sysctl user.max_user_namespaces=15000 kernel.unprivileged_userns_clone=1 (as root)")
    if _read("/proc/sys/kernel/apparmor_restrict_unprivileged_userns") == "1":
        reasons.append("AppArmor restricts user namespaces")
        remedies.append("sysctl kernel.apparmor_restrict_unprivileged_userns=0 (as root)")
    if not shutil.which("newuidmap"):
        reasons.append("newuidmap is not installed")
        remedies.append("apt-get install uidmap (as root)")
    if not _has_subids():
        reasons.append("no subordinate ids in /etc/subuid and /etc/subgid")
        remedies.append(
            f"usermod --add-subuids 100000-165535 --add-subgids 100000-165535 {_user()} (as root)"
        )
    if reasons:
        return Finding(
            "namespaces",
            MISSING,
            "; ".join(reasons),
            "an ordinary user cannot have an engine",
            "\n".join(remedies),
        )
    return Finding("namespaces", OK, "user namespaces with subordinate ids")


def _user() -> str:
    import pwd

    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        return str(os.geteuid())


def _has_subids() -> bool:
    wanted = (f"{_user()}:", f"{os.geteuid()}:")
    return all(
        _read(f"/etc/{name}") and any(line.startswith(wanted) for line in _read(f"/etc/{name}").splitlines())
        for name in ("subuid", "subgid")
    )


def _tools() -> Finding:
    wanted = ["unshare", "nsenter", "setpriv", "mount", "pivot_root"]
    lacking = [
        name
        for name in wanted
        if not shutil.which(name, path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")
    ]
    if lacking:
        return Finding(
            "tools",
            MISSING,
            f"without {', '.join(lacking)}",
            "no engine of our own",
            "apt-get install util-linux mount (as root)",
        )
    return Finding("tools", OK, "util-linux")


def _tun() -> Finding:
    if Path("/dev/net/tun").exists():
        return Finding("tun", OK, "/dev/net/tun")
    return Finding(
        "tun", MISSING, "no /dev/net/tun", "an engine would have no network", "modprobe tun (as root)"
    )


def _iptables() -> Finding:
    try:
        pack = packs.find()
    except Exception:
        return Finding(
            "iptables", DEGRADED, "not looked at: the engine pack is not made yet", remedy="labkit setup"
        )
    user = ["--user", "--map-root-user"] if packs.rootless() else []
    for variant in ("iptables-nft", "iptables-legacy"):
        command = [
            "unshare",
            *user,
            "--net",
            "chroot",
            str(pack.rootfs),
            f"/usr/sbin/{variant}",
            "--table",
            "nat",
            "--list-rules",
        ]
        if subprocess.run(command, capture_output=True, check=False).returncode == 0:
            return Finding("iptables", OK, f"{variant}, from the pack")
    return Finding(
        "iptables",
        MISSING,
        "neither nftables nor iptables works",
        "no bridge networks, no published ports",
        "a kernel with nf_tables or ip_tables",
    )


def _cgroups() -> Finding:
    found = hierarchies()
    version = "v2" if any(h.unified for h in found) else "v1" if found else "none"
    if available():
        return Finding(
            "cgroups", OK, f"{version}; engines have groups of their own: {', '.join(controllers())}"
        )
    if not packs.rootless():
        return Finding(
            "cgroups",
            MISSING,
            version,
            "no limits, no statistics",
            "mount a cgroup hierarchy that can be written",
        )
    remedy = (
        f"apt-get install dbus-user-session; loginctl enable-linger {_user()} (as root): systemd then delegates groups"
        if version == "v2"
        else "boot with systemd.unified_cgroup_hierarchy=1, or work as root"
    )
    return Finding(
        "cgroups",
        DEGRADED,
        f"{version}, none delegated to this user",
        "limits (memory, CPU, pids) have no effect",
        remedy,
    )


def _seccomp() -> Finding:
    if Path("/proc/sys/kernel/seccomp").exists():
        return Finding("seccomp", OK, "in the kernel")
    return Finding(
        "seccomp",
        DEGRADED,
        "not in the kernel",
        "containers may make any system call",
        "a kernel with CONFIG_SECCOMP_FILTER",
    )


def _apparmor() -> Finding:
    if _read("/sys/module/apparmor/parameters/enabled") == "Y":
        return Finding("AppArmor", OK, "enabled")
    return Finding(
        "AppArmor",
        DEGRADED,
        "not enabled",
        "labs that show a profile at work say that they cannot",
        "boot with apparmor=1 security=apparmor",
    )


def _pack() -> Finding:
    ready = packs.names()
    if ready:
        return Finding("engine pack", OK, ", ".join(ready))
    return Finding(
        "engine pack", MISSING, "none yet", "no engine of our own", "labkit setup\nlabkit pack import FILE"
    )


def _mmdebstrap() -> Finding:
    if shutil.which("mmdebstrap"):
        return Finding("mmdebstrap", OK, shutil.which("mmdebstrap") or "")
    return Finding(
        "mmdebstrap",
        DEGRADED,
        "not installed",
        "packs and images cannot be made here, only imported",
        "apt-get install mmdebstrap (as root)",
    )


def _disk() -> Finding:
    folder = paths.home()
    free = paths.free_bytes(folder)
    found = f"{free / 2**30:.1f} GiB free in {folder}"
    if free < 256 * 2**20:
        return Finding("disk", MISSING, found, "no engine can start", "free some space, or set LABKIT_HOME")
    if free < 4 * 2**30:
        return Finding(
            "disk", DEGRADED, found, "set-up takes about 3 GiB", "free some space, or set LABKIT_HOME"
        )
    return Finding("disk", OK, found)


def _memory() -> Finding:
    lines = dict(line.split(":", 1) for line in Path("/proc/meminfo").read_text().splitlines())
    free = int(lines["MemAvailable"].split()[0]) * 1024
    found = f"{free / 2**30:.1f} GiB available"
    if free < 2**30:
        return Finding(
            "memory", DEGRADED, found, "an engine takes about 0.15 GiB, JupyterLab 0.3", "close something"
        )
    return Finding("memory", OK, found)


def _watches() -> Finding:
    watches = int(_read("/proc/sys/fs/inotify/max_user_watches") or 0)
    instances = int(_read("/proc/sys/fs/inotify/max_user_instances") or 0)
    found = f"{watches} watches, {instances} instances"
    if watches < 8192 or instances < 128:
        return Finding(
            "inotify",
            DEGRADED,
            found,
            "many engines at once may fail to start",
            "sysctl fs.inotify.max_user_watches=65536 fs.inotify.max_user_instances=512 (as root)",
        )
    return Finding("inotify", OK, found)


def _running_engine() -> Finding:
    from labkit.engine.attach import open_attached
    from labkit.errors import LabkitError

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


def _read(path: str) -> str:
    with suppress(OSError):
        return Path(path).read_text().strip()
    return ""
