"""What ``make test`` makes of tests that fail."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.suite import AGAIN

ROOT = Path(__file__).parent.parent
ONCE = """
import sys
from pathlib import Path

import pytest

@pytest.mark.parametrize("number", range({count}))
def test_once(number):
    mark = Path(f"failed-{{number}}")
    there = mark.exists()
    mark.touch()
    assert there

@pytest.mark.alone
def test_alone():
    assert {alone} and not sys.dont_write_bytecode

def test_always():
    assert {always}
"""


@pytest.mark.parametrize(
    ("values", "code", "told"),
    [
        ({}, 0, "1 passed, 1 skipped"),
        ({"count": AGAIN}, 1, f"  test_it.py::test_once[{AGAIN - 1}]\n"),
        ({"count": AGAIN + 1}, 1, f"{AGAIN + 1} failed, 1 passed"),
        ({"always": False, "count": 1}, 1, "1 failed, 1 passed"),
        ({"alone": False}, 1, "1 failed"),
    ],
)
def test_who_fails_once_has_failed(values: dict[str, object], code: int, told: str, tmp_path: Path) -> None:
    """Whatever fails, fails the suite; a few that failed beside others are tried alone, and named where they pass there."""
    (tmp_path / "pytest.ini").write_text("[pytest]\nmarkers = alone\n")
    (tmp_path / "test_it.py").write_text(ONCE.format(**{"count": 0, "alone": True, "always": True, **values}))
    done = subprocess.run(
        [sys.executable, "-m", "tests.suite", "2"],
        cwd=tmp_path,
        env={
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "PYTHONDONTWRITEBYTECODE": "1",
            "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
            "PYTEST_PLUGINS": "xdist.plugin",
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, told in done.stdout) == (code, True), done.stdout + done.stderr
    assert ("NOT ALONE" in done.stdout) is (values == {"count": AGAIN})
