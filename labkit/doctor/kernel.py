"""What the kernel has to offer; to look loads no module."""

from __future__ import annotations

import os
import platform
import re
import struct
import subprocess
from pathlib import Path

from labkit.doctor.findings import DEGRADED, MISSING, OK, Finding, read
from labkit.engine import debian, keeper, packs

__all__ = ["apparmor", "iptables", "kernel", "overlay", "seccomp", "tun", "watches"]

UNSEEN = "not loaded, and no list of the kernel's modules is here: an engine's start will tell"


def kernel() -> Finding:
    """Whether it is new enough, and of 64 bits."""
    found = platform.release()
    numbers = tuple(int(part) for part in found.split("-")[0].split(".")[:2])
    minimum = (5, 11) if debian.rootless() else (5, 3)
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


def overlay() -> Finding:
    """Whether file systems can be laid over each other, as the host of an engine is."""
    if "\toverlay\n" in read("/proc/filesystems") + "\n":
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
    if re.search(rf"^{name} ", read("/proc/modules"), re.MULTILINE):
        return True
    folder = f"/lib/modules/{platform.release()}"
    lists = read(f"{folder}/modules.builtin") + "\n" + read(f"{folder}/modules.dep")
    if lists.strip():
        return re.search(rf"^\S*/{name}\.ko\b", lists, re.MULTILINE) is not None
    return None if Path("/proc/modules").exists() else False


def tun() -> Finding:
    """What joins the network of an engine to the machine (slirp4netns)."""
    if Path("/dev/net/tun").exists():
        return Finding("tun", OK, "/dev/net/tun")
    return Finding(
        "tun", MISSING, "no /dev/net/tun", "an engine would have no network", "modprobe tun (as root)"
    )


def iptables() -> Finding:
    """Whether a firewall of the engine's own works: networks and published ports need one."""
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
    user = ["--user", "--map-root-user"] if debian.rootless() else []
    apart = ["unshare", *user, "--net", "chroot", str(pack.rootfs), "sh", "-c"]
    program = f"/usr/sbin/{variant}"
    script = (
        f"{program} --table nat --list-rules && "
        f"{program} --table mangle --append FORWARD --match conntrack --ctstate NEW --jump DROP"
    )
    # an ordinary user's PATH need not name the folder of chroot(8)
    environ = {**os.environ, "PATH": f"{os.environ.get('PATH', '')}:{keeper.PATH}"}
    return subprocess.run([*apart, script], env=environ, capture_output=True, check=False).returncode == 0


def seccomp() -> Finding:
    """The filter for system calls."""
    if Path("/proc/sys/kernel/seccomp").exists():
        return Finding("seccomp", OK, "in the kernel")
    return Finding(
        "seccomp",
        DEGRADED,
        "not in the kernel",
        "containers may make any system call",
        "a kernel with CONFIG_SECCOMP_FILTER",
    )


def apparmor() -> Finding:
    """Profiles for containers."""
    if read("/sys/module/apparmor/parameters/enabled") == "Y":
        return Finding("AppArmor", OK, "enabled")
    return Finding(
        "AppArmor",
        DEGRADED,
        "not enabled",
        "labs that show a profile at work say that they cannot",
        "boot with apparmor=1 security=apparmor",
    )


def watches() -> Finding:
    """Inotify watches and instances, of which each engine takes some."""
    watches = int(read("/proc/sys/fs/inotify/max_user_watches") or 0)
    instances = int(read("/proc/sys/fs/inotify/max_user_instances") or 0)
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
