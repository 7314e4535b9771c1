"""`make bench`: from an engine's event to the mark of each check that it concerns, with twenty checks watching."""

from __future__ import annotations

import threading
import time
from typing import Any

import labkit
from labkit.engine import Engine
from labkit.lab import container
from labkit.lab.checking.checks import Checks
from labkit.widgets import marks
from tests.bench import Row, p95, row

CHECKS = 20
OWN = 10
"""So many checks watch the container that something is done to; the others a container each."""


def event_to_mark(rounds: int) -> Row:
    """Seconds from the time that the engine gives an event to the new state of the mark, as it goes to the page."""
    with labkit.open_engine(name="bench-checks", images=["busybox"]) as engine:
        checks = Checks(engine)
        turned: dict[str, float] = {}
        all_turned = threading.Event()

        def watch(number: int) -> Any:
            name = "web" if number < OWN else f"other-{number}"
            wanted = [container(name).is_state("paused"), container(name).never_received("SIGKILL")]
            mark = marks.view(checks.check(f"check {number}", *wanted))

            def changed(change: Any) -> None:
                if change["new"]["state"] != change["old"]["state"]:
                    turned[mark.check.name] = time.time()
                    if len(turned) == OWN:
                        all_turned.set()

            mark.observe(changed, "shown")
            return mark

        for name in ("web", *(f"other-{number}" for number in range(OWN, CHECKS))):
            engine.client.containers.run("busybox:lab", ["sleep", "1000"], name=name, detach=True)
        kept = [watch(number) for number in range(CHECKS)]
        times: list[float] = []
        for action in ["pause", "unpause"] * rounds:
            turned.clear()
            all_turned.clear()
            _do(engine, action)
            assert all_turned.wait(10), f"{len(turned)} of {OWN} marks turned on {action}"
            [*_, told] = [event for event in checks.following.heard() if event.action == action]
            times += [at - told.nano / 1e9 for at in turned.values()]
        checks.close()
        del kept
    measured = row(f"event to mark, {CHECKS} checks watching", times, 0.05)
    late = p95(times) > 0.2
    return Row(**{**vars(measured), "ok": bool(measured.ok) and not late, "note": "95 % <= 0.2 s"})


def _do(engine: Engine, action: str) -> None:
    getattr(engine.client.api, action)("web")
