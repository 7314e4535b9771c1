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
from tests.bench import ROUNDS, Row, row, timed

LAB = "30-container-states"


def rows() -> list[Row]:
    """All rows about labs."""
    return [reset_against_opening()]


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
