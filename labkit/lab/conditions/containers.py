"""What can be wanted of a container: its state and end, what happened to it, what it says and holds."""

from __future__ import annotations

from labkit.errors import UsageError
from labkit.lab.conditions.base import NEVER, OFTEN, SELDOM, Condition, Seen
from labkit.lab.conditions.facts import Facts, Found
from labkit.lab.conditions.files import Wanted, in_container
from labkit.lab.conditions.lives import Lives
from labkit.lab.conditions.processes import Processes
from labkit.lab.conditions.reaching import place, way
from labkit.lab.conditions.settings import Settings
from labkit.lab.conditions.wanted import name_of, number, one_of, path, text
from labkit.lifecycle import STATES

__all__ = ["Container", "container"]


def container(name: str) -> Container:
    """The container called *name*, which need not exist.  Raises `UsageError` for what none can be called."""
    return Container(name_of("container", name))


class Container(Settings, Lives, Processes):
    """A container by its name.  Each method makes a condition; the arguments are checked there and then (`UsageError`)."""

    # -- its state and end

    def exists(self) -> Condition:
        """It is there, in whatever state."""
        return self._that("state", "a container", lambda facts, found: Seen(_status(found), ok=True))

    def absent(self) -> Condition:
        """There is none of this name.  True before anything was done: ask for something else beside it."""

        def look(facts: Facts) -> Seen:
            if not facts.has("container", self.name):
                return Seen("no such container", ok=True)
            return Seen(_status(facts.container(self.name)), ok=False)

        return Condition(
            f"container {self.name}, state", "no such container", frozenset({("container", self.name)}), look
        )

    def is_state(self, state: str) -> Condition:
        """It is in this *state*, in the engine's word; ``removed`` means `absent`."""
        if one_of("state of a container", state, STATES) == "removed":
            return self.absent()
        return self._that(
            "state",
            state,
            lambda facts, found: Seen(_status(found), ok=_status(found) == state),
            polled=OFTEN if state in ("restarting", "removing", "dead") else NEVER,
        )

    def exited(self, code: int) -> Condition:
        """It has run and ended with this exit *code*, and nothing started it since."""
        number("exit code", code, 0, 255)
        return self._that("exit code", str(code), lambda facts, found: _end(found, code))

    def failed(self) -> Condition:
        """It has run and ended with another exit code than 0, and nothing started it since."""
        return self._that("exit code", "not 0", lambda facts, found: _end(found, None))

    def fails_to_start(self, code: int) -> Condition:
        """The engine could not start its command, and noted this exit *code*: 126, 127 or 128."""
        number("exit code of a start that fails", code, 126, 128)

        def see(facts: Facts, found: Found) -> Seen:
            state = found["State"]
            if not _failed(found):
                return Seen(f"{state['Status']}, no start that failed", ok=False)
            return Seen(str(state["ExitCode"]), ok=state["ExitCode"] == code)

        return self._that("exit code of a start that fails", str(code), see)

    def killed_for_memory(self) -> Condition:
        """The kernel killed a process of it for memory, in its present or last life."""

        def see(facts: Facts, found: Found) -> Seen:
            killed = bool(found["State"]["OOMKilled"]) and not _earlier_only(facts, found)
            return Seen("yes" if killed else "no", ok=killed)

        return self._that("killed for memory", "yes", see)

    # -- what it says, holds and reaches

    def says(self, line: str) -> Condition:
        """One whole *line* of its log is this, since it was started last."""
        if "\n" in text("line of a log", line):
            raise UsageError("that is more than one line", seen=repr(line), expected="one line of a log")

        def see(facts: Facts, found: Found) -> Seen:
            said = facts.said(found)
            last = f"its last line is {said[-1][:80]!r}" if said else "nothing"
            return Seen("it says so" if line in said else last, ok=line in said)

        return self._that("log", f"the line {line!r}", see, polled=OFTEN)

    def file(
        self, at: str, *, contains: str | None = None, equals: str | None = None, absent: bool = False
    ) -> Condition:
        """The file *at* this path is there, or holds a text, or is (but for a last line end) a text, or is not there."""
        place_, wanted = path(at), Wanted.checked(contains, equals, absent)
        needs_text = contains is not None or equals is not None

        def see(facts: Facts, found: Found) -> Seen:
            return wanted.seen(lambda: in_container(facts, found, place_, text=needs_text))

        return self._that(f"file {place_}", str(wanted), see, polled=OFTEN)

    def reaches(self, where: str) -> Condition:
        """From its network, with its names for hosts, something answers at *where*: ``db:5432``, TCP."""
        host, port = place(where)
        return self._that(
            f"way to {host}:{port}",
            "an open port",
            lambda facts, found: way(facts, found, host, port),
            polled=SELDOM,
        )


def _status(found: Found) -> str:
    return str(found["State"]["Status"])


def _failed(found: Found) -> bool:
    """Whether its last start failed: the engine then notes an exit code that is no process's."""
    state = found["State"]
    return bool(state["Error"]) and state["ExitCode"] in (126, 127, 128) and not state["Running"]


def _end(found: Found, code: int | None) -> Seen:
    """How it ended; ok: with *code*, or for None with any but 0."""
    state = found["State"]
    if _failed(found):
        return Seen(f"none, its start failed ({state['ExitCode']})", ok=False)
    if state["Status"] != "exited":
        return Seen(f"none, it is {state['Status']}", ok=False)
    left = state["ExitCode"]
    return Seen(str(left), ok=left == code if code is not None else left != 0)


def _earlier_only(facts: Facts, found: Found) -> bool:
    """Whether memory ran out in an earlier life alone: 20.10 keeps its note of that after another start (measured)."""
    life = facts.present_life(found)
    happened = any(event.action == "oom" for event in facts.happened(found))
    return happened and life is not None and life.complete and not life.named("oom")
