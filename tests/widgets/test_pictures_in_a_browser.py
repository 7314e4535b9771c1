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
    return browser.new_page(viewport={"width": 900, "height": 600})


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


@pytest.mark.parametrize(("theme", "paper"), [("light", "rgb(255, 255, 255)"), ("dark", "rgb(17, 20, 24)")])
def test_paper_follows_the_theme(page: Page, theme: str, paper: str) -> None:
    """The page's theme, where it names one, whatever the reader's system prefers; ink and paper are far apart."""
    page.set_content(f"<body>{draw_stack(stack('web', 2))}</body>")
    for system in ("light", "dark"):
        page.emulate_media(color_scheme=system)  # type: ignore[arg-type]
        colours = page.evaluate(
            """theme => {
              document.querySelector("svg").dataset.theme = theme;
              const fill = where => getComputedStyle(document.querySelector(where)).fill;
              return [fill(".paper"), fill("text.title")];
            }""",
            theme,
        )
        assert colours[0] == paper and abs(brightness(colours[0]) - brightness(colours[1])) > 150


def brightness(colour: str) -> float:
    """Of a colour as ``rgb(r, g, b)``: the mean."""
    return sum(map(float, colour[4:-1].split(","))) / 3
