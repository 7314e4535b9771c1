"""What can be wanted of a container's processes: which program runs there, and in which folder it works."""

from __future__ import annotations

import posixpath

from labkit.lab.conditions.base import OFTEN, Condition, Object, Seen
from labkit.lab.conditions.facts import Facts, Found, NotReadable
from labkit.lab.conditions.settings import mounted
from labkit.lab.conditions.wanted import name_of, text

__all__ = ["Processes"]

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

OWN = "its own layer"
IN_MEMORY = ("tmpfs", "ramfs")
"""File systems that a volume can be made of (``--opt type=…``), and that are gone with the last container that has it."""


class Processes(Object):
    """The part of a container's conditions that its processes answer.  They need the engine's host."""

    kind = "container"

    def works_in(self, volume: str, *, program: str) -> Condition:
        """The *program* of its image runs in it, and its working folder lies in this *volume*, which is on a disk."""
        name_of("volume", volume), text("program", program)

        def see(facts: Facts, found: Found) -> Seen:
            if found["State"]["Status"] != "running":
                return Seen(f"nowhere, the container is {found['State']['Status']}", ok=False)
            working = _working(facts, found, program)
            places = sorted({_place(found, folder) for folder in working})
            told = ", ".join(places) or "nowhere, it does not run"
            if places != [f"volume {volume}"]:
                return Seen(told, ok=False)
            lost = (facts.volume(volume).get("Options") or {}).get("type") in IN_MEMORY
            return Seen(told + (", which is in memory" if lost else ""), ok=not lost)

        return self._that(
            f"where {program} works", f"volume {volume}", see, polled=OFTEN, also=[("volume", volume)]
        )


def _working(facts: Facts, found: Found, program: str) -> list[str]:
    """The working folders of the processes that execute *program* as the image has it."""
    if not facts.engine.host.available:
        raise NotReadable(facts.engine.host.reason)
    command = ["sh", "-c", _LOOK, str(found["State"]["Pid"])]
    with facts.answering():
        lines = facts.engine.host.run(command, check=False).stdout.split("\n")
    changed = {each["Path"] for each in facts.ask("diff", found["Id"]) or []}
    return [
        folder
        for file, folder in zip(lines[::2], lines[1::2], strict=False)
        if folder  # one that ends while it is looked at has none any more
        and posixpath.basename(file) == program
        and file not in changed
        and _place(found, file) == OWN  # a program that lies in a volume is nobody's image's
    ]


def _place(found: Found, at: str) -> str:
    """Where the path *at* lies: what is mounted there, or at the nearest folder above."""
    return next((what for top, what in mounted(found) if posixpath.commonpath([top, at]) == top), OWN)
