"""What can be wanted of what happened to a container: signals, ends, restarts, in its present life and in those before."""

from __future__ import annotations

from collections.abc import Iterable

from labkit.errors import UsageError
from labkit.lab.conditions.base import OFTEN, Condition, Object, Seen
from labkit.lab.conditions.facts import Facts, Found
from labkit.lab.conditions.processes import is_deaf
from labkit.lab.conditions.wanted import number, signal_name
from labkit.observe import Event
from labkit.observe.lives import Life, lives

__all__ = ["Lives"]

HAPPEN = (
    *("attach", "commit", "copy", "create", "destroy", "detach", "die", "export", "extract-to-dir"),
    *("health_status: healthy", "health_status: unhealthy", "kill", "oom", "pause", "rename", "resize"),
    *("restart", "start", "stop", "unpause", "update"),
)
"""The events of a container that something was done to (Engine API, ``SystemEvents``)."""

BY_HAND = ("kill", "stop", "restart")
"""Of these, those that no restart policy causes."""

UNKNOWN = "one that a label hides"
FORGOTTEN = "the engine has forgotten them"

LONGER = 1.0
"""Seconds by which a life has to outlast another before nobody can take them for equally long."""


class Lives(Object):
    """The part of a container's conditions that its events answer."""

    kind = "container"

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

    def answered(self, signal: str, code: int) -> Condition:
        """The last time that it ended, this *signal* was the last that the engine had sent it, and *code* its exit code.

        That it ended on account of the signal says only `outlives` beside it.
        """
        wanted, code = signal_name(signal), number("exit code", code, 0, 255)

        def see(facts: Facts, found: Found) -> Seen:
            known = [life for life in lives(facts.happened(found)) if life.death]
            if not known:
                never = found["State"]["FinishedAt"].startswith("0001")
                return Seen("none, it has not ended" if never else FORGOTTEN, ok=False)
            sent, left = _signals(known[-1].events), _left(found, known[-1])
            told = f"{left}, {f'after {_told(sent)}' if sent else 'unasked'}"
            return Seen(told, ok=sent[-1:] == [wanted] and left == str(code))

        return self._that("last end", f"{code}, after {wanted}", see)

    def outlives(self, *, hearing: str | None = None) -> Condition:
        """Started again after it had ended, it runs, and longer than it did before: so it does not end by itself in that time.

        *hearing*: a signal that it is not deaf to meanwhile, as the kernel says; that needs the engine's host, and is not looked
        at where that is out of reach.
        """
        signal = None if hearing is None else signal_name(hearing)

        def see(facts: Facts, found: Found) -> Seen:
            if found["State"]["Status"] != "running":
                return Seen(f"none, it is {found['State']['Status']}", ok=False)
            known = lives(facts.happened(found))
            ended = [life for life in known if life.complete and life.death]
            if not known or not known[-1].complete or known[-1].death:
                return Seen(FORGOTTEN, ok=False)
            if not ended:
                return Seen("its first", ok=False)
            present = known[-1]
            longer = facts.now() - present.events[0].nano / 1e9 >= _seconds(ended[-1]) + LONGER
            told = "longer than the one before" if longer else "no longer than the one before"
            deaf = signal is not None and is_deaf(facts, found, signal)
            return Seen(told + (f", and deaf to {signal}" if deaf else ""), ok=longer and not deaf)

        wanted = "longer than the one before" + (f", and not deaf to {signal}" if signal else "")
        return self._that("present life", wanted, see, polled=OFTEN)

    def never_stopped(self) -> Condition:
        """Since it was created nobody stopped, killed or restarted it, or set anything after its end: it did all by itself."""

        def see(facts: Facts, found: Found) -> Seen:
            log = facts.happened(found)
            if not any(event.action == "create" for event in log):
                return Seen(FORGOTTEN, ok=False)
            deaths = [number for number, event in enumerate(log) if event.action == "die"]
            late = [event for event in log[deaths[-1] :] if event.action == "update"] if deaths else []
            acts = [event.action for event in [*late, *(each for each in log if each.action in BY_HAND)]]
            return Seen(_told(list(dict.fromkeys(acts))), ok=not acts)

        return self._that("stopped by hand", "none", see)

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

    def restarted(
        self, times: int | None = None, *, at_least: int | None = None, granted: int | None = None
    ) -> Condition:
        """Its restart policy started it again so many *times*, or *at_least* so many; of so many that it *granted*."""
        if (times is None) == (at_least is None):
            raise UsageError("how often was it restarted?", expected="times, or at_least, and not both")
        wanted = number("number of restarts", times if at_least is None else at_least, 0, 10**6)
        if granted is not None:
            number("number of restarts", granted, 1, 10**6)

        def see(facts: Facts, found: Found) -> Seen:
            count, most = found["RestartCount"], _granted(found)
            enough = count == wanted or (at_least is not None and count > wanted)
            told = str(count) if granted is None else f"{count} of {most}"
            return Seen(told, ok=enough and granted in (None, most))

        expected = str(wanted) if at_least is None else f"{wanted} or more"
        expected += "" if granted is None else f" of {granted}"
        return self._that("restarts by its policy", expected, see, polled=OFTEN)


def _granted(found: Found) -> int | str:
    """How many restarts in a row its policy allows."""
    policy = found["HostConfig"].get("RestartPolicy") or {}
    if (policy.get("Name") or "no") == "no":
        return 0
    return policy.get("MaximumRetryCount") or "any number"


def _left(found: Found, life: Life) -> str:
    """The exit code of a *life* that has ended; a label may hide what the event tells."""
    told = life.death.exit_code if life.death else None
    return "one that a label hides" if told is None else str(told)


def _seconds(life: Life) -> float:
    """How long a complete *life* lasted that has ended."""
    assert life.death, "it has ended"
    return (life.death.nano - life.events[0].nano) / 1e9


def _label(event: Event) -> str:
    return event.signal_name or (UNKNOWN if event.action == "kill" else event.action)


def _signals(log: Iterable[Event]) -> list[str]:
    return [_label(event) for event in log if event.action == "kill"]


def _told(names: list[str]) -> str:
    return ", ".join(names) or "none"


def _without_life(found: Found) -> str:
    never = found["State"]["StartedAt"].startswith("0001")
    return "none, it was never started" if never else FORGOTTEN


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
