"""The whole suite, as ``make test`` runs it: first the tests that want the machine for themselves, then all others side by side.

Tests of live engines, side by side on a busy machine, can meet a delay that nobody foresaw.  So up to `AGAIN` tests that
failed are tried once more, with nothing beside them: who fails again has failed.  Who passes is told by name, and is a defect
all the same, of the test or of labkit: to be found and mended, not to be got used to.
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
"""So many failures may come of one delay, since tests share engines; more of them are not tried again."""
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
            code = again(list(json.loads(FAILED.read_text(encoding="utf-8"))))
    print(f"the whole suite took {time.monotonic() - began:.0f} s")
    return code


def again(failed: list[str]) -> int:
    """Try these tests once more by themselves, unless they are too many; returns the exit code that counts."""
    if len(failed) > AGAIN:
        return int(pytest.ExitCode.TESTS_FAILED)
    print(f"\n{len(failed)} of the tests failed beside others; once more, by themselves:", flush=True)
    code = run(*failed)
    if not code:
        print("FAILED BESIDE OTHERS AND PASSED ALONE, to be mended:", *failed, sep="\n  ")
    return code


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
