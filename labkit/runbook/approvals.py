"""Who said yes: plans that wait to be approved, and what may be done without one.

A plan that was shown is kept in ``plans`` of labkit's folder, for its user alone, with what is needed to make
it again: ``labkit apply HASH`` runs the runbook anew, and carries its plan out only if it is the same one, on
the same engine, and in time.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, ValidationError

from labkit import paths
from labkit.errors import Refused, UsageError
from labkit.runbook.actions import facts
from labkit.runbook.actions.base import Action
from labkit.runbook.plans import Plan
from labkit.runbook.redaction import mask, write_clean
from labkit.runbook.secret import is_reference

if TYPE_CHECKING:
    from labkit.engine import Engine
    from labkit.runbook.outcomes import Outcome
    from labkit.runbook.parameters import Parameters

__all__ = ["APPROVED", "EXPIRES", "Waiting", "find", "grant", "keep", "used", "waiting"]

APPROVED = "LABKIT_APPROVED"
"""The environment variable that tells a runbook's kernel which plan was approved, by its hash."""

EXPIRES = 3600.0
"""Seconds that a plan waits, unless told otherwise."""

_KEPT = timedelta(days=1)
"""How long an expired plan is kept, so that it can be said that it expired."""


class Waiting(BaseModel):
    """A plan that was shown: for which *runbook* and *parameters*, on which engine, and until when.

    *environ*: how the engine was reached, where it was named.  *withheld*: parameters that are secret, and so
    have to be given again.
    """

    model_config = ConfigDict(frozen=True)

    runbook: str
    parameters: dict[str, Any]
    withheld: tuple[str, ...] = ()
    environ: dict[str, str] = {}
    engine_id: str
    engine: str
    plan: Plan
    created: datetime
    expires: datetime

    @property
    def hash(self) -> str:
        """The plan's hash."""
        return self.plan.hash

    @property
    def expired(self) -> bool:
        """Whether it waits no longer."""
        return datetime.now(UTC) >= self.expires

    @property
    def path(self) -> Path:
        """The file that it is kept in."""
        return _folder() / f"{self.hash}.json"

    def complete(self, more: Mapping[str, Any]) -> dict[str, Any]:
        """The parameters, with *more* that were given again.  Raises `UsageError` for one that is missing."""
        for name in self.withheld:
            if name not in more:
                raise UsageError(
                    f"the parameter {name} is secret, and was not kept with the plan {self.hash}",
                    try_=f"labkit apply {self.hash} -p {name}=ask",
                )
        return {**self.parameters, **more}

    def need_time(self) -> None:
        """Raise `Refused` when it has expired."""
        if self.expired:
            raise Refused(
                f"the plan {self.hash} has expired",
                seen=f"shown at {self.created:%Y-%m-%d %H:%M:%S} UTC, good until {self.expires:%H:%M:%S}",
                try_="run the runbook again for a new plan",
            )


# -- plans that wait


def _folder() -> Path:
    folder = paths.home() / "plans"
    folder.mkdir(mode=0o700, exist_ok=True)
    return folder


def keep(
    outcome: Outcome,
    runbook: str,
    given: Mapping[str, Any],
    *,
    environ: Mapping[str, str] | None = None,
    expires: float = EXPIRES,
) -> Waiting | None:
    """Keep the plan that *outcome* waits with, for *expires* seconds; None when it does not wait.

    *given*: the parameters that the *runbook* (a name or a path) was given, as JSON takes them.  Raises
    `SecretFound` when a secret would be written down.
    """
    if outcome.status != "incident" or not outcome.plan:
        return None
    told = {name: value for name, value in given.items() if name != "apply"}
    secret = tuple(name for name, value in told.items() if _is_secret(name, value))
    now = datetime.now(UTC)
    made = Waiting(
        runbook=runbook,
        parameters={name: value for name, value in told.items() if name not in secret},
        withheld=secret,
        environ={name: value for name, value in (environ or {}).items() if name.startswith("DOCKER_")},
        engine_id=outcome.engine_id,
        engine=outcome.engine,
        plan=outcome.plan,
        created=now,
        expires=now + timedelta(seconds=expires),
    )
    write_clean(made.path, made.model_dump_json(indent=1))
    waiting()  # what expired long ago goes, also where nobody ever lists plans
    return made


def waiting() -> list[Waiting]:
    """The plans that wait, the newest first.  Those that expired long ago are forgotten."""
    found = list(_kept())
    for each in found:
        if each.expires + _KEPT < datetime.now(UTC):
            each.path.unlink(missing_ok=True)
    return sorted((each for each in found if not each.expired), key=lambda each: each.created, reverse=True)


def find(hash: str) -> Waiting:
    """The plan with this *hash*, or with one that begins so, even if it has expired.

    Raises `UsageError` when there is none, or more than one.
    """
    found = [each for each in _kept() if hash and each.hash.startswith(hash.lower())]
    if len(found) != 1:
        known = ", ".join(each.hash for each in waiting())
        raise UsageError(
            f"{'no plan' if not found else 'more than one plan'} with the hash {hash!r}",
            seen=f"plans that wait: {known or 'none'}",
            expected="a plan that waits; what was carried out is used up, and told by labkit runs",
            try_="labkit plans",
        )
    return found[0]


def _kept() -> Iterator[Waiting]:
    for path in sorted(_folder().glob("*.json")):
        try:
            yield Waiting.model_validate_json(path.read_text(encoding="utf-8"))
        except (OSError, ValidationError):  # taken away meanwhile, or of another version of labkit
            continue


def _is_secret(name: str, value: Any) -> bool:
    """Whether a parameter's value is a secret, or one that only its run could find; not where to find it."""
    if is_reference(value):
        return bool(str(value).startswith("env:LABKIT_SECRET_"))
    return bool(mask({name: value}) != {name: value})


# -- saying yes


def grant(plan: Plan, engine: Engine, *, named: Parameters | None = None, approved: str = "") -> str:
    """Who approved *plan*.

    Raises `Refused` when nobody did: another plan was approved, or another engine, or the time is over; or
    the engine is shared and an object is neither labkit's nor *named* by a parameter.
    """
    if APPROVED in os.environ:
        return _as_shown(os.environ[APPROVED], plan, engine)
    if approved:
        if approved != plan.hash:
            raise Refused(f"the plan {plan.hash} was not approved", seen=f"an approval of {approved}")
        return f"approval of {approved}"
    if engine.owned:
        return "nobody: the engine is private"
    strangers = [told for action in plan.actions for told in _strangers(action, engine, _values(named))]
    if strangers:
        raise Refused(
            f"the plan {plan.hash} changes what is not labkit's, and nobody has approved it",
            seen=f"{engine.name} is not this run's own; neither made by labkit nor named by a parameter: {_list(strangers)}",
            expected="an approval of exactly this plan",
            try_="labkit run without --apply, and then labkit apply HASH\nor the Approve button in the notebook",
        )
    return "nobody: all of it is labkit's, or named by a parameter"


def _as_shown(hash: str, plan: Plan, engine: Engine) -> str:
    shown = find(hash)
    shown.need_time()
    here = engine.client.info().get("ID", "")
    if here != shown.engine_id:
        raise Refused(
            f"the plan {shown.hash} is for another engine",
            seen=f"{engine.url}, id {here}",
            expected=f"{shown.engine}, id {shown.engine_id}",
        )
    if plan.hash != shown.hash:
        raise Refused(
            f"the plan {shown.hash} does not fit any more: what it was made for has changed",
            seen="\n".join(_differences(shown.plan, plan)),
            expected="the same plan as was shown",
            try_="run the runbook again for a new plan",
        )
    return f"labkit apply {shown.hash}"


def used(plan: Plan) -> None:
    """An approval is good for once: *plan* waits no longer."""
    (_folder() / f"{plan.hash}.json").unlink(missing_ok=True)


def _differences(shown: Plan, now: Plan) -> Iterator[str]:
    """What is different between two plans, a line each."""
    before, after = ({(a.verb, a.kind, a.id): a for a in plan.actions} for plan in (shown, now))
    yield from (f"not planned any more: {before[each]}" for each in before if each not in after)
    yield from (f"planned now as well: {after[each]}" for each in after if each not in before)
    for each in before:
        if each in after and before[each] != after[each]:
            yield from _changed(before[each], after[each])
    if list(before) != list(after) and set(before) == set(after):
        yield "the order of the actions"


def _changed(before: Action, after: Action) -> Iterator[str]:
    for name, value in after.relies_on.items():
        if facts.differs(before.relies_on.get(name), value):
            yield f"{after}: {name} is {value}, was {before.relies_on.get(name)}"
    yield from (f"{after}: {each}" for each in after.changes if each not in before.changes)


def _strangers(action: Action, engine: Engine, named: set[tuple[str, str]]) -> Iterator[str]:
    """The objects of an action that somebody else made and no parameter names."""
    called = {action.name, action.id, action.id.removeprefix("sha256:")[:12]}
    called |= set(action.arguments.get("tags") or [])
    objects = [(action.kind, action.id, called), *((kind, name, {name}) for kind, name in action.touches)]
    for kind, id, names in objects:
        is_named = any((kind, name) in named for name in names)
        if not is_named and not facts.is_labkits(engine, kind, id):
            yield f"{kind} {action.name if id == action.id else id}"


def _values(named: Parameters | None) -> set[tuple[str, str]]:
    """The objects that the parameters name, by kind and name: only a value of a live type names one, not any text."""
    values = [
        each for _, value in named or () for each in (value if isinstance(value, list | tuple) else [value])
    ]
    return {(str(each.kind), str(each)) for each in values if isinstance(each, str) and hasattr(each, "kind")}


def _list(items: list[str]) -> str:
    shown = sorted(set(items))
    return ", ".join(shown[:5]) + (f" and {len(shown) - 5} more" if len(shown) > 5 else "")
