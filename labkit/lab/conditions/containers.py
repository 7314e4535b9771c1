"""What can be wanted of a container: its state and end, what happened to it, what it says and holds."""

from __future__ import annotations

from collections.abc import Iterable

from labkit.errors import UsageError
from labkit.lab.conditions.base import NEVER, OFTEN, SELDOM, Condition, Seen
from labkit.lab.conditions.facts import Facts, Found
from labkit.lab.conditions.files import Wanted, in_container
from labkit.lab.conditions.reaching import place, way
from labkit.lab.conditions.settings import Settings
from labkit.lab.conditions.wanted import name_of, number, one_of, path, signal_name, text
from labkit.lifecycle import STATES
from labkit.observe import Event

__all__ = ["Container", "container"]

HAPPEN = (
    *("attach", "commit", "copy", "create", "destroy", "detach", "die", "export", "extract-to-dir"),
    *("health_status: healthy", "health_status: unhealthy", "kill", "oom", "pause", "rename", "resize"),
    *("restart", "start", "stop", "unpause", "update"),
)
"""The events of a container that something was done to (Engine API, ``SystemEvents``)."""


def container(name: str) -> Container:
    """The container called *name*, which need not exist.  Raises `UsageError` for what none can be called."""
    return Container(name_of("container", name))


class Container(Settings):
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

    def restarted(self, times: int | None = None, *, at_least: int | None = None) -> Condition:
        """Its restart policy started it again so many *times*, or *at_least* so many."""
        if (times is None) == (at_least is None):
            raise UsageError("how often was it restarted?", expected="times, or at_least, and not both")
        wanted = number("number of restarts", times if at_least is None else at_least, 0, 10**6)

        def see(facts: Facts, found: Found) -> Seen:
            count = found["RestartCount"]
            return Seen(str(count), ok=count == wanted or (at_least is not None and count > wanted))

        expected = str(wanted) if at_least is None else f"{wanted} or more"
        return self._that("restarts by its policy", expected, see, polled=OFTEN)

    # -- what happened to it

    def received(self, signal: str) -> Condition:
        """The engine sent it this *signal* since it was started last.  What processes send each other tells no event."""
        wanted = signal_name(signal)

        def see(facts: Facts, found: Found) -> Seen:
            life = facts.present_life(found)
            sent = _signals(life.events if life else ())
            return Seen(_told(sent) if life else _without_life(found), ok=wanted in sent)

        return self._that("signals", wanted, see)

    def never_received(self, signal: str) -> Condition:
        """It was started, and the engine did not send it this *signal* since then."""
        unwanted = signal_name(signal)

        def see(facts: Facts, found: Found) -> Seen:
            life = facts.present_life(found)
            if life is None:
                return Seen(_without_life(found), ok=False)
            ended = found["State"]["Status"] not in ("running", "paused")
            if not life.complete or (ended and not life.death):
                return Seen("the engine has forgotten some", ok=False)
            sent = _signals(life.events)
            return Seen(_told(sent), ok=unwanted not in sent and UNKNOWN not in sent)

        return self._that("signals", f"no {unwanted}", see)

    def happened_in_order(self, *wanted: str) -> Condition:
        """Since it was created these events happened in this order, with others between them or not.

        Each is the name of an event, such as ``die``, or of a signal that was sent, such as ``SIGTERM``.  The engine promises
        no order of ``stop`` and ``die``.
        """
        if not wanted:
            raise UsageError(
                "which events, in which order?", expected="names such as 'create', 'start', 'die'"
            )
        names = [_event_name(each) for each in wanted]

        def see(facts: Facts, found: Found) -> Seen:
            log = [
                event for event in facts.happened(found) if not event.action.startswith(("exec_", "archive"))
            ]
            return Seen(_told([_label(event) for event in log][-12:]), ok=_in_order(names, log))

        return self._that("events", ", ".join(names), see)

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


def _end(found: Found, code: int) -> Seen:
    state = found["State"]
    if _failed(found):
        return Seen(f"none, its start failed ({state['ExitCode']})", ok=False)
    if state["Status"] != "exited":
        return Seen(f"none, it is {state['Status']}", ok=False)
    return Seen(str(state["ExitCode"]), ok=state["ExitCode"] == code)


def _earlier_only(facts: Facts, found: Found) -> bool:
    """Whether memory ran out in an earlier life alone: 20.10 keeps its note of that after another start (measured)."""
    life = facts.present_life(found)
    happened = any(event.action == "oom" for event in facts.happened(found))
    return happened and life is not None and life.complete and not life.named("oom")


UNKNOWN = "one that a label hides"


def _label(event: Event) -> str:
    return event.signal_name or (UNKNOWN if event.action == "kill" else event.action)


def _signals(log: Iterable[Event]) -> list[str]:
    return [_label(event) for event in log if event.action == "kill"]


def _told(names: list[str]) -> str:
    return ", ".join(names) or "none"


def _without_life(found: Found) -> str:
    never = found["State"]["StartedAt"].startswith("0001")
    return "none, it was never started" if never else "the engine has forgotten them"


def _event_name(given: object) -> str:
    if given in HAPPEN:
        return str(given)
    try:
        return signal_name(given)
    except UsageError:
        raise UsageError(
            "no such event of a container", seen=repr(given), expected=f"a signal, or {', '.join(HAPPEN)}"
        ) from None


def _in_order(names: list[str], log: Iterable[Event]) -> bool:
    """Whether the *names* are found one after the other."""
    left = iter(log)
    return all(any(name in (event.action, _label(event)) for event in left) for name in names)
