"""Every error that labkit shows a user: one small tree, each with what was seen and what to try.

An error stores its parts; the message is built in ``__str__``.  ``exit_code`` is what the command line
returns for it (the table is in README.md).
"""

from __future__ import annotations

from collections.abc import Iterable

__all__ = [
    "ApplyUnverified",
    "EngineFailed",
    "EngineUnreachable",
    "LabkitError",
    "MissingCapability",
    "PackBroken",
    "Refused",
    "UsageError",
    "nearest",
    "no_such",
]

MANY = 20
"""So many names are told; the rest is counted."""


class LabkitError(Exception):
    """The base of all labkit errors.

    Parameters: *what* went wrong, in one clause that names the object; what was *seen*; what was *expected*;
    what to *try* (one remedy a line).  Only *what* is required.
    """

    exit_code = 1
    begun = False
    """Whether something had been done already of the plan that was being carried out."""

    def __init__(self, what: str, *, seen: str = "", expected: str = "", try_: str = "") -> None:
        super().__init__(what)
        self.what, self.seen, self.expected, self.try_ = what, seen, expected, try_

    def _render_traceback_(self) -> list[str]:
        """What IPython shows for it: the message, which is all that its reader can use."""
        return [f"{type(self).__name__}: {self}"]

    def __str__(self) -> str:
        parts = [self.what]
        for label, text in (("seen", self.seen), ("expected", self.expected), ("try", self.try_)):
            if text:
                first, *rest = text.strip().splitlines()
                parts += [f"  {label + ':':<9} {first}", *(f"{'':12}{line}" for line in rest)]
        return "\n".join(parts)


class UsageError(LabkitError):
    """The caller asked for something that cannot be: a bad name, option or parameter.  Nothing was touched."""

    exit_code = 2


def no_such(
    what: str,
    given: object,
    known: Iterable[str],
    *,
    otherwise: str = "there is none",
    try_: str = "{}",
    far: str = "",
) -> UsageError:
    """An error for a name that nothing has: tells those that are *known*, and *try_* with the nearest of them for ``{}``.

    *otherwise*: what is seen where nothing is known; *far*: what to try where nothing is near.
    """
    names = list(known)
    more = f" and {len(names) - MANY} more" if len(names) > MANY else ""
    near = nearest(given, names)
    return UsageError(
        f"no {what} called {given!r}",
        seen=", ".join(names[:MANY]) + more or otherwise,
        try_=try_.format(near) if near else far,
    )


def nearest(given: object, known: Iterable[str]) -> str:
    """The one of the names *known* that was probably meant, in capitals or not; nothing where none is near."""
    from difflib import get_close_matches  # for mistakes alone

    names = list(known)
    small = {name.lower(): name for name in names}
    near = get_close_matches(str(given), names, 1) or get_close_matches(str(given).lower(), small, 1)
    return (near[0] if near[0] in names else small[near[0]]) if near else ""


class EngineUnreachable(LabkitError):
    """No engine could be reached, or none can be started here."""

    exit_code = 3


class EngineFailed(EngineUnreachable):
    """An engine of ours did not start, or ended while it was needed; carries the end of its log."""


class MissingCapability(LabkitError):
    """This engine, or the host it runs on, lacks what was asked for."""


class PackBroken(UsageError):
    """A pack file that is damaged, incomplete, or not a pack."""


class ApplyUnverified(LabkitError):
    """A plan was applied, but what it promised did not hold afterwards."""

    exit_code = 5


class Refused(LabkitError):
    """Not done, on purpose: the object is not ours, the engine drifted, or the approval is missing."""

    exit_code = 6
