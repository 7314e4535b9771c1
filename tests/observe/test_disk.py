"""What takes an engine's disk, and what of it nobody uses."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

import labkit
from labkit import faults, observe
from labkit.engine import Engine
from labkit.observe.disk import Unused

MIB = 2**20


@pytest.fixture(scope="module")
def littered(module_engine: Engine) -> Iterator[Engine]:
    """An engine with every sort of leftover, at which the tests only look; those that make their own have another."""
    pack = module_engine.pack.name  # type: ignore[attr-defined]
    with labkit.open_engine("sandbox", name="littered", pack=pack, images=["busybox"]) as engine:
        faults.inject(engine, "reclaim-disk", "leftovers")
        faults.inject(engine, "reclaim-disk", "volumes")
        yield engine


def named(found: Unused) -> list[tuple[str, str]]:
    return [(each.kind, each.name) for each in found.found]


def test_what_a_container_that_goes_holds_goes_too(engine: Engine) -> None:
    """A volume and a network of an ended container are free once that container is to go as well, and not before."""
    engine.client.networks.create("net-of-it")
    engine.client.containers.run(
        "busybox:lab", "true", name="ended", volumes=["vol-of-it:/data"], network="net-of-it"
    )
    assert named(observe.unused(engine, ["networks", "volumes"])) == []
    assert named(observe.unused(engine, ["containers", "networks", "volumes"])) == [
        ("container", "ended"),
        ("network", "net-of-it"),
        ("volume", "vol-of-it"),
    ]


def test_each_sort_is_found_only_when_it_is_asked_for(littered: Engine) -> None:
    """What may go is what was asked for, in an order in which it can go; what runs and what it needs never is."""
    assert named(observe.unused(littered, [])) == []
    assert named(observe.unused(littered, ["containers"])) == [("container", "web-release-1")]
    assert named(observe.unused(littered, ["dangling-images"])) == [("image", "")]
    assert named(observe.unused(littered, ["volumes", "networks", "images"])) == [
        ("image", "web-app:lab"),
        ("image", ""),
        ("network", "web-old"),
        ("volume", "web-data"),
    ]


def test_what_is_named_is_kept(littered: Engine) -> None:
    """Names, tags, ids and patterns keep what they fit, and it is shown."""
    every = ["containers", "images", "networks", "volumes"]
    (dangling,) = observe.unused(littered, ["dangling-images"]).found
    keep = ["web-release-*", "web-app:lab", dangling.id.removeprefix("sha256:")[:12], "web-old", "web-data"]
    found = observe.unused(littered, every, keep=keep)
    assert not found and len(found.kept) == 5
    assert "kept: it is named" in str(found)


def test_what_is_young_stays(littered: Engine) -> None:
    """Only what was made or ended longer ago than was asked for may go."""
    assert named(observe.unused(littered, ["containers", "networks", "volumes"], older=3600)) == []
    old = observe.unused(littered, ["images"], older=3600)
    assert [each.name for each in old.found] == ["web-app:lab", ""], "images of another year"


def test_sizes_are_the_engines(littered: Engine) -> None:
    """Usage and what would come back are what was written, in bytes."""
    usage = observe.disk_usage(littered)
    assert usage.containers == 6 * MIB
    assert usage.volumes == 2 * MIB
    assert 6 * MIB <= usage.images < 16 * MIB
    assert observe.unused(littered, ["containers", "dangling-images"]).size == 10 * MIB


def test_the_largest_files_come_first(littered: Engine) -> None:
    """The largest files below the data folder, with their sizes."""
    (first, second) = observe.large_files(littered, 2).files  # type: ignore[union-attr]
    assert first[0] == 6 * MIB and first[1].endswith("/diff/log")
    assert second[0] == 4 * MIB and second[1].endswith("/release")
