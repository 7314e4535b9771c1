"""What can be done to the build cache: remove records of it, each by its id."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from labkit.errors import LabkitError, UsageError
from labkit.observe.quantities import ByteSize
from labkit.runbook.actions import facts
from labkit.runbook.actions.base import Action, Effect, Verb, changes
from labkit.runbook.actions.images import refuse_used

if TYPE_CHECKING:
    from labkit.engine import Engine

__all__ = ["VERBS", "remove_build_cache"]


def remove_build_cache(engine: Engine, records: Sequence[str], reason: str) -> Action | None:
    """Remove these *records* (full ids, from ``docker system df``) of the build cache; None without any.

    A record that another one builds on goes only after it, so one that is not in *records* keeps what it
    needs, and the action fails.  Nobody can say whose a record is, so on a shared engine it takes an approved
    plan.  Raises `UsageError` for a record that is not there, and `Refused` for one that is in use.
    """
    if not records:
        return None
    id_ = " ".join(sorted(records))
    seen = facts.read(engine, "build cache", id_)
    missing = set(records) - {each.partition(":")[0] for each in seen["records"].split()}
    if missing:
        raise UsageError(f"no build cache record {min(missing)!r}", try_="docker system df --verbose")
    refuse_used("build cache", "records", seen["used_by"], ())
    count = f"{len(records)} record{'s' if len(records) > 1 else ''}"
    return Action(
        verb="remove",
        kind="build cache",
        id=id_,
        name=f"({count})",
        reason=reason,
        changes=changes(("build cache", f"{count}, {ByteSize(seen['size'])}", "removed")),
        relies_on={"records": seen["records"], "used_by": []},
        touches=tuple(("build cache", record) for record in sorted(records)),
        effects=(Effect(kind="builder", action="prune", name="cache"),),
    )


def _remove(engine: Engine, action: Action) -> dict[str, Any]:
    """Remove record by record, those first that nothing builds on: only these go.

    The API takes one id at a time (moby, ``builder/builder-next``: more values are refused).
    """
    left, reclaimed = action.id.split(), 0
    left = [each for each in left if each in facts.read(engine, "build cache", action.id)["records"]]
    while left:
        gone = list[str]()
        for record in left:
            told = _prune(engine, record)
            gone += told.get("CachesDeleted") or []
            reclaimed += told.get("SpaceReclaimed") or 0
        if not gone:
            raise LabkitError(
                "the engine keeps records of the build cache",
                seen=" ".join(left),
                expected="records that no other record builds on",
            )
        left = [record for record in left if record not in gone]
    return {"reclaimed": reclaimed}


def _prune(engine: Engine, record: str) -> dict[str, Any]:
    api = engine.client.api
    # the SDK's own prune_builds() takes no filters
    query = {"all": "true", "filters": json.dumps({"id": [record]})}
    told: dict[str, Any] = api._result(api._post(api._url("/build/prune"), params=query), True)
    return told


def _removed(engine: Engine, action: Action) -> bool:
    return not facts.read(engine, "build cache", action.id)["records"]


VERBS = {("build cache", "remove"): Verb(_remove, _removed)}
