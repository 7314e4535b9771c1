"""A lab's own notebook, which a session reads: its title, its exercises, and what its sections need."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from labkit.errors import UsageError, no_such

if TYPE_CHECKING:
    from nbformat import NotebookNode

    from labkit.lab.notebooks.exercises import Exercise

__all__ = ["FOLDER", "Book", "find", "labs", "load", "opened"]

FOLDER = Path(__file__).resolve().parents[3] / "notebooks"
"""Where the labs lie: beside the package, in a checkout."""


@dataclass(frozen=True)
class Book:
    """The notebook of the lab *stem*, in the file *path*; it is read when it is first needed, and again when it was saved.

    Everything that reads it raises `UsageError` where it cannot be read.
    """

    stem: str
    path: Path
    _read: dict[int, NotebookNode] = field(default_factory=dict, init=False, repr=False, compare=False)

    @property
    def notebook(self) -> NotebookNode:
        """The whole of it, as it was saved last."""
        try:
            saved = self.path.stat().st_mtime_ns
        except OSError:  # renamed, while its kernel runs
            saved = next(iter(self._read), 0)
        if saved not in self._read:
            found = load(self.path)
            self._read.clear()
            self._read[saved] = found
        return self._read[saved]

    @property
    def facts(self) -> Mapping[str, Any]:
        """Its metadata under ``labkit``."""
        found: Mapping[str, Any] = self.notebook.metadata.get("labkit", {})
        return found

    @property
    def title(self) -> str:
        """What a person calls it."""
        return str(self.facts.get("title") or self.stem)

    @property
    def summary(self) -> str:
        """What it is about, in a sentence."""
        return str(self.facts.get("summary", ""))

    @property
    def exercises(self) -> dict[str, Exercise]:
        """Its exercises by their names, in order."""
        from labkit.lab.notebooks.exercises import read

        return {exercise.name: exercise for exercise in read(self.notebook)}

    @property
    def sections(self) -> dict[str, list[tuple[str, str]]]:
        """What can be restored, by the id of its heading: the ids and sources of the cells that it needs, in their order."""
        sources = {cell.id: cell.source for cell in self.notebook.cells if cell.cell_type == "code"}
        return {
            cell.id: [(name, sources[name]) for name in cell.metadata.labkit["needs"] if name in sources]
            for cell in self.notebook.cells
            if cell.cell_type == "markdown" and "needs" in cell.metadata.get("labkit", {})
        }


def load(path: Path) -> NotebookNode:
    """Read a notebook with its outputs.  Raises `UsageError` for a file that is none."""
    import nbformat

    try:
        notebook: NotebookNode = nbformat.read(path, as_version=4)  # type: ignore[no-untyped-call]
        nbformat.validate(notebook)
    except (OSError, ValueError, LookupError, TypeError, AttributeError, nbformat.ValidationError) as error:
        # nbformat joins lines before it looks whether it has a notebook at all
        raise UsageError(f"{path} is not a notebook", seen=str(error).splitlines()[0][:200]) from None
    return notebook


def labs() -> list[Book]:
    """The labs of labkit, in reading order; without pages, and what is no notebook."""
    found = []
    for path in sorted(FOLDER.glob("*.ipynb")):
        book = Book(path.stem, path)
        try:
            found += [book] if "claims" in book.facts else []
        except UsageError:  # a learner's own, half written
            continue
    return found


def opened() -> Path | None:
    """The notebook that this kernel was started for, where that is known: by a Jupyter server, or by VS Code."""
    from IPython import get_ipython

    shell = get_ipython()
    told = shell.user_ns.get("__vsc_ipynb_file__") if shell else None
    path = Path(str(told or os.environ.get("JPY_SESSION_NAME") or ""))
    return path if path.suffix == ".ipynb" and path.is_file() else None


def find(stem: str) -> Book:
    """The lab *stem*: the notebook that is open if it is that lab or a copy of it, else one in this folder, else labkit's own.

    Raises `UsageError` for a name that no lab has, with the nearest that one has.
    """
    places = [folder / f"{stem}.ipynb" for folder in (Path.cwd(), FOLDER)]
    found = [path for path in places if isinstance(stem, str) and "/" not in stem and _is_file(path)]
    if not found:
        known = [lab.stem for lab in labs()]
        raise no_such("lab", stem, known, otherwise=f"no notebook in {FOLDER}")
    own, copy = Book(stem, found[0]), opened()
    return Book(stem, copy) if copy and copy != own.path and _title(copy) == own.title else own


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # no file can have so long a name
        return False


def _title(path: Path) -> str:
    try:
        return Book("", path).title
    except UsageError:  # half saved
        return ""
