"""Which cell of a lab makes a name."""

from __future__ import annotations

import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from labkit.lab.notebooks.names import advice, maker

BOOK = new_notebook(
    cells=[
        new_code_cell("guess = 1", id="one"),
        new_markdown_cell("guess = 2", id="prose"),
        new_code_cell("said = !docker ps\nimport os.path as way", id="shell"),
        new_code_cell("guess, (found, *_) = 3, [4]\ndef sheets(): ...", id="three"),
        new_code_cell("oh no", id="broken"),
        new_code_cell("print(guess); late = 5", id="last"),
    ]
)


@pytest.mark.parametrize(
    ("name", "cell", "made"),
    [
        ("guess", None, "one"),
        ("guess", "last", "three"),
        ("guess", "shell", "one"),
        ("guess", "learners-own", "one"),
        ("said", "last", "shell"),
        ("way", "last", "shell"),
        ("found", "last", "three"),
        ("sheets", "last", "three"),
        ("late", "last", None),
        ("nobody", None, None),
    ],
)
def test_the_cell_that_makes_a_name(name: str, cell: str | None, made: str | None) -> None:
    """The last above the one that needs it; the first of all where that one is not the lab's; by assignment, ! and def."""
    found = maker(BOOK, name, cell)
    assert (found and found.id) == made
    told = advice(BOOK, NameError(name=name), cell)
    assert told.startswith(f"{name} is made by") if made else told == ""


def test_only_a_missing_name_has_such_an_advice() -> None:
    """Another error, and one without a name, have none."""
    assert advice(BOOK, ValueError("guess")) == advice(BOOK, NameError("guess")) == advice(BOOK, None) == ""
