"""A runbook's parameters, from its notebook's text to checked values."""

from __future__ import annotations

from typing import Any

import nbformat
import pytest

from labkit import runbook
from labkit.errors import UsageError
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
    """What a notebook's cells leave in its kernel: the declared cell, then papermill's own."""
    space: dict[str, Any] = {"ByteSize": ByteSize, "Duration": Duration}
    source = 'container: str = "web"\nwatch: Duration = "5s"\nmemory: ByteSize | None = None\n'
    exec(source + injected, space)
    space["In"] = ["", source, *([f"# Parameters\n{injected}"] if injected else [])]
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
