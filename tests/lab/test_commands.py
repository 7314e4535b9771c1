"""`!docker …` in a lab."""

from __future__ import annotations

import pytest

from labkit.lab.commands import _run, expand, without_ids


@pytest.mark.parametrize(
    ("typed", "run"),
    [
        ("docker start {name}", "docker start ada"),
        ("docker ps --format '{{.Names}}'", "docker ps --format '{{.Names}}'"),
        (
            "docker inspect -f '{who}: {{.State.Status}}' {who}",
            "docker inspect -f 'twin: {{.State.Status}}' twin",
        ),
        ("sh -c 'echo $name ${name} {unknown} {0}'", "sh -c 'echo $name ${name} {unknown} {0}'"),
        ("awk '{print $1}'", "awk '{print $1}'"),
    ],
)
def test_only_known_names_are_replaced(typed: str, run: str) -> None:
    """Templates, shell variables and braces that name nothing of the notebook's are left alone."""
    assert expand(typed, {"name": "ada", "who": "twin"}) == run


def test_ids_are_left_out() -> None:
    """An id, in full or short, is shown as such; other hexadecimal words are not ids."""
    assert (
        without_ids(f"container {'0a' * 32} uses {'0a' * 6}, deadbeef")
        == "container ‹id› uses ‹id›, deadbeef"
    )


def test_command_runs_with_both_streams_and_its_code(capfd: pytest.CaptureFixture[str]) -> None:
    """Output and errors appear, and the exit code is left where IPython leaves it."""
    names: dict[str, object] = {"word": "hello"}
    _run("echo {word}; echo oops >&2; exit 3", names)
    assert capfd.readouterr().out == "hello\noops\n"
    assert names["_exit_code"] == 3
