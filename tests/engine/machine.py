"""A picture of the whole machine, to hold that an engine leaves nothing behind."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

from labkit import paths
from labkit.engine.processes import stat


def _lines(*command: str) -> set[str]:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return set(done.stdout.splitlines()) if done.returncode == 0 else set()


def processes() -> set[str]:
    """Every process by number and name, but for kernel threads and for what this very look starts."""
    found = set()
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            name = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            parent = int(stat(folder.name)[1])
        except OSError:
            continue
        if name and parent != os.getpid():
            found.add(f"{folder.name} {name}")
    return found


def groups() -> set[str]:
    """Our control groups, by their folders, and what the service manager, where there is one, holds for ours."""
    folders = {  # os.walk, since folders may go while we look
        f"{folder}/{name}"
        for folder, names, _ in os.walk("/sys/fs/cgroup")
        for name in names
        if name.startswith("labkit") or "/labkit/" in f"{folder}/"
    }
    if not shutil.which("systemctl"):
        return folders
    whose = ["--user"] if os.geteuid() else []
    listed = _lines("systemctl", *whose, "list-units", "--all", "--plain", "--no-legend", "labkit-*")
    return folders | {line.split()[0] for line in listed if line}


def snapshot() -> dict[str, set[str]]:
    """Processes, mounts, interfaces, firewall rules, control groups, loop devices, and our own folders."""
    sbin = ["/usr/sbin/iptables-save", "/usr/sbin/ip6tables-save", "/usr/sbin/iptables-legacy-save"]
    return {
        "processes": processes(),
        "mounts": {line.split(" ", 2)[2] for line in Path("/proc/self/mountinfo").read_text().splitlines()},
        "interfaces": {path.name for path in Path("/sys/class/net").iterdir()},
        "iptables": {
            line for tool in sbin if Path(tool).exists() for line in _lines(tool) if line[:1] not in "#:"
        },
        "nft": _lines("/usr/sbin/nft", "list", "ruleset") if Path("/usr/sbin/nft").exists() else set(),
        "cgroups": groups(),
        "loop devices": {
            path.parent.parent.name for path in Path("/sys/block").glob("loop*/loop/backing_file")
        },
        "runtime": {path.name for path in paths.runtime().iterdir()},
        "engines": {path.name for path in (paths.home() / "engines").glob("*")},
    }
