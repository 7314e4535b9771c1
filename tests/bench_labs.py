"""What a learner waits for: the start of a lab again."""

from __future__ import annotations

import contextlib
import io
import os
import statistics
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import labkit.lab
from labkit.lab import Session
from labkit.lab.changes import Changes, Looks
from labkit.lab.changes.snapshots import look
from tests.bench import ROUNDS, Row, row, timed

LAB = "30-container-states"


def rows() -> list[Row]:
    """All rows about labs."""
    return [reset_against_opening(), *changes_among_twenty()]


@contextlib.contextmanager
def nobodys_progress() -> Iterator[None]:
    """While this lasts, what is done in labs counts for nobody, and nothing is printed."""
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
        os.environ["LABKIT_PROGRESS"] = str(Path(folder, "progress.sqlite"))
        try:
            yield
        finally:
            del os.environ["LABKIT_PROGRESS"]


def populated() -> Session:
    """The lab, with a container that runs."""
    lab = labkit.lab.open(LAB, name="ada", image="busybox:lab")
    lab.engine.client.containers.run("busybox:lab", ["sleep", "1000"], name="ada", detach=True)
    return lab


def pristine(lab: Session) -> None:
    assert lab.state("ada") == "removed" and lab.engine.client.images.get("busybox:lab")


def reset_against_opening() -> Row:
    """``lab.reset()``, until the engine answers and has its images, against the end of the lab and a new start."""

    def reset(lab: Session) -> None:
        lab.reset()
        pristine(lab)

    def anew(lab: Session) -> None:
        lab.close()
        pristine(labkit.lab.open(LAB, name="ada", image="busybox:lab"))

    sides: dict[Callable[[Session], None], list[float]] = {reset: [], anew: []}
    with nobodys_progress():
        for _ in range(ROUNDS):
            for side, times in sides.items():
                lab = populated()
                times.append(timed(lambda do=side, to=lab: do(to)))  # type: ignore[misc]
        labkit.lab.open(LAB, name="ada", image="busybox:lab").close()
    ratio = round(statistics.median(sides[reset]) / statistics.median(sides[anew]), 2)
    return row("lab reset, images ready", sides[reset], 0.8, versus="end and open again", ratio=ratio)


def changes_among_twenty() -> list[Row]:
    """``lab.changed()`` after one of twenty containers was paused or went on, against a look at all of them."""
    changed, everything = [], []
    with labkit.open_engine(name="bench", images=["busybox"]) as engine:
        api = engine.client.api
        for number in range(20):
            api.create_container("busybox:lab", ["sleep", "1000"], name=f"c{number}")
            api.start(f"c{number}")
        looks = Looks.of(engine)
        for number in range(ROUNDS):
            for change in (api.pause, api.unpause):
                change(f"c{number % 20}")
                found: list[Changes] = []
                changed.append(timed(lambda to=found: to.append(looks.changed())))  # type: ignore[misc]
                assert [each.what for each in found[0].changes] == ["State.Status"]
                everything.append(timed(lambda: look(engine)))
    ratio = round(statistics.median(changed) / statistics.median(everything), 2)
    name = "lab.changed(), one of 20 containers changed"
    return [row(name, changed, 0.05, versus="a look at everything", ratio=ratio)]
