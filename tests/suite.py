"""The whole suite, as ``make test`` runs it: first the tests that want the machine for themselves, then all others side by side.

A test that failed has failed the suite.  Up to `AGAIN` of them are tried once more, with nothing beside them, only to tell
where to look: one that passes then has met a delay or a neighbour that it, or labkit, does not allow for.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

__all__ = ["AGAIN", "main"]

AGAIN = 10
"""More failures than these are not tried again: that would take long, and tell little."""
FAILED = Path(".pytest_cache/v/cache/lastfailed")


def run(*words: str) -> int:
    """Run pytest; returns its exit code."""
    return subprocess.run([sys.executable, "-m", "pytest", *words], check=False).returncode


def main(workers: str) -> int:
    """Run the suite in the present folder; returns the exit code of what counts."""
    began = time.monotonic()
    # else each of some thousand processes compiles the modules that it imports, and each worker every test
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    code = run("-m", "alone")
    if not code:
        code = run(
            *("-n", workers, "--dist", "worksteal", "--durations", "10"),
            *("--cache-clear", "-m", "not alone"),
        )
        if code == pytest.ExitCode.TESTS_FAILED:
            again(list(json.loads(FAILED.read_text(encoding="utf-8"))))
    print(f"the whole suite took {time.monotonic() - began:.0f} s")
    return code


def again(failed: list[str]) -> None:
    """Tell whether these tests fail by themselves, too, unless they are too many."""
    if len(failed) > AGAIN:
        return
    print(f"\n{len(failed)} of the tests failed beside others; once more, by themselves:", flush=True)
    if not run(*failed):
        print("FAILED BESIDE OTHERS, THOUGH NOT ALONE:", *failed, sep="\n  ")


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
