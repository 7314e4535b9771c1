"""What the tests share: live engines, one a module and version, emptied between tests."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

import labkit
from labkit.engine import Engine, packs

os.environ["LABKIT_ZYGOTE"] = (
    "0"  # a process that outlives its starter would be residue; its own tests start some
)

PACKS = ["debian-13", "debian-12"]
"""Docker 26.1 and Docker 20.10."""


@pytest.fixture(scope="module", params=PACKS)
def module_engine(request: pytest.FixtureRequest) -> Iterator[Engine]:
    """A private engine with busybox ready, for all tests of a module; once for each engine version."""
    if request.param not in packs.names():
        packs.build(request.param)
    with labkit.open_engine("sandbox", name="test", pack=request.param, images=["busybox"]) as engine:
        yield engine


@pytest.fixture
def engine(module_engine: Engine) -> Iterator[Engine]:
    """The module's engine, without containers, volumes and networks of an earlier test."""
    yield module_engine
    module_engine.unuse()
    for container in module_engine.client.containers.list(all=True):
        container.remove(force=True, v=True)
    for volume in module_engine.client.volumes.list():
        volume.remove()
    module_engine.client.networks.prune()
