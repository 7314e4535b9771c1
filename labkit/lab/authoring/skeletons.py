"""A new lab in one step: a small lab that works, whose prose tells its author what belongs where."""

from __future__ import annotations

import os
import re
import tempfile
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING

from labkit.errors import LabkitError, UsageError
from labkit.lab.authoring import listings
from labkit.lab.authoring.sittings import CellFailed, Sitting, need_engine
from labkit.lab.notebooks.book import FOLDER
from labkit.progress import Tell

if TYPE_CHECKING:
    from nbformat import NotebookNode

__all__ = ["new"]

NAME = re.compile(r"(?:(?P<number>\d\d)-)?(?P<plain>(?=..)[a-z][a-z0-9]*(?:-[a-z0-9]+)*)")
LONGEST = 28
"""Characters of a name without its number: the engine of a lab is called as the lab is, in 31 characters."""


def new(name: str, folder: Path | None = None, tell: Tell = print) -> list[Path]:
    """Make a lab called *name*, run it on an engine of its own, and return the files that were written, the lab's first.

    *name*: ``NN-words-with-dashes``, or without the number, then the next ten that is free.  *folder*: where (default: among
    the labs, and then README and first page list it).  Raises `UsageError` for a name that cannot be or is taken and for
    files that cannot be written, and what `need_engine` raises; then nothing is left and nothing changed.
    """
    lab = _numbered(name, folder or FOLDER)
    if folder is None:
        listings.need_writable()
    need_engine()
    with tempfile.TemporaryDirectory(prefix="labkit-") as temporary:
        draft = Path(temporary, f"{lab}.ipynb")
        notebook = _written(lab, draft)
        tell(f"running the lab {lab} on an engine of its own")
        _run(notebook, draft)
        path = _kept(notebook, (folder or FOLDER) / draft.name)
    return [path] if folder else _listed(path)


def _listed(path: Path) -> list[Path]:
    """The lab at *path* and the files that list it by now; where they cannot be written, there is no lab either."""
    try:
        return [path, *listings.update()]
    except BaseException:
        path.unlink()
        raise


def _numbered(name: str, folder: Path) -> str:
    """The lab's whole name.  Raises `UsageError` where it cannot be."""
    found = NAME.fullmatch(name)
    if found is None or len(found["plain"]) > LONGEST:
        raise UsageError(
            "a lab cannot have this name",
            seen=repr(name),
            expected="a small letter, then small letters, digits and single dashes, "
            f"at least 2 in all and at most {LONGEST}; two digits and a dash before them, if you like",
            try_="labkit new lab image-layers\nlabkit new lab 25-image-layers",
        )
    if not os.access(folder, os.W_OK):
        raise UsageError(
            "no lab can be made there", seen=str(folder), expected="a folder that you may write in"
        )
    there = [path.stem for path in folder.glob("*.ipynb")]
    numbers = {int(stem[:2]): stem for stem in there if re.match(r"\d\d-", stem)}
    number = int(found["number"]) if found["number"] else max([0, *numbers]) // 10 * 10 + 10
    taken = [stem for stem in there if stem.partition("-")[2] == found["plain"]]
    taken += [numbers[number]] if number in numbers else []
    if taken or number > 99:
        raise UsageError(
            f"there is a lab {taken[0]}" if taken else "no number is free after the last lab",
            seen=repr(name),
            expected="a name and a number that no lab has",
            try_=f"labkit check-labs {taken[0]}" if taken else f"labkit new lab NN-{found['plain']}",
        )
    return f"{number:02}-{found['plain']}"


def _written(lab: str, draft: Path) -> NotebookNode:
    """The skeleton as the *lab*, written to *draft* without outputs."""
    import nbformat

    plain = lab.partition("-")[2]
    text = (files("labkit.lab.authoring") / "skeleton.ipynb").read_text(encoding="utf-8")
    for token, value in {
        "LAB_ID": lab,
        "LAB_NAME": plain,
        "LAB_TITLE": plain.replace("-", " ").capitalize(),
    }.items():
        text = text.replace(token, value)
    draft.write_text(text, encoding="utf-8")
    return nbformat.reads(text, as_version=4)  # type: ignore[no-untyped-call, no-any-return]


def _run(notebook: NotebookNode, draft: Path) -> None:
    """Run the *notebook*, of which *draft* is a copy, and keep the outputs in it."""
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    with Sitting(draft) as sitting:
        for count, cell in enumerate(code, start=1):
            try:
                cell.outputs, cell.execution_count = sitting.run(cell.source), count
            except CellFailed as error:
                raise LabkitError(f"the skeleton's cell {cell.id} {error.what}", seen=error.seen) from None
            for output in cell.outputs:
                _tidy(output)


def _tidy(output: NotebookNode) -> None:
    """Leave out of an *output* what is of one run only."""
    output.get("data", {}).pop("application/vnd.jupyter.widget-view+json", None)
    if "metadata" in output:
        output.metadata = {}


def _kept(notebook: NotebookNode, path: Path) -> Path:
    """Write the *notebook* to *path*, whole or not at all.  Raises `UsageError` where somebody was faster."""
    import nbformat

    text = nbformat.writes(notebook) + "\n"  # type: ignore[no-untyped-call]
    half = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        half.write_text(text, encoding="utf-8")
        os.link(half, path)  # which never replaces a file
    except FileExistsError:
        raise UsageError(f"there is a lab {path.stem} by now", try_="another name") from None
    finally:
        half.unlink(missing_ok=True)
    return path
