"""Rows of `make bench` about nbval: what it takes for a notebook beside the work of its cells, on forked and ordinary kernels.

Both kinds of kernel take turns in one run, and the work is subtracted as the same kernel has told it in the same run
(`tests.nbval_times`), so that neither another executor nor a busier minute counts.  What a cell does is its own work, also
the engine that a lab's first cell opens; so what is left is: reading the notebook, starting the kernel, sending cells and
comparing what comes back, ending the kernel.  That pytest itself starts is counted once, in the note; and so is the time for
which nbval and its kernel were ready to run and had no processor, which is that of the machine's other work.
"""

from __future__ import annotations

import json
import shutil
import statistics
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from labkit.faults import volumes
from tests.bench import Row, p95
from tests.notebooks import LABS, PAGES, RUNBOOKS

if TYPE_CHECKING:
    from tests.bench_runs import Bench

__all__ = ["rows"]

COPIES = 8
GOAL = 0.4
OPTIONS = ("-q", "-p", "no:cacheprovider", "--nbval-lax", "--nbval-cell-timeout=120", "--nbval-kernel-name")


def rows(b: Bench, rounds: int) -> list[Row]:
    """nbval over small notebooks, with the kernels of a stock nbval too, and over all notebooks of the project."""
    small, real = b.folder / "small", b.folder / "real"
    small.mkdir()
    for number in range(COPIES):
        shutil.copy(b.book, small / f"{number}.ipynb")
    real.mkdir()
    for path in [*PAGES, *LABS, *RUNBOOKS]:
        shutil.copy(path, real)
    b.engine.client.volumes.create("web-data")  # what the runbooks look at
    volumes.write(real / "web-data.tar", volumes.archive(), noted=volumes.archive())
    return [
        _row(b, "a small notebook", small, b.stock / "python", rounds),
        _row(b, "a page, lab or runbook", real, Path(sys.executable), rounds),
    ]


def _row(b: Bench, what: str, folder: Path, other: Path, rounds: int) -> Row:
    """Seconds a notebook, above its cells' work; *other* is the Python of the ordinary kernels."""
    shutil.copy(Path(__file__).with_name("nbval_times.py"), folder / "conftest.py")
    sides: dict[str, tuple[str | Path, ...]] = {
        "labkit": (sys.executable, "-p", "no:xdist"),
        "python3": (other,),
    }
    above: dict[str, list[float]] = {kernel: [] for kernel in sides}
    work, ran, waits, starts = list[float](), list[float](), list[float](), list[float]()
    for _ in range(rounds):
        for kernel, (python, *more) in sides.items():
            told, start = _nbval(b, folder, (python, "-m", "pytest", *more, *OPTIONS, kernel, folder))
            above[kernel] += [each["seconds"] - each["queued"] - each["cells"] for each in told]
            if kernel == "labkit":
                work += [each["cells"] for each in told]
                ran += [each["ran"] for each in told]
                waits += [each["queued"] for each in told]
                starts.append(start)
    ours, theirs = (statistics.median(above[kernel]) for kernel in sides)
    return Row(
        f"nbval, forked kernel: {what}, above its cells' work",
        round(ours, 4),
        round(p95(above["labkit"]), 4),
        versus=f"kernel python3 ({theirs:.3f} s)",
        ratio=round(ours / theirs, 3),
        goal=f"<= {GOAL} s",
        ok=ours <= GOAL,
        note=f"{statistics.median(ran):.2f} s of it on a processor; cells {statistics.mean(work):.2f} s, "
        f"waits for a processor {statistics.median(waits):.2f} s, "
        f"pytest's start {statistics.median(starts):.1f} s once",
    )


def _nbval(b: Bench, folder: Path, command: tuple[str | Path, ...]) -> tuple[list[dict[str, Any]], float]:
    """What *command* took for each notebook of *folder*; and for its own start and end, in seconds."""
    times = folder.with_suffix(".json")
    times.unlink(missing_ok=True)
    began = time.perf_counter()
    b.run(*command, environ={"NBVAL_TIMES": str(times)})
    total = time.perf_counter() - began
    told = json.loads(times.read_text())
    assert len(told) == len(list(folder.glob("*.ipynb"))) and all(each["cells"] > 0 for each in told), told
    return told, total - sum(each["seconds"] for each in told)
