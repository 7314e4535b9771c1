"""Pictures as methods of a lab's session."""

from __future__ import annotations

import inspect
from dataclasses import dataclass

import pytest

from labkit import widgets
from labkit.engine import Engine
from labkit.lab import Session
from labkit.lab.binding import Drawn

NAMES = sorted(name for name, each in vars(Session).items() if isinstance(each, Drawn))


@dataclass
class Lab:
    """What has an engine, as a session."""

    engine: Engine
    layers = Session.__dict__["layers"]
    timeline = Session.__dict__["timeline"]


@pytest.mark.parametrize("name", NAMES)
def test_each_is_a_picture_of_this_name(name: str) -> None:
    """What the session calls so is that of labkit.widgets, whose first parameter is the engine."""
    function = getattr(widgets, name)
    assert getattr(Session, name) is function
    assert next(iter(inspect.signature(function).parameters)) in ("engine", "of")


def test_a_session_draws_its_own_engine(engine: Engine) -> None:
    """The same picture as of the engine, without naming it; what help() shows does not name it either."""
    lab = Lab(engine)
    assert lab.layers("busybox:lab").text == widgets.layers(engine, "busybox:lab").text
    assert list(inspect.signature(lab.layers).parameters) == ["name", "exact"]
    assert widgets.timeline(engine).text == lab.timeline().text
