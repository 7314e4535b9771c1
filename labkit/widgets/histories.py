"""What is known of one container's life at a moment: its present state and the way it walked, in words and as a picture."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from labkit.lab.conditions.wanted import name_of
from labkit.lifecycle import COMMANDS, ENDS, TRANSITIONS, answer, possible
from labkit.observe import Event, events
from labkit.widgets.drawings import draw_states
from labkit.widgets.walks import Step, walk

if TYPE_CHECKING:
    from labkit.engine import Engine

__all__ = ["History", "describe", "refused"]


class History:
    """The life of the container called *name*, as far as the engine's log reaches back and since then."""

    def __init__(self, engine: Engine, name: str) -> None:
        self.engine, self.name = engine, name_of("container", name)
        self.present = "removed"
        self.version = str(engine.client.version()["Version"])
        self._events: dict[tuple[int, str], Event] = {}
        self._policy = "no"
        self._origin = "removed"
        self._from = 0  # nanoseconds; what was before is not part of the way
        self.refresh()
        self._begin()

    def _begin(self) -> None:
        """Start at the present state when the engine's log no longer holds the container's beginning."""
        born = any(event.action == "create" for event in self._events.values())
        if self.present != "removed" and not born:
            self._origin = self.present
            self._from = max((event.nano for event in self._events.values()), default=0) + 1
            self._events.clear()

    def look(self) -> bool:
        """Ask the engine for the present state; return whether it is another one than before."""
        before, self.present = self.present, self._ask()
        return self.present != before

    def hear(self, event: Event) -> None:
        """Take note of *event* if it is one of this container and was not known."""
        if event.attributes.get("name") == self.name and event.nano >= self._from:
            self._events[event.nano, event.action] = event

    def refresh(self) -> None:
        """Read the present state and every event up to now."""
        self.look()
        for event in events(self.engine):
            if event.kind == "container":
                self.hear(event)

    @property
    def steps(self) -> list[Step]:
        """The way walked so far."""
        ordered = [self._events[key] for key in sorted(self._events)]
        return walk(ordered, self.present, policy=self._policy, origin=self._origin)

    def _ask(self) -> str:
        import docker.errors

        try:
            found: dict[str, Any] = self.engine.client.api.inspect_container(self.name)
        except docker.errors.NotFound:
            return "removed"
        self._policy = (found["HostConfig"].get("RestartPolicy") or {}).get("Name") or "no"
        return str(found["State"]["Status"])

    @property
    def svg(self) -> str:
        heading = _heading(self.name, self.present, self.steps)
        return draw_states(self.present, self.steps, heading, self.text, self.refusals)

    @property
    def text(self) -> str:
        return describe(self.name, self.present, self.steps, self._policy, self.version)

    @property
    def refusals(self) -> str:
        """What the engine answers to the commands that are illegal now, below a line that says so; empty where all are legal."""
        lines = refused(self.name, self.present, self.version)
        return "\n".join([f"refused while {self.name} is {self.present}:", *lines]) if lines else ""


def describe(
    name: str, present: str, steps: Sequence[Step], policy: str = "no", version: str = "26.1"
) -> str:
    """The picture in words: the present state, the way walked so far, what is possible from here, and what is refused.

    *policy*: the restart policy, which decides where an end of the process leads.  *version*: the engine's, whose words
    a refusal has.
    """
    lines = [_heading(name, present, steps)]
    if steps:
        lines.append("way so far:  " + ", ".join(f"{n} {_step(step)}" for n, step in enumerate(steps, 1)))
    lines += [
        f"{head:<12} {ways}"
        for head, ways in (("from here:", _ways(present)), ("by itself:", _own(present, policy)))
        if ways
    ]
    heads = ["refused:", *[""] * len(COMMANDS)]
    lines += [
        f"{head:<12} {words}" for head, words in zip(heads, refused(name, present, version), strict=False)
    ]
    return "\n".join(lines)


def refused(name: str, state: str, version: str) -> list[str]:
    """The commands that the engine of this *version* refuses while *name* is in that *state*, and its words."""
    commands: dict[str, list[str]] = {}
    for command in COMMANDS:
        if words := answer(state, command).refused:
            said = words.said_by(version).format(id="‹id›", name=name)
            commands.setdefault(said, []).append(command)
    return [f"{', '.join(each)}: {said}" for said, each in commands.items()]


def _heading(name: str, present: str, steps: Sequence[Step]) -> str:
    return f"{name} is {present}" if steps or present != "removed" else f"there is no {name} yet"


def _step(step: Step) -> str:
    words = f"{step.cause} → {step.target}" + (f" ({step.note})" if step.note else "")
    return words + (" again and again" if step.again else "")


def _ways(state: str) -> str:
    """The commands that lead on from *state*, those to the same state together."""
    causes: dict[str, list[str]] = {}
    for way in possible(state):
        causes.setdefault(way.target, []).append(way.command)
    return "; ".join(f"{', '.join(found)} → {target}" for target, found in causes.items())


def _own(state: str, policy: str) -> str:
    """What happens by itself; without a restart policy an end is never followed by a restart, with ``always`` it always is."""
    never = {"no": "restarting", "always": "exited", "unless-stopped": "exited"}.get(policy)
    return "; ".join(
        f"{t.cause} → {t.target}"
        for t in TRANSITIONS
        if t.source == state and t.kind == "automatic" and not (t.cause == ENDS and t.target == never)
    )
