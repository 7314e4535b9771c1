"""Exit code 137: who killed it, and why?

137 is 128 + 9: PID 1 ended by SIGKILL, or returned 137 itself.  The state record alone cannot tell the causes
apart.  Measured on engines 20.10 and 26.1: on a dead container ``State.OOMKilled`` says that *some* process
was killed for memory during its last life, PID 1 or not, and perhaps long before the death.  On a running
container 26.1 says it at once, while 20.10 still shows the life before.  And when PID 1 is killed, flag and
event can both be missing.  So the verdict rests on the kernel's log, which alone names the victim, on the
events of the last life, and while PID 1 lives on its cgroup's counters.  What is missing is said, and the
verdict is then weaker.
"""

from __future__ import annotations

import time
from datetime import timedelta
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from labkit import observe
from labkit.diagnosis.evidence import of_death, of_kernel, of_life, of_memory, of_state
from labkit.diagnosis.findings import Confidence, Finding
from labkit.diagnosis.victims import (
    SIGKILL,
    Seen,
    as_recorded,
    begin,
    by_one_clock,
    executed_at,
    last_life,
    memory_ran_out_at,
    not_ruled_out,
    victim,
    was_killed,
)
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
_LEFT = (
    "No client of the engine killed it, and the kernel did not kill it for memory, as far as is on record."
)
"""The title of a kill of which there is no record, since all others leave one."""
_UNSEEN = "What is left: kill -9 on the host, or PID 1 returned 137 itself."
_OTHERS = "The limit that was reached is not the container's own: a higher one would not help."
_EXECUTED = (
    "executed in it (docker exec, a health check), and no child of PID 1, which passes on no code of it."
)
TOGETHER = timedelta(milliseconds=500)
"""What the engine tells of within such a time may have happened at once."""
_LOST = """\
The events of its death are lost, so it can be any of these. An engine that is shut down stops its containers too."""


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
    seen = by_one_clock(as_recorded(seen))
    if seen.container.running:
        return _while_running(seen)
    if seen.container.exit_code != 137:
        return _finding(seen, "not-137", [of_state(seen.container)])
    last = lives(seen.events)[-1:]
    return _of_death(seen, last[0] if last else Life((), complete=False))


# -- PID 1 lives


def _while_running(seen: Seen) -> Finding:
    evidence = [of_state(seen.container), of_memory(seen.memory)]
    if _killed_under_present_limit(seen):
        evidence.append(of_life(last_life(seen)))
        kills = _kills_so_far(seen)
        # PID 1 may be killed already, and the engine not have noticed yet
        code = "oom-of-pid-1" if any(kill.first for kill in kills) else "oom-of-child"
        own = _is_own_limit(seen, kills[-1] if kills else None)
        remedy, advice = ("memory", "") if own else ("", _OTHERS)
        return _finding(seen, code, [*evidence, of_kernel(seen.kernel)], remedy=remedy, advice=advice)
    death = _death_before_restart(seen)
    if death:
        policy = f"restarted {seen.container.restarts} times by its policy, {seen.container.restart_policy}"
        return _of_death(seen, death, [Evidence(source="docker inspect", fact=policy)])
    return _finding(seen, "running", [*evidence, *_leftover(seen, last_life(seen))])


def _killed_under_present_limit(seen: Seen) -> bool:
    """Whether a process was killed in this life and no ``docker update`` came after it.

    An ``oom`` event can be late, and of the life before, or of a neighbour's under a common limit; the counter is of this life.
    """
    counted = seen.memory.oom_kills > 0 if isinstance(seen.memory, MemoryCounters) else False
    if seen.memory and not counted:
        return False
    last = [event.action for event in seen.events if event.action in ("update", "oom", "start")][-1:]
    if last in (["oom"], ["update"]):
        return last == ["oom"] and not _told_late(seen)
    life = last_life(seen)
    known = life.complete and not life.named("oom")
    return counted and (known or not _limit_was_raised(seen.memory))


def _told_late(seen: Seen) -> bool:
    """Whether the engine told of a kill only after the update that followed it, as a busy one does.

    Then the limit of now was never reached; another's limit, above it or within, can have been.
    """
    own = all(_is_own_limit(seen, kill) for kill in _kills_so_far(seen)[-1:])
    return own and bool(last_life(seen).named("update")) and _limit_was_raised(seen.memory)


def _kills_so_far(seen: Seen) -> list[OomKill]:
    """What the kernel's log tells of the life that lasts."""
    since = begin(seen, last_life(seen))
    if not isinstance(seen.kernel, KernelLog) or since is None:
        return []
    return [kill for kill in seen.kernel.kills if kill.at >= since]


def _limit_was_raised(memory: MemoryCounters | Unreadable) -> bool:
    """Whether the present one was never reached: then what was killed was killed under a lower one."""
    return isinstance(memory, MemoryCounters) and memory.reached_limit is False


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
    killed = victim(seen, life)
    evidence = [
        *(before or []),
        of_state(seen.container),
        *_leftover(seen, life),
        of_death(life),
        of_kernel(seen.kernel, killed, dead=True),
    ]
    fatal = [event for event in life.named("kill") if event.signal == SIGKILL]
    if killed and killed.first:
        return _memory(seen, "oom-of-pid-1", evidence, killed)
    if fatal:
        return _finding(seen, _who_sent_it(seen, life), evidence, advice=_sigkill_advice(seen, life))
    if killed and killed.first is False:
        return _of_child(seen, life, evidence, killed)
    if killed or memory_ran_out_at(seen, life):
        return _of_some_process(seen, life, evidence, killed)
    return _without_a_cause(seen, life, evidence)


def _who_sent_it(seen: Seen, life: Life) -> str:
    """``docker stop`` sends its signal, waits, sends SIGKILL; then the engine reports a ``stop``."""
    asked = any(event.signal != SIGKILL for event in life.named("kill"))
    asked = asked or (not life.complete and seen.container.stop_signal not in ("SIGKILL", "9"))
    return "stop-timed-out" if asked and life.named("stop") else "killed"


def _sigkill_advice(seen: Seen, life: Life) -> str:
    if _who_sent_it(seen, life) == "killed":
        return "Somebody sent SIGKILL through the engine: docker kill, or a client of its API."
    events = list(life.events)
    end = next(n for n, event in enumerate(events) if event.signal == SIGKILL)
    asked = next((n for n in range(end - 1, -1, -1) if events[n].action == "kill"), None)
    if asked is None:
        return _unheard(seen.container.stop_signal)
    name = events[asked].signal_name or seen.container.stop_signal
    if [event.action for event in events[:asked] if "pause" in event.action][-1:] == ["pause"]:
        return f"It was paused, and could not act on {name}."
    if events[end].at - events[asked].at < timedelta(seconds=1):
        return f"It had less than a second to act on {name}: have more patience with it (docker stop -t)."
    return _unheard(name)


def _unheard(name: str) -> str:
    return f"PID 1 does not act on {name}: handle it, or run the container with --init."


def _of_child(seen: Seen, life: Life, evidence: list[Evidence], kill: OomKill) -> Finding:
    """A process besides PID 1 was killed just before it ended: its child, unless something was being executed then.

    With PID 1 all that is executed ends with 137, too (pid_namespaces(7)): only what did so well before was the victim.
    """
    executed, end = executed_at(life, kill.at), seen.container.finished_at
    if not executed or end is None:
        return _memory(seen, "oom-of-child", evidence, kill)
    ends = [each.at for each in executed if each and was_killed(each)]
    if any(abs(at - kill.at) <= TOGETHER < end - at for at in ends):
        advice = f"What ran out of memory was {_EXECUTED} {_UNSEEN}"
        return _finding(seen, "killed", evidence, confidence="likely", title=_LEFT, advice=advice)
    advice, either = f"What ran out of memory may have been {_EXECUTED}", ("oom-of-child", "killed")
    return _finding(seen, "undecided", evidence, confidence="undecided", candidates=either, advice=advice)


def _of_some_process(seen: Seen, life: Life, evidence: list[Evidence], kill: OomKill | None) -> Finding:
    """A process was killed for memory just before it ended, and no record tells which, perhaps not even in which container."""
    either: tuple[str, ...] = ("oom-of-pid-1", "oom-of-child")
    elsewhere = kill is None and not _is_own_limit(seen, kill)
    if elsewhere or executed_at(life, kill.at if kill else life.named("oom")[-1].at):
        either = (*either, "killed")
    return _memory(seen, "undecided", evidence, kill, either)


def _is_own_limit(seen: Seen, kill: OomKill | None) -> bool:
    """Whether it is the container's own limit that was reached, not one above it, or of a group that it made itself."""
    if seen.container.memory is None:
        return False
    return kill is None or seen.container.id in PurePosixPath(kill.limit_of).name


def _memory(
    seen: Seen,
    code: str,
    evidence: list[Evidence],
    kill: OomKill | None,
    candidates: tuple[str, ...] = (),
) -> Finding:
    """A death for memory.  A higher limit helps only when the one that was reached is the container's."""
    passed_on = code == "oom-of-child"
    confidence: Confidence = "undecided" if candidates else "likely" if passed_on else "certain"
    own = _is_own_limit(seen, kill)
    advice = "A process was killed for memory; only the kernel's log could say which." if candidates else ""
    if passed_on:
        advice = (
            "PID 1 was sent no signal by the engine and ended at once after it, so it passed the code on."
        )
    if not own:
        advice = _OTHERS
    return _finding(
        seen,
        code,
        evidence,
        confidence=confidence,
        candidates=candidates,
        remedy="memory" if own and "killed" not in candidates else "",
        advice=advice,
    )


def _without_a_cause(seen: Seen, life: Life, evidence: list[Evidence]) -> Finding:
    """No kill and no shortage of memory is on record: either it left no record, or the record is lost."""
    why, known = not_ruled_out(seen, life), life.complete and life.death
    if known and not why:
        advice = f"{_UNSEEN}{_of_neighbour(seen)}"
        return _finding(seen, "killed", evidence, confidence="likely", title=_LEFT, advice=advice)
    advice = "No client of the engine sent it." if known else _LOST
    if why:
        advice += f" The kernel can have killed it for memory: {why}"
    candidates = (
        *(("oom-of-pid-1", "oom-of-child") if why else ()),
        "killed",
        *(() if known else ("stop-timed-out",)),
    )
    told = [each for each in evidence if not why or each not in _leftover(seen, life)]
    return _finding(seen, "undecided", told, confidence="undecided", candidates=candidates, advice=advice)


def _of_neighbour(seen: Seen) -> str:
    """A process ends with the PID 1 of its namespace, by SIGKILL (pid_namespaces(7))."""
    if not seen.container.pid_mode.startswith("container:"):
        return ""
    return " Or PID 1 of the container whose process namespace it shares ended, and took it along."


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
    title: str = "",
) -> Finding:
    return Finding(
        diagnosis="exit-137",
        object=seen.container.name,
        code=code,
        title=title or TITLES[code],
        confidence=confidence,
        incident=code not in ("running", "not-137"),
        evidence=tuple(evidence),
        candidates=candidates,
        remedy=remedy,
        advice=advice,
    )


def _leftover(seen: Seen, life: Life) -> list[Evidence]:
    """A remark where ``OOMKilled`` would mislead."""
    if not seen.container.oom_killed or not life.complete or memory_ran_out_at(seen, life):
        return []
    what = "a process killed earlier in this life, not of this death"
    if isinstance(seen.kernel, KernelLog) and not seen.kernel.kills:
        what = "a shortage in which it lost no process, as of a limit that it shares, not of this death"
    if seen.container.running:
        what = "an earlier life, of a kill under an earlier limit, or of a neighbour under a common one"
    return [Evidence(source="docker inspect", fact=f"OOMKilled tells of {what}")]
