"""Where runbooks are, and where each run leaves what it made."""

from __future__ import annotations

import errno
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from labkit import paths
from labkit.errors import LabkitError, UsageError, no_such

if TYPE_CHECKING:
    import nbformat

    from labkit.runbook.parameters import Parameter

__all__ = ["About", "about", "find", "load", "names", "new_run", "written"]

_FULL = (errno.ENOSPC, errno.EDQUOT)


@dataclass(frozen=True)
class About:
    """What a runbook says about itself, for lists and for ``--help``."""

    name: str
    title: str
    summary: str
    risk: str
    covers: tuple[str, ...]
    parameters: tuple[Parameter, ...]


def _home() -> Path:
    """The folder of runbooks, beside the package in a checkout."""
    return Path(__file__).resolve().parents[2] / "runbooks"


def names() -> list[str]:
    """The names of all runbooks."""
    return sorted(path.stem for path in _home().glob("*.ipynb"))


def find(name: str) -> Path:
    """The notebook of the runbook *name*; the path of a notebook is taken as it is.

    Raises `UsageError`, with the nearest name, when there is none.
    """
    if name.endswith(".ipynb") and Path(name).is_file():
        return Path(name)
    if name not in names():
        raise no_such("runbook", name, names(), otherwise=f"none in {_home()}")
    return _home() / f"{name}.ipynb"


def about(name: str) -> About:
    """What the runbook *name* is for and which parameters it takes.  Raises `UsageError` as `find` does."""
    from labkit.runbook import parameters

    path = find(name)
    notebook = load(path)
    told = notebook.metadata.get("labkit", {})
    return About(
        name=path.stem,
        title=told.get("title", path.stem),
        summary=told.get("summary", ""),
        risk=told.get("risk", ""),
        covers=tuple(told.get("covers", ())),
        parameters=tuple(parameters.read(notebook)),
    )


def load(path: Path) -> nbformat.NotebookNode:
    """Read a notebook.  Raises `UsageError` for a file that is none."""
    import nbformat

    try:
        notebook: nbformat.NotebookNode = nbformat.read(path, as_version=4)  # type: ignore[no-untyped-call]
    except (OSError, ValueError, nbformat.ValidationError, nbformat.reader.NotJSONError) as error:
        raise UsageError(f"{path} is not a notebook", seen=str(error).splitlines()[0][:200]) from None
    return notebook


def new_run(name: str, parent: Path | None = None) -> Path:
    """A new, empty folder for one run, ``TIME-NAME``, readable by its user alone.

    It is made in *parent*, by default in ``runs`` of labkit's own folder; TIME is UTC.  Raises `UsageError` when it
    cannot be made.
    """
    if parent is None:
        return _made(paths.home() / "runs", name)
    try:
        return _made(parent, name)
    except OSError as error:
        raise UsageError(
            f"no folder for the run can be made in {parent}",
            seen=error.strerror or str(error),
            expected="a folder that you may write in",
            try_="another one: --out FOLDER",
        ) from None


def _made(parent: Path, name: str) -> Path:
    parent.mkdir(parents=True, exist_ok=True)
    stem = f"{time.strftime('%Y%m%d-%H%M%S', time.gmtime())}-{re.sub(r'[^A-Za-z0-9._-]', '-', name)}"
    for number in range(1, 1000):
        folder = parent / (stem if number == 1 else f"{stem}-{number}")
        try:
            folder.mkdir(mode=0o700)
        except FileExistsError:
            continue
        return folder
    raise UsageError(f"cannot make a folder for the run in {parent}", seen=f"a thousand called {stem}")


@contextmanager
def written(folder: Path) -> Iterator[None]:
    """While a run writes to its *folder*: a full disk becomes a `LabkitError` that names it.

    A copy that failed would name what it was made of, and a write nothing at all.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in _FULL:
            raise
        raise LabkitError(
            f"{folder} cannot be written",
            seen=error.strerror or "",
            try_=f"free some space, then labkit resume {folder}",
        ) from error
