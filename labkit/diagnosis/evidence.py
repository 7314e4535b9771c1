"""What was observed, as evidence: a fact that repeats, and its ids and clock times as detail."""

from __future__ import annotations

from labkit.observe.containers import Container
from labkit.observe.events import by_cause
from labkit.observe.kernel import KernelLog, OomKill
from labkit.observe.lives import Life
from labkit.observe.memory import MemoryCounters
from labkit.observe.readings import Unreadable
from labkit.observe.records import Evidence

__all__ = ["of_death", "of_kernel", "of_life", "of_memory", "of_state"]


def of_state(container: Container) -> Evidence:
    """The state record."""
    oom = str(container.oom_killed).lower()
    ended = f"status {container.status}, exit code {container.exit_code}, OOMKilled {oom}"
    return Evidence(
        source="docker inspect",
        fact=f"{ended}, limit {container.memory or 'none'}",
        detail=f"id {container.id}, started {container.started_at}, finished {container.finished_at}",
    )


def of_life(life: Life) -> Evidence:
    """The events of a life, the middle of a long one left out."""
    shown = [str(event) for event in by_cause(life.events) if not event.action.startswith("exec_")]
    told = shown if len(shown) <= 8 else [*shown[:3], "…", *shown[-5:]]
    return Evidence(
        source="docker events",
        fact=", ".join(told) or "none",
        detail=", ".join(f"{event.at.isoformat()} {event}" for event in life.events),
    )


def of_death(life: Life) -> Evidence:
    """The events that led to a death, and whether the engine still has them all."""
    if not life.death:
        lost = "none of this death: the engine keeps its last 256 events, until its daemon restarts"
        return Evidence(source="docker events", fact=lost)
    told = of_life(life)
    if life.complete:
        return told
    return told.model_copy(update={"fact": f"… (older ones are forgotten), {told.fact}"})


def of_kernel(log: KernelLog | Unreadable, then: OomKill | None = None, *, dead: bool = False) -> Evidence:
    """The last kill in the kernel's log; where a death is explained, and one belongs to it, *then*."""
    if isinstance(log, Unreadable):
        return Evidence(source=log.source, fact=f"not readable: {log.reason}")
    named = ", ".join(sorted({kill.victim for kill in log.unplaced}))
    besides = f"; killed about then, and not said where: {named}" if named and not then else ""
    if not log.kills:
        whose = "of this container" if log.source == "kernel log" else "on this machine, since it started,"
        return Evidence(
            source=log.source,
            fact=f"no process {whose} was killed for memory{besides}",
            detail=", ".join(
                f"{kill.at.isoformat()} {kill.victim}, process {kill.pid}" for kill in log.unplaced
            ),
        )
    last = then or log.kills[-1]
    other = ", by its clock at another time" if dead and not then else ""
    who = {True: "PID 1", False: "not PID 1", None: "the log does not say whether it was PID 1"}
    when = last.at.isoformat(timespec="milliseconds")
    return Evidence(
        source=log.source,
        fact=f"killed {last.victim} for memory{other}: {who[last.first]}{besides}",
        detail=f"{when}, process {last.pid} on the host, limit of {last.limit_of or 'the machine'}",
    )


def of_memory(memory: MemoryCounters | Unreadable) -> Evidence:
    """The counters of a running container's cgroup."""
    if isinstance(memory, Unreadable):
        return Evidence(source=memory.source, fact=f"not readable: {memory.reason}")
    killed = "a process was killed for memory" if memory.oom_kills else "no process was killed for memory"
    return Evidence(
        source=f"cgroup v{memory.version}, {memory.source}",
        fact=f"{killed} since the last start",
        detail=f"{memory.oom_kills} killed, peak {memory.peak}, limit {memory.limit}, in {memory.folder}",
    )
