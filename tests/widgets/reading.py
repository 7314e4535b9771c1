"""Reads a drawing as a person does: what is on it, and whether all of that lies on the sheet."""

from __future__ import annotations

import xml.etree.ElementTree as ET

from labkit.widgets.pictures import width_of

SVG = "{http://www.w3.org/2000/svg}"


def shown(svg: str) -> str:
    """All labels of a drawing, and what they tell on hovering."""
    root = ET.fromstring(svg)
    return "\n".join(
        text for element in root.iter() if element.tag != f"{SVG}style" for text in [element.text or ""]
    )


def inside(svg: str) -> list[str]:
    """The labels and boxes that do not lie on the sheet whole, as far as the width of a label is known without a font."""
    root = ET.fromstring(svg)
    assert root.get("aria-label"), "nothing is read aloud"
    wide, high = (float(root.get(side) or 0) for side in ("width", "height"))
    found = []
    for element in root.iter():
        if element.tag not in (f"{SVG}text", f"{SVG}rect"):
            continue
        left, top, width, height = _box(element)
        if left < 0 or top < 0 or left + width > wide + 0.01 or top + height > high + 0.01:
            found.append(f"{element.text} at {left:g},{top:g}, {width:g} wide")
    return found


def _box(element: ET.Element) -> tuple[float, float, float, float]:
    x, y = float(element.get("x") or 0), float(element.get("y") or 0)
    if element.tag == f"{SVG}rect":
        return x, y, float(element.get("width") or 0), float(element.get("height") or 0)
    width = width_of(element.text or "", element.get("class") or "")
    return (
        x - {"start": 0, "middle": width / 2, "end": width}[element.get("text-anchor") or "start"],
        y - 11,
        width,
        13,
    )
