"""The JavaScript and the look of the live views, which lie beside their modules: what all of them share, and what each adds."""

from __future__ import annotations

from pathlib import Path

__all__ = ["script", "style"]

HERE = Path(__file__).parent


def script(view: str) -> str:
    """The module of JavaScript of a *view*, for anywidget's ``_esm``; it may use what ``elements.js`` has."""
    return _both("js", view)


def style(view: str) -> str:
    """Its CSS, for anywidget's ``_css``; what it styles lies in an element of the class ``lk-view``."""
    return _both("css", view)


def _both(kind: str, view: str) -> str:
    return "\n".join((HERE / f"{each}.{kind}").read_text(encoding="utf-8") for each in ("elements", view))
