"""What was observed, as evidence: a fact that repeats, and its ids and clock times as detail."""

from __future__ import annotations

from labkit.observe.containers import Container
from labkit.observe.kernel import KernelLog
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
    shown = [str(event) for event in life.events if not event.action.startswith("exec_")]
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


def of_kernel(log: KernelLog | Unreadable) -> Evidence:
    """The last kill in the kernel's log."""
    if isinstance(log, Unreadable):
        return Evidence(source=log.source, fact=f"not readable: {log.reason}")
    if not log.kills:
        return Evidence(source="kernel log", fact="no process of this container was killed for memory")
    last = log.kills[-1]
    who = {True: "PID 1", False: "not PID 1", None: "the log does not say whether it was PID 1"}
    when = last.at.isoformat(timespec="milliseconds")
    return Evidence(
        source="kernel log",
        fact=f"killed {last.victim} for memory: {who[last.first]}",
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
