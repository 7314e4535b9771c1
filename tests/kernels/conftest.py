"""Zygotes of a test's own: their files in a folder that is the test's, and all of them gone afterwards."""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from labkit.kernels import specs, starting


def of_runtime(runtime: Path) -> list[int]:
    """Every process whose first environment names this folder: zygotes, their forks, and clients."""
    wanted = f"LABKIT_RUNTIME={runtime}\0".encode()
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            dead = (folder / "stat").read_text().rpartition(")")[2].split()[0] in "ZX"
            if not dead and wanted in (folder / "environ").read_bytes():
                found.append(int(folder.name))
    return found


def soon(condition: Callable[[], object], seconds: float = 60) -> bool:
    """Whether the condition comes true within so many seconds."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if condition():
            return True
        time.sleep(0.02)
    return bool(condition())


@pytest.fixture
def runtime(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder for zygotes; whatever the test does, no process of it is left."""
    around = Path(tempfile.mkdtemp(prefix="lkz", dir="/tmp"))
    folder = around / "run"
    specs.install(around / "prefix")
    monkeypatch.setenv("LABKIT_RUNTIME", str(folder))
    monkeypatch.setenv("LABKIT_ZYGOTE", "1")
    monkeypatch.setenv("LABKIT_ZYGOTE_IDLE", "60")
    monkeypatch.setenv("JUPYTER_PATH", str(around / "prefix/share/jupyter"))
    yield folder
    starting.end_all()
    left = [] if soon(lambda: not of_runtime(folder)) else of_runtime(folder)
    for pid in left:
        os.kill(pid, 9)
    shutil.rmtree(around)
    assert not left


@pytest.fixture
def zygote(runtime: Path) -> int:
    """The process number of a zygote that is ready."""
    starting.start()
    connection = starting.connect(60)
    assert connection is not None
    connection.close()
    return zygotes(runtime)[0]


def zygotes(runtime: Path) -> list[int]:
    """The process numbers in the locks of zygotes."""
    return [int(lock.read_text().split()[0]) for lock in runtime.glob("zygote-*.lock")]
