"""The states of a container and the legal ways between them, as data.

Measured on engines 20.10 and 26.1 by trying every command in every state (``tests/test_lifecycle.py`` does it again):
where the two differ, both are here.  The names of the states are the engine's own (Engine API, ``ContainerInspect``,
``State.Status``); ``removed`` is ours, for a container that is not there.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from labkit.errors import no_such

__all__ = [
    "COMMANDS",
    "REFUSALS",
    "STATES",
    "TRANSITIONS",
    "Answer",
    "Transition",
    "Words",
    "answer",
    "possible",
]

STATES = ("created", "running", "paused", "restarting", "exited", "removing", "dead", "removed")

COMMANDS = ("create", "start", "stop", "kill", "pause", "unpause", "restart", "exec", "rm", "rm -f")
"""The commands that depend on the state.  ``run`` is ``create`` and ``start``; ``kill`` means its default, SIGKILL."""

Kind = Literal["command", "forced", "automatic"]


@dataclass(frozen=True)
class Transition:
    """One legal way from *source* to *target*.

    *cause*: a command, or what happened by itself when *kind* is ``automatic``.  *events*: the actions that the engine
    reports for it, in no promised order (``stop`` and ``die`` race).
    """

    source: str
    target: str
    cause: str
    events: tuple[str, ...] = ()
    kind: Kind = "command"


ENDS = "process ends"
DELAY = "delay over"
DELETED = "all is deleted"
RESISTS = "deleting fails"

TRANSITIONS = (
    Transition("removed", "created", "create", ("create",)),
    Transition("created", "running", "start", ("start",)),
    Transition("created", "running", "restart", ("start", "restart")),
    Transition("created", "removing", "rm"),
    Transition("created", "removing", "rm -f"),
    Transition("running", "exited", "stop", ("kill", "die", "stop")),
    Transition("running", "exited", "kill", ("kill", "die")),
    Transition("running", "exited", ENDS, ("die",), "automatic"),
    Transition("running", "restarting", ENDS, ("die",), "automatic"),
    Transition("running", "paused", "pause", ("pause",)),
    Transition("running", "running", "restart", ("kill", "die", "stop", "start", "restart")),
    Transition("running", "removing", "rm -f", ("kill", "die"), "forced"),
    Transition("paused", "running", "unpause", ("unpause",)),
    Transition("paused", "running", "restart", ("kill", "unpause", "die", "stop", "start", "restart")),
    Transition("paused", "exited", "stop", ("kill", "unpause", "die", "stop")),
    Transition("paused", "exited", "kill", ("kill", "die")),
    Transition("paused", "removing", "rm -f", ("kill", "die"), "forced"),
    Transition("restarting", "running", DELAY, ("start",), "automatic"),
    Transition("restarting", "running", "restart", ("stop", "start", "restart")),
    Transition("restarting", "exited", "stop", ("stop",)),
    Transition("restarting", "exited", "kill"),
    Transition("restarting", "removing", "rm -f", (), "forced"),
    Transition("exited", "running", "start", ("start",)),
    Transition("exited", "running", "restart", ("start", "restart")),
    Transition("exited", "removing", "rm"),
    Transition("exited", "removing", "rm -f"),
    Transition("removing", "removed", DELETED, ("destroy",), "automatic"),
    Transition("removing", "dead", RESISTS, (), "automatic"),
    Transition("dead", "removing", "rm"),
    Transition("dead", "removing", "rm -f"),
)


@dataclass(frozen=True)
class Words:
    """What the engine says when it refuses: *now* (26.1), and *before* (20.10) where that differs.

    ``{id}`` and ``{name}`` stand for the container's.  The command line puts ``Error response from daemon:`` before it.
    """

    now: str
    before: str = ""

    def said_by(self, version: str) -> str:
        """The words of the engine with this *version*, such as ``"26.1.5"``."""
        major = int(version.partition(".")[0])
        return self.before if self.before and major <= 20 else self.now


_NO_PROCESS = ("created", "exited", "removing", "dead")
_THERE = STATES[:-1]

_NOT_RUNNING = Words("container {id} is not running", "Container {id} is not running")
_NOT_RUNNING_TO_KILL = Words(
    "cannot kill container: {name}: container {id} is not running",
    "Cannot kill container: {name}: Container {id} is not running",
)
_RESTARTING = Words("Container {id} is restarting, wait until the container is running")
_MARKED = "container is marked for removal and cannot be started"
_UNDER_WAY = Words("removal of container {name} is already in progress")
_ABSENT = Words("No such container: {name}")
_ABSENT_TO_KILL = Words(
    "cannot kill container: {name}: No such container: {name}",
    "Cannot kill container: {name}: No such container: {name}",
)
_TAKEN = Words(
    'Conflict. The container name "/{name}" is already in use by container "{id}". '
    "You have to remove (or rename) that container to be able to reuse that name."
)


def _removal_refused(now: str, before: str) -> Words:
    return Words(
        'cannot remove container "/{name}": container is ' + now,
        before + " before attempting removal or force remove",
    )


REFUSALS: dict[tuple[str, str], Words] = {
    **{(state, "create"): _TAKEN for state in _THERE},
    **{(state, "kill"): _NOT_RUNNING_TO_KILL for state in _NO_PROCESS},
    **{(state, "pause"): _NOT_RUNNING for state in _NO_PROCESS},
    **{(state, "exec"): _NOT_RUNNING for state in _NO_PROCESS},
    **{(state, "unpause"): Words("Container {id} is not paused") for state in _THERE if state != "paused"},
    **{("removed", command): _ABSENT for command in COMMANDS if command != "create"},
    ("removed", "kill"): _ABSENT_TO_KILL,
    ("paused", "start"): Words("cannot start a paused container, try unpause instead"),
    ("paused", "pause"): Words("Container {id} is already paused"),
    ("paused", "exec"): Words("Container {name} is paused, unpause the container before exec"),
    ("restarting", "pause"): _RESTARTING,
    ("restarting", "exec"): _RESTARTING,
    ("running", "rm"): _removal_refused(
        "running: stop the container before removing or force remove",
        "You cannot remove a running container {id}. Stop the container",
    ),
    ("paused", "rm"): _removal_refused(
        "paused and must be unpaused first",
        "You cannot remove a paused container {id}. Unpause and then stop the container",
    ),
    ("restarting", "rm"): _removal_refused(
        "restarting: stop the container before removing or force remove",
        "You cannot remove a restarting container {id}. Stop the container",
    ),
    ("removing", "rm"): _UNDER_WAY,
    ("removing", "rm -f"): _UNDER_WAY,
    **{(state, "start"): Words(_MARKED) for state in ("removing", "dead")},
    **{
        (state, "restart"): Words("Cannot restart container {name}: " + _MARKED)
        for state in ("removing", "dead")
    },
}
"""What the engine answers to a command that is illegal in a state.  A pair that is neither here nor a transition is
accepted and changes nothing."""


@dataclass(frozen=True)
class Answer:
    """What comes of *command* in the state *source*: the state *target* and *events*, or *refused* in these words."""

    source: str
    command: str
    target: str
    events: tuple[str, ...] = ()
    refused: Words | None = None

    @property
    def kind(self) -> Literal["moves", "stays", "refused"]:
        """``moves`` to another state (or through one), ``stays`` (accepted, nothing changes) or ``refused``."""
        if self.refused:
            return "refused"
        return "moves" if _between(self.source, self.command) else "stays"


def answer(state: str, command: str) -> Answer:
    """What the engine does with *command* when the container is in *state*.

    ``rm`` ends in ``removing``, which goes on by itself to ``removed`` or ``dead``.  Raises `UsageError` for what there is not.
    """
    for what, given, known in (("state", state, STATES), ("command", command, COMMANDS)):
        if not isinstance(given, str) or given not in known:
            raise no_such(what, given, known)
    move = _between(state, command)
    if move:
        return Answer(state, command, move.target, move.events)
    return Answer(state, command, state, refused=REFUSALS.get((state, command)))


def _between(state: str, command: str) -> Transition | None:
    return next(
        (t for t in TRANSITIONS if (t.source, t.cause) == (state, command) and t.kind != "automatic"), None
    )


def possible(state: str) -> list[Answer]:
    """The commands that lead on from *state*, in the order of `COMMANDS`."""
    return [a for a in (answer(state, command) for command in COMMANDS) if a.kind == "moves"]
