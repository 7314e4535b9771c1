"""The picture of usage, as a function of its facts, and live."""

from __future__ import annotations

import re
from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from labkit.engine import Engine
from labkit.observe import Sample, Unreadable, Usage
from labkit.widgets import usage
from labkit.widgets.meters import POINTS, describe_usage, draw_usage
from tests.widgets.reading import inside, shown

NAMES = st.text(max_size=200)
PART = st.floats(0, 1)
SAMPLES = st.builds(
    Sample,
    st.floats(0, 1e5),
    st.none() | st.integers(0, 2**50),
    st.none() | st.floats(0, 500),
    PART,
    st.none() | st.integers(1, 2**50),
    st.none() | st.floats(0.01, 500),
)
USAGES = st.builds(
    Usage,
    NAMES,
    st.lists(SAMPLES, max_size=30).map(lambda each: tuple(sorted(each, key=lambda sample: sample.at))),
    NAMES,
    PART,
    st.booleans(),
    st.lists(st.builds(Unreadable, NAMES, NAMES), max_size=2).map(tuple),
)


@given(found=USAGES, exact=st.booleans())
@settings(max_examples=60)
def test_any_facts_make_a_picture_that_stays_on_its_sheet(found: Usage, exact: bool) -> None:
    """Whatever was measured, or was not, the SVG is well-formed, nothing lies outside, and the words are read aloud."""
    svg = draw_usage(found, exact=exact)
    assert inside(svg) == []
    numbers = " ".join(re.findall(r' (?:d|x|y|width)="([^"]*)"', svg))
    assert "nan" not in numbers and "inf" not in numbers


FACTS = Usage(
    "web",
    tuple(Sample(n / 4, n * 2**20, 0.3 if n else None, 0.5 * (n > 20), 64 * 2**20, 0.3) for n in range(40)),
    "exit code 137, a process was killed for memory",
    0.5,
    True,
    (Unreadable("swap", "not counted here"),),
)


def test_every_line_of_the_text_is_in_the_picture() -> None:
    """Limits, how near they came, the end, what was measured and what was not."""
    drawn = shown(draw_usage(FACTS, exact=True))
    assert all(line in drawn for line in describe_usage(FACTS, exact=True).splitlines())
    assert describe_usage(FACTS).splitlines() == [
        "usage of web",
        "memory: limit 64m, reached it",
        "CPU: limit 0.3, throttled most of the time",
        "ended: exit code 137, a process was killed for memory",
        "swap: not readable (not counted here)",
    ]


def test_throttling_is_marked_where_it_was() -> None:
    """One bar for the second half; none where there was none."""
    assert "<title>throttled, 5.0 s to 9.8 s</title>" in draw_usage(FACTS)
    calm = replace(FACTS, samples=tuple(replace(each, throttled=0.0) for each in FACTS.samples))
    assert "<title>throttled" not in draw_usage(calm)


def test_a_line_is_broken_where_nothing_was_read_and_small_however_long() -> None:
    """A pause leaves a gap; thousands of readings give no more points than can be seen."""
    long = tuple(Sample(n / 4, 2**20, 0.1) for n in [*range(4000), *range(5000, 9000)])
    svg = draw_usage(Usage("web", long))
    lines = re.findall(r'<path d="([^"]*)" class="line"', svg)
    assert len(lines) == 4
    assert max(line.count("L") for line in lines) <= POINTS


def test_it_is_live_while_it_records_and_there_afterwards(engine: Engine) -> None:
    """The picture has lines while the recording goes on; stopped, it keeps them, and stands in exported pages too."""
    engine.client.containers.run(
        "busybox:lab", ["sleep", "1000"], name="web", detach=True, init=True, mem_limit="64m"
    )
    with usage(engine, "web", 60) as seen:
        while len(seen.facts.samples) < 2:
            assert seen.recording
        during = seen.picture()
    assert not seen.recording
    after = seen.picture()
    assert 'class="line"' in during.svg and 'class="line"' in after.svg
    assert (
        after.text
        == repr(seen)
        == "\n".join(
            ["usage of web", "memory: limit 64m, stayed below half of it", "CPU: no limit, not throttled"]
        )
    )
    data, _ = seen._repr_mimebundle_()
    assert data["image/svg+xml"] == after.svg and "application/vnd.jupyter.widget-view+json" in data
    seen.close()
