"""What the kernel's log says about processes killed for memory: the one source that names the victim.

The engine only reports that *some* process of a container was killed.  The kernel prints the victim, its
cgroup (whose path holds the container's id) and a table of all processes that were there (mm/oom_kill.c,
``dump_header``).  It prints them for at most ten kills in five seconds, machine-wide; past that only a line that a
process was killed, and nothing tells in which container: see `KernelLog.unplaced`.

Its stamps are from a clock of its own, which stands still while the machine sleeps and drifts by seconds in weeks
(dmesg(1)), so a kill's time is only roughly known until the container's own events set it right: see `KernelLog.aligned`.
"""

from __future__ import annotations

import re
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from labkit.observe.containers import Container
from labkit.observe.readings import Unreadable
from labkit.observe.tables import Table, Tabular

if TYPE_CHECKING:
    from labkit.engine import Engine

__all__ = ["KernelLog", "OomKill", "kernel_log", "parse"]

_SOURCE = "kernel log"
_LINE = re.compile(r"^\[\s*(\d+\.\d+)\](?: ?\[\s*[TC]\d+\])? (.*)$")
"""A stamp, and with CONFIG_PRINTK_CALLER who printed it, a task or a processor."""
_TASK = re.compile(r"^\[\s*(\d+)\].*\s(\S+)$")
_KILL = re.compile(
    r"oom-kill:constraint=(?P<constraint>\w+),.*?(?:,oom_memcg=(?P<memcg>[^,]+))?(?:,global_oom)?"
    r",task_memcg=(?P<task_memcg>[^,]+),task=(?P<task>.+),pid=(?P<pid>\d+),uid=\d+$"
)
_KILLED = re.compile(r"(?:.*: )?Killed process (?P<pid>\d+) \((?P<task>.*)\),? total-vm")
_WHOLE_GROUP = re.compile(r"Tasks in (\S+) are going to be killed due to memory\.oom\.group set")

SOON = (timedelta(milliseconds=-50), timedelta(milliseconds=500))
"""How long after a kill the engine reports it; the engine's clock and a right one of the kernel's may differ a little."""
DRIFT = timedelta(minutes=10)
"""How wrong the kernel's clock may be, the machine's sleep aside."""
AT_FIRST, PER_SECOND = timedelta(seconds=1), 500e-6
"""How wrong it is while nobody sets the machine's clock: at most what adjtimex(2) makes up for (its *tolerance*), over the
time that the machine is up; and the little by which two clocks read one after the other differ."""
RECENT = 20
"""How many of the last kills and events are compared."""
END = timedelta(seconds=10)
"""The longest time that a large process takes to end, once it is killed."""


@dataclass(frozen=True)
class OomKill:
    """One kill: the *victim*, its cgroup (*folder*), and the cgroup whose limit was reached (*limit_of*).

    *limit_of* is empty when the whole machine was out of memory.  *others*: the names of the processes that
    were in reach, *victim* left out.  *first*: whether the victim was the oldest process there (in a
    container: its PID 1); None when the kernel printed no table.
    """

    at: datetime
    victim: str
    pid: int
    folder: str
    limit_of: str
    first: bool | None
    others: tuple[str, ...] = ()


@dataclass(frozen=True, repr=False)
class KernelLog(Tabular):
    """The kills in one container's cgroup, oldest first.  *slept*: how long the machine has, and the stamps' clock stood.

    *unplaced*: kills of about the time of its death that the log tells to no container.  *by_events*: the times are confirmed by
    events of the engine.  *drift*: how wrong the stamps are, if nobody has set a clock.  *source*: where it was read; a machine
    on which nothing was ever killed needs no log to show that.
    """

    kills: tuple[OomKill, ...]
    slept: timedelta = timedelta(0)
    unplaced: tuple[OomKill, ...] = ()
    by_events: bool = False
    drift: timedelta = DRIFT
    source: str = _SOURCE

    def aligned(self, ooms: Sequence[datetime], deaths: Sequence[datetime] = ()) -> KernelLog:
        """The same kills by the engine's clock: moved together so that as many as can be have an event soon after them.

        *ooms* and *deaths* are when the engine saw a process of the container killed for memory, and its PID 1 end.  The
        smallest move that does it is the one; where no event helps, the kills stay where they are.  A move by more than the
        clock's *drift* has to be called for: on a busy machine events come late, and those of other lives would do.
        """
        last = self.kills[-RECENT:]

        def events(kill: OomKill) -> Sequence[datetime]:
            return (*ooms[-RECENT:], *(deaths[-RECENT:] if kill.first else ()))

        def told(kill: OomKill, move: timedelta) -> bool:
            return any(SOON[0] <= event - kill.at - move <= SOON[1] for event in events(kill))

        gaps = [event - kill.at for kill in last for event in events(kill)]

        def move_within(drift: timedelta) -> timedelta:
            moves = {timedelta(0), *(gap for gap in gaps if -drift - self.slept <= gap <= drift)}
            return max(moves, key=lambda move: (sum(told(kill, move) for kill in last), -abs(move)))

        best = move_within(self.drift)
        if not any(told(kill, best) for kill in last):
            best = move_within(DRIFT)
        kills = tuple(replace(kill, at=kill.at + best) for kill in self.kills)
        return replace(self, kills=kills, by_events=any(told(kill, best) for kill in last))

    def around(self, moment: datetime) -> tuple[OomKill, ...]:
        """The kills that can have been at that *moment*, if the kernel's clock is as wrong as it may be."""
        return tuple(kill for kill in self.kills if abs(moment - kill.at) <= DRIFT + self.slept)

    def table(self) -> Table:
        first = {True: "PID 1 of the container", False: "a child", None: "unknown (no process table)"}
        rows = [[kill.victim, first[kill.first], ", ".join(kill.others) or "-"] for kill in self.kills[-5:]]
        named = ", ".join(sorted({kill.victim for kill in self.unplaced}))
        return Table(
            ["killed for memory", "which was", "others in the container"],
            rows,
            caption=f"killed about then, and not said where: {named}" if named else "",
            empty="the kernel log has no kill in this container",
        )

    def details(self) -> Table:
        rows = [
            [kill.at.isoformat(), kill.victim, kill.pid, kill.limit_of or "the machine"]
            for kill in self.kills
        ]
        rows += [[kill.at.isoformat(), kill.victim, kill.pid, "not said"] for kill in self.unplaced]
        return Table(["time", "killed", "process id on the host", "limit of"], rows)


def kernel_log(engine: Engine, of: Container) -> KernelLog | Unreadable:
    """The kills in the container *of*; `Unreadable`, with the reason, where the log cannot be read or is too short."""
    if not engine.host.available:
        return Unreadable(_SOURCE, engine.host.reason)
    # the counter is there for everybody to read (since Linux 4.13), the log is not
    done = engine.host.run(
        "date +%s.%N; cat /proc/uptime; grep -s oom_kill /proc/vmstat || echo; dmesg", check=False
    )
    clock, uptime, counter, log = (done.stdout + "\n\n\n").split("\n", 3)
    # a host that commands can be run on has this machine's kernel
    slept = time.clock_gettime(time.CLOCK_BOOTTIME) - time.clock_gettime(time.CLOCK_MONOTONIC)
    if counter == "oom_kill 0":
        return KernelLog((), timedelta(seconds=slept), source="/proc/vmstat")
    if not done.ok:
        return Unreadable(_SOURCE, done.stderr.strip() or f"dmesg ended with {done.code}")
    up = float(uptime.split()[0])
    found = _of(log, float(clock) - up + slept, timedelta(seconds=slept), of)
    drift = min(AT_FIRST + timedelta(seconds=up * PER_SECOND), DRIFT)
    return replace(found, drift=drift) if isinstance(found, KernelLog) else found


def _of(log: str, boot: float, slept: timedelta, of: Container) -> KernelLog | Unreadable:
    told = parse(log, boot)
    kills = tuple(kill for kill in told if of.id in kill.folder)
    needed = of.started_at if of.running or of.finished_at is None else of.finished_at - END
    first = next(filter(None, map(_LINE.match, log.splitlines())), None)
    if (
        not kills
        and needed
        and (first is None or datetime.fromtimestamp(boot + float(first[1]), UTC) > needed)
    ):
        return Unreadable(
            _SOURCE, "it does not go back so far: older lines are overwritten, or it was cleared"
        )
    end = None if of.running else of.finished_at
    unplaced = (kill for kill in told if end and not kill.folder and abs(end - kill.at) <= END)
    return KernelLog(kills, slept, tuple(unplaced))


def parse(log: str, boot: float) -> list[OomKill]:
    """The kills in the text of dmesg(1); *boot* is the time of stamp 0, in seconds since 1970.

    Of a kill that the log tells to no container, the *folder* is empty.
    """
    kills, tasks = list[OomKill](), list[tuple[int, str]]()
    named = whole_group = False
    for line in log.splitlines():
        match = _LINE.match(line)
        if not match:
            continue
        at, text = datetime.fromtimestamp(boot + float(match[1]), UTC), match[2]
        if "[  pid  ]" in text:
            tasks = []
        elif task := _TASK.match(text):
            tasks.append((int(task[1]), task[2]))
        elif kill := _KILL.match(text):
            kills.append(_kill(kill, at, tasks))
            tasks, named, whole_group = [], True, False
        elif text.startswith("OOM victim "):  # it was ending already
            named = False
        elif (group := _WHOLE_GROUP.match(text)) and kills:
            whole_group = True
            if kills[-1].folder == group[1]:
                kills[-1] = replace(kills[-1], first=True)
        elif killed := _KILLED.match(text):
            if not named and not whole_group:
                kills.append(OomKill(at, killed["task"], int(killed["pid"]), "", "", None))
            named = False
    return kills


def _kill(found: re.Match[str], at: datetime, tasks: list[tuple[int, str]]) -> OomKill:
    pid = int(found["pid"])
    own_limit = found["constraint"] == "CONSTRAINT_MEMCG"
    heads = bool(tasks) and tasks[0][0] == pid
    return OomKill(
        at=at,
        victim=found["task"],
        pid=pid,
        folder=found["task_memcg"],
        limit_of=(found["memcg"] or "") if own_limit else "",
        # the table of a machine-wide shortage lists every process of the machine, so being first there says nothing; that of
        # a group above lists one group after the other, so its head is the first of its own
        first=heads if tasks and own_limit and (heads or found["memcg"] == found["task_memcg"]) else None,
        others=tuple(name for number, name in tasks if number != pid) if own_limit else (),
    )
