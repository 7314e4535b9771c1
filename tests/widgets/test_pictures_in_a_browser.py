"""The pictures as a browser draws them, with its own fonts: no label lies on another, or beyond its sheet."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest
from playwright.sync_api import Browser, Page

from labkit.observe import Cell, Change, Layer, LayerStack, Moment, NetworkMap, Timeline, WritableLayer
from labkit.widgets.drawings import draw_states
from labkit.widgets.maps import draw_map
from labkit.widgets.meters import draw_usage
from labkit.widgets.stacks import draw_stack
from labkit.widgets.timelines import draw_timeline
from tests.browser import SECONDS
from tests.widgets import test_maps, test_meters

LONG = ["W" * 200, "ünïcödé-日本語-" * 12, "שלום עולם " * 20, "mmmmm " * 40, "i" * 300]

CROSSING = """() => {
  const found = [], sheet = document.querySelector("svg").getBoundingClientRect();
  const labels = [...document.querySelectorAll("svg text")]
    .map(text => [text.firstChild?.textContent ?? "", text.getBoundingClientRect()]).filter(([, box]) => box.width);
  for (const [text, box] of labels)
    if (box.left < sheet.left || box.right > sheet.right || box.top < sheet.top || box.bottom > sheet.bottom)
      found.push(["outside", text]);
  labels.forEach(([one, a], index) => labels.slice(index + 1).forEach(([other, b]) => {
    if (Math.min(a.right, b.right) - Math.max(a.left, b.left) > 1 && Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top) > 4)
      found.push([one, other]);
  }));
  return found;
}"""


def stack(name: str, count: int) -> LayerStack:
    """*count* layers, and as many changes of a container."""
    layers = tuple(Layer(f"RUN {name}", 10**9 * n, str(n), (name,) * n) for n in range(count))
    own = WritableLayer(name, 2**40, tuple(Change(f"/{n}/{name}", "added", 2**40) for n in range(count)))
    return LayerStack(name, layers, (name, name), 3, None, own)


def networks(name: str, count: int) -> NetworkMap:
    """*count* containers on a network, all called *name*."""
    found = test_maps.facts(count)
    called = [
        replace(
            each,
            name=name,
            endpoints=tuple(replace(point, container=name, others=(name,) * 5) for point in each.endpoints),
        )
        for each in found.networks
    ]
    return replace(found, host=name, networks=tuple(called), idle=(name,) * 30)


def events(name: str, count: int) -> Timeline:
    """*count* events of as many objects."""
    moments = (
        Moment(n, "container", f"{n}-{name}", f"exec {name}", Cell(n, name, 0) if n % 3 else None)
        for n in range(count)
    )
    return Timeline(name, tuple(moments), 1, True)


def drawings(name: str) -> Iterator[str]:
    """Every picture with that name wherever one can be, small and large."""
    yield draw_states("paused", (), name)
    yield draw_usage(replace(test_meters.FACTS, container=name, ended=name), exact=True)
    for count in (0, 1, 40):
        yield draw_stack(stack(name, count), exact=True)
        yield draw_map(networks(name, count), exact=True)
        yield draw_timeline(events(name, count), exact=True)


@pytest.fixture(scope="module")
def page(browser: Browser) -> Page:
    """A page of headless Chromium."""
    page = browser.new_page(viewport={"width": 900, "height": 600})
    page.set_default_timeout(SECONDS * 1000)
    return page


@pytest.mark.parametrize("name", LONG, ids=["wide", "several scripts", "right to left", "words", "narrow"])
def test_no_label_lies_on_another(page: Page, name: str) -> None:
    """Whatever things are called and however many there are: a label that has no room is cut."""
    for svg in drawings(name):
        page.set_content(f"<body>{svg}</body>")
        assert page.evaluate(CROSSING) == []


def test_the_look_finds_what_crosses(page: Page) -> None:
    """Two labels on each other, and one beyond the sheet, are seen."""
    texts = "<text x='5' y='20'>one</text><text x='8' y='21'>other</text><text x='95' y='40'>beyond</text>"
    page.set_content(f"<svg width='100' height='50'>{texts}</svg>")
    assert page.evaluate(CROSSING) == [["outside", "beyond"], ["one", "other"]]


def test_a_picture_shrinks_with_its_page_and_scrolls_where_it_could_not_be_read(page: Page) -> None:
    """At its own width where there is room, then as wide as the page, and never so small that the letters are lost."""
    page.set_content(f"<body style='margin:0'>{draw_stack(stack('web', 2))}</body>")
    widths = []
    for room in (900, 600, 560, 420):
        page.set_viewport_size({"width": room, "height": 600})
        page.wait_for_function("room => innerWidth === room", arg=room)
        widths.append(page.evaluate("document.querySelector('svg').getBoundingClientRect().width"))
    page.set_viewport_size({"width": 900, "height": 600})
    assert widths == [760, 600, 560, 420]


PALETTE = """([attribute, value]) => {
  document.body.setAttribute(attribute, value);
  const svg = document.querySelector("svg"), of = name => {
    svg.style.color = `var(--${name})`;
    return getComputedStyle(svg).color.match(/[0-9]+/g).map(Number);
  };
  const pairs = [["on", "lit"], ["on", "bad"]];
  for (const ink of ["ink", "mute", "lit", "bad", "warn", "good"]) pairs.push([ink, "paper"], [ink, "soft"]);
  return [of("paper"), pairs.map(([ink, ground]) => [`${ink} on ${ground}`, of(ink), of(ground)])];
}"""
PAPER = {"light": [255, 255, 255], "dark": [17, 20, 24]}
SAID = [
    *(("data-jp-theme-light", told, theme) for told, theme in (("true", "light"), ("false", "dark"))),
    *(("class", f"vscode-{told}", theme) for told, theme in (("light", "light"), ("dark", "dark"))),
]


@pytest.mark.parametrize(("attribute", "value", "theme"), SAID, ids=[value for _, value, _ in SAID])
def test_colours_follow_the_page_and_can_be_read(page: Page, attribute: str, value: str, theme: str) -> None:
    """The page's theme, where it names one, whatever the reader's system prefers; all words stand out from their ground."""
    for system in ("light", "dark"):
        page.emulate_media(color_scheme=system)  # type: ignore[arg-type]
        page.set_content(f"<body>{draw_stack(stack('web', 2))}</body>")
        paper, pairs = page.evaluate(PALETTE, [attribute, value])
        assert paper == PAPER[theme]
        assert {name: found for name, ink, ground in pairs if (found := contrast(ink, ground)) < 4.5} == {}
        page.evaluate(f"document.body.removeAttribute('{attribute}')")
        assert page.evaluate(PALETTE, ["title", "says nothing of a theme"])[0] == PAPER[system]


def contrast(one: list[int], other: list[int]) -> float:
    """Of two colours, as WCAG 2.2 defines it: 1 for none, 21 for black on white."""
    low, high = sorted(luminance(each) for each in (one, other))
    return (high + 0.05) / (low + 0.05)


def luminance(colour: list[int]) -> float:
    parts = [part / 255 for part in colour]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return sum(part * share for part, share in zip(linear, (0.2126, 0.7152, 0.0722), strict=True))
