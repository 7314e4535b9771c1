"""What labkit keeps in a notebook's metadata, and whether it has the right form there; what it means is for others to say."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, ValidationError

if TYPE_CHECKING:
    from nbformat import NotebookNode

__all__ = ["Cell", "Notebook", "malformed", "told"]


class Claim(BaseModel, strict=True):
    """How a claim turned out, and the id of the cell whose output shows it."""

    verdict: str
    cell: str


class Notebook(BaseModel, strict=True):
    """A notebook's metadata under ``labkit``; a ``page`` is neither lab nor runbook."""

    title: str = ""
    summary: str = ""
    covers: list[str] = []
    claims: dict[str, Claim] = {}
    risk: str = ""
    kind: Literal["page", ""] = ""


class Cell(BaseModel, strict=True):
    """A cell's metadata under ``labkit``; those of a check have more (`labkit.lab.notebooks.exercises.Recorded`)."""

    needs: list[str] = []


def malformed(notebook: NotebookNode) -> list[str]:
    """What has not the right form, a sentence each."""
    found = [f"the notebook's {problem}" for problem in _problems(Notebook, notebook)]
    for cell in notebook.cells:
        found += [f"{cell.id}: {problem}" for problem in _problems(Cell, cell)]
    return found


def _problems(model: type[BaseModel], place: NotebookNode) -> Iterator[str]:
    try:
        model.model_validate(place.metadata.get("labkit", {}))
    except ValidationError as error:
        yield from map(told, error.errors())


def told(problem: Any) -> str:
    """One problem that pydantic has found, for an author: where, and what."""
    place = ".".join(
        ["labkit", *(str(part) for part in problem["loc"] if part not in ("str", "RecordedHint"))]
    )
    return f"{place}: {problem['msg'][:1].lower()}{problem['msg'][1:]}"
