"""Every lab proves its checks: whatever its notebook records is tried in private engines, as `labkit check-labs` does."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.notebooks import LABS, each


def proof(path: Path) -> Any:
    """What `labkit check-labs` finds in the notebook at *path*."""
    done = subprocess.run(
        [sys.executable, "-m", "labkit", "check-labs", str(path), "--json"],
        capture_output=True,
        text=True,
        check=False,
        timeout=590,
    )
    assert done.stdout, done.stderr
    return json.loads(done.stdout)[0]


@pytest.mark.timeout(600)
@pytest.mark.parametrize("path", each(LABS))
def test_the_checks_of_a_lab_cannot_be_fooled(path: Path) -> None:
    """Untouched, starter and wrong answers fail with their messages, the solution passes twice, nothing is told.

    Each exercise has at least three wrong answers and a condition, and the mutation score is 100 %.
    """
    report = proof(path)
    assert report["problems"] == []
    exercises = {trial["exercise"] for trial in report["trials"]}
    assert report["rejected"] == report["tried"] >= 4 * len(exercises) > 0
