"""Looks at an engine, each compared with the one before it: when they are asked for, or after every cell."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar, Self

from labkit.errors import LabkitError
from labkit.lab.changes.comparing import Changes, compare
from labkit.lab.changes.snapshots import Snapshot, look
from labkit.lab.notebooks import cells
from labkit.observe import Event

if TYPE_CHECKING:
    from labkit.engine import Engine

__all__ = ["Aside", "Looks"]


@dataclass(frozen=True)
class Aside:
    """What a trace has done on the engine beside the command: the *ids* of what it made and removed, and when (nanoseconds)."""

    ids: frozenset[str] = frozenset()
    began: int = 0
    ended: int = 0


class Looks:
    """Looks at *engine*, each compared with the one before it; the first is taken by `begin`, or by the first `changed`."""

    _following: ClassVar[Looks | None] = None

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._last: Snapshot | None = None
        self._aside: list[Aside] = []
        self._lock = threading.Lock()
        self._end_following: Callable[[], None] = lambda: None

    @classmethod
    def of(cls, engine: Engine) -> Self:
        """Looks that have begun; if others follow the cells already, these do from now on."""
        looks = cls(engine)
        looks.begin()
        if Looks._following:
            looks.follow()
        return looks

    def begin(self) -> None:
        """Look, and say nothing: what changes from now on counts."""
        with self._lock:
            self._last = look(self._engine)

    def changed(self) -> Changes:
        """What has changed since the last look.  Raises `EngineUnreachable`; the last look counts then as before."""
        with self._lock:
            now = look(self._engine, self._last)
            before, self._last = self._last, now
            aside, self._aside = self._aside, []
        if before is None:
            return Changes(notes=("the first look: what changes from now on is told by the next",))
        events = tuple(event for event in now.events if not any(_is_aside(event, a) for a in aside))
        return compare(before, replace(now, events=events), shared=not self._engine.owned)

    def leave_out(self, aside: Aside) -> None:
        """Say nothing of what a trace has made and removed."""
        self._aside.append(aside)

    def follow(self, on: bool = True) -> None:
        """Show after each cell what it changed, as long as *on*; silent after a cell that changed nothing.

        Only in IPython; of several that follow, the last does.  What happens between two cells counts for neither.
        """
        former, Looks._following = Looks._following, self if on else None
        if former:
            former._end_following()
        if on:
            self.begin()
            self._end_following = cells.hear(before=self._before_cell, after=self._after_cell)

    def end(self) -> None:
        """Follow no more, if it is these looks that follow."""
        if Looks._following is self:
            self.follow(False)

    def _before_cell(self, *_: Any) -> None:
        with suppress(LabkitError):  # told after the cell
            self.begin()

    def _after_cell(self, *_: Any) -> None:
        from IPython.display import display

        try:
            if found := self.changed():
                display(found)  # type: ignore[no-untyped-call]
        except LabkitError as error:
            print(f"what changed is not known: {error.what}")


def _is_aside(event: Event, aside: Aside) -> bool:
    """Whether an event tells of a trace's twins; an image's name that comes and goes is told under the image's id."""
    if event.id in aside.ids or event.attributes.get("container") in aside.ids:
        return True
    return event.kind == "image" and aside.began <= event.nano <= aside.ended
