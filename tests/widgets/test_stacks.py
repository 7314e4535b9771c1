"""The picture of layers, as a function of its facts."""

from __future__ import annotations

import re

from hypothesis import given, settings
from hypothesis import strategies as st

from labkit.engine import Engine
from labkit.observe import Change, Layer, LayerStack, Unreadable, WritableLayer
from labkit.widgets import layers
from labkit.widgets.stacks import describe_stack, draw_stack
from tests.widgets.reading import inside, shown

NAMES = st.text(max_size=200)
SIZES = st.one_of(st.none(), st.integers(0, 2**50))
LAYERS = st.builds(Layer, NAMES, SIZES, NAMES, st.tuples(NAMES, NAMES), NAMES)
CHANGES = st.builds(Change, NAMES, st.sampled_from(["added", "changed", "deleted"]), SIZES)
OWN = st.builds(
    WritableLayer,
    NAMES,
    st.integers(0, 2**50),
    st.lists(CHANGES, max_size=30, unique_by=lambda change: change.path).map(tuple),
    NAMES,
    st.one_of(st.none(), st.builds(Unreadable, NAMES, NAMES)),
)
STACKS = st.builds(
    LayerStack,
    NAMES,
    st.lists(LAYERS, max_size=40).map(tuple),
    st.lists(NAMES, max_size=5).map(tuple),
    st.integers(0, 9),
    st.one_of(st.none(), st.builds(Unreadable, NAMES, NAMES)),
    st.one_of(st.none(), OWN),
)


@given(stack=STACKS, exact=st.booleans())
@settings(max_examples=40)
def test_any_facts_make_a_picture_that_stays_on_its_sheet(stack: LayerStack, exact: bool) -> None:
    """Whatever names and sizes there are, the SVG is well-formed, nothing lies outside, and the words are read aloud."""
    svg = draw_stack(stack, exact=exact)
    assert inside(svg) == []
    assert draw_stack(stack, exact=exact) == svg


FACTS = LayerStack(
    "shop:1",
    (
        Layer("ADD rootfs", 2 * 2**20, "a", ("base:1", "other:2")),
        Layer("RUN make " + "x" * 90, 3 * 2**20, "b"),
    ),
    ('CMD ["shop"]', "ENV A=b"),
    2,
    Unreadable("folders of the layers", "reached over ssh"),
    WritableLayer("web", 70, (Change("/new", "added", 70), Change("/old", "deleted")), ""),
)


def test_every_word_of_the_text_is_in_the_picture() -> None:
    """What the text says is drawn, or shown on hovering; numbers, sizes and reasons too."""
    drawn = shown(draw_stack(FACTS))
    for word in re.findall(
        r"[^\s…]+", describe_stack(FACTS).replace("(shared with base:1, other:2)", "base:1, other:2")
    ):
        assert word in drawn, word


def test_the_text_reads_from_the_top_down() -> None:
    """The writable layer, the layers with their numbers, what made none, and what could not be read."""
    assert describe_stack(FACTS).splitlines()[:6] == [
        "web on shop:1: 2 layers, 5.0m",
        "top      70b  writable layer of web: 1 added, 1 deleted",
        "              + /new  70b",
        "              − /old",
        "  2     3.0m  RUN make " + "x" * 50 + "…",
        "  1     2.0m  ADD rootfs  (shared with base:1, other:2)",
    ]
    assert "folders of the layers: not readable (reached over ssh)" in describe_stack(FACTS)


def test_of_many_changes_the_largest_are_shown() -> None:
    """Twelve at most, by path, and the rest counted with its size."""
    changes = tuple(Change(f"/f{n:02}", "added", n) for n in range(20))
    text = describe_stack(LayerStack("x", (), (), 0, None, WritableLayer("c", 190, changes)))
    assert "+ /f08  8b" in text and "/f07" not in text
    assert "and 8 more, smaller ones: 28b" in text


def test_folders_only_when_asked_for(engine: Engine) -> None:
    """They are others on every engine, so the committed picture has none; with exact they are there."""
    engine.client.containers.create("busybox:lab", name="web")
    assert "/overlay2/" not in str(layers(engine, "web"))
    assert "on busybox:lab: 1 layer" in layers(engine, "web").text
    exact = layers(engine, "web", exact=True)
    assert exact.text.count("/overlay2/") == 2 and "/overlay2/" in exact.svg
