"""The picture of the state machine, drawn by hand once: where each state and each way lies, and how it looks when lit."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

import drawsvg as draw

from labkit.lifecycle import DELAY, DELETED, ENDS, RESISTS
from labkit.widgets.pictures import finished, hint, label, sheet
from labkit.widgets.walks import Step

__all__ = ["EDGES", "Edge", "draw_states"]

WIDTH, HEIGHT = 880, 476
SHOWN = 820, 444
"""The size at which it is shown where there is room, so that it fits beside JupyterLab's file browser."""

PILL = (112, 38)

PLACES = {
    "created": (150, 104),
    "running": (370, 104),
    "restarting": (572, 186),
    "paused": (786, 104),
    "exited": (370, 296),
    "removing": (572, 372),
    "removed": (410, 444),
    "dead": (770, 444),
}
BIRTH = (22, 104)
ROW = 5
"""Step numbers beside each other in a badge, which has two rows at most."""


@dataclass(frozen=True)
class Edge:
    """A drawn arrow: *moves* it stands for, its *path*, the place of its *label* and of the step numbers (*badge*).

    *grows*: which side of the badge stays where it is when there are many numbers, as of a text's *anchor*.
    """

    moves: tuple[tuple[str, str, str], ...]
    path: str
    label: str
    at: tuple[int, int]
    badge: tuple[int, int]
    kind: str = "command"
    anchor: str = "middle"
    grows: str = "middle"


def _moves(sources: str, causes: str | tuple[str, ...], target: str) -> tuple[tuple[str, str, str], ...]:
    each = causes.split() if isinstance(causes, str) else causes
    return tuple((source, cause, target) for source in sources.split() for cause in each)


EDGES = (
    Edge(_moves("removed", "create", "created"), "M30,104 L93,104", "create", (60, 94), (60, 122)),
    Edge(_moves("created", "start restart", "running"), "M206,104 L313,104", "start", (250, 94), (250, 122)),
    Edge(
        _moves("running", "pause", "paused"), "M426,96 L729,96", "pause", (570, 86), (615, 82), grows="start"
    ),
    Edge(
        _moves("paused", "unpause", "running"),
        "M730,112 L427,112",
        "unpause",
        (570, 130),
        (615, 127),
        grows="start",
    ),
    Edge(
        _moves("running", (ENDS,), "restarting"),
        "M412,123 C420,168 460,190 514,191",
        "restart policy",
        (504, 209),
        (437, 168),
        "automatic",
        "end",
    ),
    Edge(
        _moves("restarting", (DELAY,), "running"),
        "M556,167 C540,142 490,128 428,120",
        "after a delay",
        (566, 154),
        (508, 134),
        "automatic",
        "start",
    ),
    Edge(
        _moves("running", "stop kill", "exited"),
        "M350,123 L350,275",
        "stop, kill",
        (342, 176),
        (350, 232),
        anchor="end",
        grows="end",
    ),
    Edge(
        _moves("running", (ENDS,), "exited"),
        "M322,120 C226,150 226,250 320,281",
        "process ends",
        (243, 194),
        (252, 222),
        "automatic",
        "end",
        grows="end",
    ),
    Edge(
        _moves("exited", "start restart", "running"),
        "M390,277 L390,125",
        "start, restart",
        (398, 264),
        (390, 232),
        anchor="start",
        grows="start",
    ),
    Edge(
        _moves("restarting", "stop kill", "exited"),
        "M560,205 C546,256 500,290 428,292",
        "stop, kill",
        (556, 252),
        (512, 276),
        anchor="start",
    ),
    Edge(
        _moves("paused", "stop kill", "exited"),
        "M786,123 L786,288 Q786,302 772,302 L428,302",
        "stop, kill",
        (690, 296),
        (616, 302),
    ),
    Edge(
        _moves("created", ("rm", "rm -f"), "removing"),
        "M150,123 L150,364 Q150,378 164,378 L514,378",
        "rm",
        (162, 300),
        (150, 330),
        anchor="start",
    ),
    Edge(
        _moves("exited", ("rm", "rm -f"), "removing"),
        "M396,315 C404,350 450,365 514,366",
        "rm",
        (440, 346),
        (411, 343),
        anchor="start",
    ),
    Edge(
        _moves("running paused restarting", ("rm -f",), "removing"),
        "M836,226 L836,358 Q836,372 822,372 L630,372",
        "rm -f",
        (726, 362),
        (790, 372),
        "forced",
    ),
    Edge(
        _moves("removing", (DELETED,), "removed"),
        "M548,391 C536,424 510,444 468,444",
        "all is deleted",
        (514, 416),
        (532, 422),
        "automatic",
        "end",
    ),
    Edge(
        _moves("removing", (RESISTS,), "dead"),
        "M592,391 C606,430 650,444 712,444",
        "deleting fails",
        (646, 463),
        (614, 425),
        "automatic",
    ),
    Edge(
        _moves("dead", ("rm", "rm -f"), "removing"),
        "M766,425 C752,398 700,386 630,384",
        "rm",
        (752, 396),
        (700, 391),
    ),
)

STYLE = """
.lk-states .edge{fill:none;stroke:var(--line);stroke-width:1.4}
.lk-states .tip{fill:var(--line)}
.lk-states text.command,.lk-states text.forced{font:600 13px ui-monospace,monospace}
.lk-states text.automatic{font-style:italic}
.lk-states .automatic.edge{stroke-dasharray:2 4;stroke-linecap:round}
.lk-states .forced.edge{stroke:var(--bad);stroke-dasharray:8 4}
.lk-states .forced.tip,.lk-states text.forced{fill:var(--bad)}
.lk-states .walked.edge{stroke:var(--lit);stroke-width:2.4}
.lk-states .walked.tip{fill:var(--lit)}
.lk-states text.walked{fill:var(--ink)}
.lk-states .state{fill:var(--paper);stroke:var(--line);stroke-width:1.4}
.lk-states .gone.state{stroke-dasharray:4 4}
.lk-states .visited.state{stroke:var(--lit);stroke-width:2}
.lk-states .now.state{fill:var(--lit);stroke:var(--lit);stroke-width:2}
.lk-states .now.dead.state{fill:var(--bad);stroke:var(--bad)}
.lk-states text.name{font-size:15px;fill:var(--ink)}
.lk-states text.now.name{font-weight:700;fill:var(--on)}
.lk-states .badge{fill:var(--paper);stroke:var(--lit);stroke-width:1.4}
.lk-states text.step{font:600 11px system-ui,sans-serif;fill:var(--lit)}
.lk-states .birth{fill:var(--line)}
.lk-states .birth.now{fill:var(--lit);stroke:var(--lit);stroke-width:6;stroke-opacity:.3}
"""


def draw_states(
    present: str, steps: Sequence[Step] = (), title: str = "", text: str = "", now: str = ""
) -> str:
    """The state machine as SVG: *present* lit, the *steps* walked so far numbered along the edges.

    *text*: for screen readers.  *now*: what is shown on hovering over the present state.  The same arguments give the same
    text: no ids, no times.
    """
    drawing = sheet(WIDTH, HEIGHT, "states", text or title or present, STYLE)
    _draw_zones(drawing)
    born = bool(steps) or present != "removed"
    drawing.append(draw.Circle(*BIRTH, 7, class_="birth" if born else "birth now"))
    for edge in EDGES:
        _draw_edge(drawing, edge, _numbers(edge, steps))
    visited = {step.target for step in steps}
    for state in PLACES:
        _draw_state(drawing, state, present if born else "", visited, now)
    if title:
        drawing.append(label(title, (20, 28), "title", width=500))
    return finished(drawing, SHOWN)


def _draw_zones(drawing: draw.Drawing) -> None:
    """The three states that only force removes from, and the way out, each on a ground of its own."""
    drawing.append(draw.Rectangle(296, 56, 564, 170, rx=14, class_="zone"))
    drawing.append(draw.Rectangle(340, 338, 520, 130, rx=14, class_="zone"))


def _numbers(edge: Edge, steps: Sequence[Step]) -> list[str]:
    """The numbers of the steps that went along *edge*; of very many the first and the last."""
    walked = [
        f"{number}…" if step.again else f"{number}"
        for number, step in enumerate(steps, 1)
        if (step.source, step.cause, step.target) in edge.moves
    ]
    return walked if len(walked) <= 2 * ROW else [*walked[: ROW - 1], "…", *walked[-ROW:]]


def _draw_edge(drawing: draw.Drawing, edge: Edge, numbers: list[str]) -> None:
    look = f"{edge.kind} walked" if numbers else edge.kind
    drawing.append(draw.Path(edge.path, class_=f"edge {look}"))
    drawing.append(draw.Path(_tip(edge.path), class_=f"tip {look}"))
    drawing.append(_text(edge.label, edge.at, look, edge.anchor))
    if numbers:
        _draw_badge(drawing, edge, numbers)


def _tip(path: str) -> str:
    """An arrow head at the end of *path*, along its last two points."""
    points = [(float(x), float(y)) for x, y in re.findall(r"(-?[\d.]+),(-?[\d.]+)", path)]
    (x0, y0), (x, y) = points[-2:]
    angle = math.atan2(y - y0, x - x0)
    corners = [(x - 9 * math.cos(angle + turn), y - 9 * math.sin(angle + turn)) for turn in (0.42, -0.42)]
    return f"M{x:g},{y:g} " + " ".join(f"L{a:.1f},{b:.1f}" for a, b in corners) + " Z"


def _draw_badge(drawing: draw.Drawing, edge: Edge, numbers: list[str]) -> None:
    rows = [" ".join(numbers[start : start + ROW]) for start in range(0, len(numbers), ROW)]
    width, height = max(18, 8 + 7 * max(map(len, rows))), 5 + 13 * len(rows)
    left = edge.badge[0] - {"start": 9, "middle": width / 2, "end": width - 9}[edge.grows]
    top = edge.badge[1] - height / 2
    drawing.append(draw.Rectangle(left, top, width, height, rx=9, class_="badge"))
    for line, row in enumerate(rows):
        drawing.append(_text(row, (left + width / 2, top + 13 + 13 * line), "step"))


def _draw_state(drawing: draw.Drawing, state: str, present: str, visited: set[str], now: str) -> None:
    (x, y), (width, height) = PLACES[state], PILL
    look = (
        [state]
        + ["now"] * (state == present)
        + ["visited"] * (state in visited)
        + ["gone"] * (state == "removed")
    )
    body = draw.Rectangle(
        x - width / 2, y - height / 2, width, height, rx=height / 2, class_=" ".join(["state", *look])
    )
    drawing.append(hint(body, now) if now and state == present else body)
    drawing.append(_text(state, (x, y + 5), "name now" if state == present else "name"))


def _text(text: str, at: tuple[float, float], look: str, anchor: str = "middle") -> draw.Text:
    return draw.Text(text, 13, *at, class_=look, text_anchor=anchor)
