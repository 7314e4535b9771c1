"""The picture of what happened on an engine: a lane for each object, from the top down, under the cells that did it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import drawsvg as draw

from labkit.engine import Engine
from labkit.lab.arguments import learner
from labkit.lab.conditions import wanted
from labkit.lab.notebooks.ran import ran, record
from labkit.observe import timelines
from labkit.observe.timelines import OUTSIDE, Moment, Timeline
from labkit.widgets.pictures import WIDTH, Picture, composed, hint, label, paragraph

if TYPE_CHECKING:
    from labkit.lab import Session

__all__ = ["describe_timeline", "draw_timeline", "timeline"]

LEFT, RIGHT = 20, WIDTH - 20
ROW, HEAD = 21, 26
LANES = 300
"""Pixels that the lanes take at most, `APART` each where there is room."""
APART = 18
NAMED = 200
"""Pixels for the name of an object."""

STYLE = """
.lk-timeline .cell{fill:var(--soft)}
.lk-timeline .outside.cell{fill:none;stroke:var(--line);stroke-opacity:.5;stroke-dasharray:4 4}
.lk-timeline .lane{stroke:var(--line);stroke-opacity:.7}
.lk-timeline .dot{fill:var(--mute)}
.lk-timeline .container.dot{fill:var(--lit)}
.lk-timeline .network.dot{fill:var(--good)}
.lk-timeline .volume.dot{fill:var(--warn)}
.lk-timeline .failed.dot{fill:var(--bad)}
.lk-timeline text.did{fill:var(--ink)}
.lk-timeline text.mono{fill:var(--ink)}
"""


@learner("timeline")
def timeline(of: Engine | Session, *, last: int = 60, exact: bool = False) -> Picture:
    """What happened on the engine, or on that of a lab: the *last* so many events, under the cells during which they were.

    Cells are known since the lab was opened, or since this was called first; what was done in a terminal, by somebody else or
    by itself is outside of them.  *exact*: also the seconds since the first of them.  Raises `UsageError` for no events.
    """
    wanted.number("number of events", last, 1, 10**6)
    record()
    engine = of if isinstance(of, Engine) else of.engine
    found = timelines.timeline(engine, ran())
    return Picture(draw_timeline(found, last, exact=exact), describe_timeline(found, last, exact=exact))


def describe_timeline(found: Timeline, last: int = 60, *, exact: bool = False) -> str:
    """The picture in words."""
    lines = [_title(found)]
    for head, moments in _last(found, last).groups:
        lines.append(head)
        lines += [f"  {each.lane}: {each.happened}{_after(found, each, exact)}" for each in moments]
    return "\n".join([*lines, *_notes(found, last)])


def _last(found: Timeline, last: int) -> Timeline:
    return Timeline(found.engine, found.moments[-last:] if last > 0 else (), found.cells)


def _title(found: Timeline) -> str:
    return f"events on the engine {found.engine}: {len(found.moments)}, objects: {len(found.lanes)}"


def _after(found: Timeline, moment: Moment, exact: bool) -> str:
    return f"  +{(moment.nano - found.moments[0].nano) / 1e9:.2f} s" if exact else ""


def _notes(found: Timeline, last: int) -> list[str]:
    left = len(found.moments) - len(_last(found, last).moments)
    notes = [f"earlier events, not shown: {left}"] if left else []
    if found.forgotten:
        notes.append("the engine keeps its last 256 events; there may have been others before")
    return notes


# -- drawing


def draw_timeline(found: Timeline, last: int = 60, *, exact: bool = False) -> str:
    """*found* as SVG.  The same arguments give the same text."""
    shown = _last(found, last)
    lanes = shown.lanes
    words = _names_from(lanes)
    parts: list[draw.DrawingElement] = [label(_title(found), (LEFT, 28), "title", width=RIGHT - LEFT)]
    dots: list[draw.DrawingElement] = []
    ends: dict[str, list[float]] = {}
    y = 44.0
    for head, moments in shown.groups:
        look = "outside cell" if head == OUTSIDE else "cell"
        high = HEAD + ROW * len(moments) + 4
        parts.append(draw.Rectangle(LEFT, y, RIGHT - LEFT, high, rx=6, class_=look))
        how = "small" if head == OUTSIDE else "mono"
        parts.append(label(head, (words, y + 18), how, width=RIGHT - words - 12))
        for number, each in enumerate(moments):
            at = y + HEAD + ROW * number + 9
            ends.setdefault(each.lane, []).append(at)
            dots += _row(each, _x(lanes, each.lane), at, words, _after(found, each, exact))
        y += high + 8
    for lane, (first, *rest) in ends.items():
        x = _x(lanes, lane)
        parts.append(draw.Line(x, first, x, rest[-1] if rest else first, class_="lane"))
    parts += dots
    y += 14
    for note in _notes(found, last):
        y = paragraph(parts, note, (LEFT, y), RIGHT - LEFT)
    return composed(parts, y - 6, "timeline", describe_timeline(found, last, exact=exact), STYLE)


def _x(lanes: list[str], lane: str) -> float:
    return round(LEFT + 20 + lanes.index(lane) * min(APART, LANES / len(lanes)), 1)


def _names_from(lanes: list[str]) -> float:
    """Where the words begin, right of all lanes."""
    return LEFT + 40 + min(APART * len(lanes), LANES)


def _row(each: Moment, x: float, y: float, words: float, after: str) -> list[draw.DrawingElement]:
    failed = each.happened.startswith(("oom", "die")) and "exit code 0" not in each.happened
    dot = draw.Circle(x, y, 4.5, class_=f"{'failed' if failed else each.kind} dot")
    right = RIGHT - (80 if after else 12)
    parts = [
        hint(dot, f"{each.lane}: {each.happened}"),
        label(each.lane, (words, y + 4), "small", width=NAMED - 12),
        label(each.happened, (words + NAMED, y + 4), "did", width=right - words - NAMED),
    ]
    return [*parts, label(after, (RIGHT - 12, y + 4), "small", anchor="end")] if after else parts
