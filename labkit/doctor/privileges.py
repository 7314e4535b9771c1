"""What this user may do: namespaces, subordinate ids, control groups, and the tools for them."""

from __future__ import annotations

import os
import shutil
import subprocess

from labkit.doctor.findings import DEGRADED, MISSING, OK, Finding, install, read, user
from labkit.engine import debian
from labkit.engine.cgroups import available, controllers, hierarchies

__all__ = ["cgroups", "free_ids", "namespaces", "tools"]

TOOLS = install(["util-linux", "mount"])
LIMITS = ("memory", "cpu", "pids")


def namespaces() -> Finding:
    """Whether this user may make the namespaces of an engine."""
    if not shutil.which("unshare"):
        return Finding("namespaces", MISSING, "not looked at: no unshare", remedy=TOOLS)
    reasons, remedies = _user_namespaces() if debian.rootless() else ([], [])
    if not reasons:
        # what an engine begins with: the only way to know what a container's manager, or a security module, lets us do
        command = debian.in_user_namespace(["unshare", "--mount", "--pid", "--fork", "true"])
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if not done.returncode:
            kind = "user namespaces with subordinate ids" if debian.rootless() else "as root"
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
        read("/proc/sys/user/max_user_namespaces") == "0"
        or read("/proc/sys/kernel/unprivileged_userns_clone") == "0"
    ):
        reasons.append("user namespaces are switched off")
        remedies.append("sysctl user.max_user_namespaces=15000 kernel.unprivileged_userns_clone=1 (as root)")
    if read("/proc/sys/kernel/apparmor_restrict_unprivileged_userns") == "1":
        reasons.append("AppArmor restricts user namespaces")
        remedies.append("sysctl kernel.apparmor_restrict_unprivileged_userns=0 (as root)")
    if lacking := [name for name in ("newuidmap", "newgidmap") if not shutil.which(name)]:
        reasons.append(f"not installed: {', '.join(lacking)}")
        remedies.append(install(["uidmap"]))
    if not has_subids():
        ids = free_ids(read("/etc/subuid") + "\n" + read("/etc/subgid"))
        reasons.append("no subordinate ids in /etc/subuid and /etc/subgid")
        remedies.append(f"usermod --add-subuids {ids} --add-subgids {ids} {user()} (as root)")
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


def has_subids() -> bool:
    wanted = (f"{user()}:", f"{os.geteuid()}:")
    return all(
        read(f"/etc/{name}") and any(line.startswith(wanted) for line in read(f"/etc/{name}").splitlines())
        for name in ("subuid", "subgid")
    )


def tools() -> Finding:
    """The programs that make and enter namespaces."""
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


def cgroups() -> Finding:
    """Whether engines get control groups, and so limits and statistics."""
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
                "have them delegated to where labkit runs: with systemd, as root, `systemctl edit user@.service`, there "
                "[Service] and Delegate=cpu cpuset io memory pids, and log in anew; a container: --cgroupns=host --privileged",
            )
        return Finding("cgroups", OK, told)
    if not debian.rootless():
        return Finding(
            "cgroups",
            MISSING,
            version,
            "no limits, no statistics",
            "mount a cgroup hierarchy that can be written",
        )
    remedy = (
        f"apt-get install dbus-user-session; loginctl enable-linger {user()} (as root): systemd then delegates groups"
        if version == "v2"
        else "boot with systemd.unified_cgroup_hierarchy=1, or work as root"
    )
    return Finding(
        "cgroups",
        DEGRADED,
        f"{version}, none delegated to this user",
        "limits (memory, CPU, pids) have no effect, and docker pause fails",
        remedy,
    )
