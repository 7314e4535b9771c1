"""Lives in the events of a container."""

from __future__ import annotations

from labkit.observe.events import Event
from labkit.observe.lives import lives


def events(*actions: str) -> list[Event]:
    return [Event(nano, "container", action, "id") for nano, action in enumerate(actions)]


def test_each_start_begins_a_life() -> None:
    """A container that was started twice has two lives, and being created is none."""
    found = lives(events("create", "start", "oom", "die", "start"))
    assert [[event.action for event in life.events] for life in found] == [["start", "oom", "die"], ["start"]]
    assert [life.complete for life in found] == [True, True]
    assert found[0].death is not None
    assert found[1].death is None


def test_a_life_whose_start_is_forgotten_is_not_complete() -> None:
    """What is left of an older life counts, but it is known to have a beginning that is missing."""
    first, second = lives(events("oom", "die", "start"))
    assert (first.complete, second.complete) == (False, True)


def test_no_events_are_no_life() -> None:
    """Neither nothing, nor a container that was only created."""
    assert lives([]) == lives(events("create")) == []
