"""Reading kills for memory from the kernel's log."""

# ruff: noqa: E501  # log lines are kept as the kernel writes them

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from labkit.observe import Container, KernelLog, OomKill, Unreadable
from labkit.observe.kernel import _of, parse

CHILD = """\
[ 2337.685650] Tasks state (memory values in pages):
[ 2337.685651] [  pid  ]   uid  tgid total_vm      rss rss_anon rss_file rss_shmem pgtables_bytes swapents oom_score_adj name
[ 2337.685653] [  26427]     0 26427      567      337        0      337         0    36864        0             0 sh
[ 2337.685666] [  26456]     0 26456     8588     8380     8064      316         0   106496        0             0 tail
[ 2337.685668] oom-kill:constraint=CONSTRAINT_MEMCG,nodemask=(null),cpuset=ab86,mems_allowed=0,oom_memcg=/docker/ab86,task_memcg=/docker/ab86,task=tail,pid=26456,uid=0
[ 2337.685678] Memory cgroup out of memory: Killed process 26456 (tail) total-vm:34352kB, anon-rss:32256kB
"""
MACHINE = """\
[  100.000001] [  pid  ]   uid  tgid total_vm      rss pgtables_bytes swapents oom_score_adj name
[  100.000002] [      7]     0     7      567      337    36864        0             0 mysqld
[  100.000003] oom-kill:constraint=CONSTRAINT_NONE,nodemask=(null),cpuset=ab86,mems_allowed=0,global_oom,task_memcg=/docker/ab86,task=mysqld,pid=7,uid=0
"""
PARENT = """\
[  100.000001] [  pid  ]   uid  tgid total_vm      rss pgtables_bytes swapents oom_score_adj name
[  100.000002] [      7]     0     7      567      337    36864        0             0 mysqld
[  100.000003] oom-kill:constraint=CONSTRAINT_MEMCG,nodemask=(null),cpuset=ab86,mems_allowed=0,oom_memcg=/slice,task_memcg=/slice/ab86,task=mysqld,pid=7,uid=0
"""


def test_a_child_is_told_from_the_first_process() -> None:
    """The table lists the oldest process first; a victim further down is a child."""
    (kill,) = parse(CHILD, boot=1000.0)
    assert (kill.victim, kill.pid, kill.first, kill.others) == ("tail", 26456, False, ("sh",))
    assert kill.limit_of == kill.folder == "/docker/ab86"
    assert kill.at == datetime.fromtimestamp(3337.685668, UTC)


def test_the_first_process_is_recognised() -> None:
    """A victim that heads the table was PID 1."""
    (kill,) = parse(CHILD.replace("pid=26456", "pid=26427").replace("task=tail", "task=sh"), boot=0)
    assert kill.first is True


def test_a_shortage_of_the_machine_is_not_the_containers() -> None:
    """When the whole machine was out of memory no limit is named, and heading the table means nothing."""
    (kill,) = parse(MACHINE, boot=0)
    assert (kill.victim, kill.limit_of, kill.first) == ("mysqld", "", None)


def test_a_limit_further_up_is_named() -> None:
    """The limit that was reached can be that of a cgroup above the container's."""
    (kill,) = parse(PARENT, boot=0)
    assert (kill.limit_of, kill.folder, kill.first) == ("/slice", "/slice/ab86", True)
    (other,) = parse(PARENT.replace("pid=7", "pid=8"), boot=0)
    assert other.first is None, "the table lists the processes of all groups below it"


def test_a_table_is_never_used_twice() -> None:
    """A kill without its table (the kernel prints ten in five seconds) does not borrow the one before it."""
    bare = [line for line in CHILD.splitlines() if "oom-kill:" in line]
    assert [kill.first for kill in parse(CHILD + bare[0], boot=0)] == [False, None]


SUPPRESSED = """\
[ 2337.990001] Memory cgroup out of memory: Killed process 26500 (dd) total-vm:34352kB, anon-rss:32256kB
[ 2338.990001] Out of memory: Killed process 26501 (a (b)) total-vm:34352kB, anon-rss:32256kB
"""
GROUP = """\
[ 2337.690001] Tasks in /docker/ab86 are going to be killed due to memory.oom.group set
[ 2337.690002] Memory cgroup out of memory: Killed process 26456 (tail) total-vm:34352kB, anon-rss:32256kB
[ 2337.690003] Memory cgroup out of memory: Killed process 26427 (sh) total-vm:34352kB, anon-rss:32256kB
"""
ENDING = (
    CHILD.rsplit("\n", 2)[0]
    + "\n[ 2337.69] OOM victim 26456 (tail) is already exiting. Skip killing the task\n"
)


@pytest.mark.parametrize(
    ("log", "told"),
    [
        (CHILD + SUPPRESSED, [("tail", "/docker/ab86", False), ("dd", "", None), ("a (b)", "", None)]),
        (SUPPRESSED + CHILD, [("dd", "", None), ("a (b)", "", None), ("tail", "/docker/ab86", False)]),
        (ENDING + SUPPRESSED.splitlines()[0], [("tail", "/docker/ab86", False), ("dd", "", None)]),
        (CHILD + GROUP, [("tail", "/docker/ab86", True)]),  # PID 1 goes with it
        (CHILD + GROUP.replace("/ab86", ""), [("tail", "/docker/ab86", False)]),
        (
            PARENT.replace("pid=7", "pid=8").replace("CONSTRAINT_MEMCG", "CONSTRAINT_NONE"),
            [("mysqld", "/slice/ab86", None)],
        ),
    ],
)
def test_what_the_log_says_of_each_kill(log: str, told: list[tuple[str, str, bool | None]]) -> None:
    """Of more than ten kills in five seconds the log only says who; of a group that is killed as a whole, PID 1 is one."""
    assert [(kill.victim, kill.folder, kill.first) for kill in parse(log, boot=0)] == told


def test_kills_of_nowhere_are_told_when_they_are_of_that_time() -> None:
    """A kill that the log tells to no container can be of each that died at about that time, and of no other."""
    for started, finished, kept in ((2000, 2340, 2), (-9000, 60, 0), (2300, None, 0)):
        found = _of(
            "[    0.0] Linux\n" + CHILD + SUPPRESSED, NOON.timestamp(), timedelta(0), ran(started, finished)
        )
        assert isinstance(found, KernelLog) and len(found.unplaced) == kept


def test_other_lines_are_passed_over() -> None:
    """Whatever else a kernel logs does no harm."""
    assert parse("[    0.000000] Linux version 6\nnot a line\n[ 1.0] [drm] ok\n", boot=0) == []


@pytest.mark.parametrize("caller", ["[ T123]", " [    T1]", "[    C1]"])
def test_lines_may_name_who_printed_them(caller: str) -> None:
    """A kernel with CONFIG_PRINTK_CALLER puts a task or a processor after the stamp."""
    assert parse(CHILD.replace("] ", f"]{caller} ", 1), boot=0) == parse(CHILD, boot=0)
    named = "\n".join(line.replace("]", f"]{caller}", 1) for line in CHILD.splitlines())
    assert parse(named, boot=0) == parse(CHILD, boot=0)


NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
KILL = OomKill(NOON, "dd", 7, "/docker/ab86", "/docker/ab86", True)


def after(*seconds: float) -> list[datetime]:
    return [NOON + timedelta(seconds=each) for each in seconds]


@pytest.mark.parametrize(
    ("ooms", "deaths", "slept", "expected"),
    [
        (after(0.1), [], 0, 0),  # a clock that is right stays
        (after(7), [], 0, 7),  # weeks of drift
        (after(-240), [], 0, -240),
        (after(-28800), [], 28800, -28800),  # a night's sleep between the kill and now
        (after(-28800), [], 0, 0),  # without a sleep that is another matter
        (after(3600), [], 0, 0),
        (after(7, 907), [], 0, 7),
        ([], after(5), 0, 5),  # its death, where no oom event came
        ([], [], 0, 0),
    ],
)
def test_kills_are_set_by_the_containers_events(
    ooms: list[datetime], deaths: list[datetime], slept: float, expected: float
) -> None:
    """The kernel's clock may be minutes off, and off by the machine's sleep: the container's own events put it right."""
    log = KernelLog((KILL,), timedelta(seconds=slept)).aligned(ooms, deaths)
    assert log.kills[0].at == NOON + timedelta(seconds=expected)


def test_a_move_suits_as_many_kills_as_it_can() -> None:
    """Three kills and three events seven seconds later: none of them is taken for its neighbour's."""
    kills = tuple(replace(KILL, at=at, first=False) for at in after(0, 7, 20))
    moved = KernelLog(kills).aligned(after(7.1, 14.1, 27.1))
    assert [kill.at for kill in moved.kills] == after(7.1, 14.1, 27.1)
    assert KernelLog(kills).aligned([], after(100)).kills == kills, "a child's kill is not told by a death"


def test_late_events_are_not_taken_for_a_wrong_clock() -> None:
    """Where the clock can hardly be wrong, the one event that came late is no reason to give each kill that of another life."""
    # measured with a policy that restarts, on a machine that was slow
    ooms, deaths = after(9.7, 16.2, 21.7, 29.5, 37.1, 42.7), after(11.7, 16.9, 23, 30.4, 37, 44.3)
    kills = tuple(replace(KILL, at=at) for at in after(29.3, 36, 42.4))
    right = KernelLog(kills, drift=timedelta(seconds=2))
    assert right.aligned(ooms, deaths) == replace(right, by_events=True)
    assert KernelLog(kills).aligned(ooms, deaths).kills[0].at < after(20)[0], "weeks later it may be wrong"
    wrong = replace(right, kills=tuple(replace(kill, at=kill.at - timedelta(minutes=1)) for kill in kills))
    assert wrong.aligned(ooms, deaths).by_events, "somebody has set a clock"


def ran(started: float, finished: float | None) -> Container:
    return Container(
        id="ab86", name="web", image="i", command="c", status="running" if finished is None else "exited",
        exit_code=137, oom_killed=False, error="", pid=0, started_at=after(started)[0],
        finished_at=None if finished is None else after(finished)[0], restarts=0, restart_policy="no",
        memory=None, memory_swap=None, stop_signal="SIGTERM", labels={},
    )  # fmt: skip


@pytest.mark.parametrize(
    ("log", "of", "readable"),
    [
        ("[  100.0] a\n", ran(200, 300), True),
        ("[  250.0] a\n", ran(200, 300), True),  # the death is within reach
        ("[  295.0] a\n", ran(200, 300), False),
        ("[  250.0] a\n", ran(200, None), False),
        ("[  150.0] a\n", ran(200, None), True),
        ("", ran(200, 300), False),
        ("[    0.0] Linux\n", ran(-500, -400), False),  # before the machine started
        (CHILD, ran(200, 300), True),  # what it holds counts in any case
    ],
)
def test_a_log_that_does_not_go_back_is_not_silence(log: str, of: Container, readable: bool) -> None:
    """Where the lines of that time are overwritten or cleared, the log does not say that nothing was killed."""
    found = _of(log, NOON.timestamp(), timedelta(0), of)
    assert isinstance(found, KernelLog) is readable
    assert readable or isinstance(found, Unreadable)
