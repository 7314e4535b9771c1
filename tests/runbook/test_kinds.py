"""The types of parameters: what is taken, what is refused with which words, and that nothing is lost on the way."""

from __future__ import annotations

import ipaddress
import json
from pathlib import Path
from typing import Any

import nbformat
import pytest
from hypothesis import given
from hypothesis import strategies as st
from papermill.translators import PythonTranslator

from labkit.errors import UsageError
from labkit.runbook import CIDR, ByteSize, CPUs, Duration
from labkit.runbook.kinds import written
from labkit.runbook.parameters import read, validate


def declared(annotation: str, default: str = "None") -> Any:
    source = f"x: {annotation} = {default}"
    cell = nbformat.v4.new_code_cell(source, metadata={"tags": ["parameters"]})
    return read(nbformat.v4.new_notebook(cells=[cell]))


def value(annotation: str, given: Any) -> Any:
    return dict(validate(declared(annotation), {"x": given}))["x"]


@pytest.mark.parametrize(
    ("annotation", "given", "meant"),
    [
        ("CPUs", "1.5", CPUs(1.5)),
        ("CPUs", 2, CPUs(2)),
        ("CIDR", "10.0.0.0/24", CIDR("10.0.0.0/24")),
        ("CIDR", "FD00:0::/64", CIDR("fd00::/64")),
        ("Path", "a/b", Path("a/b")),
        ("HostPath", "//var//lib/../lib/x/", "/var/lib/x"),
        ("Literal[1, 2]", "2", 2),
        ("Literal['1', 2]", "1", "1"),
        ("Literal[True, 'auto']", "true", True),
        ("list[Literal[1, 2]]", "1,2", [1, 2]),
        ("Optional[Literal['a', 'b']]", "none", None),
        ("Literal['a'] | None", "a", "a"),
        ("None | int", "7", 7),
        ("Union[int, Literal['auto']]", "auto", "auto"),
        ("Union[int, Literal['auto']]", "3", 3),
        ("list[ByteSize]", "1k, 2m", [ByteSize(1024), ByteSize(2**21)]),
        ("list[int] | None", "1", [1]),
        ("List[str]", "[]", []),
        ("'ByteSize | None'", "1k", ByteSize(1024)),
        ("runbook.ByteSize", "1k", ByteSize(1024)),
        ("typing.Optional[runbook.Duration]", "5s", Duration(5)),
        ("Annotated[int, Between(1, 100)]", "100", 100),
        ("Annotated[int, Ge(1), Le(100)]", "1", 1),
        ("Annotated[int, annotated_types.Interval(ge=1, lt=5)]", "4", 4),
        ("Annotated[ByteSize, Between('4m', None)]", "1g", ByteSize(2**30)),
        ("Annotated[Duration, Gt('1s')] | None", "2s", Duration(2)),
        ("list[Annotated[float, Field(le=1)]]", "0.5,1", [0.5, 1.0]),
        ("Container", "/web", "web"),
    ],
)
def test_what_is_written_becomes_what_is_meant(annotation: str, given: Any, meant: Any) -> None:
    """Each type reads a command line's text, alone and inside of lists, optionals, choices and ranges."""
    found = value(annotation, given)
    assert found == meant
    assert isinstance(found, type(meant))


@pytest.mark.parametrize(
    ("annotation", "given", "expected"),
    [
        ("CPUs", "0", "at least 0.01 of a CPU"),
        ("CPUs", "9" * 400, "at most 9223372036 CPUs"),
        ("CPUs", "lots", "a number of CPUs such as 2 or 1.5"),
        ("CPUs", True, "a number of CPUs such as 2 or 1.5"),
        ("CIDR", "10.0.0.7/24", "the beginning of a range: 10.0.0.0/24"),
        ("CIDR", "10.0.0.0", "a range with its length, such as 10.0.0.0/32"),
        ("CIDR", "10.0.0.0/33", "a range of addresses such as 10.0.0.0/24 or fd00::/64"),
        ("HostPath", "var/lib", "an absolute path on the engine's host, such as /var/lib/docker"),
        ("Container", "", "the name of a container"),
        ("Container", 7, "the name of a container, in quotes"),
        ("int", "many", "a valid integer"),
        ("int", "1.5", "a valid integer"),
        ("float", "nan", "a finite number"),
        ("bool", "maybe", "a valid boolean"),
        ("str", 7, "a valid string"),
        ("Literal['gentle', 'hard']", "rough", "'gentle' or 'hard'"),
        ("list[int]", "1,x", "a valid integer"),
        ("list[str]", "[", "a list such as a,b or"),
        ("int | None", "x", "a valid integer"),
        ("Union[int, Literal['auto']]", "x", "whole number or auto"),
        ("Annotated[int, Between(1, 100)]", "101", "1 to 100"),
        ("Annotated[int, Between(1, 100)]", "0", "1 to 100"),
        ("Annotated[int, Ge(1)]", "0", "at least 1"),
        ("Annotated[float, Gt(0), Lt(1)]", "1", "above 0.0, below 1.0"),
        ("Annotated[ByteSize, Between('4m', '1g')]", "2g", "4m to 1g"),
        ("Annotated[Duration, Le('1m')] | None", "61s", "at most 1m"),
        ("Duration", "soon", "a time such as 10s, 500ms, 2m or 1h30m"),
        ("ByteSize", "64q", "a size such as 512m, 1.5g or 67108864"),
    ],
)
def test_what_does_not_fit_is_told_what_would(annotation: str, given: Any, expected: str) -> None:
    """One message: the parameter, what was seen, and what would fit."""
    with pytest.raises(UsageError) as told:
        value(annotation, given)
    assert told.value.what == "the parameter x has a value that does not fit"
    assert expected in told.value.expected


@pytest.mark.parametrize(
    ("annotation", "expected"),
    [
        ("Bytesize", "did you mean ByteSize"),
        ("dict[str, int]", "there is no type dict"),
        ("Annotated[str, Ge(1)]", "only numbers, sizes, times and CPUs have bounds"),
        ("Annotated[int, 5]", "a bound is"),
        ("Annotated[int, Even()]", "a bound is"),
        ("Annotated[int, Between()]", "a bound is"),
        ("Annotated[ByteSize, Ge('x')]", "a size such as"),
        ("list[int, str]", "there is no type list"),
        ("open('x')", "there is no type"),
        ("'int |'", ""),
    ],
)
def test_a_type_that_cannot_be_read_is_told_to_the_author(annotation: str, expected: str) -> None:
    """Nothing of an annotation is evaluated, and what is not known is named, with the nearest type."""
    with pytest.raises(UsageError, match=r"line 1 .* cannot be read") as told:
        declared(annotation)
    assert expected in told.value.expected


@pytest.mark.parametrize(
    ("annotation", "told"),
    [
        ("ByteSize | None", "size, such as 512m or none"),
        ("Literal['a', 'b']", "a or b"),
        ("list[Container]", "list, a,b or JSON, of: container on the engine"),
        ("Annotated[int, Between(1, 100)]", "whole number; 1 to 100"),
        ("Annotated[ByteSize, Ge('4m')] | None", "size, such as 512m; at least 4m or none"),
    ],
)
def test_a_type_is_told_in_a_few_words(annotation: str, told: str) -> None:
    """Help says what a value looks like, its choices and its range."""
    assert declared(annotation)[0].takes == told


VALUES = {
    "str": st.text(),
    "int": st.integers(),
    "float": st.floats(allow_nan=False, allow_infinity=False),
    "bool": st.booleans(),
    "ByteSize": st.integers(1, 2**60).map(ByteSize),
    "Duration": st.decimals(0, 10**7, places=4).map(lambda d: Duration(float(d))),
    "CPUs": st.decimals("0.01", 512, places=9).map(lambda d: CPUs(float(d))),
    "CIDR": st.ip_addresses().map(lambda a: CIDR(ipaddress.ip_network(a))),
    "list[str]": st.lists(st.text()),
    "list[ByteSize] | None": st.none() | st.lists(st.integers(1, 2**60).map(ByteSize)),
    "Literal['a', 2, None]": st.sampled_from(["a", 2, None]),
    "list[list[str]]": st.lists(st.lists(st.text())),
    "list[list[list[int]] | None]": st.lists(st.none() | st.lists(st.lists(st.integers()))),
    "list[str | None]": st.lists(st.none() | st.text()),
    "list[bool | float]": st.lists(st.booleans() | st.floats(allow_nan=False, allow_infinity=False)),
}


@pytest.mark.parametrize("annotation", VALUES)
@given(data=st.data())
def test_nothing_is_lost_between_runner_and_kernel(annotation: str, data: st.DataObject) -> None:
    """A value, written into a notebook as papermill writes it and read again there, is the same value.

    So it is as a word of a command line, as ``run NAME --help`` tells a default.
    """
    before = validate(declared(annotation), {"x": data.draw(VALUES[annotation])})
    namespace: dict[str, Any] = {}
    exec(f"x = {PythonTranslator.translate(before.plain()['x'])}", namespace)
    assert value(annotation, namespace["x"]) == dict(before)["x"]
    assert value(annotation, written(dict(before)["x"])) == dict(before)["x"]


@pytest.mark.parametrize("annotation", ["ByteSize", "Duration", "CPUs", "CIDR", "int", "bool"])
@given(data=st.data())
def test_what_is_shown_can_be_typed(annotation: str, data: st.DataObject) -> None:
    """The text of a value, given on a command line, is that value."""
    meant = data.draw(VALUES[annotation])
    assert value(annotation, str(meant)) == meant


@given(st.lists(st.text()))
def test_lists_can_be_given_as_json(words: list[str]) -> None:
    """Whatever its words hold, a list in JSON is that list."""
    assert value("list[str]", json.dumps(words)) == words
