"""The picture of events, as a function of its facts."""

from __future__ import annotations

import re

from hypothesis import given, settings
from hypothesis import strategies as st

from labkit.engine import Engine
from labkit.observe import Cell, Moment, Timeline
from labkit.widgets import timeline
from labkit.widgets.timelines import describe_timeline, draw_timeline
from tests.widgets.reading import inside, shown

NAMES = st.text(max_size=120)
NANOS = st.integers(0, 2**62)
CELLS = st.builds(Cell, st.integers(0, 10**6), NAMES, NANOS)
KINDS = st.sampled_from(["container", "image", "network", "volume", "daemon", "plugin"])
MOMENTS = st.builds(Moment, NANOS, KINDS, NAMES, NAMES, st.none() | CELLS)
LINES = st.builds(
    Timeline, NAMES, st.lists(MOMENTS, max_size=70).map(tuple), st.integers(0, 9), st.booleans()
)


@given(found=LINES, last=st.integers(0, 80), exact=st.booleans())
@settings(max_examples=40)
def test_any_facts_make_a_picture_that_stays_on_its_sheet(found: Timeline, last: int, exact: bool) -> None:
    """Whatever happened to whatever, the SVG is well-formed, nothing lies outside, and the words are read aloud."""
    svg = draw_timeline(found, last, exact=exact)
    assert inside(svg) == []
    assert draw_timeline(found, last, exact=exact) == svg


RUN = Cell(3, "!docker run --name ada", 0, 5)
FACTS = Timeline(
    "test",
    (
        Moment(10**9, "container", "ada", "create", RUN),
        Moment(2 * 10**9, "network", "bridge", "connect ada", RUN),
        Moment(5 * 10**9, "container", "ada", "die (exit code 1)"),
    ),
    2,
    True,
)


def test_the_text_tells_events_under_their_cells() -> None:
    """The cell's number and first line, then a line an event; what no cell did is said to be so."""
    assert describe_timeline(FACTS).splitlines() == [
        "events on the engine test: 3, objects: 2",
        "[3] !docker run --name ada",
        "  container ada: create",
        "  network bridge: connect ada",
        "outside of the cells",
        "  container ada: die (exit code 1)",
        "the engine keeps its last 256 events; there may have been others before",
    ]
    assert "  container ada: die (exit code 1)  +4.00 s" in describe_timeline(FACTS, exact=True).splitlines()


def test_every_word_of_the_text_is_in_the_picture() -> None:
    """Lanes, events, cells, times and notes; also when only the last are shown."""
    for last, exact in ((60, False), (60, True), (1, True)):
        drawn = shown(draw_timeline(FACTS, last, exact=exact))
        for line in describe_timeline(FACTS, last, exact=exact).splitlines():
            assert all(part in drawn for part in re.split(r"  +", line.strip())), line


def test_the_last_ones_are_shown_and_the_others_counted() -> None:
    """So that a long session has a picture too."""
    text = describe_timeline(FACTS, 1)
    assert "create" not in text and "earlier events, not shown: 2" in text
    assert describe_timeline(FACTS, 0).splitlines()[1] == "earlier events, not shown: 3"


def test_each_object_has_a_lane_of_its_own() -> None:
    """All that happens to one is on one line, and a bad end is marked."""
    dots = re.findall(r'<circle cx="([^"]*)" cy="([^"]*)" r="4.5" class="(\w+) dot"', draw_timeline(FACTS))
    assert [dot[0] for dot in dots] == [dots[0][0], dots[1][0], dots[0][0]] and dots[0][0] != dots[1][0]
    assert [dot[2] for dot in dots] == ["container", "network", "failed"]


def test_an_engine_on_which_nothing_happened_has_a_picture(engine: Engine) -> None:
    """A live engine, with or without events, and a lab in its place."""
    still = timeline(engine)
    assert still.text.startswith("events on the engine test: ")
    assert still.svg.startswith("<svg")
