"""What a condition may be given: each mistake is told when the condition is made, before anything is looked at."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable, Collection
from signal import SIGRTMAX, SIGRTMIN, Signals
from typing import Any, TypeVar

from labkit.errors import UsageError

__all__ = ["name_of", "number", "one_of", "path", "quantity", "signal_name", "text"]

T = TypeVar("T")

NAMES = {
    "container": r"[a-zA-Z0-9][a-zA-Z0-9_.-]+",
    "volume": r"[a-zA-Z0-9][a-zA-Z0-9_.-]+",
    "network": r"[a-zA-Z0-9][a-zA-Z0-9_.-]*",
    "image": r"(?:(?:[a-zA-Z0-9][a-zA-Z0-9.-]*|\[[0-9a-f:]+\])(?::\d+)?/)?[a-z0-9][a-z0-9._-]*(?:/[a-z0-9][a-z0-9._-]*)*"
    r"(?::\w[\w.-]{0,127})?(?:@sha256:[0-9a-f]{64})?",
}
"""What an engine lets objects be called (moby, daemon/names; distribution, reference)."""

NAMES_TOLD = {
    "container": "two or more letters, digits, _ . -, the first a letter or digit",
    "volume": "two or more letters, digits, _ . -, the first a letter or digit",
    "network": "letters, digits, _ . -, the first a letter or digit",
    "image": "a name in small letters, such as shop:1 or localhost:5000/shop:1",
}
"""The same in words."""


def name_of(kind: str, given: object) -> str:
    """*given* as the name of an object of this *kind*."""
    if not isinstance(given, str) or not re.fullmatch(NAMES[kind], given, re.ASCII):
        raise UsageError(f"no {kind} can have this name", seen=repr(given), expected=NAMES_TOLD[kind])
    return given


def number(what: str, given: object, low: int, high: int) -> int:
    """*given* as a whole number from *low* to *high*."""
    if not isinstance(given, int) or isinstance(given, bool) or not low <= given <= high:
        raise UsageError(f"no such {what}", seen=repr(given), expected=f"a whole number from {low} to {high}")
    return given


def text(what: str, given: object) -> str:
    """*given* as text that is not empty."""
    if not isinstance(given, str) or not given.strip():
        raise UsageError(f"no such {what}", seen=repr(given), expected="text that is not empty")
    return given


def one_of(what: str, given: object, known: Collection[str]) -> str:
    """*given* as one of those that there are."""
    if not isinstance(given, str) or given not in known:
        raise UsageError(f"no such {what}", seen=repr(given), expected=", ".join(known))
    return given


def path(given: object) -> str:
    """*given* as an absolute path, without what can be left out."""
    if not isinstance(given, str) or not re.fullmatch(r"/[^\0\ud800-\udfff]*", given, re.DOTALL):
        raise UsageError(
            "no such path in a container or volume",
            seen=repr(given),
            expected="an absolute path such as /data/file",
        )
    return posixpath.normpath("/" + given.lstrip("/"))


def quantity(what: str, given: object, read: Callable[[Any], T]) -> T:
    """*given* as *read* reads it, which raises `ValueError` with what is expected."""
    try:
        return read(given)
    except ValueError as error:
        raise UsageError(f"no such {what}", seen=repr(given), expected=str(error)) from None


def signal_name(given: object) -> str:
    """*given* as the full name of a signal: ``SIGTERM``, ``SIGRTMIN+3``; the first three letters may be left out."""
    full = f"SIG{given.upper().removeprefix('SIG')}" if isinstance(given, str) else ""
    realtime = re.fullmatch(r"SIGRTMIN\+([1-9]\d?)", full)
    if full in Signals.__members__ or (realtime and int(realtime[1]) <= SIGRTMAX - SIGRTMIN):
        return full
    raise UsageError("no such signal", seen=repr(given), expected="the name of a signal, such as 'SIGTERM'")
