"""What of the record belongs to one death with exit code 137: whose kill for memory, at which time, and what no record rules out.

Clocks differ, notices come late and some are lost, so each match has its bounds.  Measured on 20.10 and 26.1: when PID 1 is
killed its control group goes with it, and a busy engine, which watches that group, then tells no ``oom``, or tells it after the
``die``; and where a limit is that of a group above, every container below it gets the ``oom``, also those that lost nothing.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from labkit import observe
from labkit.observe.kernel import KernelLog, OomKill
from labkit.observe.lives import Life, lives
from labkit.observe.memory import MemoryCounters
from labkit.observe.readings import Unreadable

__all__ = [
    "Seen",
    "as_recorded",
    "begin",
    "by_one_clock",
    "executed_at",
    "last_life",
    "memory_ran_out_at",
    "not_ruled_out",
    "victim",
    "was_killed",
]

SIGKILL = 9
AT_ONCE = timedelta(seconds=2)
"""The longest time between a child's kill for memory and the end of a PID 1 that passes it on."""
SLOW_END = timedelta(seconds=10)
"""The longest time that a large PID 1 takes to end, once it is killed."""
CLOCKS = timedelta(milliseconds=50)
"""How far the kernel's clock, once it is set by the container's events, and the engine's may differ."""

_UNREADABLE = """\
an engine can miss that, and the kernel's log is not readable.
To tell: see `dmesg -T` as root on its host. 'Killed process' at the time of its end means memory, nothing a kill by hand."""
_UNPLACED = """\
its log has kills of about that time without saying in which container.
To tell: if one of these names is of a process that ran in it, and in no other container, it was memory."""
_BY_ANOTHER_CLOCK = """\
its log has a kill in this container, by a clock that may be minutes off.
To tell: if it has not been started since that kill, that was its end."""
_FLAG = """\
the flag OOMKilled says that something in it was, and no record tells what.
To tell: docker logs, if it writes down what becomes of its own processes."""


@dataclass(frozen=True)
class Seen:
    """All that the diagnosis looks at, read at one time."""

    container: observe.Container
    events: observe.EventLog
    memory: MemoryCounters | Unreadable
    kernel: KernelLog | Unreadable


def last_life(seen: Seen) -> Life:
    """The present life, or the one that ended last; without events where the engine has forgotten it."""
    return (lives(seen.events) or [Life((), complete=False)])[-1]


def as_recorded(seen: Seen) -> Seen:
    """Without the lives that began after the state was read: a restart policy may be faster than whoever looks."""
    moment = seen.container.started_at if seen.container.running else seen.container.finished_at
    ended = False
    for number, event in enumerate(seen.events):
        if ended and event.action == "start":
            return replace(seen, events=observe.EventLog(seen.events[:number]))
        ended = ended or (moment is not None and event.action == "die" and event.at >= moment)
    return seen


def by_one_clock(seen: Seen) -> Seen:
    """The kernel's kills at the engine's times.

    A death tells the time of a kill only where every life is known: the kill could be of one that is forgotten.  What a busy
    engine tells after the last death was before it.
    """
    if isinstance(seen.kernel, Unreadable):
        return seen
    end = seen.container.finished_at

    def at(event: observe.Event) -> datetime:
        return event.at if end is None or seen.container.running else min(event.at, end)

    ooms = [at(event) for event in seen.events if event.action == "oom"]
    deaths = [
        at(event) for event in seen.events if event.action == "die" and event.exit_code == SIGKILL + 128
    ]
    complete = any(event.action == "create" for event in seen.events)
    return replace(seen, kernel=seen.kernel.aligned(ooms, deaths if complete else ()))


def victim(seen: Seen, life: Life) -> OomKill | None:
    """The kernel's last kill in the container just before this life ended; PID 1 goes before a child."""
    end = seen.container.finished_at
    since = begin(seen, life)
    if not isinstance(seen.kernel, KernelLog) or end is None or since is None:
        return None
    own = [kill for kill in seen.kernel.kills if since <= kill.at <= end + CLOCKS]
    first = [kill for kill in own if kill.first and end - kill.at < SLOW_END]
    just_before = [kill for kill in own if end - kill.at < AT_ONCE]
    return next(reversed(first or just_before), None)


def begin(seen: Seen, life: Life) -> datetime | None:
    """From when on a kill can be of this *life*.

    A busy engine tells of a start when what it started may have died already, so it is what came before the start that
    counts: the death of the life before, or the making.
    """
    if not life.complete:
        return seen.container.started_at and seen.container.started_at - CLOCKS
    start = life.events[0]
    before = [e.at for e in seen.events if e.nano < start.nano and e.action in ("create", "die")]
    return before[-1] + CLOCKS if before else start.at - CLOCKS


def executed_at(life: Life, moment: datetime) -> list[observe.Event | None]:
    """What may have been executed in the container when a process was killed, as the event of its end; None where it has none.

    *moment*: of the kill, if not earlier: by the event of it, which a busy engine tells late (measured with version 2 of
    control groups: most of a second after the victim's own end).
    """
    began = {e.attributes.get("execID"): e.at for e in life.events if e.action.startswith("exec_start")}
    ended = {e.attributes.get("execID"): e for e in life.named("exec_die")}

    def lasted(end: observe.Event) -> bool:
        return end.at >= moment - (AT_ONCE if was_killed(end) else CLOCKS)

    return [
        ended.get(each)
        for each in began | ended
        if began.get(each, moment) <= moment + CLOCKS and (each not in ended or lasted(ended[each]))
    ]


def was_killed(executed: observe.Event) -> bool:
    """Whether what was *executed* ended by SIGKILL, or with its code."""
    return executed.attributes.get("exitCode") == str(SIGKILL + 128)


def memory_ran_out_at(seen: Seen, life: Life) -> bool:
    """Whether an ``oom`` event came just before this life ended, which a busy engine may tell late.

    Where the kernel's log has told all, and of no such kill, the shortage was a neighbour's under a common limit.
    """
    if life.death is None or not (victim(seen, life) or not_ruled_out(seen, life)):
        return False
    end = min(life.death.at, seen.container.finished_at or life.death.at)
    return any(end - event.at < AT_ONCE for event in life.named("oom"))


def not_ruled_out(seen: Seen, life: Life) -> str:
    """Why the end of this *life*, at which no record names a kill for memory, can have been one; empty when it was none.

    The event, and ``OOMKilled`` with it, can be missing after a true kill, and a shortage of the whole machine, or of a group
    above, needs no limit of the container's own; so only the kernel's log rules one out, and only where it has told all.
    """
    kernel, end = seen.kernel, seen.container.finished_at
    since = begin(seen, life)
    if isinstance(kernel, Unreadable):
        return _UNREADABLE
    if kernel.unplaced:
        return _UNPLACED
    if end and not kernel.by_events and kernel.around(end):
        return _BY_ANOTHER_CLOCK
    explained = life.named("oom") or any(since and kill.at >= since for kill in kernel.kills)
    if seen.container.oom_killed and not seen.container.running and not explained:
        return _FLAG
    return ""
