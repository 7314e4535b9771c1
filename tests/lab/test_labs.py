"""Every lab proves its checks: whatever its notebook records is tried in private engines, as `labkit check-labs` does.

Each lab is a class of its own, so that the workers of `--dist loadscope` share them.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any, ClassVar

import pytest

from labkit.lab import rules
from tests.notebooks import LABS
from tests.test_notebooks import STILL_TO_MOVE


class Proof:
    """What is tried of one lab, all of it once."""

    path: ClassVar[Path]

    @pytest.fixture(scope="class")
    def report(self) -> Any:
        """What `labkit check-labs` says of the lab."""
        done = subprocess.run(
            [sys.executable, "-m", "labkit", "check-labs", str(self.path), "--json"],
            capture_output=True,
            text=True,
            check=False,
            timeout=170,
        )
        assert done.stdout, done.stderr
        return json.loads(done.stdout)[0]

    def test_its_checks_cannot_be_fooled(self, report: Any) -> None:
        """Untouched, starter and wrong answers fail with their messages, the solution passes twice; nothing is told."""
        assert report["problems"] == []

    def test_its_mutation_score_is_100(self, report: Any) -> None:
        """All recorded wrong answers, three or more an exercise, and all conditions taken away are noticed."""
        exercises = {trial["exercise"] for trial in report["trials"]}
        assert report["rejected"] == report["tried"] >= 4 * len(exercises) > 0


for _path in LABS:
    if _path.stem not in STILL_TO_MOVE and rules.kind(_path, rules.load(_path)) == "lab":
        _name = f"TestLab{_path.stem.replace('-', '_')}"
        globals()[_name] = type(_name, (Proof,), {"path": _path})
