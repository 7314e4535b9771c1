"""`labkit doctor`: it tries what an engine begins with, changes nothing by looking, and its remedies can be followed."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from labkit import doctor, paths, setup
from labkit.engine import debian, making
from labkit.errors import EngineUnreachable

DOCTOR = [sys.executable, "-m", "labkit", "doctor", "--json"]
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can take privileges away, or mount")


def finding(name: str, *command: str, **environ: str) -> dict[str, str]:
    done = subprocess.run(
        [*command, *DOCTOR],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
        env={**os.environ, **environ},
    )
    found: list[dict[str, str]] = json.loads(done.stdout)["findings"]
    return next(each for each in found if each["name"] == name)


@as_root
def test_root_that_may_not_make_namespaces_is_told() -> None:
    """Root in a container without privileges has no engine: the need counts as missing, with the kernel's word and a remedy."""
    assert finding("namespaces")["status"] == "ok"
    inside = finding("namespaces", "setpriv", "--bounding-set=-sys_admin")
    assert inside["status"] == "missing"
    assert "Operation not permitted" in inside["found"] and "--privileged" in inside["remedy"]
    start = [sys.executable, "-m", "labkit", "engine", "start", "none"]
    done = subprocess.run(
        ["setpriv", "--bounding-set=-sys_admin", *start], capture_output=True, text=True, check=False
    )
    assert done.returncode == 3 and "Operation not permitted" in done.stderr


@as_root
def test_no_module_is_loaded_by_looking(tmp_path: Path) -> None:
    """On a kernel whose overlay and nf_tables are modules that nobody needed yet, doctor knows them, and loads none."""
    modules = tmp_path / "lib/modules" / os.uname().release
    modules.mkdir(parents=True)
    (modules / "modules.dep").write_text(
        "kernel/fs/overlayfs/overlay.ko.xz:\nkernel/net/netfilter/nf_tables.ko: kernel/x.ko\n"
    )
    for name in ("mount", "modprobe", "chroot"):
        (tmp_path / name).write_text(f'#!/bin/sh\necho {name} "$@" >>{tmp_path}/calls\n')
        (tmp_path / name).chmod(0o755)
    script = """
        mkdir -p "$0/proc" && mount --rbind /proc "$0/proc" && mount -t tmpfs tmpfs /proc
        ln -s "$0"/proc/* /proc/
        rm -f /proc/filesystems /proc/modules
        printf 'nodev\\tproc\\n' >/proc/filesystems
        echo 'loop 1 0 - Live 0x0' >/proc/modules
        mount -t overlay -o "lowerdir=$0/lib:/usr/lib" overlay /usr/lib
        PATH="$0:$PATH" "$@"
    """
    machine = ("unshare", "--mount", "sh", "-c", script, str(tmp_path))
    assert "module" in finding("overlay", *machine)["found"]
    assert finding("iptables", *machine)["status"] == "ok"
    assert not (tmp_path / "calls").exists(), (tmp_path / "calls").read_text()
    (modules / "modules.dep").write_text("kernel/fs/overlayfs/overlay_other.ko:\n")
    assert finding("overlay", *machine)["status"] == "missing"
    assert finding("iptables", *machine)["status"] == "missing"
    (modules / "modules.dep").unlink()
    assert finding("overlay", *machine)["status"] == "degraded"
    assert finding("iptables", *machine)["status"] == "degraded"
    assert not (tmp_path / "calls").exists()


def test_the_firewall_is_looked_at_where_an_engine_finds_it() -> None:
    """An ordinary user's PATH, without the folders of root's programs, changes nothing of what is found."""
    wide = finding("iptables", PATH="/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
    assert wide["status"] == "ok"
    assert finding("iptables", PATH="/usr/local/bin:/usr/bin:/bin:/usr/local/games:/usr/games") == wide


@pytest.mark.parametrize(
    ("taken", "free"),
    [
        ("", "100000-165535"),
        ("ann:100000:65536\n", "165536-231071"),
        ("ann:165536:65536\nbob:100000:65536\n\nann:100000:65536", "231072-296607"),
        ("# nonsense\nann:x:y\nbob:500:10", "100000-165535"),
    ],
)
def test_the_remedy_names_ids_that_are_free(taken: str, free: str) -> None:
    """The range of subordinate ids to be added overlaps nobody's."""
    assert doctor.free_ids(taken) == free


def test_a_home_that_cannot_be_used_is_a_finding(tmp_path: Path) -> None:
    """One that is a file, and one that others can open: both stand among the needs, with the remedy."""
    file, folder = tmp_path / "file", tmp_path / "folder"
    file.touch()
    folder.mkdir()
    folder.chmod(0o755)
    for home, remedy in ((file, "set LABKIT_HOME"), (folder, f"chmod 700 {folder}")):
        found = finding("disk", LABKIT_HOME=str(home))
        assert found["status"] == "missing" and str(home) in found["found"] and remedy in found["remedy"]


@pytest.mark.parametrize(
    ("begin", "named"),
    [
        (lambda: setup.for_labs(print), "uidmap mmdebstrap"),
        (lambda: setup.for_labs(print, programs=setup.TEST_PROGRAMS), "uidmap mmdebstrap chromium"),
        (lambda: making.build("debian-13", print), "uidmap mmdebstrap"),
        (doctor.require_sandbox, "uidmap mmdebstrap"),
    ],
    ids=["labs", "tests", "pack", "engine"],
)
def test_one_command_installs_all_that_an_ordinary_user_lacks(
    begin: Callable[[], None], named: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every Debian package that set-up is going to need is in the first message, each once, and nothing is begun."""
    there = shutil.which
    gone = ("newuidmap", "newgidmap", "mmdebstrap", "chromium", "dockerd")
    monkeypatch.setattr(shutil, "which", lambda name, **more: None if name in gone else there(name, **more))
    monkeypatch.setattr(debian, "rootless", lambda: True)
    for name in ("LABKIT_HOME", "LABKIT_RUNTIME"):
        monkeypatch.setenv(name, str(tmp_path / name))
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/nobody")
    with pytest.raises(EngineUnreachable) as told:
        begin()
    assert told.value.try_.splitlines()[0] == f"apt-get install {named} (as root)"
    assert not [path for path in paths.home().rglob("*") if path.name != ".labkit"]
