"""Whether what was applied has helped: looked at for a while, not assumed."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, ClassVar

from labkit import observe
from labkit.errors import UsageError
from labkit.observe.quantities import ByteSize, Duration
from labkit.observe.readings import Unreadable
from labkit.observe.records import Evidence, Record, evidence_table
from labkit.observe.tables import Table
from labkit.runbook.actions import facts
from labkit.runbook.plans import Applied, Done

if TYPE_CHECKING:
    from labkit.engine import Engine

__all__ = ["Verification", "gives_back", "stays_up"]

SHORTEST = Duration(0.5)
"""To look once, at once, would prove nothing."""


class Verification(Record):
    """*ok* is None when nothing was applied, so that there is nothing to verify."""

    kind: ClassVar[str] = "verification"

    ok: bool | None = None
    evidence: tuple[Evidence, ...] = ()

    def table(self) -> Table:
        if self.ok is None:
            return Table([], [], empty="nothing was applied, so there is nothing to verify")
        return evidence_table(self.evidence, caption="verified" if self.ok else "NOT verified")

    def summary(self) -> dict[str, Any]:
        return {"ok": self.ok}


def stays_up(engine: Engine, container: str, applied: Applied, *, watch: Duration) -> Verification:
    """Watch the container for *watch* seconds, at least `SHORTEST`: it must run without a break and without a kill for memory.

    Ends early when it does not, when it is gone, and when the engine does not answer any more.
    """
    if not applied.done:
        return Verification()
    watch = max(watch, SHORTEST)
    deadline = time.monotonic() + watch
    while True:
        trouble = _trouble(engine, container, applied)
        if trouble or time.monotonic() >= deadline:
            break
        time.sleep(min(0.2, watch))
    return Verification(ok=not trouble, evidence=(trouble or _good(watch),))


def _trouble(engine: Engine, container: str, applied: Applied) -> Evidence | None:
    """What shows that it does not hold; something was changed, so whatever is wrong now is evidence."""
    import docker.errors
    import requests

    try:
        return _seen(engine, container, applied)
    except UsageError as gone:
        return Evidence(source="docker inspect", fact=f"{container} is gone", detail=gone.seen)
    except (docker.errors.APIError, requests.exceptions.RequestException) as error:
        return Evidence(source="docker", fact="the engine gave no answer", detail=str(error))


def _seen(engine: Engine, container: str, applied: Applied) -> Evidence | None:
    facts = observe.container(engine, container)
    changed = [each.id for each in applied.done if each.kind == "container"]
    if changed and facts.id not in changed:
        return Evidence(source="docker inspect", fact=f"{container} is another one by now", detail=facts.id)
    bad = [event for event in _after(applied, engine, facts) if event.action in ("oom", "die")]
    if {event.action for event in bad} == {"oom"} and _told_late(engine, facts, applied):
        bad = []
    if bad:
        told = ", ".join(str(event) for event in bad[-3:])
        return Evidence(
            source="docker events", fact=f"after the change: {told}", detail=bad[0].at.isoformat()
        )
    if not facts.running:
        return Evidence(source="docker inspect", fact=f"status {facts.status}, exit code {facts.exit_code}")
    return None


def _after(applied: Applied, engine: Engine, facts: observe.Container) -> list[observe.Event]:
    """What happened since the last action took effect; a kill between its request and its effect does not
    count.
    """
    since = list(observe.events(engine, facts, since=float(applied.since)))
    effects = [index for index, event in enumerate(since) if event.action == applied.last]
    return since[effects[0] + 1 :] if effects else since


def _told_late(engine: Engine, facts: observe.Container, applied: Applied) -> bool:
    """Whether memory was never short since the change, by the kernel's counters: a busy engine tells an ``oom`` after what
    followed it.

    They begin at nothing when a container starts.  One that ran on has those that the update kept, which are lost when its
    run was cut off; then, and where the counters cannot be read, it is not known.  What was killed while it was updated
    was killed under the limit of before, when that of now was never reached.
    """
    counted = observe.memory(engine, facts)
    if isinstance(counted, Unreadable) or facts.started_at is None:
        return False
    if facts.started_at.timestamp() > float(applied.since):
        return counted.shortage == [0, 0]
    kept = [each.result for each in applied.done if each.id == facts.id]
    if counted.shortage in [each.get("shortage") for each in kept]:
        return True
    return counted.reached_limit is False and counted.shortage in [
        each.get("shortage_since") for each in kept
    ]


def _good(watch: Duration) -> Evidence:
    return Evidence(
        source="docker events", fact=f"up for {watch} since the change, nothing killed for memory"
    )


def gives_back(engine: Engine, applied: Applied, before: observe.DiskUsage) -> Verification:
    """What was removed has to be gone; how many bytes came back since *before* is measured."""
    if not applied.done:
        return Verification()
    there = [each for each in applied.done if _is_there(engine, each)]
    told = [
        Evidence(source=f"docker {each.kind} inspect", fact=f"still there after: {each.action}")
        for each in there
    ]
    after = observe.disk_usage(engine)
    for kind in ("images", "containers", "volumes", "build_cache"):
        sizes = [ByteSize(getattr(usage, kind)).rounded() for usage in (before, after)]
        if sizes[0] != sizes[1]:
            fact = f"{kind.replace('_', ' ')}: {sizes[0]} → {sizes[1]}"
            told.append(Evidence(source="docker system df", fact=fact))
    freed = before.total - after.total
    back = (
        f"{ByteSize(freed).rounded()} came back" if freed > 0 else "nothing came back: others share or use it"
    )
    told.append(Evidence(source="docker system df", fact=back, detail=f"{freed} bytes"))
    return Verification(ok=not there, evidence=tuple(told))


def _is_there(engine: Engine, done: Done) -> bool:
    found = facts.read(engine, done.kind, done.id)
    return bool(found.get("records", found["exists"]))  # the build cache as such is always there
