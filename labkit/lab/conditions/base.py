"""What every condition is: where to look, what is expected there, and how to tell; and the reading that comes of it."""

from __future__ import annotations

import tarfile
from collections.abc import Callable
from dataclasses import dataclass, field

from labkit.lab.conditions.facts import Facts, Key, Missing, NotReadable

__all__ = ["NEVER", "OFTEN", "SELDOM", "Condition", "Reading", "Seen"]

NEVER, OFTEN, SELDOM = 0, 1, 4
"""How often to look at what changes without an event: not at all, each time, each fourth time, since somebody is called."""


@dataclass(frozen=True)
class Seen:
    """What was *saw* in words, and whether it is what the condition wants (*ok*)."""

    saw: str
    ok: bool


@dataclass(frozen=True)
class Reading:
    """One look at the engine: at what, what was seen, what was expected, and whether that is the same (*ok*).

    Printed, a failed one reads ``container ada-x1, exit code: 137, expected 143``.
    """

    looked_at: str
    saw: str
    expected: str
    ok: bool

    def __str__(self) -> str:
        return f"{self.looked_at}: {self.saw}" + ("" if self.ok else f", expected {self.expected}")


@dataclass(frozen=True)
class Condition:
    """Something that is wanted of the engine.

    *keys*: the objects that it depends on, whose events make it worth another look.  *polled*: how often, if it can also
    change without an event.  *see* looks, and may let `Missing` and `NotReadable` through.
    """

    looked_at: str
    expected: str
    keys: frozenset[Key]
    see: Callable[[Facts], Seen] = field(repr=False)
    polled: int = NEVER

    def read(self, facts: Facts) -> Reading:
        """Look.  What is not there, or cannot be read, is a failed reading; raises `Unanswered` where no engine answers."""
        try:
            seen = self.see(facts)
        except Missing as missing:
            seen = Seen(str(missing), ok=False)
        except NotReadable as reason:
            seen = Seen(f"not readable ({reason})", ok=False)
        except (LookupError, TypeError, ValueError, tarfile.TarError) as odd:  # an answer of another form
            seen = Seen(f"not readable ({type(odd).__name__}: {odd})", ok=False)
        return Reading(self.looked_at, " ".join(seen.saw.split()), self.expected, seen.ok)
