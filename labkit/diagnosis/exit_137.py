"""Exit code 137: who killed it, and why?

137 is 128 + 9: PID 1 ended by SIGKILL, or returned 137 itself.  The state record alone cannot tell the causes
apart.  Measured on engines 20.10 and 26.1: on a dead container ``State.OOMKilled`` says that *some* process
was killed for memory during its last life, PID 1 or not, and perhaps long before the death.  On a running
container 26.1 says it at once, while 20.10 still shows the life before.  And when PID 1 is killed within
milliseconds of its start, flag and event can both be missing.  So the verdict rests on the kernel's log,
which alone names the victim, on the events of the last life, and while PID 1 lives on its cgroup's
counters.  What is missing is said, and the verdict is then weaker.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from labkit import observe
from labkit.diagnosis.evidence import of_death, of_kernel, of_life, of_memory, of_state
from labkit.diagnosis.findings import Confidence, Finding
from labkit.observe.kernel import KernelLog, OomKill
from labkit.observe.lives import Life, lives
from labkit.observe.memory import MemoryCounters
from labkit.observe.readings import Unreadable
from labkit.observe.records import Evidence

if TYPE_CHECKING:
    from labkit.engine import Engine

__all__ = ["CODES", "Seen", "diagnose", "explain", "look"]

TITLES = {
    "oom-of-pid-1": "The kernel killed PID 1 because the container had used all the memory it may use.",
    "oom-of-child": "The kernel killed a child process for memory. PID 1 was not its victim.",
    "killed": "PID 1 was killed with SIGKILL. Memory had nothing to do with it.",
    "stop-timed-out": "It was asked to stop, PID 1 did not end in time, and the engine killed it.",
    "not-137": "It did not end with exit code 137.",
    "running": "It is running, and nothing in it was killed for memory under its present limit.",
    "undecided": "The evidence that is left does not tell who killed it.",
}
CODES = tuple(TITLES)
SIGKILL = 9
AT_ONCE = timedelta(seconds=2)
"""The longest time between a child's kill for memory and the end of a PID 1 that passes it on."""
SLOW_END = timedelta(seconds=10)
"""The longest time that a large PID 1 takes to end, once it is killed."""
CLOCKS = timedelta(milliseconds=50)
"""How far the kernel's clock, once it is set by the container's events, and the engine's may differ."""


@dataclass(frozen=True)
class Seen:
    """All that the diagnosis looks at, read at one time."""

    container: observe.Container
    events: observe.EventLog
    memory: MemoryCounters | Unreadable
    kernel: KernelLog | Unreadable


def diagnose(engine: Engine, container: str) -> Finding:
    """Explain how the container called *container* ended, or what was killed in it while it runs."""
    return explain(look(engine, container))


def look(engine: Engine, container: str) -> Seen:
    """Read every source; again, a moment later, when the container was changing meanwhile.

    Raises `UsageError` when there is no such container.
    """
    for pause in (0.1, 0.1, 0):
        facts = observe.container(engine, container)
        seen = Seen(
            facts,
            observe.events(engine, facts),
            observe.memory(engine, facts),
            observe.kernel_log(engine, facts),
        )
        if not _was_changing(seen):
            break
        time.sleep(pause)
    return seen


def _was_changing(seen: Seen) -> bool:
    """Whether the events are ahead of the state: PID 1 has died since, or may be about to."""
    last = [event.action for event in seen.events if event.action in ("start", "oom", "die")][-1:]
    return last in (["oom"], ["die"]) if seen.container.running else last == ["start"]


def explain(seen: Seen) -> Finding:
    """The finding that follows from what was *seen*; the same input always gives the same finding."""
    seen = _by_one_clock(seen)
    if seen.container.running:
        return _while_running(seen)
    if seen.container.exit_code != 137:
        return _finding(seen, "not-137", [of_state(seen.container)])
    last = lives(seen.events)[-1:]
    return _of_death(seen, last[0] if last else Life((), complete=False))


def _by_one_clock(seen: Seen) -> Seen:
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


# -- PID 1 lives


def _while_running(seen: Seen) -> Finding:
    evidence = [of_state(seen.container), of_memory(seen.memory)]
    if _killed_under_present_limit(seen):
        evidence.append(of_life(_last_life(seen)))
        code = "oom-of-pid-1" if _is_dying(seen) else "oom-of-child"
        return _finding(seen, code, [*evidence, of_kernel(seen.kernel)], remedy="memory")
    death = _death_before_restart(seen)
    if death:
        policy = f"restarted {seen.container.restarts} times by its policy, {seen.container.restart_policy}"
        return _of_death(seen, death, [Evidence(source="docker inspect", fact=policy)])
    return _finding(seen, "running", [*evidence, *_leftover(seen, _last_life(seen))])


def _killed_under_present_limit(seen: Seen) -> bool:
    """Whether a process was killed in this life and no ``docker update`` came after it."""
    counted = seen.memory.oom_kills > 0 if isinstance(seen.memory, MemoryCounters) else False
    last = [event.action for event in seen.events if event.action in ("update", "oom", "start")][-1:]
    if last in (["oom"], ["update"]):
        return last == ["oom"]
    life = _last_life(seen)
    known = life.complete and not life.named("oom")
    return counted and (known or not _limit_was_raised(seen.memory))


def _is_dying(seen: Seen) -> bool:
    """Whether the kernel has killed PID 1 already, and the engine has not noticed yet."""
    begin = _begin(seen, _last_life(seen))
    if not isinstance(seen.kernel, KernelLog) or begin is None:
        return False
    return any(kill.first for kill in seen.kernel.kills if kill.at >= begin)


def _limit_was_raised(memory: MemoryCounters | Unreadable) -> bool:
    """Whether the peak is below the limit: then what was killed was killed under a lower one."""
    if not isinstance(memory, MemoryCounters) or memory.peak is None or memory.limit is None:
        return False
    return memory.peak < memory.limit


def _death_before_restart(seen: Seen) -> Life | None:
    """The life whose death a restart policy has just answered, unless something was updated since."""
    death = lives(seen.events)[-2:-1]
    if not seen.container.restarts or not death or not death[0].death or death[0].death.exit_code != 137:
        return None
    updated = [event.nano for event in seen.events if event.action == "update"]
    return None if updated and updated[-1] > death[0].death.nano else death[0]


# -- PID 1 is dead


def _of_death(seen: Seen, life: Life, before: list[Evidence] | None = None) -> Finding:
    """Who ended this *life*, which ended with exit code 137."""
    victim = _victim(seen, life)
    evidence = [
        *(before or []),
        of_state(seen.container),
        *_leftover(seen, life),
        of_death(life),
        of_kernel(seen.kernel),
    ]
    fatal = [event for event in life.named("kill") if event.signal == SIGKILL]
    if victim and victim.first:
        return _memory(seen, "oom-of-pid-1", evidence, victim)
    if fatal:
        return _finding(seen, _who_sent_it(seen, life), evidence, advice=_sigkill_advice(seen, life))
    if victim and victim.first is False:
        return _memory(seen, "oom-of-child", evidence, victim)
    if victim or _memory_ran_out_at(seen, life):
        return _memory(seen, "undecided", evidence, victim, ("oom-of-pid-1", "oom-of-child"))
    return _without_a_cause(seen, life, evidence)


def _victim(seen: Seen, life: Life) -> OomKill | None:
    """The kernel's last kill in the container just before this life ended; PID 1 goes before a child."""
    end = seen.container.finished_at
    begin = _begin(seen, life)
    if not isinstance(seen.kernel, KernelLog) or end is None or begin is None:
        return None
    own = [kill for kill in seen.kernel.kills if begin <= kill.at <= end + CLOCKS]
    first = [kill for kill in own if kill.first and end - kill.at < SLOW_END]
    just_before = [kill for kill in own if end - kill.at < AT_ONCE]
    return next(reversed(first or just_before), None)


def _begin(seen: Seen, life: Life) -> datetime | None:
    """From when on a kill can be of this *life*.

    A busy engine tells of a start when what it started may have died already, so it is what came before the start that
    counts: the death of the life before, or the making.
    """
    if not life.complete:
        return seen.container.started_at and seen.container.started_at - CLOCKS
    start = life.events[0]
    before = [e.at for e in seen.events if e.nano < start.nano and e.action in ("create", "die")]
    return before[-1] + CLOCKS if before else start.at - CLOCKS


def _memory_ran_out_at(seen: Seen, life: Life) -> bool:
    """Whether an ``oom`` event came just before this life ended, which a busy engine may tell late."""
    if life.death is None:
        return False
    end = min(life.death.at, seen.container.finished_at or life.death.at)
    return any(end - event.at < AT_ONCE for event in life.named("oom"))


def _who_sent_it(seen: Seen, life: Life) -> str:
    """``docker stop`` sends its signal, waits, sends SIGKILL; then the engine reports a ``stop``."""
    asked = any(event.signal != SIGKILL for event in life.named("kill"))
    asked = asked or (not life.complete and seen.container.stop_signal not in ("SIGKILL", "9"))
    return "stop-timed-out" if asked and life.named("stop") else "killed"


def _sigkill_advice(seen: Seen, life: Life) -> str:
    if _who_sent_it(seen, life) == "killed":
        return "Somebody sent SIGKILL through the engine: docker kill, or a client of its API."
    return f"PID 1 does not act on {seen.container.stop_signal}: handle it, or run the container with --init."


def _memory(
    seen: Seen,
    code: str,
    evidence: list[Evidence],
    victim: OomKill | None,
    candidates: tuple[str, ...] = (),
) -> Finding:
    """A death for memory.  A higher limit helps only when the one that was reached is the container's."""
    confidence: Confidence = "undecided" if candidates else "certain"
    own = seen.container.memory is not None and (victim is None or victim.limit_of == victim.folder)
    advice = "A process was killed for memory; only the kernel's log could say which." if candidates else ""
    if not own:
        advice = "The limit that was reached is not the container's own: a higher one would not help."
    return _finding(
        seen,
        code,
        evidence,
        confidence=confidence,
        candidates=candidates,
        remedy="memory" if own else "",
        advice=advice,
    )


def _without_a_cause(seen: Seen, life: Life, evidence: list[Evidence]) -> Finding:
    """No kill and no shortage of memory is on record: either it left no record, or the record is lost."""
    shortage: tuple[str, ...] = ("oom-of-pid-1", "oom-of-child")
    if life.complete and life.death:
        if not _memory_can_be_unrecorded(seen, life):
            advice = "No client of the engine sent it: kill -9 on the host, or PID 1 returned 137 itself."
            return _finding(seen, "killed", evidence, confidence="likely", advice=advice)
        advice = "No client of the engine sent it, but an engine can miss a kill for memory."
        told = [each for each in evidence if each not in _leftover(seen, life)]
        candidates = (*shortage, "killed")
        return _finding(seen, "undecided", told, confidence="undecided", candidates=candidates, advice=advice)
    lost = "The events of its death are lost, so it can be any of these."
    candidates = (*(shortage if seen.container.oom_killed else ()), "killed", "stop-timed-out")
    return _finding(seen, "undecided", evidence, confidence="undecided", candidates=candidates, advice=lost)


def _memory_can_be_unrecorded(seen: Seen, life: Life) -> bool:
    """Whether this *life*, without an ``oom`` event just before its end, can have ended for memory all the same.

    The event, and ``OOMKilled`` with it, can be missing after a true kill, so only the kernel's log rules one out; and when
    the flag is there and nothing else explains it, the log has not told all (it leaves kills out when there are many).
    """
    if isinstance(seen.kernel, Unreadable):
        return seen.container.oom_killed or seen.container.memory is not None
    begin = _begin(seen, life)
    explained = life.named("oom") or any(begin and kill.at >= begin for kill in seen.kernel.kills)
    return seen.container.oom_killed and not seen.container.running and not explained


# -- what they are made of


def _finding(
    seen: Seen,
    code: str,
    evidence: list[Evidence],
    *,
    confidence: Confidence = "certain",
    candidates: tuple[str, ...] = (),
    remedy: str = "",
    advice: str = "",
) -> Finding:
    return Finding(
        diagnosis="exit-137",
        object=seen.container.name,
        code=code,
        title=TITLES[code],
        confidence=confidence,
        incident=code not in ("running", "not-137"),
        evidence=tuple(evidence),
        candidates=candidates,
        remedy=remedy,
        advice=advice,
    )


def _last_life(seen: Seen) -> Life:
    return (lives(seen.events) or [Life((), complete=False)])[-1]


def _leftover(seen: Seen, life: Life) -> list[Evidence]:
    """A remark where ``OOMKilled`` would mislead."""
    if not seen.container.oom_killed or not life.complete or _memory_ran_out_at(seen, life):
        return []
    what = "a process killed earlier in this life, not of this death"
    if seen.container.running:
        what = "an earlier life, or of a kill under an earlier limit"
    return [Evidence(source="docker inspect", fact=f"OOMKilled tells of {what}")]
