"""Out-of-memory tests share one thing that no engine isolates: the kernel's log.

The kernel prints the table of processes for ten kills in five seconds, machine-wide (mm/oom_kill.c,
``oom_rs``), and a diagnosis that finds no table is rightly undecided.  So a test that needs it waits for
its turn.
"""

from __future__ import annotations

import re
import subprocess
import time
from pathlib import Path

import pytest

__all__ = ["kernel_budget"]


@pytest.fixture(autouse=True)
def kernel_budget() -> None:
    """Wait until fewer than five kills were printed within the last five seconds."""
    deadline = time.monotonic() + 60
    while _printed_lately() >= 5 and time.monotonic() < deadline:
        time.sleep(0.5)


def _printed_lately() -> int:
    log = subprocess.run(["dmesg"], capture_output=True, text=True, errors="replace", check=False).stdout
    kills = re.findall(r"^\[\s*(\d+\.\d+)\] oom-kill:", log, re.MULTILINE)
    now = float(Path("/proc/uptime").read_text().split()[0])
    return sum(now - float(stamp) < 5.5 for stamp in kills)
