"""Tables in text and HTML."""

from __future__ import annotations

from labkit.observe import Table


def test_text_is_aligned_and_has_no_trailing_spaces() -> None:
    """A table prints as columns under a rule, one line a row."""
    table = Table(["name", "up"], [("web", True), ("database", False)], caption="two")
    assert repr(table).splitlines() == [
        "two",
        "name      up",
        "--------  ---",
        "web       yes",
        "database  no",
    ]


def test_html_is_escaped() -> None:
    """Names that hold markup are shown, not interpreted."""
    shown = Table(["a"], [("<script>",)], caption="<b>")._repr_html_()
    assert "&lt;script&gt;" in shown
    assert "<b>" not in shown


def test_an_empty_table_says_so() -> None:
    """No rows is a statement, not a blank."""
    assert repr(Table(["a"], [], empty="nothing here")) == "nothing here"
