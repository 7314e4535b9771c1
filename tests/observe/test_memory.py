"""Reading a cgroup's memory counters."""

from __future__ import annotations

import pytest

from labkit.observe.memory import _counters, own_folder


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


@pytest.mark.parametrize(
    ("folder", "own"),
    [
        ("/g/docker/abc", "/g/docker/abc"),
        ("/g/docker/abc/init", "/g/docker/abc"),
        ("/g/system.slice/docker-abc.scope/init.scope", "/g/system.slice/docker-abc.scope"),
        ("/g/docker/xyz/docker/abc/init", "/g/docker/xyz/docker/abc"),
        ("/g/elsewhere", "/g/elsewhere"),
    ],
)
def test_counters_are_of_the_container_also_where_its_pid_1_has_moved_down(folder: str, own: str) -> None:
    """A service manager in a container puts itself into a group below, which has no limit."""
    assert own_folder(folder, "abc") == own


def test_no_limit_in_version_1_is_a_huge_number() -> None:
    """Version 1 has no word for it."""
    listing = "/c/memory.limit_in_bytes:9223372036854771712\n/c/memory.usage_in_bytes:1\n"
    listing += "/c/memory.failcnt:0\n/c/memory.oom_control:oom_kill 0\n"
    assert _counters(1, "/c", listing).limit is None
