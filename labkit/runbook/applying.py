"""Carrying a plan out: drift, approval, journal, action by action, and what the engine told of it.

Each step is in the journal before it is done.  A run that was interrupted carries on with the plan that had
begun: what is journaled as done is not done again, and of an action that had only begun it is looked at
whether its effect is there.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from labkit.engine.failures import translated
from labkit.errors import ApplyUnverified, LabkitError, Refused, UsageError
from labkit.observe.events import engine_time
from labkit.runbook import locks
from labkit.runbook.actions import Action, facts, perform
from labkit.runbook.approvals import grant, used
from labkit.runbook.effects import Comparison
from labkit.runbook.journal import Entry, Journal
from labkit.runbook.plans import Applied, Done, Plan
from labkit.runbook.recordings import Recording

if TYPE_CHECKING:
    from labkit.engine import Engine
    from labkit.runbook.parameters import Parameters

__all__ = ["carry_out"]

_IN_FLIGHT = 10.0
"""Seconds after which an action that had begun when the run was interrupted has had its effects."""

_calls: dict[str, int] = {}
"""How often a plan was applied in this process, by journal: the same call finds its own traces again."""


@dataclass
class Past:
    """What the journal says of this application of a plan before the run was interrupted."""

    plan: Plan
    by: str
    since: str
    started: set[int] = field(default_factory=set)
    done: dict[int, Done] = field(default_factory=dict)
    last: str = ""
    compared: Comparison | None = None


@translated()
def carry_out(plan: Plan, engine: Engine, *, named: Parameters | None, approved: str) -> Applied:
    """Carry *plan* out, or on: see `Plan.apply`."""
    journal = Journal.current()
    call = _next_call(journal)
    past = _past(journal.entries(), call) if journal else None
    if past:
        plan = past.plan
    if past and past.compared:
        return _end(plan, list(past.done.values()), past.last, past.compared)
    with locks.claimed(_claims(plan, engine)):
        for action in plan.actions if not past else ():
            _check(engine, action)
        by = past.by if past else grant(plan, engine, named=named, approved=approved)
        if not plan:
            return Applied(note="there was nothing to do")
        application = _Application(plan, engine, journal, call, past)
        try:
            return application.carry_out(by)
        except LabkitError as error:
            error.begun = bool(application.began)
            raise


def _claims(plan: Plan, engine: Engine) -> dict[str, str]:
    """What no other run may change meanwhile: on which engine, kind and id, and how it is called."""
    here = engine.client.info().get("ID") or engine.url
    objects = [
        each for a in plan.actions for each in [(a.kind, a.id, a.name), *((k, n, n) for k, n in a.touches)]
    ]
    return {f"{here} {kind} {id}": f"{kind} {name}" for kind, id, name in objects}


def _next_call(journal: Journal | None) -> int:
    name = str(journal.path) if journal else ""
    _calls[name] = _calls.get(name, 0) + 1
    return _calls[name]


class _Application:
    """One application of a plan, from its approval to the comparison of its effects."""

    def __init__(
        self, plan: Plan, engine: Engine, journal: Journal | None, call: int, past: Past | None
    ) -> None:
        self.plan, self.engine, self.journal, self.call = plan, engine, journal, call
        self.past = past
        self.done: dict[int, Done] = {**past.done} if past else {}
        self.began: set[int] = {*past.started, *past.done} if past else set()
        self.after: list[str] = []
        self.since = self.last = ""

    @translated()
    def carry_out(self, by: str) -> Applied:
        past = self.past
        until = float(past.last or past.since) + _IN_FLIGHT if past else 0
        with Recording(self.engine, past.since if past else "", until) as recording:
            if not past:
                shown = self.plan.model_dump(mode="json")
                self._write("approval", hash=self.plan.hash, by=by, since=recording.since, shown=shown)
                used(self.plan)
            try:
                with translated():
                    self._need_no_drift()
                    for index, action in enumerate(self.plan.actions):
                        self._one(index, action)
            except BaseException as error:
                self._put_right()
                if isinstance(error, LabkitError):
                    raise self._with_what_was_done(error, recording) from error
                raise
            compared = recording.compare(self._effects(self.plan.actions))
        self._write("effects", ok=compared.ok, comparison=compared.model_dump(mode="json"))
        return _end(self.plan, list(self.done.values()), self.since, compared)

    def _need_no_drift(self) -> None:
        """Raise `Refused` when an interrupted run does not find what it left: what it did, and what is still to do."""
        for index, action in enumerate(self.plan.actions) if self.past else ():
            if index in self.done:
                self._need_done(index, action)
            elif index not in self.began:
                _check(self.engine, action, self._touched())

    def _need_done(self, index: int, action: Action) -> None:
        """Raise `Refused` when what was *done* is not so any more, unless a later action has changed it."""
        later = {each for other in self.began if other > index for each in _reach(self.plan.actions[other])}
        if action.lasts and not _reach(action) & later and not action.holds(self.engine):
            raise Refused(
                f"{action} was done before the run was cut off, and it is so no longer",
                expected="; ".join(map(str, action.changes)),
                try_="run the runbook again for a new plan",
            )

    def _one(self, index: int, action: Action) -> None:
        """Carry out one action, unless that was done before the run was interrupted."""
        past = self.past
        self.last = action.verb
        if index in self.done:
            self.since = past.last if past else ""
            return
        start = time.monotonic()
        result: dict[str, Any] = {}
        kind = "action-done"
        if past and index in self.began and action.came_about(self.engine, past.last):
            self.since = past.last
            kind = "action-skipped"  # its effect is there already
        else:
            _check(self.engine, action, self._touched())
            if index in self.began and not action.repeatable:
                raise Refused(
                    f"the run was cut off in the middle of: {action}",
                    seen="nobody can tell how far it came, and it may not be done twice",
                    try_="look at what it has done, then run the runbook again for a new plan",
                )
            self.since = engine_time(self.engine)
            self._write("action-started", index=index, action=str(action), since=self.since)
            self.began.add(index)
            result = self._perform(action)
        self.done[index] = _done(action, start, result)
        self._write(kind, index=index, done=self.done[index].model_dump(mode="json"))

    def _put_right(self) -> None:
        """Carry out what is to be done also when another action failed, to what was begun with, unless it is so."""
        touched = self._touched()
        for index, action in enumerate(self.plan.actions):
            if not action.always or (action.kind, action.id) not in touched:
                continue
            start = time.monotonic()
            try:
                if not action.holds(self.engine):
                    self._write("action-started", index=index, action=str(action), put_right=True)
                    done = _done(action, start, self._perform(action))
                    self._write("action-done", index=index, done=done.model_dump(mode="json"), put_right=True)
                    self.after.append(f"done after it: {done}")
            except Exception as failed:  # the next one is tried all the same
                self.after.append(f"NOT done after it: {action}: {failed}")

    def _perform(self, action: Action) -> dict[str, Any]:
        try:
            return perform(self.engine, action)
        except UsageError as error:  # it had begun, so nobody may say that nothing was touched
            raise LabkitError(
                error.what, seen=error.seen, expected=error.expected, try_=error.try_
            ) from error

    def _touched(self) -> set[tuple[str, str]]:
        """Objects that this plan has changed itself already, or begun to."""
        begun = [self.plan.actions[index] for index in self.began]
        return {(action.kind, action.id) for action in begun}

    def _effects(self, actions: Iterable[Action]) -> list[Any]:
        """The effects of *actions*; of those that began before an interruption the engine may have forgotten."""
        past = self.past
        forgettable = {*past.started, *past.done} if past else set()
        return [
            effect.model_copy(update={"needed": False}) if index in forgettable else effect
            for index, action in enumerate(actions)
            for effect in action.effects
        ]

    def _with_what_was_done(self, error: LabkitError, recording: Recording) -> LabkitError:
        """*error*, of the same class, that also says what had been done, and what was not planned."""
        told = [*(f"done before it: {each}" for each in self.done.values()), *self.after]
        possible = [e.model_copy(update={"needed": False}) for a in self.plan.actions for e in a.effects]
        try:
            compared = recording.compare(possible)
        except Exception:  # the engine may be the reason of the error
            compared = None
        if compared:
            told += [f"not planned: {line.actual}" for line in compared.faults]
            self._write("effects", ok=compared.ok, comparison=compared.model_dump(mode="json"), failed=True)
        error.seen = "\n".join([*([error.seen] if error.seen else []), *told])
        return error

    def _write(self, kind: Any, **told: Any) -> None:
        if self.journal:
            self.journal.write(kind, call=self.call, plan=self.plan.hash, **told)


def _done(action: Action, start: float, result: dict[str, Any]) -> Done:
    """That *action* was carried out, begun at *start* of the monotonic clock."""
    return Done(
        action=str(action),
        undo=action.undo,
        seconds=time.monotonic() - start,
        kind=action.kind,
        id=action.id,
        result=result,
    )


def _end(plan: Plan, done: list[Done], since: str, compared: Comparison) -> Applied:
    if not compared.ok:
        undo = [each.undo for each in reversed(done) if each.undo]
        raise ApplyUnverified(
            "something else happened than was planned",
            seen=str(compared.table()),
            expected="exactly the effects that were planned",
            try_="look at what was not planned; to take back what was:\n" + "\n".join(undo) if undo else "",
        )
    last = plan.actions[-1].verb if plan.actions else ""
    return Applied(done=tuple(done), since=since, last=last, plan=plan.hash, effects=compared)


def _check(engine: Engine, action: Action, touched: Collection[tuple[str, str]] = ()) -> None:
    """Raise `Refused` when what *action* relies on is no longer so.

    Of an object that the plan has *touched* already only this counts: that nobody new uses it.
    """
    if action.relies_on.get("exists") is False and (action.kind, action.id) in touched:
        return
    now = facts.read(engine, action.kind, action.id)
    planned = {"exists": True, **action.relies_on}
    if now["exists"] and not planned["exists"]:
        raise Refused(
            f"there is a {action.kind} {action.name} by now", try_="run the runbook again for a new plan"
        )
    if planned["exists"] and not now["exists"]:
        raise Refused(f"the {action.kind} {action.name} of the plan is gone")
    for fact, value in planned.items():
        mine = (action.kind, action.id) in touched and not isinstance(value, list)
        if not mine and facts.differs(value, now.get(fact)):
            raise Refused(
                f"the {action.kind} {action.name} has changed since the plan was made",
                seen=f"{fact} is {now.get(fact)}",
                expected=f"{fact} is {value}",
                try_="run the runbook again for a new plan",
            )


def _reach(action: Action) -> set[tuple[str, str]]:
    """What it works on, by id and by name."""
    return {(action.kind, action.id), (action.kind, action.name), *action.touches}


# -- what the journal knows


def _past(entries: list[Entry], call: int) -> Past | None:
    """What was journaled of the application *call*; None when it had not been approved."""
    past: Past | None = None
    for entry in entries:
        told = entry.facts
        if told.get("call") != call or told.get("put_right"):
            continue
        if entry.kind == "approval":
            past = Past(Plan.model_validate(told["shown"]), told["by"], told["since"])
        elif past and entry.kind == "action-started":
            past.started.add(told["index"])
            past.last = told["since"]
        elif past and entry.kind in ("action-done", "action-skipped"):
            past.done[told["index"]] = Done.model_validate(told["done"])
        elif past and entry.kind == "effects" and not told.get("failed"):
            past.compared = Comparison.model_validate(told["comparison"])
    return past
