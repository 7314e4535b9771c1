"""Control groups: what is handed down for engines is taken back with the last of them, and what cannot be is known."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from labkit.engine import cgroups
from labkit.engine.cgroups import Hierarchy

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root makes groups at the top")


def words(file: Path) -> list[str]:
    return sorted(file.read_text().split())


@pytest.fixture
def top(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A real group of version 2 with controllers to hand down, in the place of the machine's top."""
    found = [h.mountpoint for h in cgroups.hierarchies() if h.type == "cgroup2"]
    offered = words(found[0] / "cgroup.controllers") if found else []
    if not offered:
        pytest.skip("this machine has no controllers of cgroup version 2")
    before = words(found[0] / "cgroup.subtree_control")
    top, pin = (found[0] / f"test-{name}{os.getpid()}" for name in ("", "pin-"))
    for group in (top, pin):
        group.mkdir()
    monkeypatch.setattr(cgroups, "hierarchies", lambda: [Hierarchy(top, "cgroup2", "")])
    try:
        hold(found[0], pin, offered)
        yield top
    finally:
        cgroups.remove(top)
        cgroups.remove(pin)
        for controller in set(offered) - set(before):
            with suppress(OSError):  # engines that other tests have begun meanwhile need it, too
                (found[0] / "cgroup.subtree_control").write_text(f"-{controller}")


def hold(top: Path, pin: Path, offered: list[str]) -> None:
    """Have *top* hand down all that it is offered, and keep it so by *pin*: the last engine of another test takes it back."""
    while words(pin / "cgroup.subtree_control") != offered:
        for group in (top, pin):
            for controller in offered:
                with suppress(OSError):
                    (group / "cgroup.subtree_control").write_text(f"+{controller}")


def test_the_last_engine_takes_back_what_was_handed_down(top: Path) -> None:
    """Each engine has every controller; the group above them hands down what it did before as soon as none is left."""
    assert words(top / "cgroup.subtree_control") == []
    (first,) = cgroups.create("first-0a1b2c")
    (second,) = cgroups.create("second-0a1b2c")
    for engine in (first, second):
        assert words(engine / "cgroup.controllers") == words(top / "cgroup.controllers") != []
    assert cgroups.remove(first)
    assert words(top / "cgroup.subtree_control") != []
    assert cgroups.remove(second)
    assert words(top / "cgroup.subtree_control") == []
    assert not (top / "labkit").exists()


def test_what_was_handed_down_before_stays(top: Path) -> None:
    """A controller that the machine hands down for its own reasons is still handed down when the engines have gone."""
    controller = words(top / "cgroup.controllers")[0]
    (top / "cgroup.subtree_control").write_text(f"+{controller}")
    assert cgroups.remove(cgroups.create("only-0a1b2c")[0])
    assert words(top / "cgroup.subtree_control") == [controller]


def test_a_group_with_processes_hands_nothing_more_down(top: Path) -> None:
    """Where the top holds processes itself, as in a container, no controller counts as to be had."""
    assert cgroups.handed_down(top) == set(words(top / "cgroup.controllers"))
    sleeper = subprocess.Popen(["sleep", "100"])
    try:
        (top / "cgroup.procs").write_text(str(sleeper.pid))
        assert cgroups.handed_down(top) == set()
    finally:
        sleeper.kill()
        sleeper.wait()


def test_only_labkits_own_folder_goes_with_the_last_engine(top: Path) -> None:
    """An engine in a scope of the service manager is removed without the manager's own group above it."""
    scope = top / "system.slice/labkit-only-0a1b2c.scope"
    scope.mkdir(parents=True)
    assert cgroups.remove(scope)
    assert not scope.exists() and scope.parent.exists()


def test_a_group_that_goes_while_others_are_thawed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An engine that ends takes its containers' groups away while they are looked for: the others are let go all the same."""
    for name in ("goes", "stays"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "freezer.state").write_text("FROZEN")
    look = os.scandir

    def listed(path: str) -> os._ScandirIterator[str]:
        if str(path) == str(tmp_path / "goes"):
            shutil.rmtree(tmp_path / "goes", ignore_errors=True)
        return look(path)

    with monkeypatch.context() as patch:
        patch.setattr(os, "scandir", listed)
        cgroups.thaw([tmp_path, tmp_path / "never"])
    assert not (tmp_path / "goes").exists()
    assert (tmp_path / "stays/freezer.state").read_text() == "THAWED"
