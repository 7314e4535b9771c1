"""Reading kills for memory from the kernel's log."""

# ruff: noqa: E501  # log lines are kept as the kernel writes them

from __future__ import annotations

from datetime import UTC, datetime

from labkit.observe.kernel import parse

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
    assert (kill.limit_of, kill.folder, kill.first) == ("/slice", "/slice/ab86", None)


def test_a_table_is_never_used_twice() -> None:
    """A kill without its table (the kernel prints ten in five seconds) does not borrow the one before it."""
    bare = [line for line in CHILD.splitlines() if "oom-kill:" in line]
    assert [kill.first for kill in parse(CHILD + bare[0], boot=0)] == [False, None]


def test_other_lines_are_passed_over() -> None:
    """Whatever else a kernel logs does no harm."""
    assert parse("[    0.000000] Linux version 6\nnot a line\n[ 1.0] [drm] ok\n", boot=0) == []
