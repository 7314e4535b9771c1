"""What the journal and the redaction cost: their share of a run, measured within it.

In processor time, since the wall clock of a busy machine tells of the others; but what the disk takes for an
fdatasync(2) or an fsync(2) counts as it is.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile

from labkit import faults
from labkit.engine import open_engine
from tests.bench import Row

__all__ = ["GOAL", "journal_share"]

GOAL = 0.05
_MEASURED = """
import os, resource, sys, tempfile, time
from pathlib import Path
from labkit import runbook
from labkit.runbook import journal, presenting, reports, saving, steps

spent = 0.0

def counted(function, clock=time.thread_time):
    def timed(*given, **named):
        global spent
        began = clock()
        try:
            return function(*given, **named)
        finally:
            spent += clock() - began
    return timed

def processor():
    both = map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(each.ru_utime + each.ru_stime for each in both)

os.fdatasync = counted(os.fdatasync, time.perf_counter)
os.fsync = counted(os.fsync, time.perf_counter)

journal.Journal.write = counted(journal.Journal.write)
steps.mask = counted(steps.mask)
saving.presentable = counted(saving.presentable)
began = processor()
outcome = runbook.run("diagnose-exit-137", out_dir=Path(tempfile.mkdtemp(dir=sys.argv[1])))
took = processor() - began
assert outcome.status == "incident", outcome.failure
print(spent, took)
"""


def journal_share(rounds: int) -> list[Row]:
    """What a read-only run spends in writing its journal and in masking, of all that it and its cells take."""
    with open_engine("sandbox", images=["busybox"]) as engine, tempfile.TemporaryDirectory() as folder:
        faults.inject(engine, "exit-137")
        shares, times = [], []
        for _ in range(rounds):
            done = subprocess.run(
                [sys.executable, "-c", _MEASURED, folder],
                env={**os.environ, "DOCKER_HOST": engine.url},
                capture_output=True,
                text=True,
                check=True,
            )
            spent, took = map(float, done.stdout.split())
            shares.append(spent / took)
            times.append(spent)
    shares.sort()
    share = shares[len(shares) // 2]
    return [
        Row(
            "journal and redaction, share of a run",
            median=round(share, 4),
            p95=round(shares[max(0, round(0.95 * len(shares)) - 1)], 4),
            unit="of 1",
            goal=f"<= {GOAL}",
            ok=share <= GOAL,
            note=f"{sorted(times)[len(times) // 2] * 1000:.0f} ms",
        )
    ]


if __name__ == "__main__":
    print(*journal_share(10), sep="\n")
