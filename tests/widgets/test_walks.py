"""The way that a container walked, read from events alone."""

from __future__ import annotations

import pytest

from labkit.observe import Event
from labkit.widgets.walks import walk

SECOND = 10**9


def told(*actions: str, gap: float = 1.0) -> list[Event]:
    """Events *gap* seconds apart; ``die:137`` has an exit code, ``kill:9`` a signal."""
    found = []
    for number, text in enumerate(actions):
        action, _, value = text.partition(":")
        attributes = {"die": {"exitCode": value}, "kill": {"signal": value}}.get(action, {})
        found.append(Event(int(number * gap * SECOND), "container", action, "id", attributes))
    return found


def causes(*actions: str, present: str, policy: str = "no", gap: float = 1.0) -> list[str]:
    return [f"{s.cause} {s.target}" for s in walk(told(*actions, gap=gap), present, policy=policy)]


LIFE = ("create", "start")


def test_birth() -> None:
    """Create and start are two steps."""
    assert causes(*LIFE, present="running") == ["create created", "start running"]


@pytest.mark.parametrize("order", [("stop", "die:143"), ("die:143", "stop")])
def test_stop_is_one_step_in_either_order(order: tuple[str, str]) -> None:
    """The engine promises no order of `stop` and `die`; both are one step called stop."""
    assert causes(*LIFE, "kill:15", *order, present="exited")[2:] == ["stop exited"]


def test_kill_and_an_end_of_its_own_differ() -> None:
    """An end after a deadly signal is a kill, one without a signal is the process's own."""
    assert causes(*LIFE, "kill:9", "die:137", present="exited")[2:] == ["kill exited"]
    assert causes(*LIFE, "die:0", present="exited")[2:] == ["process ends exited"]


def test_a_signal_that_was_handled_explains_no_end() -> None:
    """A process that survived SIGUSR1 and ended later with 0 was not killed."""
    assert causes(*LIFE, "kill:10", "die:0", present="exited")[2:] == ["process ends exited"]


def test_restart_is_stop_and_start_of_the_same_container() -> None:
    """A restart walks through exited; its second step bears its name."""
    seen = causes(*LIFE, "kill:15", "die:143", "stop", "start", "restart", present="running")
    assert seen[2:] == ["stop exited", "restart running"]


def test_a_paused_container_that_is_stopped_walks_one_step() -> None:
    """The engine unpauses it so that it can end; that is no step of its own."""
    seen = walk(told(*LIFE, "pause", "kill:15", "unpause", "die:143", "stop"), "exited")
    assert [(s.cause, s.source, s.target) for s in seen[3:]] == [("stop", "paused", "exited")]


def test_an_unpause_by_hand_before_a_stop_is_a_step() -> None:
    """Only the engine's own unpause, after the signal, is left out."""
    life = (*LIFE, "pause", "unpause", "kill:15", "die:143", "stop")
    assert causes(*life, present="exited")[2:] == ["pause paused", "unpause running", "stop exited"]


def test_a_signal_before_a_pause_does_not_hide_the_unpause() -> None:
    """Unpause is a step even after a signal that the process survived."""
    assert causes(*LIFE, "kill:10", "pause", "unpause", present="running")[2:] == [
        "pause paused",
        "unpause running",
    ]


def test_forced_removal_is_told_by_its_haste() -> None:
    """`kill` and `rm` typed one after the other take longer than `rm -f`."""
    life = (*LIFE, "kill:9", "die:137", "destroy")
    assert causes(*life, present="removed", gap=0.01)[2:] == ["rm -f removing", "all is deleted removed"]
    assert causes(*life, present="removed")[2:] == ["kill exited", "rm removing", "all is deleted removed"]


@pytest.mark.parametrize("rounds", [2, 3, 7])
def test_a_crash_loop_is_walked_once(rounds: int) -> None:
    """However often it crashes, the way has the same steps, marked as repeated."""
    seen = walk(told(*LIFE, *["die:1", "start"] * rounds), "running", policy="always")
    assert [(s.cause, s.again) for s in seen[2:]] == [("process ends", True), ("delay over", True)]


def test_what_no_event_tells_comes_from_the_present_state() -> None:
    """Being removed, being dead, and not being restarted after all, are seen by looking."""
    ended = (*LIFE, "die:0")
    assert causes(*ended, present="removing")[3:] == ["rm removing"]
    assert causes(*ended, present="dead")[3:] == ["rm removing", "deleting fails dead"]
    assert causes(*ended, present="restarting")[2:] == ["process ends restarting"]
    assert causes(*ended, present="exited", policy="on-failure")[2:] == ["process ends exited"]


def test_a_new_container_of_the_same_name_begins_anew() -> None:
    """The way starts at the last birth."""
    assert causes(*LIFE, "die:0", "destroy", "create", present="created") == ["create created"]


def test_a_life_whose_beginning_is_lost_starts_where_we_came_in() -> None:
    """With an origin other than removed the first step leaves from there."""
    (step,) = walk(told("pause"), "paused", origin="running")
    assert (step.source, step.target) == ("running", "paused")
