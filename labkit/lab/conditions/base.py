"""What every condition is: where to look, what is expected there, and how to tell; and the reading that comes of it."""

from __future__ import annotations

import tarfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import ClassVar

from labkit.lab.conditions.facts import Facts, Found, Key, Missing, NotReadable
from labkit.shapes import MASK, hide, looks_secret

__all__ = ["NEVER", "OFTEN", "SELDOM", "Condition", "Object", "Reading", "Seen", "kept"]

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

    Printed, a failed one reads ``container ada-x1, exit code: 137, expected 143``.  What looks like a secret is masked.
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
            seen = Seen(missing.told(self.looked_at), ok=False)
        except NotReadable as reason:
            seen = Seen(f"not readable ({reason})", ok=False)
        except (LookupError, TypeError, ValueError, tarfile.TarError) as odd:  # an answer of another form
            seen = Seen(f"not readable ({type(odd).__name__}: {odd})", ok=False)
        saw, expected = " ".join(hide(seen.saw).split()), hide(self.expected)
        if not seen.ok and saw == expected and seen.saw != self.expected:
            saw += " (another value)"
        return Reading(hide(self.looked_at), saw, expected, seen.ok)


@dataclass(frozen=True)
class Object:
    """An object of a *kind* by its *name*; each public method makes a condition of it."""

    kind: ClassVar[str]
    name: str

    def _that(
        self,
        what: str,
        expected: str,
        see: Callable[[Facts, Found], Seen],
        *,
        polled: int = NEVER,
        also: Iterable[Key] = (),
    ) -> Condition:
        """*what* of it is as *expected*; *see* tells, *also* depends on those objects."""

        def look(facts: Facts) -> Seen:
            return see(facts, getattr(facts, self.kind)(self.name))

        looked_at = f"{self.kind} {self.name}" + (f", {what}" if what else "")
        return Condition(looked_at, expected, frozenset({(self.kind, self.name), *also}), look, polled)

    def exists(self) -> Condition:
        """It is there."""
        return self._that("", "there", lambda facts, found: Seen("there", ok=True))

    def absent(self) -> Condition:
        """It is not there.  True before anything was done: ask for something else beside it."""

        def look(facts: Facts) -> Seen:
            there = facts.has(self.kind, self.name)
            return Seen("there" if there else f"no such {self.kind}", ok=not there)

        return Condition(
            f"{self.kind} {self.name}", f"no such {self.kind}", frozenset({(self.kind, self.name)}), look
        )


def kept(name: str, value: str, wanted: str | None = None) -> str:
    """*value* of what is called *name*, for a message: masked if that is a secret's, and then whether it is *wanted*."""
    if not looks_secret(name):
        return value
    return MASK if wanted in (None, value) else f"{MASK} (another value)"
