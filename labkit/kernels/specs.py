"""The kernelspec ``labkit``: forked kernels, for every program that starts kernels by name."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

__all__ = ["NAME", "install"]

NAME = "labkit"
SOURCE = Path(__file__).parent / "kernelspec"


def install(prefix: Path | None = None) -> bool:
    """Install the kernelspec below *prefix* (default: this Python's environment); false if it is there already.

    Raises `OSError` where the environment cannot be written.
    """
    folder = (prefix or Path(sys.prefix)) / "share/jupyter/kernels" / NAME
    ours, there = SOURCE / "kernel.json", folder / "kernel.json"
    if there.exists() and there.read_bytes() == ours.read_bytes():
        return False
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(ours, there)
    return True
