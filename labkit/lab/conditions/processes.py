"""What can be wanted of a container's processes: which program runs there, and in which folder it works."""

from __future__ import annotations

import posixpath
from signal import Signals

from labkit.lab.conditions.base import OFTEN, Condition, Object, Seen
from labkit.lab.conditions.facts import Facts, Found, NotReadable
from labkit.lab.conditions.settings import mounted
from labkit.lab.conditions.wanted import name_of, text

__all__ = ["Processes", "is_deaf"]

_LOOK = """
walk() {
    echo "$(readlink "/proc/$1/exe")"
    echo "$(readlink "/proc/$1/cwd")"
    for child in $(cat "/proc/$1/task/"*/children); do walk "$child"; done
}
walk "$0" 2>/dev/null
"""
"""The kernel's own word for what a process and those below it execute, and where they work; what they call themselves is not
asked.  (``docker top`` would leave an event each time.)"""

_LINKS = """
cd "/proc/$0/root$1" || exit
find . -maxdepth 2 -type l | while read -r link; do
    to=$(readlink "$link")
    case $to in /*) ;; *) to=$1/${link%/*}/$to ;; esac
    [ ! -d "/proc/$0/root$to" ] || echo "$to"
done
"""
"""The folders to which links in a folder lead, as the process sees them: so a database can be made to keep a part of its data
elsewhere (PostgreSQL: ``pg_wal``, and ``pg_tblspc`` with a link for each tablespace)."""

OWN = "its own layer"
IN_MEMORY = ("tmpfs", "ramfs")
"""File systems that a volume can be made of (``--opt type=…``), and that are gone with the last container that has it."""


class Processes(Object):
    """The part of a container's conditions that its processes answer.  They need the engine's host."""

    kind = "container"

    def works_in(self, volume: str, *, program: str) -> Condition:
        """The *program* of its image runs in it, and its working folder lies in this *volume*, which is on a disk; no link
        leads from there to a folder that lies elsewhere."""
        name_of("volume", volume), text("program", program)

        def see(facts: Facts, found: Found) -> Seen:
            if found["State"]["Status"] != "running":
                return Seen(f"nowhere, the container is {found['State']['Status']}", ok=False)
            working = _working(facts, found, program)
            places = sorted({_place(found, folder) for folder in working | _linked(facts, found, working)})
            told = ", ".join(places) or "nowhere, it does not run"
            if places != [f"volume {volume}"]:
                return Seen(told, ok=False)
            lost = (facts.volume(volume).get("Options") or {}).get("type") in IN_MEMORY
            return Seen(told + (", which is in memory" if lost else ""), ok=not lost)

        return self._that(
            f"where {program} works", f"volume {volume}", see, polled=OFTEN, also=[("volume", volume)]
        )


def is_deaf(facts: Facts, found: Found, signal: str) -> bool:
    """Whether the kernel keeps this *signal* (``SIGTERM``) from the first process of the container *found*, which runs.

    It does so where the process ignores it, and where it has PID 1 and neither handles nor awaits it (pid_namespaces(7)).  False
    where the engine's own init passes it on, and where the engine's host, which can tell, is out of reach.
    """
    if found["HostConfig"].get("Init") or not facts.engine.host.available:
        return False
    at = f"/proc/{found['State']['Pid']}"
    with facts.answering():
        said = facts.engine.host.run(["cat", f"{at}/status", f"{at}/wchan"], check=False).stdout.splitlines()
    status = dict(line.partition(":")[::2] for line in said)  # proc_pid_status(5)
    if "NSpid" not in status:  # it has ended meanwhile
        return False
    name, _, above = signal.partition("+")
    bit = 1 << Signals[name] + int(above or 0) - 1
    held = {field for field in ("SigIgn", "SigCgt", "SigBlk") if int(status[field], 16) & bit}
    if "sigtimedwait" in said[-1]:  # where it awaits signals that it blocks, they are not told as blocked
        return False
    return "SigIgn" in held or (status["NSpid"].split()[-1] == "1" and not held)


def _working(facts: Facts, found: Found, program: str) -> set[str]:
    """The working folders of the processes that execute *program* as the image has it."""
    if not facts.engine.host.available:
        raise NotReadable(facts.engine.host.reason)
    command = ["sh", "-c", _LOOK, str(found["State"]["Pid"])]
    with facts.answering():
        lines = facts.engine.host.run(command, check=False).stdout.split("\n")
    changed = {each["Path"] for each in facts.ask("diff", found["Id"]) or []}
    return {
        folder
        for file, folder in zip(lines[::2], lines[1::2], strict=False)
        if folder  # one that ends while it is looked at has none any more
        and posixpath.basename(file) == program
        and file not in changed
        and _place(found, file) == OWN  # a program that lies in a volume is nobody's image's
    }


def _linked(facts: Facts, found: Found, folders: set[str]) -> set[str]:
    """The folders to which links in these *folders* lead."""
    pid, linked = str(found["State"]["Pid"]), set[str]()
    for folder in folders:
        with facts.answering():
            said = facts.engine.host.run(["sh", "-c", _LINKS, pid, folder], check=False).stdout
        linked |= {posixpath.normpath(each) for each in said.splitlines()}
    return linked


def _place(found: Found, at: str) -> str:
    """Where the path *at* lies: what is mounted there, or at the nearest folder above."""
    return next((what for top, what in mounted(found) if posixpath.commonpath([top, at]) == top), OWN)
