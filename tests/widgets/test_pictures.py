"""What all pictures have in common: labels that fit, names of any kind, words for who does not see them."""

from __future__ import annotations

import xml.etree.ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st

from labkit.widgets import pictures
from labkit.widgets.pictures import Picture, clean, finished, fitted, label, sheet, width_of

LOOKS = st.sampled_from(["", "small", "mono", "strong"])


@given(text=st.text(), width=st.floats(20, 400), look=LOOKS)
def test_a_label_never_takes_more_than_its_place(text: str, width: float, look: str) -> None:
    """What is shown fits, and is the text itself or its beginning with an ellipsis."""
    shown = fitted(text, width, look)
    assert width_of(shown, look) <= width
    assert shown == text or (shown.endswith("…") and text.startswith(shown[:-1]))


@given(text=st.text(min_size=1))
def test_any_text_makes_a_well_formed_picture(text: str) -> None:
    """Names of any characters, also those that XML has no place for, stand in the label and in what is read aloud."""
    drawing = sheet(100, 50, "test", text)
    drawing.append(label(text, (5, 20), width=90))
    root = ET.fromstring(finished(drawing))
    assert root.get("aria-label") == clean(text)


def test_a_label_that_is_cut_tells_all_of_it_on_hovering() -> None:
    """The whole text is the label's title; a label that fits has none."""
    assert "<title>a-very-long-name</title>" in svg_of("a-very-long-name", 60)
    assert "<title>" not in svg_of("short", 60)


def test_a_text_without_end_does_not_fill_the_picture() -> None:
    """Of a script that is the name of something, nobody listens to more than the beginning."""
    endless = f"sh -c {'x' * 10**6}"
    drawing = sheet(100, 50, "test", f"one\n{endless}")
    drawing.append(label(endless, (5, 20), width=90))
    svg = finished(drawing)
    assert "one&#10;sh -c xxx" in svg and len(svg) < 10_000


def svg_of(text: str, width: float) -> str:
    drawing = sheet(100, 50, "test", "")
    drawing.append(label(text, (5, 20), width=width))
    return finished(drawing)


def test_a_still_says_its_words_everywhere() -> None:
    """The drawing is for those that can show it; printed, and as plain text, it is its words."""
    still = Picture("<svg/>", "web is running")
    assert repr(still) == still._repr_mimebundle_()["text/plain"] == "web is running"
    assert still._repr_mimebundle_()["image/svg+xml"] == "<svg/>"


@pytest.mark.parametrize("somebody", [True, False])
def test_a_still_is_part_of_the_page_where_somebody_looks_at_it(
    somebody: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """There it is HTML too, which keeps the page's theme and words; in what is executed without a person it is an image."""
    monkeypatch.setattr(pictures, "in_a_notebook", lambda: somebody)
    assert Picture("<svg/>", "words")._repr_mimebundle_().get("text/html") == ("<svg/>" if somebody else None)
