"""Tests here run containers out of memory, and leave files in the present folder: each has one of its own."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.kernel_budget import kernel_budget

__all__ = ["kernel_budget"]


@pytest.fixture(autouse=True)
def a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The present folder of each test."""
    monkeypatch.chdir(tmp_path)
