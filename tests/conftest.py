"""What the tests share: live engines, one a module and version, emptied between tests."""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import docker
import pytest
from hypothesis import settings

import labkit
from labkit import paths
from labkit.engine import Engine, cgroups, making, packs
from labkit.errors import MissingCapability
from tests.browser import browser, lab

__all__ = ["browser", "lab"]

# a process that outlives its starter would be residue; its own tests start some
os.environ["LABKIT_ZYGOTE"] = "0"

# a shell that runs us in its background has both ignored, and so would all that we start, also what has to end by them
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGHUP, signal.SIG_DFL)

# what is made up is tried for what it does, not for how long that takes on a busy machine
settings.register_profile("ours", deadline=None)
settings.load_profile("ours")

PACKS = ["debian-13", "debian-12"]
"""Docker 26.1 and Docker 20.10."""


@pytest.fixture(scope="session", autouse=True)
def progress_of_nobody(tmp_path_factory: pytest.TempPathFactory) -> None:
    """What a test does in a lab is not the progress of who runs the tests."""
    os.environ["LABKIT_PROGRESS"] = str(tmp_path_factory.mktemp("learner") / "progress.sqlite")


@pytest.hookimpl(trylast=True)  # once it is known which tests are wanted
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Tests that ask for more time than is usual are the first of each worker, so that none is left alone with one at the end.

    At first pytest-xdist gives each worker as many tests as the others, in the order of this list (``--dist worksteal``).
    A module that asks for more is one worker's: its tests share what takes long.
    """

    def asked(item: pytest.Item) -> float:
        return max((mark.args[0] for mark in item.own_markers if mark.name == "timeout"), default=0)

    long = sorted(filter(asked, items), key=asked, reverse=True)
    rest = [item for item in items if not asked(item)]
    rest.sort(key=lambda item: item.get_closest_marker("timeout") is None)
    workers = getattr(config, "workerinput", {"workercount": 1})["workercount"]
    dealt: list[pytest.Item] = []
    for number in range(workers):
        first = long[number::workers]
        others = max(0, (len(items) - len(dealt)) // (workers - number) - len(first))
        dealt += [*first, *rest[:others]]
        del rest[:others]
    items[:] = [*dealt, *rest]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Iterator[None]:
    """Where a user is handed no limits, as without systemd or with less delegated, what needs them says so and is skipped."""
    try:
        return (yield)
    except MissingCapability as missing:
        if {"memory", "cpu", "pids"} <= set(cgroups.controllers()):
            raise
        pytest.skip(f"{missing.what}: {missing.seen}")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_setup(item: pytest.Item) -> Iterator[None]:
    return (yield from pytest_runtest_call(item))


@pytest.fixture(scope="module", params=PACKS)
def module_engine(request: pytest.FixtureRequest) -> Iterator[Engine]:
    """A private engine with busybox ready, for all tests of a module; once for each engine version."""
    if request.param not in packs.names():
        making.build(request.param)
    with labkit.open_engine("sandbox", name="test", pack=request.param, images=["busybox"]) as engine:
        yield engine


def remove_containers(engine: Engine) -> None:
    """All of them; one that is being removed already, as after ``docker run --rm``, is waited for."""
    api, end = engine.client.api, time.monotonic() + 60
    while rows := api.containers(all=True):
        for row in rows:
            try:
                api.remove_container(row["Id"], force=True, v=True)
            except docker.errors.NotFound:
                continue
            except docker.errors.APIError:
                if time.monotonic() > end:
                    raise


def remove_volumes(engine: Engine) -> None:
    """All of them; a container that goes by itself is no longer listed a moment before its volumes are gone."""
    api, end = engine.client.api, time.monotonic() + 60
    while volumes := api.volumes()["Volumes"]:
        for volume in volumes:
            try:
                api.remove_volume(volume["Name"])
            except docker.errors.NotFound:
                continue
            except docker.errors.APIError:
                if time.monotonic() > end:
                    raise


@pytest.fixture
def engine(module_engine: Engine) -> Iterator[Engine]:
    """The module's engine, without containers, volumes and networks of an earlier test."""
    yield module_engine
    module_engine.unuse()
    remove_containers(module_engine)
    remove_volumes(module_engine)
    module_engine.client.networks.prune()


@pytest.fixture
def own_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Path, Path]]:
    """A labkit home and a runtime folder of the test's own, for what deletes; with links to the packs, and with busybox."""
    shared, home = paths.home(), tmp_path / "home"
    for name in ("packs", "images"):
        (home / name).mkdir(mode=0o700, parents=True)
    home.chmod(0o700)
    for pack in PACKS:
        (home / "packs" / pack).symlink_to(shared / "packs" / pack)
    for file in (shared / "images").glob("busybox.*"):
        shutil.copy(file, home / "images")
    runtime = Path(tempfile.mkdtemp(prefix="lk-", dir="/tmp"))
    monkeypatch.setenv("LABKIT_HOME", str(home))
    monkeypatch.setenv("LABKIT_RUNTIME", str(runtime))
    yield home, runtime
    shutil.rmtree(runtime, ignore_errors=True)
