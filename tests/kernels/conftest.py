"""Zygotes of a module's own: their files in a folder that is the module's, and all of them gone afterwards."""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from labkit.engine.processes import stat
from labkit.kernels import specs, starting


def of_runtime(runtime: Path) -> list[int]:
    """Every process whose first environment names this folder: zygotes, their forks, and clients."""
    wanted = f"LABKIT_RUNTIME={runtime}\0".encode()
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if stat(folder.name)[0] not in "ZX" and wanted in (folder / "environ").read_bytes():
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


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    """A folder for zygotes; whatever its tests do, no process of it is left."""
    around = Path(tempfile.mkdtemp(prefix="lkz", dir="/tmp"))
    specs.install(around / "prefix")
    yield around / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LABKIT_RUNTIME", str(around / "run"))
        starting.end_all(seconds=60)
    left = rest(around / "run")
    shutil.rmtree(around)
    assert not left


def rest(folder: Path, *kept: int) -> list[int]:
    """What is still there, after a while, but for what is *kept*; it is killed."""
    soon(lambda: set(of_runtime(folder)) <= set(kept))
    left = [pid for pid in of_runtime(folder) if pid not in kept]
    for pid in left:
        with suppress(ProcessLookupError):
            os.kill(pid, 9)
    return left


@pytest.fixture
def runtime(folder: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Iterator[Path]:
    """The folder for zygotes, without any unless the test wants one; nothing but that one is left by it."""
    monkeypatch.setenv("LABKIT_RUNTIME", str(folder))
    monkeypatch.setenv("LABKIT_ZYGOTE", "1")
    monkeypatch.setenv("LABKIT_ZYGOTE_IDLE", "300")
    monkeypatch.setenv("JUPYTER_PATH", str(folder.with_name("prefix") / "share/jupyter"))
    shared = "zygote" in request.fixturenames
    if not shared:
        starting.end_all(seconds=60)
    yield folder
    if not shared:
        starting.end_all(seconds=60)
    assert not rest(folder, *(zygotes(folder) if shared else ()))


@pytest.fixture
def zygote(runtime: Path) -> int:
    """The process number of a zygote that is ready: that of the test before, if it is still there."""
    connection = starting.connect()
    if connection is None:
        starting.start()
        connection = starting.connect(60)
    assert connection is not None
    connection.close()
    return zygotes(runtime)[0]


def zygotes(runtime: Path) -> list[int]:
    """The process numbers in the locks of zygotes."""
    return [int(lock.read_text().split()[0]) for lock in runtime.glob("zygote-*.lock")]
