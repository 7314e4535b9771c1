"""Plan, then apply: what would be changed is shown first, and refused when the engine has moved on since.

A plan is pinned to the facts that its actions rely on.  How it is carried out is in ``applying.py``.
"""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any, ClassVar, Self

from pydantic import BaseModel, ConfigDict

from labkit.observe.records import Record
from labkit.observe.tables import Table
from labkit.runbook.actions import Action
from labkit.runbook.effects import Comparison

if TYPE_CHECKING:
    from labkit.engine import Engine
    from labkit.runbook.parameters import Parameters

__all__ = ["Applied", "Done", "Plan"]


class Done(BaseModel):
    """An action that was carried out, in *seconds*, on the object *kind*, *id*.

    *undo* is empty when there is no way back; *result* is what the action kept, such as a checksum.
    """

    model_config = ConfigDict(frozen=True)

    action: str
    undo: str
    seconds: float
    kind: str = ""
    id: str = ""
    result: dict[str, Any] = {}

    def __str__(self) -> str:
        return f"{self.action} ({f'undo: {self.undo}' if self.undo else 'cannot be undone'})"


class Applied(Record):
    """What was done of a plan: all of it, or nothing, with the reason in *note*.

    *since*: the engine's clock just before the last action, in seconds since 1970; *last*: that action's
    verb, which is also the name of the event that tells when it took effect.  *effects*: what the engine
    told of it, against what was planned.
    """

    kind: ClassVar[str] = "applied"

    done: tuple[Done, ...] = ()
    note: str = ""
    since: str = ""
    last: str = ""
    plan: str = ""
    effects: Comparison | None = None

    def table(self) -> Table:
        rows = [(each.action, each.undo or "cannot be undone") for each in self.done]
        return Table(["done", "undo"], rows, empty=self.note)

    def summary(self) -> dict[str, Any]:
        return {"done": [each.action for each in self.done]}


class Plan(Record):
    """Actions in the order in which they are carried out; possibly none."""

    kind: ClassVar[str] = "plan"

    actions: tuple[Action, ...] = ()

    @classmethod
    def of(cls, *actions: Action | None) -> Self:
        """A plan of those *actions* that are not None."""
        return cls(actions=tuple(action for action in actions if action))

    def __bool__(self) -> bool:
        return bool(self.actions)

    @property
    def digest(self) -> str:
        """A digest of what was seen: the objects and the facts that the actions rely on."""
        return _digest([(action.kind, action.id, action.relies_on) for action in self.actions])

    @property
    def hash(self) -> str:
        """Eight characters that stand for this plan: its actions, on exactly what was seen."""
        return _digest([self.digest, [action.model_dump(mode="json") for action in self.actions]])[:8]

    def apply(self, engine: Engine, *, named: Parameters | None = None, approved: str = "") -> Applied:
        """Carry the plan out, and compare what the engine tells of it with what was planned.

        On a shared engine what is not labkit's has to be *named* by a parameter, or the plan *approved* by
        its hash.  In a run that was interrupted, the plan that had begun is carried on with instead.

        Raises `Refused` when an object has changed since the plan was made or the approval is missing
        (nothing is done then), `EngineUnreachable` when there is no engine to ask, `ApplyUnverified` when
        something else happened than was planned, and another `LabkitError` when an action fails, saying what
        had been done before it.
        """
        from labkit.runbook.applying import carry_out

        return carry_out(self, engine, named=named, approved=approved)

    def wait(self) -> Applied:
        """Do nothing: a dry run."""
        waits = "dry run: nothing was changed; apply = True (or --apply) carries the plan out"
        return Applied(note=waits if self else "there is nothing to do")

    def table(self) -> Table:
        rows = [
            (action, "; ".join(map(str, action.changes)), action.reason, action.way_back)
            for action in self.actions
        ]
        return Table(["action", "changes", "reason", "undo"], rows, empty="no action is planned")

    def summary(self) -> dict[str, Any]:
        return {"actions": [str(action) for action in self.actions]}


def _digest(facts: Any) -> str:
    return hashlib.sha256(json.dumps(facts, sort_keys=True, default=str).encode()).hexdigest()
