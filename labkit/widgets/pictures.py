"""What all pictures have in common: one palette for light and dark, labels that fit their place, and the still form."""

from __future__ import annotations

import html
import re
import unicodedata
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal

import drawsvg as draw

from labkit.lab.showing import in_a_notebook

__all__ = [
    "WIDTH",
    "Anchor",
    "Picture",
    "clean",
    "composed",
    "finished",
    "fitted",
    "hint",
    "label",
    "lines_of",
    "paragraph",
    "sheet",
    "width_of",
]

WIDTH = 760
"""Of a picture, where its content does not ask for another: fits beside JupyterLab's file browser."""

FITTING = "max-width:100%;min-width:min(560px,100vw);height:auto"
"""Shrinks with the page, as long as it can be read; a page that is narrower scrolls."""

TOLD = 1000
"""Letters of a line that are read aloud, or shown on hovering: a command can be a whole script."""

PALETTE = """
.lk{color-scheme:light dark;
--ink:light-dark(#1f2328,#e6edf3);--mute:light-dark(#59636e,#9198a1);--line:light-dark(#8c959f,#6e7681);
--paper:light-dark(#fff,#111418);--soft:light-dark(#f6f8fa,#1a1f26);--lit:light-dark(#0969da,#4493f8);
--on:light-dark(#fff,#0d1117);--bad:light-dark(#cf222e,#f85149);--warn:light-dark(#9a6700,#d29922);
--good:light-dark(#1a7f37,#3fb950)}
[data-jp-theme-light=true] .lk,.vscode-light .lk{color-scheme:light}
[data-jp-theme-light=false] .lk,.vscode-dark .lk,.vscode-high-contrast .lk{color-scheme:dark}
.lk text{font:13px system-ui,sans-serif;fill:var(--mute)}
.lk text.mono{font:12px ui-monospace,monospace}
.lk text.small{font-size:11px}
.lk text.title{font-size:14px;fill:var(--ink)}
.lk text.strong{font-weight:600;fill:var(--ink)}
.lk text.bad{fill:var(--bad)}
.lk text.warn{fill:var(--warn)}
.lk .paper{fill:var(--paper);stroke:var(--line);stroke-opacity:.35}
.lk .box{fill:var(--paper);stroke:var(--line)}
.lk .zone{fill:var(--soft)}
"""
"""Follows the page where that says what it is (JupyterLab, Notebook, exported pages, VS Code), else the reader's system."""

Anchor = Literal["start", "middle", "end"]

_UNDRAWABLE = re.compile(
    "[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]|[\u202a-\u202e\u2066-\u2069]"
)
"""What XML 1.0 has no place for, and what turns the direction of all text after it."""


@dataclass(frozen=True, repr=False)
class Picture:
    """A still: *svg* in a notebook, *text* everywhere else."""

    svg: str
    text: str

    def _repr_mimebundle_(self, **_: object) -> dict[str, str]:
        """In a person's notebook also as HTML: an SVG alone becomes an image there that neither shrinks nor is read aloud."""
        told = {"image/svg+xml": self.svg, "text/plain": self.text}
        return {"text/html": self.svg, **told} if in_a_notebook() else told

    def __repr__(self) -> str:
        return self.text


def sheet(width: int, height: int, kind: str, text: str, style: str = "") -> draw.Drawing:
    """An empty drawing of *kind* (its class is ``lk-kind``; *style* is written for that), with *text* for screen readers."""
    spoken = "&#10;".join(html.escape(shortened(line)) for line in clean(text).split("\n"))
    drawing = draw.Drawing(width, height, class_=f"lk lk-{kind}", role="img", aria_label=spoken)
    drawing.append_css(" ".join((PALETTE + style).split()))
    drawing.append(draw.Rectangle(0.5, 0.5, width - 1, height - 1, rx=10, class_="paper"))
    return drawing


def finished(drawing: draw.Drawing, shown: tuple[int, int] | None = None) -> str:
    """Only the ``<svg>`` element, able to shrink with the page; *shown*: the size where there is room."""
    svg: str = drawing.as_svg()
    svg = svg[svg.index("<svg") :].replace("/*<![CDATA[*/", "").replace("/*]]>*/", "")
    svg = svg.replace("<defs>\n</defs>\n", "")
    if shown:
        size = f'width="{drawing.width}" height="{drawing.height}"'
        svg = svg.replace(size, 'width="{}" height="{}"'.format(*shown), 1)
    return svg.replace("<svg", f'<svg style="{FITTING}"', 1)


def label(
    text: object, at: tuple[float, float], look: str = "", *, width: float = 0, anchor: Anchor = "start"
) -> draw.Text:
    """*text* at a place, in one line; cut to *width* pixels, if given, with all of it to be read on hovering."""
    whole = " ".join(clean(str(text)).split())
    shown = fitted(whole, width, look) if width else whole
    drawn = draw.Text(shown, 13, *at, class_=look or None, text_anchor=anchor)
    if shown != whole:
        drawn.append_title(shortened(whole))
    return drawn


def composed(parts: list[draw.DrawingElement], height: float, kind: str, text: str, style: str) -> str:
    """The *parts* on a sheet of their *height* and of the usual width, as SVG."""
    drawing = sheet(WIDTH, round(height), kind, text, style)
    for part in parts:
        drawing.append(part)
    return finished(drawing)


def paragraph(
    parts: list[draw.DrawingElement], text: str, at: tuple[float, float], width: float, look: str = "small"
) -> float:
    """Add *text* in lines of *width* pixels to *parts*; return where the next line would be."""
    x, y = at
    for line in lines_of(text, width, look):
        parts.append(label(line, (x, y), look))
        y += 16
    return y


def lines_of(text: str, width: float, look: str = "small") -> list[str]:
    """*text* in lines of *width* pixels, broken between words; a word that is too long is cut."""
    lines: list[str] = []
    for word in clean(text).split():
        longer = f"{lines[-1]} {word}" if lines else word
        if lines and width_of(longer, look) <= width:
            lines[-1] = longer
        else:
            lines.append(fitted(word, width, look))
    return lines


def shortened(line: str) -> str:
    """As much of a *line* as anybody listens to."""
    return line if len(line) <= TOLD else line[: TOLD - 1] + "…"


def hint(element: Any, text: str) -> Any:
    """*element*, which shows *text* on hovering."""
    element.append_title("\n".join(map(shortened, clean(text).split("\n"))))
    return element


def clean(text: str) -> str:
    """*text* with a mark in place of each character that a picture cannot hold, and no other space than blank and newline."""
    return _UNDRAWABLE.sub("\ufffd", text.expandtabs(1).replace("\r", " "))


def fitted(text: str, width: float, look: str = "") -> str:
    """As much of *text* as fits into *width* pixels in the *look* of its label, with an ellipsis for the rest."""
    if len(text) < TOLD and width_of(text, look) <= width:
        return text
    room = width - width_of("…", look)
    for count, letter in enumerate(text):
        room -= width_of(letter, look)
        if room < 0:
            return text[:count].rstrip() + "…"
    return text


def width_of(text: str, look: str = "") -> float:
    """About how many pixels *text* takes in that *look*, rather more than less."""
    looks = look.split()
    if "mono" in looks:
        return sum(map(_cells, text)) * 12 * 0.61
    sizes = {"small": 11, "title": 14, "strong": 14.5}  # the last is bold, and so wider than its 13
    return sum(map(_share, text)) * next((size for look, size in sizes.items() if look in looks), 13)


@lru_cache(maxsize=4096)
def _share(letter: str) -> float:
    """The width of a letter, of the font's size."""
    if letter in "iljtfrI.,:;'|!()[]/ ":
        return 0.39
    if letter in "mwMW@%—…":
        return 0.98
    return _cells(letter) * (0.75 if letter.isupper() else 0.64)


@lru_cache(maxsize=4096)
def _cells(letter: str) -> int:
    """The cells that a letter takes in a terminal."""
    if unicodedata.combining(letter):
        return 0
    return 2 if unicodedata.east_asian_width(letter) in "WF" else 1
