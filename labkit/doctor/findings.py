"""What a need was found to be, and how facts about the machine are read."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

__all__ = ["DEGRADED", "MISSING", "OK", "Finding", "install", "read", "remedies", "user"]

OK, DEGRADED, MISSING = "ok", "degraded", "missing"


@dataclass(frozen=True)
class Finding:
    """One need: its *status* (ok, degraded, missing), what was *found*, what it *costs*, and the *remedy*."""

    name: str
    status: str
    found: str
    cost: str = ""
    remedy: str = ""


_INSTALL = re.compile(r"apt-get install (.+) \(as root\)")


def install(packages: Iterable[str]) -> str:
    """The remedy for Debian *packages* that are not there."""
    return f"apt-get install {' '.join(packages)} (as root)"


def remedies(findings: Iterable[Finding], packages: Sequence[str] = ()) -> list[str]:
    """What to try, each line once, and all Debian packages, *packages* too, in one that comes first."""
    lines = dict.fromkeys(line for finding in findings for line in finding.remedy.splitlines())
    named = [word for line in lines if (found := _INSTALL.fullmatch(line)) for word in found[1].split()]
    wanted = dict.fromkeys([*named, *packages])
    return [*([install(wanted)] if wanted else []), *(line for line in lines if not _INSTALL.fullmatch(line))]


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
