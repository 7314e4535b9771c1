"""Finding a process's control group."""

from __future__ import annotations

import pytest

from labkit.errors import MissingCapability
from labkit.observe.cgroups import Cgroup, locate

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
    assert locate(HYBRID, cgroups, "memory") == Cgroup(1, "/docker/ab", "/sys/fs/cgroup/memory/docker/ab")


def test_version_2_is_found_in_the_one_hierarchy() -> None:
    """With version 2 alone there is one line, and one place."""
    for controller in ("memory", "freezer"):
        found = locate(UNIFIED, "0::/system.slice/docker-ab.scope\n", controller)
        assert (found.version, found.folder) == (2, "/sys/fs/cgroup/system.slice/docker-ab.scope")


def test_a_part_of_a_hierarchy_can_be_mounted() -> None:
    """Where only a part is mounted (a daemon in a container), the path is taken from there."""
    found = locate(NESTED, "4:memory:/docker/outer/docker/ab\n", "memory")
    assert found.folder == "/sys/fs/cgroup/memory/docker/ab"


def test_a_hierarchy_that_is_not_mounted_is_an_error() -> None:
    """No mount, no guess."""
    with pytest.raises(MissingCapability, match="no cgroup2"):
        locate("", "0::/x\n", "memory")
    with pytest.raises(MissingCapability, match="freezer"):
        locate(HYBRID, "9:freezer:/docker/ab\n", "freezer")
