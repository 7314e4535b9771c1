"""A runbook's parameters, from its notebook's text to checked values."""

from __future__ import annotations

import re
import subprocess
import sys
from typing import Any

import nbformat
import pytest

from labkit import runbook
from labkit.errors import LabkitError, UsageError
from labkit.runbook import ByteSize, Duration
from labkit.runbook.parameters import check, read, validate

SOURCE = """\
container: str = "web"  # the container
memory: ByteSize | None = None  # its new limit, such as 512m # or so
watch: Duration = "5s"
apply: bool = False
mode: Literal["gentle", "hard"] = "gentle"
keep: list[str] = []
times: int = 3
share: float = 0.5
"""


def notebook(source: str) -> nbformat.NotebookNode:
    cell = nbformat.v4.new_code_cell(source, metadata={"tags": ["parameters"]})
    return nbformat.v4.new_notebook(cells=[cell])


def test_the_cell_is_read_as_syntax() -> None:
    """Names, types, defaults and help come from the cell, whatever their spelling."""
    container, memory, *rest = read(notebook(SOURCE))
    assert (container.name, container.type, container.default, container.help) == (
        "container",
        str,
        "web",
        "the container",
    )
    assert (memory.type, memory.annotation) == (ByteSize | None, "ByteSize | None")
    assert memory.help == "its new limit, such as 512m # or so"
    assert [each.name for each in rest] == ["watch", "apply", "mode", "keep", "times", "share"]


def test_defaults_are_typed_too() -> None:
    """A default is written as people write it and arrives as what it means."""
    values = validate(read(notebook(SOURCE)), {})
    assert values.watch == 5.0  # type: ignore[attr-defined]
    assert isinstance(values.watch, Duration)  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("name", "given", "plain"),
    [
        ("memory", "64m", "64m"),
        ("memory", 67108864, "64m"),
        ("memory", "none", None),
        ("watch", "1m30s", "1m30s"),
        ("apply", "yes", True),
        ("apply", "0", False),
        ("mode", "hard", "hard"),
        ("keep", "a, b", ["a", "b"]),
        ("keep", '["a,b"]', ["a,b"]),
        ("times", "7", 7),
        ("share", "0.25", 0.25),
        ("container", "007", "007"),
    ],
)
def test_text_becomes_what_it_means(name: str, given: Any, plain: Any) -> None:
    """A command line gives text; a notebook gets values it can hold."""
    assert validate(read(notebook(SOURCE)), {name: given}).plain()[name] == plain


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"contaner": "x"}, "-p container="),
        ({"MEMORY": "1m"}, "-p memory="),
        ({"memory": "64q"}, "512m"),
        ({"memory": "0"}, "above zero"),
        ({"watch": "-1"}, "10s"),
        ({"apply": "maybe"}, "boolean"),
        ({"mode": "rough"}, "'gentle' or 'hard'"),
        ({"times": "many"}, "integer"),
        ({"container": 7}, "use -r"),
        ({"keep": "["}, "keep"),
    ],
)
def test_what_does_not_fit_is_a_usage_error(given: dict[str, Any], expected: str) -> None:
    """A wrong name is answered with the nearest one, a wrong value with what would fit."""
    with pytest.raises(UsageError, match=expected):
        validate(read(notebook(SOURCE)), given)


@pytest.mark.parametrize("line", ["x: Unknown = 1", "x: int", "x: int = now()", "x: dict[str, int] = {}"])
def test_a_parameters_cell_that_cannot_be_read_says_which_line(line: str) -> None:
    """The runbook's author is told, not the operator's shell."""
    with pytest.raises(UsageError, match="cannot be read"):
        read(notebook(line))


def test_a_notebook_without_the_cell_has_no_parameters() -> None:
    """None declared, so none accepted."""
    assert read(nbformat.v4.new_notebook()) == []
    with pytest.raises(UsageError, match="it has none"):
        validate([], {"x": 1})


def namespace(injected: str = "") -> dict[str, Any]:
    """What a notebook's cells leave in its kernel: the declared cell, then papermill's own.

    As from Python 3.14 on, without ``__annotations__``.
    """
    space: dict[str, Any] = {"ByteSize": ByteSize, "Duration": Duration}
    source = 'container: str = "web"\nwatch: Duration = "5s"\nmemory: ByteSize | None = None\n'
    exec(source + injected, space)
    space.pop("__annotations__", None)
    space["In"] = [
        "",
        "%matplotlib inline",
        source,
        *([f"# Parameters\n{injected}"] if injected else []),
        "p = check(globals())",
    ]
    return space


def test_a_notebook_checks_what_papermill_put_into_it() -> None:
    """Plain papermill checks nothing, so the notebook does, to the same result."""
    assert check(namespace('watch = "2s"\nmemory = "1g"\n')).plain() == {
        "container": "web",
        "watch": "2s",
        "memory": "1g",
    }


@pytest.mark.parametrize("injected", ['contaner = "db"\n', 'watch = "soon"\n', "container = 7\n"])
def test_a_notebook_refuses_what_papermill_only_warns_of(injected: str) -> None:
    """An unknown name or a wrong value stops the notebook too."""
    with pytest.raises(UsageError):
        check(namespace(injected))


@pytest.mark.parametrize("name", runbook.names())
def test_every_runbook_explains_each_parameter(name: str) -> None:
    """Each has help text, and a default that fits its own type; without ``apply`` nothing is changed."""
    declared = read(nbformat.read(runbook.find(name), as_version=4))
    assert all(each.help for each in declared), [each.name for each in declared if not each.help]
    values = validate(declared, {}).plain()
    assert values.get("apply", False) is False


# -- the cell in all its shapes


def test_a_default_may_hold_anything_that_is_written_out() -> None:
    """Several lines, comments between, a ``#``, an equals sign or umlauts in text; help is the comment at the end."""
    source = """\
'''What it needs.'''
from labkit.runbook import Duration
label: str = "a=b # no comment"  # a filter = label
keep: list[str] = [
    "ü#1",  # the first
    "b",
]  # what stays
text: str = '''two
lines # of text'''
below: int = (  # no help
    -1
)
ünlaut: str = "ü" # grüße
"""
    found = {each.name: (each.default, each.help) for each in read(notebook(source))}
    assert found == {
        "label": ("a=b # no comment", "a filter = label"),
        "keep": (["ü#1", "b"], "what stays"),
        "text": ("two\nlines # of text", ""),
        "below": (-1, ""),
        "ünlaut": ("ü", "grüße"),
    }


@pytest.mark.parametrize(
    ("source", "line", "expected"),
    [
        ("x: int = 1\ny: int =", 2, "invalid syntax"),
        ("x: int = 1\n%matplotlib inline", 2, "invalid syntax"),
        ("x: str = 'open", 1, "unterminated string"),
        ("x = 1", 1, "name: type = default"),
        ("x: int = 1\nprint(x)", 2, "name: type = default"),
        ("x.y: int = 1", 1, "a name, its type and a default"),
        ("x: int", 1, "a name, its type and a default"),
        ("x: int = 1\n\nx: str = ''", 3, "x is declared twice"),
        ("_x: int = 1", 1, "'_x' is taken"),
        ("plain: int = 1", 1, "'plain' is taken"),
        ("x: int = 5 * 60", 1, "a default that is written out"),
        ("x: Container = open('/etc/passwd')", 1, "a default that is written out"),
    ],
)
def test_a_broken_cell_is_one_message(source: str, line: int, expected: str) -> None:
    """It names the line, shows it, and says what would be read; the kernel says the same."""
    with pytest.raises(UsageError) as told:
        read(notebook(source))
    assert told.value.what == f"line {line} of the runbook's parameters cell cannot be read"
    assert told.value.seen == source.splitlines()[line - 1].strip()
    assert expected in told.value.expected


# -- in the kernel


@pytest.mark.parametrize(
    "cells",
    [
        ["", "import labkit", "n: int = 1", "n: int = 2", "p"],
        ["", "n: int = 1", "p", "n: int = 2", "p"],
        ["", "n: int = 2", "x = 1", "for", "def f(): ...", "p"],
        ["", "n: int = 1", "# Parameters\nn = 2\n", "later: int = 3", "p"],
    ],
)
def test_the_cell_is_found_by_its_shape(cells: list[str]) -> None:
    """The latest one counts, wherever it was changed and run again; papermill's own cell comes right after it."""
    assert check({"In": cells, "n": 2}).plain() == {"n": 2}


def test_the_values_are_those_of_the_notebook() -> None:
    """What was assigned since counts, as for everything else in a notebook."""
    assert check({"In": ["", "n: int = 1", "n = 5"], "n": 5}).plain() == {"n": 5}


def test_a_notebook_may_have_no_parameters() -> None:
    """Then there are none; outside a notebook there is nothing to check."""
    assert check({"In": ["", "x = 1"]}).plain() == {}
    with pytest.raises(LabkitError, match="a cell of a notebook"):
        check({})


@pytest.mark.parametrize("name", runbook.names())
def test_papermill_tells_the_parameters_too(name: str) -> None:
    """``papermill --help-notebook`` knows each that its pattern can read (no ``|``, no choices, no ranges)."""
    path = runbook.find(name)
    command = [sys.executable, "-m", "papermill", "--help-notebook", str(path)]
    told = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    for each in read(nbformat.read(path, as_version=4)):
        if not re.search("Literal|Annotated", each.annotation):
            assert f"  {each.name}: {each.annotation} (default " in told, f"write {each.name} as Optional[…]"
