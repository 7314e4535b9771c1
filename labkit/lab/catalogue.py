"""The labs that there are: notebooks in one folder, each called by its file's stem."""

from __future__ import annotations

from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING

from labkit.errors import UsageError

if TYPE_CHECKING:
    from nbformat import NotebookNode

__all__ = ["find", "home", "load", "names"]


def home() -> Path:
    """The folder of the labs, beside the package in a checkout."""
    return Path(__file__).resolve().parents[2] / "notebooks"


def names() -> list[str]:
    """The names of all notebooks there, in reading order."""
    return sorted(path.stem for path in home().glob("*.ipynb"))


def find(name: str) -> Path:
    """The notebook of the lab *name*; the path of a notebook is taken as it is.

    Raises `UsageError`, with the nearest name, when there is none.
    """
    if name.endswith(".ipynb") and Path(name).is_file():
        return Path(name)
    if name in names():
        return home() / f"{name}.ipynb"
    plain = {known.partition("-")[2]: known for known in names()}
    near = get_close_matches(name, [*names(), *plain], n=1)
    raise UsageError(
        f"no lab called {name!r}",
        seen=f"labs: {', '.join(names())}" if names() else f"no labs in {home()}",
        try_=plain.get(near[0], near[0]) if near else "",
    )


def load(path: Path) -> NotebookNode:
    """Read a notebook.  Raises `UsageError` for a file that is none."""
    import nbformat

    try:
        notebook: NotebookNode = nbformat.read(path, as_version=4)  # type: ignore[no-untyped-call]
        nbformat.validate(notebook)
    except (OSError, ValueError, LookupError, TypeError, AttributeError, nbformat.ValidationError) as error:
        # nbformat joins lines before it looks whether it has a notebook at all
        raise UsageError(f"{path} is not a notebook", seen=str(error).splitlines()[0][:200]) from None
    return notebook
