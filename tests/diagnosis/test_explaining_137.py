"""What follows from the evidence about an exit code 137, without an engine."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from labkit.diagnosis import get, names
from labkit.diagnosis.exit_137 import CODES, Seen, explain
from labkit.errors import UsageError
from labkit.observe import ByteSize, Container, EventLog, KernelLog, MemoryCounters, OomKill, Unreadable
from labkit.observe.events import Event, by_cause

DEATH = datetime(2026, 1, 1, 12, 0, 0, tzinfo=UTC)
DEAD = Container(
    id="abc",
    name="web",
    image="busybox:lab",
    command="serve",
    status="exited",
    exit_code=137,
    oom_killed=False,
    error="",
    pid=0,
    started_at=DEATH - timedelta(hours=1),
    finished_at=DEATH,
    restarts=0,
    restart_policy="no",
    memory=ByteSize.parse("32m"),
    memory_swap=ByteSize.parse("64m"),
    stop_signal="SIGTERM",
    labels={},
)
ALIVE = replace(DEAD, status="running", exit_code=0, pid=7, finished_at=None)
COUNTERS = MemoryCounters(1, "/c", ByteSize(2**25), ByteSize(1), ByteSize(2**25), 9, 1)
AGAIN = replace(
    ALIVE, restarts=2, restart_policy="always", started_at=DEATH + timedelta(seconds=0.1), finished_at=DEATH
)
NO_COUNTERS = Unreadable("cgroup memory counters", "not running")
NO_LOG = Unreadable("kernel log", "no root")
CLEAN_LOG = KernelLog(())


def log(*told: str, at: float = 0) -> EventLog:
    """Events a tenth of a second apart, the last *at* seconds after the death; ``kill 9`` is a signal."""
    end = DEATH.timestamp() + at
    found = []
    for number, text in enumerate(told):
        action, _, extra = text.partition(" ")
        attributes = (
            {"signal": extra}
            if action == "kill"
            else {"exitCode": extra or "137"}
            if action in ("die", "exec_die")
            else {}
        )
        nano = int((end - (len(told) - 1 - number) / 10) * 1e9)
        found.append(Event(nano, "container", action, "abc", attributes))
    return EventLog(tuple(found))


def kill(first: bool | None, *, before: float = 0.1, limit_of: str = "/docker/abc") -> KernelLog:
    when = DEATH - timedelta(seconds=before)
    return KernelLog((OomKill(when, "serve", 9, "/docker/abc", limit_of, first, ("other",)),))


def seen(container: Container = DEAD, events: EventLog | None = None, **given: Any) -> Seen:
    return Seen(container, events or log(), given.get("memory", NO_COUNTERS), given.get("kernel", CLEAN_LOG))


def told(**at: float) -> EventLog:
    """Events of one container with their exit code 137, each so many seconds after the death."""
    return EventLog(tuple(event for action, when in at.items() for event in log(action, at=when)))


OOM = replace(DEAD, oom_killed=True)
SKEWED = (7.0, 290.0, -3.0)
"""Seconds by which the kernel's clock is behind: drift over weeks."""
CASES: dict[str, tuple[Seen, str, str]] = {
    "the kernel names PID 1": (
        seen(OOM, log("start", "oom", "die"), kernel=kill(True)),
        "oom-of-pid-1",
        "certain",
    ),
    "a busy engine tells of start and end when PID 1 has died already": (
        seen(OOM, told(create=-1, start=0.2, oom=0.3, die=2.5), kernel=kill(True)),
        "oom-of-pid-1",
        "certain",
    ),
    "a busy engine tells late of the end, and of nothing else": (
        seen(DEAD, told(create=-3, start=-2, die=2.5), kernel=kill(True)),
        "oom-of-pid-1",
        "certain",
    ),
    "a busy engine tells late of the end, and nobody of the kill": (
        seen(replace(DEAD, memory=None), told(create=-3, start=-2, oom=-0.1, die=2.5), kernel=NO_LOG),
        "undecided",
        "undecided",
    ),
    "a busy engine, and a kill of the life before": (
        seen(
            DEAD,
            EventLog((*told(start=-7, oom=-6, die=-5), *log("start", "die", at=1))),
            kernel=kill(True, before=6.1),
        ),
        "killed",
        "likely",
    ),
    "the kernel names a child, and nothing shows that PID 1 passed its code on": (
        seen(OOM, log("start", "oom", "die"), kernel=kill(False)),
        "oom-of-child",
        "likely",
    ),
    "what was executed in it was killed for memory, and then PID 1 on the host": (
        seen(OOM, told(start=-9, exec_start=-3, oom=-1, exec_die=-0.9, die=0), kernel=kill(False, before=1)),
        "killed",
        "likely",
    ),
    "the same, and the engine told of the two at once": (
        seen(OOM, told(start=-9, exec_start=-3, oom=-0.3, exec_die=-0.2, die=0), kernel=kill(False)),
        "undecided",
        "undecided",
    ),
    "the same, and a busy engine tells late of the shortage": (
        seen(
            OOM, told(start=-9, exec_start=-3, exec_die=-1.6, oom=-0.9, die=0), kernel=kill(False, before=0.9)
        ),
        "undecided",
        "undecided",
    ),
    "what was executed in it lost a child, and then PID 1 was killed on the host": (
        seen(
            OOM,
            told(start=-9, exec_start=-3, oom=-1, **{"exec_die 0": -0.9}, die=0),
            kernel=kill(False, before=1),
        ),
        "undecided",
        "undecided",
    ),
    "a child was killed while something was executed that lasted longer": (
        seen(
            OOM, told(start=-9, exec_start=-3, oom=-1.7, exec_die=-0.8, die=0), kernel=kill(False, before=1.7)
        ),
        "undecided",
        "undecided",
    ),
    "a child was killed when what had been executed had ended": (
        seen(OOM, told(start=-9, exec_start=-3, **{"exec_die 0": -2}, oom=-0.1, die=0), kernel=kill(False)),
        "oom-of-child",
        "likely",
    ),
    "a neighbour under the same limit lost a process, and PID 1 was killed on the host": (
        seen(replace(OOM, memory=None), log("create", "start", "oom", "die")),
        "killed",
        "likely",
    ),
    "the same, but no log tells that it was the neighbour": (
        seen(replace(OOM, memory=None), log("create", "start", "oom", "die"), kernel=NO_LOG),
        "undecided",
        "undecided",
    ),
    "an oom event, but no kernel log": (
        seen(OOM, log("start", "oom", "die"), kernel=NO_LOG),
        "undecided",
        "undecided",
    ),
    "an oom event, but the kernel printed no table": (
        seen(OOM, log("start", "oom", "die"), kernel=kill(None)),
        "undecided",
        "undecided",
    ),
    "the engine lost the oom event and flag, the kernel did not": (
        seen(DEAD, log("start", "die"), kernel=kill(True)),
        "oom-of-pid-1",
        "certain",
    ),
    "the engine lost the oom event and flag, and the kernel's log is out of reach": (
        seen(DEAD, log("start", "die"), kernel=NO_LOG),
        "undecided",
        "undecided",
    ),
    "the same, and it had no limit of its own: the machine's, or one above, is enough": (
        seen(replace(DEAD, memory=None), log("start", "die"), kernel=NO_LOG),
        "undecided",
        "undecided",
    ),
    "the engine lost the oom event and flag, and the kernel had no words left for this kill": (
        seen(DEAD, log("create", "start", "die"), kernel=replace(CLEAN_LOG, unplaced=kill(None).kills)),
        "undecided",
        "undecided",
    ),
    "the same, and it was docker kill": (
        seen(
            DEAD,
            log("create", "start", "kill 9", "die"),
            kernel=replace(CLEAN_LOG, unplaced=kill(None).kills),
        ),
        "killed",
        "certain",
    ),
    "the events are gone, and nothing was killed for memory on this machine": (
        seen(DEAD, kernel=replace(CLEAN_LOG, source="/proc/vmstat")),
        "undecided",
        "undecided",
    ),
    "a busy engine tells of the oom after the death": (
        seen(DEAD, log("create", "start", "die", "oom", at=0.1), kernel=kill(True)),
        "oom-of-pid-1",
        "certain",
    ),
    "only the flag knows of a kill, and nothing explains it": (
        seen(OOM, log("start", "die")),
        "undecided",
        "undecided",
    ),
    "all events are lost, the kernel's log is not": (seen(OOM, kernel=kill(True)), "oom-of-pid-1", "certain"),
    "the kernel named PID 1 of an earlier life": (
        seen(DEAD, EventLog((*told(oom=-4.9, die=-4.8), *log("start", "die"))), kernel=kill(True, before=5)),
        "killed",
        "likely",
    ),
    "the kernel named PID 1 of an earlier life, or its clock is wrong and it was of this one": (
        seen(DEAD, log("start", "die"), kernel=kill(True, before=5)),
        "undecided",
        "undecided",
    ),
    "a child was killed well before PID 1 ended": (
        seen(OOM, log("start", "oom", *["exec_die"] * 80, "die"), kernel=kill(False, before=8)),
        "killed",
        "likely",
    ),
    "docker kill": (seen(DEAD, log("start", "kill 9", "die")), "killed", "certain"),
    "docker kill with a gentler signal first": (
        seen(DEAD, log("start", "kill 15", "kill 9", "die")),
        "killed",
        "certain",
    ),
    "docker kill long after a child ran out of memory": (
        seen(OOM, log("start", "oom", "kill 9", "die"), kernel=kill(False, before=3000)),
        "killed",
        "certain",
    ),
    "docker stop whose stop signal is SIGKILL": (
        seen(replace(DEAD, stop_signal="SIGKILL"), log("start", "kill 9", "die", "stop")),
        "killed",
        "certain",
    ),
    "a stop that timed out, as 20.10 tells it": (
        seen(DEAD, log("start", "kill 15", "kill 9", "die", "stop")),
        "stop-timed-out",
        "certain",
    ),
    "a stop that timed out, as 26.1 tells it": (
        seen(DEAD, log("start", "kill 15", "kill 9", "stop", "die")),
        "stop-timed-out",
        "certain",
    ),
    "a stop that timed out, its beginning forgotten": (
        seen(DEAD, log("kill 9", "die", "stop")),
        "stop-timed-out",
        "certain",
    ),
    "a stop whose signal PID 1 answered by returning 137": (
        seen(DEAD, log("start", "kill 15", "die", "stop")),
        "killed",
        "likely",
    ),
    "kill -9 on the host": (seen(DEAD, log("start", "die")), "killed", "likely"),
    "nothing is left": (seen(DEAD), "undecided", "undecided"),
    "nothing is left but the flag": (seen(OOM, kernel=NO_LOG), "undecided", "undecided"),
    "another exit code": (
        seen(replace(OOM, exit_code=1), log("start", "oom", "die 1")),
        "not-137",
        "certain",
    ),
    "never started": (
        seen(replace(DEAD, status="created", exit_code=0), log("create")),
        "not-137",
        "certain",
    ),
    "up and well": (seen(ALIVE, log("start"), memory=replace(COUNTERS, oom_kills=0)), "running", "certain"),
    "up, a child was killed": (seen(ALIVE, log("start", "oom"), memory=COUNTERS), "oom-of-child", "certain"),
    "up, a child was killed, and the counters are out of reach": (
        seen(ALIVE, log("start", "oom")),
        "oom-of-child",
        "certain",
    ),
    "up, as far as the engine knows: PID 1 was killed this moment": (
        seen(ALIVE, log("start", "oom"), memory=COUNTERS, kernel=kill(True)),
        "oom-of-pid-1",
        "certain",
    ),
    "up, only the counter knows of the child": (
        seen(ALIVE, log(), memory=COUNTERS),
        "oom-of-child",
        "certain",
    ),
    "up, the limit was raised after the kill": (
        seen(ALIVE, log("start", "oom", "update"), memory=COUNTERS),
        "running",
        "certain",
    ),
    "up, the limit was raised, and the events of it are lost": (
        seen(ALIVE, log(), memory=replace(COUNTERS, limit=ByteSize(2**26))),
        "running",
        "certain",
    ),
    "up, killed again after the limit was raised": (
        seen(ALIVE, log("start", "oom", "update", "oom"), memory=COUNTERS),
        "oom-of-child",
        "certain",
    ),
    "up, and a busy engine told of the kill only after the update that followed it": (
        seen(ALIVE, log("start", "update", "oom"), memory=replace(COUNTERS, limit=ByteSize(2**26))),
        "running",
        "certain",
    ),
    "up, the limit was raised, and then one above it was reached": (
        seen(
            ALIVE,
            log("start", "update", "oom"),
            memory=replace(COUNTERS, limit=ByteSize(2**26)),
            kernel=kill(False, limit_of="/above"),
        ),
        "oom-of-child",
        "certain",
    ),
    "up again by its policy, after PID 1 was killed for memory": (
        seen(
            AGAIN,
            log("start", "oom", "die", "start", at=0.1),
            kernel=kill(True),
        ),
        "oom-of-pid-1",
        "certain",
    ),
    "up again by its policy, and a busy engine tells of the oom only then": (
        seen(
            AGAIN,
            log("create", "start", "die", "start", "oom", at=0.2),
            memory=replace(COUNTERS, oom_kills=0),
            kernel=kill(True),
        ),
        "oom-of-pid-1",
        "certain",
    ),
    "up, and a neighbour under the same limit lost a process": (
        seen(replace(ALIVE, oom_killed=True), log("start", "oom"), memory=replace(COUNTERS, oom_kills=0)),
        "running",
        "certain",
    ),
    "up again by its policy, and down and up again while it was looked at": (
        seen(
            AGAIN,
            log("create", "start", "oom", "die", "start", "oom", "die", "start", at=0.4),
            memory=replace(COUNTERS, oom_kills=0),
            kernel=kill(True),
        ),
        "oom-of-pid-1",
        "certain",
    ),
    "waiting for its policy, and tried once more in vain while it was looked at": (
        seen(
            replace(OOM, status="restarting", restarts=2, restart_policy="always"),
            log("create", "start", "oom", "die", "start", "die", at=0.3),
            kernel=kill(True),
        ),
        "oom-of-pid-1",
        "certain",
    ),
    "up again by its policy, and the limit was raised since": (
        seen(
            AGAIN,
            log("start", "oom", "die", "update", "start", at=0.2),
            kernel=kill(True),
        ),
        "running",
        "certain",
    ),
    "up again because somebody started it": (
        seen(replace(ALIVE, finished_at=DEATH), log("start", "kill 9", "die", "start", at=0.1)),
        "running",
        "certain",
    ),
}


@pytest.mark.parametrize("behind", SKEWED)
def test_a_kernels_clock_that_is_wrong_changes_nothing(behind: float) -> None:
    """Seconds and minutes of drift between the kernel's clock and the engine's lead to the same cause, as sure as ever."""
    for first, verdict in ((True, ("oom-of-pid-1", "certain")), (False, ("oom-of-child", "likely"))):
        evidence = seen(OOM, log("start", "oom", "die"), kernel=kill(first, before=behind))
        assert (explain(evidence).code, explain(evidence).confidence) == verdict
    lost = seen(DEAD, log("create", "start", "die"), kernel=kill(True, before=behind))
    assert (explain(lost).code, explain(lost).confidence) == ("oom-of-pid-1", "certain")
    dying = seen(ALIVE, log("start", "oom"), memory=COUNTERS, kernel=kill(True, before=behind))
    assert explain(dying).code == "oom-of-pid-1"


@pytest.mark.parametrize("case", CASES)
def test_one_cause_is_named(case: str) -> None:
    """Each set of evidence leads to exactly one cause, and to no more certainty than it bears."""
    evidence, code, confidence = CASES[case]
    finding = explain(evidence)
    assert (finding.code, finding.confidence) == (code, confidence), repr(finding)
    assert finding.code in CODES
    assert finding.evidence, "a finding without evidence is an opinion"


def test_undecided_names_what_it_can_be() -> None:
    """An undecided finding says between what; for memory it can still say that memory helps."""
    memory = explain(seen(OOM, log("start", "oom", "die"), kernel=NO_LOG))
    assert memory.candidates == ("oom-of-pid-1", "oom-of-child")
    assert memory.remedy == "memory"
    executing = told(start=-9, exec_start=-3, oom=-0.3, die=0)
    for unsure in (
        seen(OOM, executing, kernel=NO_LOG),
        seen(OOM, executing, kernel=kill(None)),
        seen(replace(OOM, memory=None), log("create", "start", "oom", "die"), kernel=NO_LOG),
    ):
        assert explain(unsure).candidates == ("oom-of-pid-1", "oom-of-child", "killed")
        assert explain(unsure).remedy == "", "it may have been no child of PID 1, or a neighbour"
    lost = explain(seen(OOM, kernel=NO_LOG))
    assert lost.candidates == ("oom-of-pid-1", "oom-of-child", "killed", "stop-timed-out")
    assert lost.remedy == ""
    assert explain(seen(DEAD)).candidates == ("killed", "stop-timed-out")
    assert "An engine that is shut down" in explain(seen(DEAD)).advice
    blind = explain(seen(DEAD, kernel=NO_LOG))
    assert (
        blind.candidates == ("oom-of-pid-1", "oom-of-child", "killed", "stop-timed-out") and not blind.remedy
    )
    assert "dmesg" in blind.advice, "it says how to tell them apart"
    silent = explain(seen(OOM, log("start", "die")))
    assert silent.candidates == ("oom-of-pid-1", "oom-of-child", "killed")
    assert not any("not of this death" in item.fact for item in silent.evidence), (
        "the flag may be of this death"
    )


@pytest.mark.parametrize(
    ("container", "events", "advice"),
    [
        (DEAD, log("start", "kill 15", "kill 9", "die", "stop"), "less than a second to act on SIGTERM"),
        (
            DEAD,
            told(start=-9, **{"kill 15": -3, "kill 9": -1, "die": 0, "stop": 0.1}),
            "does not act on SIGTERM",
        ),
        (
            DEAD,
            told(start=-9, pause=-5, **{"kill 2": -3, "unpause": -1.2, "kill 9": -1, "die": 0, "stop": 0.1}),
            "paused, and could not act on SIGINT",
        ),
        (DEAD, log("start", "die"), "kill -9 on the host, or PID 1 returned 137 itself."),
        (replace(DEAD, pid_mode="container:ab"), log("start", "die"), "whose process namespace it shares"),
    ],
)
def test_what_the_reader_is_told(container: Container, events: EventLog, advice: str) -> None:
    """The advice is for what happened: too little time, a pause, a neighbour's end."""
    assert advice in explain(seen(container, events)).advice


@pytest.mark.parametrize("limit_of", ["", "/parent", "/docker/abc/made-by-itself"])
def test_a_limit_that_is_not_its_own_is_not_raised(limit_of: str) -> None:
    """When the machine, or a cgroup above or below, ran out of memory, a higher limit does not help."""
    finding = explain(seen(OOM, log("start", "oom", "die"), kernel=kill(True, limit_of=limit_of)))
    assert (finding.code, finding.remedy) == ("oom-of-pid-1", "")
    assert "would not help" in finding.advice
    up = explain(seen(ALIVE, log("start", "oom"), memory=COUNTERS, kernel=kill(False, limit_of=limit_of)))
    assert (up.code, up.remedy) == ("oom-of-child", "")
    assert "would not help" in up.advice


def test_its_own_limit_is_told_by_its_group() -> None:
    """Its own limit may be reached in a group that it made below its own, as a service manager in it does."""
    below = replace(kill(False).kills[0], folder="/docker/abc/made-by-itself")
    up = seen(ALIVE, log("start", "oom"), memory=COUNTERS, kernel=KernelLog((below,)))
    assert (explain(up).code, explain(up).remedy) == ("oom-of-child", "memory")
    scope = kill(True, limit_of="/system.slice/docker-abc.scope")
    assert explain(seen(OOM, log("start", "oom", "die"), kernel=scope)).remedy == "memory"


def test_only_memory_has_a_remedy() -> None:
    """Nothing that a program should do follows from a kill or a stop."""
    for evidence, code, _ in CASES.values():
        if code in ("killed", "stop-timed-out", "not-137", "running"):
            assert explain(evidence).remedy == ""


def test_a_misleading_flag_is_explained() -> None:
    """``OOMKilled`` that tells of something else is not left to mislead the reader."""
    finding = explain(seen(OOM, log("start", "kill 9", "die")))
    assert any("not of this death" in item.fact for item in finding.evidence)
    well = seen(replace(ALIVE, oom_killed=True), log("start"), memory=replace(COUNTERS, oom_kills=0))
    assert any("earlier life" in item.fact for item in explain(well).evidence)


def test_a_shortage_is_told_before_the_death_of_its_life() -> None:
    """Where the engine heard of the death first, a person reads cause and effect all the same; the details keep its order."""
    late = log("create", "start", "die", "oom", "start", "oom", "die", "start")
    texts = ["create", "start", "oom", "die", "start", "oom", "die", "start"]
    assert [str(row[0]).split()[0] for row in late.table().rows] == texts
    assert [str(row[1]).split()[0] for row in late.details().rows] == [event.action for event in late]
    of_another = replace(late[3], id="another")
    assert by_cause((*late[:3], of_another)) == [*late[:3], of_another]
    facts = [each.fact for each in explain(seen(OOM, log("start", "die", "oom"), kernel=kill(True))).evidence]
    assert "start, oom, die (exit code 137)" in facts


def test_short_text_repeats_and_details_tell_ids_and_times() -> None:
    """What a notebook shows is the same every time; what a ticket needs is kept beside it."""
    finding = explain(seen(OOM, log("start", "oom", "die"), kernel=kill(True)))
    assert "abc" not in repr(finding)
    assert "2026" not in repr(finding)
    assert any("abc" in item.detail for item in finding.evidence)
    data, kept = finding._repr_mimebundle_()
    assert data[finding.media_type()] == {"object": "web", "code": "oom-of-pid-1", "confidence": "certain"}
    assert type(finding).model_validate(kept[finding.media_type()]) == finding


def test_diagnoses_are_found_by_name() -> None:
    """Discovery lists them, and a typo is answered with the nearest name."""
    assert "exit-137" in names()
    assert set(CODES) == set(get("exit-137").CODES)
    with pytest.raises(UsageError, match="exit-137"):
        get("exit-173")
