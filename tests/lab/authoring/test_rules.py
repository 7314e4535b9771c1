"""The house rules for notebooks: a sound one breaks none, and each rule is broken by something, and says by what."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import nbformat
import pytest

from labkit.lab.authoring import rules
from tests.lab.authoring.books import book, exercise, written


def cell(notebook: Any, id_: str) -> Any:
    return next(each for each in notebook.cells if each.id == id_)


def tell(notebook: Any, **facts: Any) -> None:
    notebook.metadata["labkit"].update(facts)


def record(notebook: Any, **recorded: Any) -> None:
    cell(notebook, "sum-check").metadata["labkit"].update(recorded)


def fail(notebook: Any) -> None:
    error = nbformat.v4.new_output("error", ename="ValueError", evalue="no", traceback=[])  # type: ignore[no-untyped-call]
    cell(notebook, "sum-starter").outputs.append(error)


def show(notebook: Any, text: str) -> None:
    cell(notebook, "setup").outputs[0].text = text


def without(notebook: Any, *ids: str) -> None:
    notebook.cells = [each for each in notebook.cells if each.id not in ids]


def write(notebook: Any, id_: str, source: str) -> None:
    cell(notebook, id_).source = source


def silence(notebook: Any) -> None:
    for each in notebook.cells:
        if each.cell_type == "code":
            each.outputs = []


def again(notebook: Any) -> None:
    notebook.cells += [nbformat.from_dict({**each, "id": f"{each.id}-2"}) for each in exercise()]


WRONG = [{"name": f"w{n}", "source": f"w{n}", "says": "no"} for n in range(3)]
SPOILT: dict[str, tuple[Callable[[Any], object], str]] = {
    "no title": (lambda n: without(n, "title"), "begins with '# '"),
    "another kernel": (lambda n: n.metadata.kernelspec.update(name="labkit"), "its kernel is 'labkit'"),
    "a cell that was not run": (lambda n: cell(n, "setup").update(execution_count=None), "not executed: setup; run"),
    "no outputs": (silence, "0 of 4 code cells show something"),
    "an error": (fail, "sum-starter ends with an error, ValueError: no"),
    "an unknown tag": (lambda n: cell(n, "setup").metadata.update(tags=["setup", "exercize"]), "the tag 'exercize'"),
    "a link to nowhere": (lambda n: write(n, "reading", "# Readings"), "links to #Reading, and no heading"),
    "a link to no file": (lambda n: write(n, "reading", "## Reading\n[x](no.md)"), "links to no.md"),
    "a path of a machine": (lambda n: show(n, "see /home/ada/lab"), "a path of one machine: /home/ada/"),
    "our own path": (lambda n: write(n, "sum-starter", f"cd {rules.ROOT}"), f"one machine: {rules.ROOT}"),
    "no summary": (lambda n: tell(n, summary=""), "lack labkit.summary"),
    "a claim that nobody knows": (lambda n: tell(n, covers=["LIF-01", "LIF-99"]), "covers LIF-99"),
    "a claim without a verdict": (lambda n: tell(n, covers=["LIF-01", "LIF-02"]), "LIF-02 is in one of"),
    "an odd verdict": (lambda n: tell(n, claims={"LIF-01": {"verdict": "true", "cell": "setup"}}), "verdict is 'true'"),
    "no evidence": (lambda n: cell(n, "setup").update(outputs=[]), "the cell that shows it, 'setup'"),
    "no parameters": (lambda n: without(n, "parameters"), "0 cells are tagged parameters"),
    "no setup": (lambda n: cell(n, "setup").metadata.update(tags=[]), "not one cell tagged setup"),
    "setup first": (lambda n: n.cells.insert(2, n.cells.pop(3)), "not one cell tagged setup"),
    "too few cells": (lambda n: without(n, "prose-7", "prose-8"), "it has 29 cells, expected 30 to 45"),
    "little prose": (lambda n: [each.update(source="Ah.") for each in n.cells if "prose" in each.id], "words for"),
    "more code than prose": (
        lambda n: n.cells.extend(nbformat.from_dict({**n.cells[2], "id": f"x{x}"}) for x in range(25)),
        "27 of 56 cells are prose",
    ),
    "a long cell": (lambda n: write(n, "sum-starter", "x\n" * 16), "sum-starter has 16 lines of code"),
    "long cells": (
        lambda n: [write(n, id_, "x\n" * 7) for id_ in ("setup", "parameters", "sum-starter", "sum-check")],
        "half of its code cells have 7 lines or more",
    ),
    "a long output": (lambda n: show(n, "x\n" * 31), "setup shows 31 lines"),
    "a heavy file": (lambda n: show(n, "x" * 500_001), "bytes, expected at most 500000"),
    "no exercise": (lambda n: without(n, "sum-task", "sum-starter", "sum-check"), "it has no exercise"),
    "no task": (lambda n: without(n, *(each.id for each in n.cells[4:-2])), "sum-starter has no task"),
    "no check": (lambda n: without(n, "sum-check"), "sum-starter has no check"),
    "a check alone": (lambda n: without(n, "sum-starter"), "the check sum-check does not follow"),
    "nothing recorded": (lambda n: cell(n, "sum-check").metadata.pop("labkit"), "sum-check has no metadata labkit"),
    "a field misspelt": (lambda n: record(n, solutoin="x"), "labkit.solutoin: extra inputs"),
    "no solution": (lambda n: cell(n, "sum-check").metadata.labkit.pop("solution"), "labkit.solution: field required"),
    "two wrong answers": (lambda n: record(n, wrong=WRONG[:2]), "labkit.wrong: list should have at least 3"),
    "two of one name": (lambda n: record(n, wrong=[*WRONG, {**WRONG[0], "source": "x"}]), "have the name 'w0'"),
    "two the same": (lambda n: record(n, wrong=[*WRONG, {**WRONG[0], "name": "x"}]), "have the source 'w0'"),
    "wrong is right": (lambda n: record(n, wrong=WRONG, solution="w1"), "wrong answer 'w1' is the starter or the solution"),
    "no general hint": (lambda n: record(n, hints=[{"when": "a", "hint": "b"}]), "first hint is not for everybody"),
    "another exercise": (lambda n: write(n, "sum-check", "lab.check('product', a=2)"), "call lab.check('sum', …)"),
    "no call": (lambda n: write(n, "sum-check", "!docker ps"), "call lab.check('sum', …)"),
    "twice one name": (again, "two exercises are called 'sum'"),
    "an unknown need": (
        lambda n: cell(n, "sum-task").metadata.update(labkit={"needs": ["sum-check"]}),
        "sum-task needs 'sum-check', which is no code cell above it",
    ),
}  # fmt: skip


def test_a_sound_lab_breaks_no_rule(tmp_path: Path) -> None:
    """The notebook that the tests below spoil is sound."""
    assert rules.violations(written(tmp_path, book())) == []


@pytest.mark.parametrize("how", SPOILT)
def test_a_spoilt_lab_is_told_what_is_wrong(how: str, tmp_path: Path) -> None:
    """Each way to spoil a lab is noticed, in words that say where and what."""
    notebook = book()
    spoil, says = SPOILT[how]
    spoil(notebook)
    assert says in "\n".join(rules.violations(written(tmp_path, notebook)))


def test_a_page_need_not_be_a_lab(tmp_path: Path) -> None:
    """A page has no parameters, exercises or claims, but is sound: a broken link is told."""
    notebook = book()
    notebook.cells = notebook.cells[:2]
    notebook.metadata["labkit"] = {"kind": "page"}
    assert rules.violations(written(tmp_path, notebook)) == []
    notebook.cells[0].source = "# A page\n[x](#y)"
    assert "no heading has this anchor" in "\n".join(rules.violations(written(tmp_path, notebook)))


def test_a_runbook_says_its_risk(tmp_path: Path) -> None:
    """A notebook in a folder called runbooks is a runbook, whose metadata have the field risk."""
    (tmp_path / "runbooks").mkdir()
    assert rules.violations(written(tmp_path / "runbooks", book())) == ["its metadata lack labkit.risk"]


@pytest.mark.parametrize(
    "text", ["", "{broken", "{}", '{"cells": 3, "metadata": {}, "nbformat": 4, "nbformat_minor": 5}']
)
def test_what_is_no_notebook_is_one_message(text: str, tmp_path: Path) -> None:
    """Broken JSON, and JSON that is no notebook, are one finding, which names the file."""
    path = tmp_path / "10-broken.ipynb"
    path.write_text(text)
    (found,) = rules.violations(path)
    assert "10-broken.ipynb is not a notebook: " in found


NONSENSE: list[Any] = [None, 3, "x", [], {}, ["x"], {"x": 1}, [[]], [{}]]
HARMLESS = [
    ("kind", {}),
    ("hints", ["x"]),
    *((field, "x") for field in ("title", "summary", "solution", "because")),
]


@pytest.mark.parametrize("nonsense", NONSENSE, ids=repr)
def test_nonsense_in_the_metadata_is_a_finding(nonsense: Any, tmp_path: Path) -> None:
    """Whatever stands where something else is expected is told, and is no traceback."""
    for change, fields in (
        (tell, ("title", "summary", "covers", "claims", "kind")),
        (record, ("exercise", "hints", "solution", "because", "wrong")),
    ):
        for field in fields:
            notebook = book()
            change(notebook, **{field: nonsense})
            found = rules.violations(written(tmp_path, notebook))
            assert found or (field, nonsense) in HARMLESS, field


@pytest.mark.parametrize("nonsense", NONSENSE, ids=repr)
def test_nonsense_for_all_the_metadata_is_a_finding(nonsense: Any, tmp_path: Path) -> None:
    """The same for the whole of what labkit keeps in a notebook or a cell, and for what a section needs."""
    notebook = book()
    notebook.metadata["labkit"] = nonsense
    assert rules.violations(written(tmp_path, notebook))
    for id_ in ("reading", "sum-task", "sum-check"):
        for value in (nonsense, {"needs": nonsense}):
            notebook = book()
            cell(notebook, id_).metadata["labkit"] = value
            found = rules.violations(written(tmp_path, notebook))
            assert found or value in ({}, {"x": 1}, {"needs": []}), (id_, value)
