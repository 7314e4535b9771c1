"""The picture of what a container uses of memory and CPU over time, against its limits; live while it is recorded."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Self

import drawsvg as draw

from labkit.lab.arguments import learner, made
from labkit.observe.quantities import ByteSize
from labkit.observe.stats import Recorder, Sample, Usage
from labkit.widgets.live import Live
from labkit.widgets.pictures import WIDTH, Anchor, Picture, composed, hint, label, paragraph

if TYPE_CHECKING:
    from labkit.engine import Engine

__all__ = ["UsageMeter", "describe_usage", "draw_usage", "usage"]

LEFT, RIGHT = 74, WIDTH - 24
HIGH = 120
"""Of a panel."""
POINTS = 240
"""That a line has at most; of those between, the highest is drawn."""
GAP = 2.5
"""Seconds without a reading after which the line is broken."""
REDRAWN = 0.5
"""Seconds between two drawings of a recording that goes on."""

STYLE = """
.lk-usage .area{fill:var(--lit);opacity:.14}
.lk-usage .line{fill:none;stroke:var(--lit);stroke-width:1.8;stroke-linejoin:round}
.lk-usage .axis{fill:none;stroke:var(--line);stroke-opacity:.6}
.lk-usage .limit{fill:none;stroke:var(--bad);stroke-width:1.4;stroke-dasharray:6 4}
.lk-usage .throttled{fill:var(--warn)}
"""


@learner("usage")
def usage(engine: Engine, container: str, seconds: float = 30, *, exact: bool = False) -> UsageMeter:
    """Record what *container* (its name) uses for so many *seconds*, and show it meanwhile and afterwards.

    Returns at once.  ``with usage(…) as seen:`` records while the block runs; ``seen.wait()`` until the seconds are over;
    both end with the same picture.  Its lines are others each time, its words (``print(seen)``) say what repeats; with *exact*
    also what was measured.  Raises `UsageError` where there is no such container.
    """
    return UsageMeter(engine, container, seconds, exact=exact)


@made("UsageMeter")
class UsageMeter(Live):
    """The usage of *container*, live while it is recorded.  See `usage`."""

    def __init__(self, engine: Engine, container: str, seconds: float, *, exact: bool = False) -> None:
        self._exact, self._drawn = exact, 0.0
        self._recorder: Recorder | None = None
        recorder = Recorder(engine, container, seconds, self._heard)  # raises before there is a widget
        super().__init__()
        self._recorder = recorder
        self._draw()

    @property
    def facts(self) -> Usage:
        """What was recorded so far."""
        assert self._recorder is not None
        return self._recorder.usage

    @property
    def recording(self) -> bool:
        """Whether it goes on."""
        return self._recorder is not None and self._recorder.recording

    def wait(self) -> Self:
        """Return when the recording is over."""
        assert self._recorder is not None
        self._recorder.wait()
        self._draw()
        return self

    def stop(self) -> Self:
        """End the recording now; the picture stays."""
        assert self._recorder is not None
        self._recorder.stop()
        self._draw()
        return self

    def close(self) -> None:
        """End the recording, and take the picture away."""
        if self._recorder is not None:  # none: there is no such container, and this was never shown
            self.stop()
        super().close()

    def picture(self) -> Picture:
        """A still of this moment."""
        self._draw()
        return super().picture()

    def _heard(self) -> None:
        if self._recorder is not None and time.monotonic() - self._drawn >= REDRAWN:
            self._draw()

    def _draw(self) -> None:
        self._drawn = time.monotonic()
        found = self.facts
        self.show(draw_usage(found, exact=self._exact), describe_usage(found, exact=self._exact))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


def describe_usage(found: Usage, *, exact: bool = False) -> str:
    """The picture in words: each limit, and how near it came."""
    lines = [f"usage of {found.container}", *(f"{name}: {words}" for name, words in found.words().items())]
    if exact:
        lines += [_measured(found)]
    return "\n".join([*lines, *_notes(found)])


def _measured(found: Usage) -> str:
    peak = "?" if found.peak is None else ByteSize(found.peak).rounded()
    busiest = "?" if found.busiest is None else f"{found.busiest:.2f}"
    return (
        f"measured: at most {peak} of memory and {busiest} CPUs, throttled in {found.waited:.0%} of its periods; "
        f"{len(found.samples)} readings in {found.seconds:.1f} s"
    )


def _notes(found: Usage) -> list[str]:
    return [f"{each.source}: not readable ({each.reason})" for each in found.unread]


# -- drawing


@dataclass(frozen=True)
class _Panel:
    """One quantity: its values, its limits, and how a value is told."""

    name: str
    value: Callable[[Sample], float | None]
    limit: Callable[[Sample], float | None]
    told: Callable[[float], str]


_PANELS = (
    _Panel(
        "memory",
        lambda sample: sample.memory,
        lambda sample: sample.memory_limit,
        lambda n: ByteSize(n).rounded(),
    ),
    _Panel("CPU", lambda sample: sample.cpus, lambda sample: sample.cpu_limit, lambda n: f"{n:.2f}"),
)


@dataclass(frozen=True)
class _Scale:
    """Where a moment and a value lie: *end* seconds at the right, *highest* at *top*."""

    end: float
    highest: float
    top: float

    @property
    def bottom(self) -> float:
        return self.top + HIGH

    def x(self, at: float) -> float:
        return round(LEFT + (RIGHT - LEFT) * at / self.end, 1)

    def y(self, value: float) -> float:
        return round(self.bottom - HIGH * value / self.highest, 1)


def draw_usage(found: Usage, *, exact: bool = False) -> str:
    """*found* as SVG.  The same arguments give the same text."""
    words = found.words()
    title = label(f"usage of {found.container}", (20, 28), "title", width=WIDTH - 40)
    parts: list[draw.DrawingElement] = [title]
    y = 56.0
    for panel in _PANELS:
        if panel.name in words:
            told = f"{panel.name}: {words[panel.name]}"
            parts.append(label(told, (20, y), "strong", width=WIDTH - 40))
            y += _draw_panel(parts, panel, found.samples, y + 16)
    others = [f"{name}: {told}" for name, told in words.items() if name in ("ended", "readings")]
    for line in [*others, *([_measured(found)] if exact else []), *_notes(found)]:
        y = paragraph(parts, line, (20, y), WIDTH - 40)
    return composed(parts, y - 4, "usage", describe_usage(found, exact=exact), STYLE)


def _draw_panel(
    parts: list[draw.DrawingElement], panel: _Panel, samples: Sequence[Sample], top: float
) -> float:
    """One quantity over time, if there is a value at all; returns how much place it took."""
    values = [value for value in map(panel.value, samples) if value is not None]
    if not values:
        return 24
    limits = [limit for limit in map(panel.limit, samples) if limit is not None]
    highest = max([*values, *limits]) * 1.06 or 1.0
    scale = _Scale(max(samples[-1].at, 1.0), highest, top)
    parts.append(draw.Path(f"M{LEFT},{top:g} V{scale.bottom:g} H{RIGHT}", class_="axis"))
    for stretch in _stretches(samples, panel.value):
        points = [(scale.x(at), scale.y(value)) for at, value in stretch]
        line = " L".join(f"{x:g},{y:g}" for x, y in points)
        outline = f"M{points[0][0]:g},{scale.bottom:g} L{line} V{scale.bottom:g} Z"
        parts += [draw.Path(outline, class_="area"), draw.Path(f"M{line}", class_="line")]
    if panel.name == "CPU":
        _draw_throttled(parts, samples, scale)
    if limits:
        _draw_limit(parts, panel, samples, scale)
    _draw_marks(parts, panel, max(values), limits[-1] if limits else None, scale)
    return HIGH + 70


def _stretches(
    samples: Sequence[Sample], value: Callable[[Sample], float | None]
) -> list[list[tuple[float, float]]]:
    """Moments and values, broken where there was no reading, and the highest of those that lie too near."""
    found: list[list[tuple[float, float]]] = []
    near = samples[-1].at / POINTS
    last = float("-inf")
    for sample in samples:
        height = value(sample)
        if height is None:
            continue
        if sample.at - last > max(GAP, 3 * near):
            found.append([])
        if found[-1] and sample.at - found[-1][-1][0] < near:
            found[-1][-1] = (found[-1][-1][0], max(found[-1][-1][1], height))
        else:
            found[-1].append((sample.at, height))
        last = sample.at
    return found


def _draw_limit(
    parts: list[draw.DrawingElement], panel: _Panel, samples: Sequence[Sample], scale: _Scale
) -> None:
    """The limit, with a step where it was changed."""
    path, before = "", None
    for sample in samples:
        limit = panel.limit(sample)
        if limit is not None and limit != before:
            path += (
                f" H{scale.x(sample.at):g} V{scale.y(limit):g}"
                if before
                else (f"M{scale.x(sample.at):g},{scale.y(limit):g}")
            )
        elif limit is None and before is not None:
            path += f" H{scale.x(sample.at):g}"
        before = limit
    path += f" H{RIGHT}" if before is not None else ""
    parts.append(hint(draw.Path(path, class_="limit"), f"limit of {panel.name}"))


def _draw_throttled(parts: list[draw.DrawingElement], samples: Sequence[Sample], scale: _Scale) -> None:
    """Below the line of the CPU: the stretches in which the container had to wait."""
    stretches: list[tuple[float, float]] = []
    for before, sample in pairwise(samples):
        if sample.throttled:
            if stretches and stretches[-1][1] == before.at:
                stretches[-1] = (stretches[-1][0], sample.at)
            else:
                stretches.append((before.at, sample.at))
    for first, last in stretches:
        left, wide = scale.x(first), scale.x(last) - scale.x(first)
        bar = draw.Rectangle(left, scale.bottom - 6, round(wide, 1), 6, class_="throttled")
        parts.append(hint(bar, f"throttled, {first:.1f} s to {last:.1f} s"))
    if stretches:
        parts.append(draw.Rectangle(RIGHT - 66, scale.top - 23, 8, 8, class_="throttled"))
        parts.append(label("throttled", (RIGHT, scale.top - 15), "small", anchor="end"))


def _draw_marks(
    parts: list[draw.DrawingElement], panel: _Panel, most: float, limit: float | None, scale: _Scale
) -> None:
    """What is written at the axes: the limit, the highest value where there is room for it, nought, and the seconds."""
    taken = [scale.bottom]
    for value, look in ((limit, "small bad"), (most, "small")):
        if value is not None and all(abs(scale.y(value) - y) >= 13 for y in taken):
            taken.append(scale.y(value))
            parts.append(label(panel.told(value), (LEFT - 8, scale.y(value) + 4), look, anchor="end"))
    parts.append(label("0", (LEFT - 8, scale.bottom + 4), "small", anchor="end"))
    for quarter, anchor in enumerate(_ANCHORS):
        at = scale.end * quarter / 4
        parts.append(label(f"{at:.1f} s", (scale.x(at), scale.bottom + 17), "small", anchor=anchor))


_ANCHORS: tuple[Anchor, ...] = ("start", "middle", "middle", "middle", "end")
