"""What a caller gives: words of a command line and files, nonsense in them included."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from labkit.errors import UsageError
from labkit.runbook.inputs import assignments, from_file, options


@pytest.mark.parametrize(
    ("words", "meant"),
    [
        (["--container", "web"], {"container": "web"}),
        (["--container=a=b"], {"container": "a=b"}),
        (["--max-age", "5s"], {"max_age": "5s"}),
        (["--times", "-7"], {"times": "-7"}),
        (["--force", "--times", "7"], {"force": "true", "times": "7"}),
        (["--no-force"], {"force": "false"}),
        (["--force", "false"], {"force": "false"}),
        (["--x", "1", "--x", "2"], {"x": "2"}),
        ([], {}),
    ],
)
def test_options_are_parameters(words: list[str], meant: dict[str, str]) -> None:
    """``--name value`` and ``--name=value``; a switch needs no value; the last of several wins."""
    assert options(words, switches=["force"]) == meant


@pytest.mark.parametrize(
    ("words", "seen"),
    [
        (["web"], "unexpected: 'web'"),
        (["-x", "1"], "unexpected: '-x'"),
        (["--"], "unexpected: '--'"),
        (["--container"], "--container needs a value"),
        (["--container", "--force"], "--container needs a value"),
    ],
)
def test_what_is_no_option_is_refused(words: list[str], seen: str) -> None:
    """A value that was left out is never taken from the next option."""
    with pytest.raises(UsageError, match=seen):
        options(words, switches=["force"])


@pytest.mark.parametrize("word", ["container", "=web", ""])
def test_an_assignment_has_a_name_and_a_value(word: str) -> None:
    """Anything else is refused, as it was typed."""
    with pytest.raises(UsageError, match="name=value"):
        assignments([word])


@given(name=st.from_regex(r"[a-z]+", fullmatch=True), value=st.text())
def test_a_value_may_hold_anything(name: str, value: str) -> None:
    """Also a line break and an equals sign."""
    assert assignments([f"{name}={value}"]) == {name: value}


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("container: web\nmemory: 512m\n", {"container": "web", "memory": "512m"}),
        ('{"container": "web", "times": 7}', {"container": "web", "times": "7"}),
        ("container: 007\napply: yes\nwatch: 1:30\n", {"container": "007", "apply": "yes", "watch": "1:30"}),
        ("memory: null\nkeep: [a, null]\n", {"memory": None, "keep": ["a", None]}),
        ('memory: "null"\n', {"memory": "null"}),
        ("keep:\n  - a\n  - b\n", {"keep": ["a", "b"]}),
        ("# nothing\n", {}),
        ("", {}),
    ],
)
def test_a_file_is_yaml_or_json(text: str, meant: dict[str, Any], tmp_path: Path) -> None:
    """A word in a file is what it is on a command line: no number, no date, no yes and no."""
    path = tmp_path / "p.yaml"
    path.write_text(text)
    assert from_file(path) == meant


@pytest.mark.parametrize(
    ("content", "seen"),
    [
        (b"container: [web", "while parsing a flow sequence"),
        (b"just a sentence", "a scalar"),
        (b"- web\n", "a sequence"),
        (b"a: 1\na: 2\n", "a is given twice"),
        (b"a: !!python/object/apply:os.getcwd []", "could not determine a constructor"),
        (b"\xff\xfe\x00", "can't decode"),
        (b"\x00\x01", "not allowed"),
        (b"a: b: c", "mapping values are not allowed"),
        (b"a: 1\n---\nb: 2\n", "expected a single document"),
    ],
)
def test_nonsense_in_a_file_is_one_message(content: bytes, seen: str, tmp_path: Path) -> None:
    """Whatever it holds, the message names the file, says where it stopped being readable, and what would be."""
    path = tmp_path / "p.yaml"
    path.write_bytes(content)
    with pytest.raises(UsageError) as told:
        from_file(path)
    assert told.value.what == f"the parameters file {path} does not hold parameters"
    assert seen in told.value.seen
    assert "name: value" in told.value.expected


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    """A missing one, and a folder."""
    for path in (tmp_path / "missing.yaml", tmp_path):
        with pytest.raises(UsageError, match=f"{path} cannot be read"):
            from_file(path)


@pytest.mark.parametrize(
    ("text", "seen"),
    [
        ("a: &a [x, x]\nb: &b [*a, *a]\nc: [*b, *b]", "an alias"),
        ("a: " + "[" * 5000, "too deep"),
        ("[a, b]: c", "a sequence in place of a name"),
        ("{a: b}: c", "a mapping in place of a name"),
    ],
)
def test_a_file_that_is_made_to_confuse(tmp_path: Path, text: str, seen: str) -> None:
    """A bomb of aliases, a list of lists without end, a name that is none: one short message."""
    path = tmp_path / "parameters.yaml"
    path.write_text(text)
    with pytest.raises(UsageError, match=seen) as caught:
        from_file(path)
    assert len(str(caught.value)) < 1000 and "Node(" not in str(caught.value)
