"""What a need was found to be, and how facts about the machine are read."""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

__all__ = ["DEGRADED", "MISSING", "OK", "Finding", "read", "user"]

OK, DEGRADED, MISSING = "ok", "degraded", "missing"


@dataclass(frozen=True)
class Finding:
    """One need: its *status* (ok, degraded, missing), what was *found*, what it *costs*, and the *remedy*."""

    name: str
    status: str
    found: str
    cost: str = ""
    remedy: str = ""


def read(path: str) -> str:
    with suppress(OSError):
        return Path(path).read_text(encoding="utf-8").strip()
    return ""


def user() -> str:
    import pwd

    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        return str(os.geteuid())
