"""Plan, then apply: what would be changed is shown first, and refused when the engine has moved on since.

A plan is pinned to the facts that its actions rely on.  Just before it is applied they are read again; one
that differs is drift, and nothing is done.
"""

from __future__ import annotations

import hashlib
import json
import time
from typing import TYPE_CHECKING, Any, ClassVar, Self

from pydantic import BaseModel, ConfigDict

from labkit import observe
from labkit.errors import LabkitError, Refused, UsageError
from labkit.observe.events import engine_time
from labkit.observe.records import Record
from labkit.observe.tables import Table
from labkit.runbook.actions import Action, perform

if TYPE_CHECKING:
    from labkit.engine import Engine

__all__ = ["Applied", "Done", "Plan"]


class Done(BaseModel):
    """An action that was carried out, in *seconds*."""

    model_config = ConfigDict(frozen=True)

    action: str
    undo: str
    seconds: float


class Applied(Record):
    """What was done of a plan: all of it, or nothing, with the reason in *note*.

    *since*: the engine's clock just before the last action, in seconds since 1970; *last*: that action's
    verb, which is also the name of the event that tells when it took effect.
    """

    kind: ClassVar[str] = "applied"

    done: tuple[Done, ...] = ()
    note: str = ""
    since: str = ""
    last: str = ""

    def table(self) -> Table:
        return Table(["done", "undo"], [(each.action, each.undo) for each in self.done], empty=self.note)

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

    def apply(self, engine: Engine) -> Applied:
        """Carry the plan out.

        Raises `Refused` when an object has changed since the plan was made (nothing is done then), and
        `LabkitError` when an action fails, saying what had been done before it.
        """
        for action in self.actions:
            _check_drift(engine, action)
        done, since, last = list[Done](), "", ""
        for action in self.actions:
            since, last, start = engine_time(engine), action.verb, time.monotonic()
            try:
                perform(engine, action)
            except LabkitError as error:
                before = "\n".join(f"done before it: {each.action} (undo: {each.undo})" for each in done)
                raise LabkitError(
                    error.what, seen=f"{error.seen}\n{before}".strip(), try_=error.try_
                ) from error
            done.append(Done(action=str(action), undo=action.undo, seconds=time.monotonic() - start))
        return Applied(done=tuple(done), note="there was nothing to do", since=since, last=last)

    def wait(self) -> Applied:
        """Do nothing: a dry run."""
        waits = "dry run: nothing was changed; apply=True carries the plan out"
        return Applied(note=waits if self else "there is nothing to do")

    def table(self) -> Table:
        rows = [
            (
                action,
                "; ".join(map(str, action.changes)),
                action.reason,
                action.undo if action.reversible else "-",
            )
            for action in self.actions
        ]
        return Table(["action", "changes", "reason", "undo"], rows, empty="no action is planned")

    def summary(self) -> dict[str, Any]:
        return {"actions": [str(action) for action in self.actions]}


def _check_drift(engine: Engine, action: Action) -> None:
    try:
        now = observe.container(engine, action.id)
    except UsageError as gone:
        raise Refused(f"the {action.kind} {action.name} of the plan is gone", seen=gone.seen) from None
    for fact, planned in action.relies_on.items():
        found = getattr(now, fact)
        if str(found) != str(planned):
            raise Refused(
                f"the {action.kind} {action.name} has changed since the plan was made",
                seen=f"{fact} is {found}",
                expected=f"{fact} is {planned}",
                try_="run the runbook again for a new plan",
            )


def _digest(facts: Any) -> str:
    return hashlib.sha256(json.dumps(facts, sort_keys=True, default=str).encode()).hexdigest()
