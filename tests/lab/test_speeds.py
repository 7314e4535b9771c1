"""How fast the four places are: measured for real, told so that it repeats, and nothing is left."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

import labkit
from labkit.engine import Engine
from labkit.errors import LabkitError
from labkit.lab.speeds import FLOOR, PLACES, WORK, Speeds, speeds


@pytest.fixture(scope="module")
def engine() -> Iterator[Engine]:
    """A private engine with an image that has bash."""
    with labkit.open_engine("sandbox", name="speeds", images=["busybox", "debian"]) as engine:
        yield engine


def left(engine: Engine) -> list[object]:
    client = engine.client
    return [*client.containers.list(all=True), *client.volumes.list(), *client.images.list("grace-speeds")]


def test_the_first_change_copies_the_file(engine: Engine) -> None:
    """In the layer the first change takes a multiple of what it takes in a volume; nothing is left of the measuring."""
    found = speeds(engine, "debian:lab", "grace")
    assert set(found.seconds) == {(work, place) for work in WORK for place in PLACES}
    assert found.ratio("change", "layer") > 10
    assert "more than 10 times as long" in repr(found) and "ms" not in repr(found)
    assert repr(found.details()).count("ms") == len(found.seconds)
    assert left(engine) == []


def test_an_image_that_cannot_measure(engine: Engine) -> None:
    """An image without bash is told in one message, and nothing is left."""
    with pytest.raises(LabkitError, match="bash"):
        speeds(engine, "busybox:lab", "grace")
    assert left(engine) == []


def test_what_the_container_says_is_told(engine: Engine) -> None:
    """A container that fails gives its own words: here the file does not fit."""
    from labkit.lab.speeds import _must

    container = engine.client.containers.run(
        "debian:lab", ["sh", "-c", "echo no space; exit 3"], detach=True, name="grace-fails"
    )
    try:
        with pytest.raises(LabkitError, match="no space"):
            _must(container)
    finally:
        container.remove(force=True)


@pytest.mark.parametrize(
    ("layer", "told"),
    [(FLOOR * 20, "more than 10 times"), (FLOOR * 5, "alike"), (FLOOR / 1000, "alike")],
)
def test_only_what_is_far_apart_is_told_apart(layer: float, told: str) -> None:
    """Times that differ by less than ten, or that are too short to measure, are told as alike."""
    seconds = {(work, place): FLOOR / 30 for work in WORK for place in PLACES}
    assert told in repr(Speeds({**seconds, ("change", "layer"): layer}))
