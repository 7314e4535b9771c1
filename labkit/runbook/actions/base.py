"""An action as data: what it changes, why, how to undo it, and which events it will cause on the engine."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict

if TYPE_CHECKING:
    from labkit.engine import Engine

__all__ = ["Action", "Change", "Effect", "Verb", "changes", "effects"]


class Change(BaseModel):
    """One property of an object, *before* and *after*."""

    model_config = ConfigDict(frozen=True)

    what: str
    before: str
    after: str

    def __str__(self) -> str:
        return f"{self.what}: {self.before} → {self.after}"


def changes(*of: tuple[str, object, object]) -> tuple[Change, ...]:
    """Changes from (what, before, after); what stays as it is, is left out."""
    told = [(what, str(before), str(after)) for what, before, after in of]
    return tuple(
        Change(what=what, before=before, after=after) for what, before, after in told if before != after
    )


class Effect(BaseModel):
    """An event that an action causes: *action* on the object *kind*, *id* (by *name* before it has an id).

    *needed*: it has to come; otherwise it may.  Joining and leaving a network counts as the container's own.
    """

    model_config = ConfigDict(frozen=True)

    kind: str
    action: str
    id: str = ""
    name: str = ""
    needed: bool = True

    def __str__(self) -> str:
        return f"{self.action} {self.kind} {self.name}"


def effects(
    kind: str, id: str, name: str, needed: tuple[str, ...], may: tuple[str, ...] = ()
) -> tuple[Effect, ...]:
    """The effects on one object: those that are *needed*, and those that *may* come."""
    return tuple(
        Effect(kind=kind, action=action, id=id, name=name, needed=action in needed)
        for action in dict.fromkeys((*needed, *may))
    )


class Action(BaseModel):
    """One thing to do: *verb* to the object *kind*, *name* with *id*.

    *arguments* are what the engine is given.  *relies_on* are the facts under which it was planned: it is
    refused when they are no longer true.  *undo* is the command that takes it back; empty when there is none,
    and then it is not *reversible*.  *touches*: other objects that it works on, as (kind, name).
    *always*: carried out also when an action before it failed, such as the start of what was stopped.
    """

    model_config = ConfigDict(frozen=True)

    verb: str
    kind: str
    id: str
    name: str
    reason: str
    changes: tuple[Change, ...]
    undo: str = ""
    arguments: dict[str, Any] = {}
    relies_on: dict[str, Any] = {}
    effects: tuple[Effect, ...] = ()
    touches: tuple[tuple[str, str], ...] = ()
    always: bool = False

    @property
    def reversible(self) -> bool:
        """Whether it can be taken back."""
        return bool(self.undo)

    @property
    def way_back(self) -> str:
        """The command that undoes it, or that there is none."""
        return self.undo or "cannot be undone"

    def holds(self, engine: Engine) -> bool:
        """Whether its effect is there already, so that it need not be carried out (again)."""
        from labkit.runbook.actions import VERBS

        return VERBS[self.kind, self.verb].holds(engine, self)

    def came_about(self, engine: Engine, since: str) -> bool:
        """Whether it was carried out, of one that was cut off after it had begun at *since*, by the engine's clock.

        What is still under way is waited for.  Raises `Refused` when nobody can tell.
        """
        from labkit.runbook.actions import VERBS

        verb = VERBS[self.kind, self.verb]
        return verb.came_about(engine, self, since) if verb.came_about else verb.holds(engine, self)

    @property
    def lasts(self) -> bool:
        """Whether its effect stays for `holds` to see until somebody undoes it."""
        from labkit.runbook.actions import VERBS

        return VERBS[self.kind, self.verb].lasts

    @property
    def repeatable(self) -> bool:
        """Whether it may be carried out again when it was cut off in the middle."""
        from labkit.runbook.actions import VERBS

        return VERBS[self.kind, self.verb].repeatable(self)

    def __str__(self) -> str:
        return f"{self.verb} {self.kind} {self.name}"


@dataclass(frozen=True)
class Verb:
    """How a sort of action is carried out, and how to see that it was.

    *perform* returns what is worth keeping about it, such as a checksum.  It can be called again after a
    crash in the middle of it, if the action is *repeatable*.  It *lasts* when what *holds* looks at changes
    only if somebody undoes it.  *came_about* is asked in place of *holds* of an action that was cut off, with the time (by
    the engine's clock) after which it began: where being asked twice would be doing it twice, it waits until that is clear.
    """

    perform: Callable[[Engine, Action], dict[str, Any]]
    holds: Callable[[Engine, Action], bool]
    lasts: bool = False
    repeatable: Callable[[Action], bool] = lambda action: True
    came_about: Callable[[Engine, Action, str], bool] | None = None
