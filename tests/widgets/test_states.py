"""The live state machine, against a live engine."""

from __future__ import annotations

import gc
import sys
import threading
import time
from collections.abc import Callable, Iterator

import docker.errors
import pytest

from labkit.engine import Engine
from labkit.errors import UsageError
from labkit.lab.commands import without_ids
from labkit.widgets import StateMachine, UsageMeter, picture, states, timeline, usage


def until(holds: Callable[[], bool], seconds: float = 120) -> float:
    """Wait until *holds*; return how many seconds that took."""
    started = time.monotonic()
    while not holds():
        assert time.monotonic() - started < seconds, "waited in vain"
        time.sleep(0.005)
    return time.monotonic() - started


@pytest.fixture
def machine(engine: Engine) -> Iterator[StateMachine]:
    machine = StateMachine(engine, "web")
    yield machine
    machine.close()


def run(engine: Engine) -> None:
    engine.client.containers.run("busybox:lab", ["sleep", "1000"], name="web", detach=True, init=True)


def test_picture_follows_what_others_do(engine: Engine, machine: StateMachine) -> None:
    """Nobody asks it, and yet the live picture is that of the paused container, and then of the removed one."""
    run(engine)
    until(lambda: machine.text.startswith("web is running"))
    engine.client.api.pause("web")
    until(lambda: "3 pause → paused" in machine.text and 'now visited"' in machine.svg)
    engine.client.api.remove_container("web", force=True)
    # by its events it may also have been killed, and removed after a while
    until(lambda: machine.text.startswith("web is removed") and "→ removing" in machine.text)


def test_still_says_what_the_live_one_says(engine: Engine, machine: StateMachine) -> None:
    """The still of this moment and the live picture are the same, in text and drawing."""
    run(engine)
    live, still = machine.picture(), picture(engine, "web")
    assert (live.svg, live.text) == (still.svg, still.text)
    assert repr(still) == still.text == still._repr_mimebundle_()["text/plain"]


def test_widget_without_a_front_end_shows_still_and_text(machine: StateMachine) -> None:
    """Exported pages and screen readers get the drawing and the words with the widget."""
    data, _ = machine._repr_mimebundle_()
    assert data["text/plain"] == repr(machine) == machine.text
    assert data["image/svg+xml"].startswith("<svg")
    assert "application/vnd.jupyter.widget-view+json" in data


def test_other_containers_are_none_of_its_business(engine: Engine) -> None:
    """A container whose name merely begins the same way leaves the picture alone."""
    engine.client.containers.create("busybox:lab", name="lone-2")
    still = picture(engine, "lone").text.splitlines()
    assert still[:2] == ["there is no lone yet", "from here:   create → created"]


def test_it_stops_when_closed(engine: Engine) -> None:
    """After close it follows no more, however early that comes; a new one for the same container takes over from the former."""
    first = StateMachine(engine, "lone")
    second = StateMachine(engine, "lone")
    assert second.following and not first.following
    second.close()
    assert not second.following
    until(lambda: "labkit-states-lone" not in [thread.name for thread in threading.enumerate()])


@pytest.mark.parametrize(
    "make",
    [
        lambda e: StateMachine(e, 3),
        lambda e: StateMachine(e, "../ada"),
        lambda e: StateMachine(5, "ada"),
        StateMachine,
        lambda e: timeline(e, last=0),
        lambda e: usage(e, "nobody"),
        lambda e: UsageMeter(5, "ada", 1),
        lambda e: UsageMeter(e, "ada", "long"),
    ],
)
def test_what_cannot_be_shown_leaves_nothing_to_stumble_over(
    engine: Engine, make: Callable[[Engine], object], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A name that no container has or can have is one clear error, and what was half made goes without another."""
    gc.collect()  # what other tests have left goes before
    stumbled: list[object] = []
    monkeypatch.setattr(sys, "unraisablehook", stumbled.append)
    with pytest.raises(UsageError) as raised:
        make(engine)
    assert engine.url not in str(raised.value), "an engine is told by its name, not with all its facts"
    del raised
    gc.collect()
    assert stumbled == []


def test_it_stops_when_the_engine_is_gone(
    engine: Engine, machine: StateMachine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When every look fails, it gives up by itself."""

    def gone(*_: object) -> None:
        raise ConnectionError

    monkeypatch.setattr(states, "PATIENCE", 0.3)
    monkeypatch.setattr(machine._history, "_ask", gone)
    until(lambda: not machine.following)


def test_what_it_says_is_refused_the_engine_refuses_so(engine: Engine) -> None:
    """The refusals of a running container, in the picture's words, are those that this engine gives."""
    run(engine)
    with pytest.raises(docker.errors.APIError) as refusal:
        engine.client.api.remove_container("web")
    said = without_ids(str(refusal.value.explanation))
    assert f"rm: {said}" in picture(engine, "web").text.replace("\n             ", "\n")
