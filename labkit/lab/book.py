"""A lab's own notebook, read: its metadata, the cells that a section needs, its exercises."""

from __future__ import annotations

import difflib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from labkit.errors import UsageError

__all__ = ["FOLDER", "Book", "Cell", "Exercise", "find", "labs", "opened", "read"]

FOLDER = Path(__file__).parents[2] / "notebooks"
"""Where the labs lie."""


@dataclass(frozen=True)
class Cell:
    """A cell of a notebook (nbformat 4): *kind* is ``code`` or ``markdown``, *labkit* what its metadata say under that name."""

    id: str
    kind: str
    source: str
    tags: tuple[str, ...]
    labkit: Mapping[str, Any]


@dataclass(frozen=True)
class Exercise:
    """An exercise: the cells of its *task* (markdown), *starter* (code) and *check* (code, whose metadata have the rest)."""

    id: str
    task: Cell
    starter: Cell
    check: Cell


@dataclass(frozen=True)
class Book:
    """A notebook of labkit's that was read from *path*; *facts* are its metadata under ``labkit``."""

    path: Path
    facts: Mapping[str, Any]
    cells: tuple[Cell, ...]

    @property
    def stem(self) -> str:
        """The lab's id."""
        return self.path.stem

    @property
    def title(self) -> str:
        """What a person calls it."""
        return str(self.facts.get("title") or self.stem)

    @property
    def summary(self) -> str:
        """What it is about, in a sentence."""
        return str(self.facts.get("summary", ""))

    @property
    def is_lab(self) -> bool:
        """Whether it is a lab, rather than a page, a runbook or somebody's own notebook."""
        return "claims" in self.facts

    def cell(self, id_: str) -> Cell | None:
        """The cell with this id."""
        return next((cell for cell in self.cells if cell.id == id_), None)

    @property
    def exercises(self) -> dict[str, Exercise]:
        """The exercises by their id, in order: three cells in a row, of which the third names the exercise."""
        found = {}
        for task, starter, check in zip(self.cells, self.cells[1:], self.cells[2:], strict=False):
            if name := check.labkit.get("exercise"):
                found[str(name)] = Exercise(str(name), task, starter, check)
        return found

    @property
    def sections(self) -> dict[str, tuple[str, ...]]:
        """The ids of the headings that can be restored, each with the ids of the code cells that it needs."""
        return {
            cell.id: tuple(cell.labkit["needs"])
            for cell in self.cells
            if cell.kind == "markdown" and "needs" in cell.labkit
        }


def read(path: Path) -> Book:
    """The notebook at *path*.  Raises `UsageError` for a file that is none, or cannot be read."""
    try:
        notebook = json.loads(path.read_text(encoding="utf-8"))
        cells = tuple(_cell(cell) for cell in notebook["cells"])
        return Book(path, notebook.get("metadata", {}).get("labkit") or {}, cells)
    except OSError as error:
        raise UsageError(f"the notebook {path} cannot be read", seen=error.strerror or str(error)) from None
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UsageError(
            f"{path} is not a notebook", seen=f"{type(error).__name__}: {error}", try_=f"git checkout {path}"
        ) from None


def _cell(raw: dict[str, Any]) -> Cell:
    metadata = raw.get("metadata") or {}
    return Cell(
        str(raw.get("id", "")),
        raw["cell_type"],
        "".join(raw["source"]),
        tuple(metadata.get("tags", ())),
        metadata.get("labkit") or {},
    )


def labs(folder: Path = FOLDER) -> list[Book]:
    """The labs in *folder*, in reading order; a file that is no notebook is passed over."""
    found = []
    for path in sorted(folder.glob("*.ipynb")):
        try:
            book = read(path)
        except UsageError:  # a learner's own, half written
            continue
        found += [book] if book.is_lab else []
    return found


def opened() -> Path | None:
    """The notebook that this kernel was started for, where that is known: by a Jupyter server, or by VS Code."""
    from IPython import get_ipython

    shell = get_ipython()
    told = shell.user_ns.get("__vsc_ipynb_file__") if shell else None
    told = told or os.environ.get("JPY_SESSION_NAME")
    path = Path(str(told)) if told else None
    return path if path is not None and path.suffix == ".ipynb" and path.is_file() else None


def find(stem: str) -> Book:
    """The lab *stem*: from the notebook that is open if it is that lab or a copy of it, else from here, else from labkit's own.

    Raises `UsageError` for a name that no lab has, with the nearest that one has.
    """
    if not isinstance(stem, str) or not stem or "/" in stem:
        raise _no_such_lab(stem)
    own = [path for folder in (Path.cwd(), FOLDER) if (path := folder / f"{stem}.ipynb").is_file()]
    if not own:
        raise _no_such_lab(stem)
    book = read(own[0])
    here = opened()
    if here is not None and here != own[0]:
        copy = read(here)
        if copy.facts and copy.facts.get("title") == book.facts.get("title"):
            return Book(own[0], book.facts, copy.cells)
    return book


def _no_such_lab(stem: object) -> UsageError:
    known = [book.stem for book in labs()]
    near = difflib.get_close_matches(str(stem), known, 1)
    return UsageError(
        "there is no such lab",
        seen=repr(stem),
        expected=", ".join(known) or f"a notebook in {FOLDER}",
        try_=f"labkit.lab.open({near[0]!r}, …)" if near else "",
    )
