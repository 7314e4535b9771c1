"""What labkit needs of a machine: what is there, what that costs where it is not, and the remedy (``labkit doctor``)."""

from __future__ import annotations

import os
import platform
import re
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

__all__ = ["Finding", "examine", "free_ids", "sandbox_findings", "verdict"]

OK, DEGRADED, MISSING = "ok", "degraded", "missing"
TOOLS = "apt-get install util-linux mount (as root)"
UNSEEN = "not loaded, and no list of the kernel's modules is here: an engine's start will tell"
LIMITS = ("memory", "cpu", "pids")


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
    """Only what a private engine cannot do without, and cheap to look at (a few milliseconds)."""
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
    if "\toverlay\n" in _read("/proc/filesystems") + "\n":
        return Finding("overlay", OK, "in /proc/filesystems")
    offered = _offers("overlay")
    if offered:
        # whoever mounts, even as an ordinary user, has the kernel load it; to look is no reason to do so
        return Finding("overlay", OK, "kernel module, which the first engine has loaded")
    if offered is None:
        return Finding(
            "overlay",
            DEGRADED,
            UNSEEN,
            "an engine may not start",
            "modprobe overlay (as root, on the machine)",
        )
    return Finding(
        "overlay",
        MISSING,
        "not in /proc/filesystems, no module",
        "no engine of our own",
        "a kernel with CONFIG_OVERLAY_FS",
    )


def _offers(name: str) -> bool | None:
    """Whether this kernel has *name* built in or as a module, loaded or not (modules.dep(5)).

    None where that cannot be seen, as in a container that has not the machine's ``/lib/modules``.
    """
    if re.search(rf"^{name} ", _read("/proc/modules"), re.MULTILINE):
        return True
    folder = f"/lib/modules/{platform.release()}"
    lists = _read(f"{folder}/modules.builtin") + "\n" + _read(f"{folder}/modules.dep")
    if lists.strip():
        return re.search(rf"^\S*/{name}\.ko\b", lists, re.MULTILINE) is not None
    return None if Path("/proc/modules").exists() else False


def _namespaces() -> Finding:
    if not shutil.which("unshare"):
        return Finding("namespaces", MISSING, "not looked at: no unshare", remedy=TOOLS)
    reasons, remedies = _user_namespaces() if packs.rootless() else ([], [])
    if not reasons:
        # what an engine begins with: the only way to know what a container's manager, or a security module, lets us do
        command = packs.in_user_namespace(["unshare", "--mount", "--pid", "--fork", "true"])
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if not done.returncode:
            kind = "user namespaces with subordinate ids" if packs.rootless() else "as root"
            return Finding("namespaces", OK, kind)
        reasons = [f"the kernel refuses them: {done.stderr.strip()}"]
        remedies = ["in a container: run it with --privileged", "use an engine of the machine around it"]
        if "--map-auto" in done.stderr:
            reasons, remedies = ["unshare has no --map-auto"], ["util-linux 2.38 or later"]
    return Finding(
        "namespaces", MISSING, "; ".join(reasons), "this user cannot have an engine", "\n".join(remedies)
    )


def _user_namespaces() -> tuple[list[str], list[str]]:
    """What keeps an ordinary user from user namespaces, and the remedies."""
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
    if lacking := [name for name in ("newuidmap", "newgidmap") if not shutil.which(name)]:
        reasons.append(f"not installed: {', '.join(lacking)}")
        remedies.append("apt-get install uidmap (as root)")
    if not _has_subids():
        ids = free_ids(_read("/etc/subuid") + "\n" + _read("/etc/subgid"))
        reasons.append("no subordinate ids in /etc/subuid and /etc/subgid")
        remedies.append(f"usermod --add-subuids {ids} --add-subgids {ids} {_user()} (as root)")
    return reasons, remedies


def free_ids(taken: str) -> str:
    """A range of 65536 ids, as usermod(8) wants it, above all that the lines of subuid(5) in *taken* give away."""
    ends = [
        int(first) + int(count)
        for _, first, count in (line.split(":") for line in taken.split() if line.count(":") == 2)
        if first.isdigit() and count.isdigit()
    ]
    first = max([100000, *ends])
    return f"{first}-{first + 65535}"


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
            TOOLS,
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
    if not Path("/proc/modules").exists():  # all is built in
        variant = next((each for each in ("iptables-nft", "iptables-legacy") if _works(pack, each)), None)
        if variant:
            return Finding("iptables", OK, f"{variant}, from the pack")
    else:  # to try would load modules, which is for an engine to do
        offered = {name: _offers(name) for name in ("nf_tables", "ip_tables")}
        if known := [name for name, there in offered.items() if there]:
            return Finding("iptables", OK, f"{' and '.join(known)}: in the kernel, or modules")
        if None in offered.values():
            remedy = "modprobe -a nf_tables nft_compat (as root, on the machine)"
            return Finding("iptables", DEGRADED, UNSEEN, "an engine may not start", remedy)
    return Finding(
        "iptables",
        MISSING,
        "neither nftables nor iptables works",
        "no bridge networks, no published ports",
        "a kernel with nf_tables or ip_tables",
    )


def _works(pack: packs.Pack, variant: str) -> bool:
    """Whether the pack's iptables can do what an engine needs, tried in a network namespace of its own."""
    user = ["--user", "--map-root-user"] if packs.rootless() else []
    apart = ["unshare", *user, "--net", "chroot", str(pack.rootfs), "sh", "-c"]
    program = f"/usr/sbin/{variant}"
    script = (
        f"{program} --table nat --list-rules && "
        f"{program} --table mangle --append FORWARD --match conntrack --ctstate NEW --jump DROP"
    )
    return subprocess.run([*apart, script], capture_output=True, check=False).returncode == 0


def _cgroups() -> Finding:
    found = hierarchies()
    version = "v2" if any(h.unified for h in found) else "v1" if found else "none"
    if available():
        limited = controllers()
        told = f"{version}; engines have groups of their own: {', '.join(limited) or 'without controllers'}"
        if lacking := [name for name in LIMITS if name not in limited]:
            return Finding(
                "cgroups",
                DEGRADED,
                told,
                f"limits on {', '.join(lacking)} have no effect",
                "have them delegated to where labkit runs (systemd: Delegate=yes; a container: --cgroupns=host --privileged)",
            )
        return Finding("cgroups", OK, told)
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
