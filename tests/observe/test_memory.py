"""Finding and reading a cgroup's memory counters."""

from __future__ import annotations

import pytest

from labkit.errors import LabkitError
from labkit.observe.memory import _counters, _folder

HYBRID = """\
30 20 0:26 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw
31 20 0:27 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory
32 20 0:28 / /sys/fs/cgroup/pids rw - cgroup cgroup rw,pids
"""
UNIFIED = "30 20 0:26 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw,nsdelegate\n"
NESTED = "31 20 0:27 /docker/outer /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n"


def test_version_1_is_found_in_its_own_hierarchy() -> None:
    """On a hybrid host the memory controller is mounted apart, under version 1."""
    cgroups = "8:pids:/docker/ab\n4:memory:/docker/ab\n0::/docker/ab\n"
    assert _folder(HYBRID, cgroups) == (1, "/sys/fs/cgroup/memory/docker/ab")


def test_version_2_is_found_in_the_one_hierarchy() -> None:
    """With version 2 alone there is one line, and one place."""
    assert _folder(UNIFIED, "0::/system.slice/docker-ab.scope\n") == (
        2,
        "/sys/fs/cgroup/system.slice/docker-ab.scope",
    )


def test_a_part_of_a_hierarchy_can_be_mounted() -> None:
    """Where only a part is mounted (a daemon in a container), the path is taken from there."""
    assert _folder(NESTED, "4:memory:/docker/outer/docker/ab\n") == (1, "/sys/fs/cgroup/memory/docker/ab")


def test_a_hierarchy_that_is_not_mounted_is_an_error() -> None:
    """No mount, no guess."""
    with pytest.raises(LabkitError, match="no cgroup2"):
        _folder("", "0::/x\n")


def test_counters_of_version_1() -> None:
    """A limit, a peak at the limit, and one kill."""
    listing = """\
/c/memory.limit_in_bytes:33554432
/c/memory.usage_in_bytes:2576384
/c/memory.max_usage_in_bytes:33554432
/c/memory.failcnt:443
/c/memory.oom_control:oom_kill_disable 0
/c/memory.oom_control:under_oom 0
/c/memory.oom_control:oom_kill 1
"""
    found = _counters(1, "/c", listing)
    assert (str(found.limit), str(found.peak), found.hit_limit, found.oom_kills) == ("32m", "32m", 443, 1)


def test_counters_of_version_2_without_a_limit_and_a_peak() -> None:
    """No limit is "max", and kernels before 5.19 keep no peak."""
    listing = """\
/c/memory.max:max
/c/memory.current:2576384
/c/memory.events:low 0
/c/memory.events:max 7
/c/memory.events:oom 2
/c/memory.events:oom_kill 2
"""
    found = _counters(2, "/c", listing)
    assert (found.limit, found.peak, found.hit_limit, found.oom_kills) == (None, None, 7, 2)
    assert "unknown" in repr(found)


def test_no_limit_in_version_1_is_a_huge_number() -> None:
    """Version 1 has no word for it."""
    listing = "/c/memory.limit_in_bytes:9223372036854771712\n/c/memory.usage_in_bytes:1\n"
    listing += "/c/memory.failcnt:0\n/c/memory.oom_control:oom_kill 0\n"
    assert _counters(1, "/c", listing).limit is None
