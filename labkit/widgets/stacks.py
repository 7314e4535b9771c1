"""The picture of an image's layers, and of the thin writable one that a container puts on top."""

from __future__ import annotations

from typing import TYPE_CHECKING

import drawsvg as draw

from labkit.lab.arguments import learner
from labkit.observe.layers import MISSING, MISSING_MEANS, Layer, LayerStack, layer_stack, shortened
from labkit.observe.quantities import ByteSize
from labkit.observe.writable import Change, WritableLayer
from labkit.widgets.pictures import WIDTH, Picture, composed, label, paragraph, width_of

if TYPE_CHECKING:
    from labkit.engine import Engine

__all__ = ["describe_stack", "draw_stack", "layers"]

LEFT, RIGHT, INSIDE = 20, WIDTH - 20, WIDTH - 40
SIZE, MADE = 108, 124
"""Where the columns of a layer are: the end of its size, the begin of what made it."""
SHARED = 270
"""Pixels that the names of those who share a layer take at most."""
ROW, GAP, LINE = 34, 4, 19
MOST = 12
"""Changes that are shown, the largest first when there are more."""
SIGNS = {"added": "+", "changed": "~", "deleted": "−"}

STYLE = """
.lk-layers .layer{fill:var(--soft);stroke:var(--line);stroke-opacity:.6}
.lk-layers .own{fill:var(--paper);stroke:var(--warn);stroke-dasharray:6 4;stroke-width:1.4}
.lk-layers .share{fill:var(--lit);opacity:.75}
.lk-layers text.mono{fill:var(--ink)}
.lk-layers text.added{fill:var(--good)}
.lk-layers text.changed{fill:var(--warn)}
.lk-layers text.deleted{fill:var(--bad)}
"""


@learner("layers")
def layers(engine: Engine, name: str, *, exact: bool = False) -> Picture:
    """The layers of the image *name*, or of the container *name* with what it has written itself.

    *exact*: also where each lies on the engine's host, which is another folder on every engine.  Raises `UsageError` where
    there is no such image and no such container.
    """
    stack = layer_stack(engine, name)
    return Picture(draw_stack(stack, exact=exact), describe_stack(stack, exact=exact))


def describe_stack(stack: LayerStack, *, exact: bool = False) -> str:
    """The picture in words, from the top down."""
    lines = [stack.title]
    if stack.writable:
        lines += _own_words(stack.writable, exact)
    for number, layer in reversed(list(enumerate(stack.layers, 1))):
        shared = f"  (shared with {_names(layer)})" if layer.shared else ""
        lines.append(f"{number:>3}  {layer.told_size:>7}  {shortened(layer.made)}{shared}")
        lines += [f"{'':14}{layer.folder}"] if exact and layer.folder else []
    if stack.configured:
        lines += ["no layers, only configuration:"]
        lines += [f"{'':14}{shortened(each)}" for each in reversed(stack.configured)]
    return "\n".join([*lines, *_notes(stack)])


def _own_words(own: WritableLayer, exact: bool) -> list[str]:
    lines = [f"top  {ByteSize(own.size).rounded():>7}  {_own_title(own)}"]
    lines += [f"{'':14}{own.folder}"] if exact and own.folder else []
    shown, rest = _shown(own)
    lines += [
        f"{'':14}{SIGNS[c.kind]} {c.path}{f'  {c.told_size}' if c.size is not None else ''}" for c in shown
    ]
    return [*lines, *([f"{'':14}{rest}"] if rest else [])]


def _own_title(own: WritableLayer) -> str:
    counts = [
        f"{sum(change.kind == kind for change in own.changes)} {kind}"
        for kind in SIGNS
        if any(change.kind == kind for change in own.changes)
    ]
    return f"writable layer of {own.container}: {', '.join(counts) or 'nothing written yet'}"


def _names(layer: Layer) -> str:
    """Who shares it; of many the first few."""
    return ", ".join(layer.shared[:4]) + (
        f" and {len(layer.shared) - 4} more" if len(layer.shared) > 4 else ""
    )


def _shown(own: WritableLayer) -> tuple[list[Change], str]:
    """The changes to show, by path, and what is left out."""
    if len(own.changes) <= MOST:
        return list(own.changes), ""
    shown = sorted(own.changes, key=lambda change: (-(change.size or 0), change.path))[:MOST]
    left = [change for change in own.changes if change not in shown]
    size = ByteSize(sum(change.size or 0 for change in left)).rounded()
    return sorted(shown, key=lambda change: change.path), f"and {len(left)} more, smaller ones: {size}"


def _notes(stack: LayerStack) -> list[str]:
    """What has to be explained, and what could not be read and why."""
    notes = [f"{MISSING} ({stack.missing}×) {MISSING_MEANS}"] if stack.missing else []
    if stack.unplaced is not None:
        notes.append(f"{stack.unplaced.source}: not readable ({stack.unplaced.reason})")
    if stack.writable and stack.writable.unsized is not None:
        notes.append(f"{stack.writable.unsized.source}: not readable ({stack.writable.unsized.reason})")
    return notes


# -- drawing


def draw_stack(stack: LayerStack, *, exact: bool = False) -> str:
    """*stack* as SVG, the lowest layer at the bottom.  The same arguments give the same text."""
    parts: list[draw.DrawingElement] = [label(stack.title, (LEFT, 28), "title", width=INSIDE)]
    y = 44.0
    if stack.writable:
        y = _draw_own(parts, stack.writable, y, exact)
    for number, layer in reversed(list(enumerate(stack.layers, 1))):
        y = _draw_layer(parts, number, layer, stack.size, y, exact)
    if stack.configured:
        parts.append(label("no layers, only configuration:", (LEFT, y + 20), "small"))
        y += 24
    for each in reversed(stack.configured):
        parts.append(label(each, (MADE, y + 14), "mono", width=RIGHT - MADE - 12))
        y += LINE
    y += 22
    for note in _notes(stack):
        y = paragraph(parts, note, (LEFT, y), INSIDE)
    return composed(parts, y - 2, "layers", describe_stack(stack, exact=exact), STYLE)


def _draw_layer(
    parts: list[draw.DrawingElement], number: int, layer: Layer, whole: int, y: float, exact: bool
) -> float:
    height = ROW + (15 if exact else 0)
    parts.append(draw.Rectangle(LEFT, y, INSIDE, height, rx=5, class_="layer"))
    if layer.size and whole:
        width = max(3.0, (INSIDE - 8) * layer.size / whole)
        parts.append(draw.Rectangle(LEFT + 4, y + height - 4, round(width, 1), 3, rx=1.5, class_="share"))
    parts.append(label(number, (LEFT + 12, y + 21), "small"))
    parts.append(label(layer.told_size, (SIZE, y + 21), "strong", anchor="end"))
    shared = f"shared with {_names(layer)}" if layer.shared else ""
    wide = min(SHARED, width_of(shared, "small"))
    parts.append(label(layer.made, (MADE, y + 21), "mono", width=RIGHT - MADE - 24 - wide))
    parts.append(label(shared, (RIGHT - 12, y + 21), "small", width=SHARED, anchor="end"))
    if exact and layer.folder:
        parts.append(label(layer.folder, (MADE, y + 37), "small", width=RIGHT - MADE - 12))
    return y + height + GAP


def _draw_own(parts: list[draw.DrawingElement], own: WritableLayer, y: float, exact: bool) -> float:
    shown, rest = _shown(own)
    lines = LINE * (len(shown) + bool(rest)) + (6 if shown else 0)
    height = ROW + lines + (15 if exact else 0)
    parts.append(draw.Rectangle(LEFT, y, INSIDE, height, rx=5, class_="own"))
    parts.append(label("top", (LEFT + 12, y + 21), "small"))
    parts.append(label(ByteSize(own.size).rounded(), (SIZE, y + 21), "strong", anchor="end"))
    parts.append(label(_own_title(own), (MADE, y + 21), "strong", width=RIGHT - MADE - 12))
    at = y + 21
    if exact:
        at += 15
        parts.append(label(own.folder, (MADE, at), "small", width=RIGHT - MADE - 12))
    for change in shown:
        at += LINE
        parts.append(label(change.told_size, (SIZE, at), "small", anchor="end"))
        parts.append(label(SIGNS[change.kind], (MADE, at), f"mono {change.kind}"))
        parts.append(label(change.path, (MADE + 16, at), "mono", width=RIGHT - MADE - 28))
    if rest:
        parts.append(label(rest, (MADE + 16, at + LINE), "small"))
    return y + height + 2 * GAP
