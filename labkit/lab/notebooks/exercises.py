"""The exercises of a lab as its notebook records them: what is asked, what must pass, and what must not.

An exercise is three cells in a row: the task (prose), the starter (code, tagged ``exercise``) and the check (code, tagged
``check``), whose metadata hold all that a learner does not see at once::

    "labkit": {"exercise": "ending", "hints": ["…", {"when": "exit code: 137", "hint": "…"}], "solution": "…",
               "because": "…", "wrong": [{"name": "…", "source": "…", "says": "exit code: 137, expected 143"}, …]}
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from labkit.lab.notebooks.metadata import told

if TYPE_CHECKING:
    from nbformat import NotebookNode

__all__ = ["Exercise", "Recorded", "RecordedHint", "WrongAnswer", "flaws", "foundation", "read", "tagged"]


class _Record(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class RecordedHint(_Record):
    """A *hint* in Markdown, for everybody or for those whose check's text contains *when*."""

    hint: str = Field(min_length=1)
    when: str = ""


class WrongAnswer(_Record):
    """What a learner may try in place of the starter, and what the check *says* of it."""

    name: str = Field(min_length=1)
    source: str = Field(min_length=1)
    says: str = Field(min_length=1)


class Recorded(_Record):
    """The metadata of a check's cell."""

    exercise: str = Field(min_length=1)
    hints: list[str | RecordedHint] = Field(min_length=1)
    solution: str = Field(min_length=1)
    because: str = Field(min_length=1)
    wrong: list[WrongAnswer] = Field(min_length=3)


@dataclass(frozen=True)
class Exercise:
    """One exercise: *recorded* beside its check, the sources of its *starter* and *check*, and of the cells that it *needs*."""

    recorded: Recorded
    starter: str
    check: str
    needs: tuple[str, ...]

    @property
    def name(self) -> str:
        """What ``lab.check`` calls it."""
        return self.recorded.exercise

    @property
    def hints(self) -> list[RecordedHint]:
        """Its hints, in their order."""
        return [RecordedHint(hint=each) if isinstance(each, str) else each for each in self.recorded.hints]


def read(notebook: NotebookNode) -> list[Exercise]:
    """The exercises that are recorded as they should be; `flaws` tells of the others."""
    return [found for found in _found(notebook) if isinstance(found, Exercise)]


def flaws(notebook: NotebookNode) -> list[str]:
    """What is wrong with the form of the exercises, and with what sections need, a sentence each."""
    found = [each for each in _found(notebook) if isinstance(each, str)]
    names = [exercise.name for exercise in read(notebook)]
    found += [f"two exercises are called {name!r}" for name in sorted(set(names)) if names.count(name) > 1]
    for cell in notebook.cells:
        found += _unknown_needs(notebook, cell)
    return found


def foundation(notebook: NotebookNode) -> list[str]:
    """The sources of the cells on which every exercise stands: those tagged ``parameters`` and ``setup``."""
    return [cell.source for cell in notebook.cells if tagged(cell, "parameters") or tagged(cell, "setup")]


def tagged(cell: NotebookNode, tag: str) -> bool:
    """Whether *cell* bears the *tag*."""
    return tag in cell.metadata.get("tags", [])


def _found(notebook: NotebookNode) -> Iterator[Exercise | str]:
    """Each exercise in its order, or what is wrong with it."""
    cells = notebook.cells
    for place, cell in enumerate(cells):
        after = cells[place + 1] if place + 1 < len(cells) else None
        if tagged(cell, "exercise"):
            if place == 0 or cells[place - 1].cell_type != "markdown":
                yield f"the exercise {cell.id} has no task: a prose cell before it that says what to do"
            elif after is None or not tagged(after, "check"):
                yield f"the exercise {cell.id} has no check: a code cell after it, tagged check"
            else:
                yield from _one(notebook, cells[place - 1], cell, after)
        elif tagged(cell, "check") and (place == 0 or not tagged(cells[place - 1], "exercise")):
            yield f"the check {cell.id} does not follow a code cell tagged exercise"


def _one(
    notebook: NotebookNode, task: NotebookNode, starter: NotebookNode, check: NotebookNode
) -> Iterator[Exercise | str]:
    where = f"the check {check.id}"
    if "labkit" not in check.metadata:
        yield f"{where} has no metadata labkit: {{exercise, hints, solution, because, wrong}}"
        return
    try:
        recorded = Recorded.model_validate(check.metadata["labkit"])
    except ValidationError as error:
        yield from (f"{where}: {told(problem)}" for problem in error.errors())
        return
    yield from (f"{where}: {flaw}" for flaw in _contradictions(recorded, starter.source, check.source))
    sources = {cell.id: cell.source for cell in notebook.cells if cell.cell_type == "code"}
    needs = tuple(sources[name] for name in _needs(task) if name in sources)
    yield Exercise(recorded, starter.source, check.source, needs)


def _contradictions(recorded: Recorded, starter: str, check: str) -> Iterator[str]:
    """What cannot be meant, though its form is right."""
    if not isinstance(recorded.hints[0], str):
        yield "the first hint is not for everybody; it comes without a condition"
    if _checked(check) != {recorded.exercise}:
        yield f"its cell does not call lab.check({recorded.exercise!r}, …), and no other"
    for field in ("name", "source"):
        given = [getattr(answer, field).strip() for answer in recorded.wrong]
        for value in sorted({value for value in given if given.count(value) > 1}):
            yield f"two wrong answers have the {field} {value!r}"
    for answer in recorded.wrong:
        if answer.source.strip() in (starter.strip(), recorded.solution.strip()):
            yield f"the wrong answer {answer.name!r} is the starter or the solution"


def _checked(source: str) -> set[object]:
    """The names of the exercises that the cell *source* checks."""
    try:
        tree = ast.parse(source)
    except SyntaxError:
        return set()
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
    return {
        getattr(call.args[0], "value", None) if call.args else None
        for call in calls
        if isinstance(call.func, ast.Attribute) and call.func.attr == "check"
    }


def _needs(cell: NotebookNode) -> list[str]:
    """The ids of the cells that the section, or the exercise, which *cell* begins cannot do without."""
    return list(cell.metadata.get("labkit", {}).get("needs", []))


def _unknown_needs(notebook: NotebookNode, cell: NotebookNode) -> list[str]:
    before: set[str] = set()
    for each in notebook.cells:
        if each is cell:
            break
        if each.cell_type == "code":
            before.add(each.id)
    return [
        f"{cell.id} needs {name!r}, which is no code cell above it"
        for name in _needs(cell)
        if name not in before
    ]
