"""Cells run as a learner would run them, one after the other, and what each shows; nobody has to be there."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterable
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Self

from labkit.errors import LabkitError
from labkit.kernels.imports import imports

if TYPE_CHECKING:
    from nbformat import NotebookNode

__all__ = ["CellFailed", "Sitting", "need_engine", "text_of"]

CELL_SECONDS = 120
SETUP_SECONDS = 1800
"""Once on a machine the images of a lab are made when it opens."""
SHOWN = ("stream", "display_data", "execute_result", "error")
REMEMBER = """
_begun = {name: value for name, value in globals().items() if not name.startswith("_")}
"""
FORGET = """
for _name in {name for name in globals() if not name.startswith("_")} - _begun.keys():
    del globals()[_name]
globals().update(_begun)
"""
OF_A_SERVER = ("JPY_SESSION_NAME", "JPY_PARENT_PID")
"""With these a lab would take up the engine of a learner (``labkit.lab.open``)."""


class CellFailed(LabkitError):
    """A cell raised an exception, or did not end."""


class Sitting:
    """One kernel, forked from this process, in a folder of its own that holds nothing but a copy of the notebook at *path*.

    Its labs are private engines, and its progress is nobody's.  A context manager: at its end, also by an interrupt, kernel,
    engine and folder go.  Raises `LabkitError` in a process that has threads, which cannot be forked.  *touched* is for who
    runs the cells: whether anything was done on the engine since it was as at its start.
    """

    touched = False

    def __init__(self, path: Path) -> None:
        _import_ahead(path)
        from labkit.kernels.lane import Lane

        try:
            self._lane = Lane()
        except RuntimeError as error:
            raise LabkitError(
                "no kernel can be forked here", seen=str(error), try_="labkit check-labs"
            ) from None
        self._folder = Path(tempfile.mkdtemp(prefix="labkit-"))
        try:
            shutil.copy(path, self._folder)
            self._lane.start(_environ(self._folder), str(self._folder))
        except BaseException:
            self.end()
            raise

    def run(self, source: str, seconds: float = CELL_SECONDS) -> list[NotebookNode]:
        """Run a cell and return its outputs.  Raises `CellFailed` when it raises, or takes more than so many *seconds*."""
        from nbformat.v4 import output_from_msg

        from labkit.kernels.lane import LaneDied

        outputs: list[NotebookNode] = []
        try:
            for message in self._lane.run(source, seconds=seconds):
                if message["msg_type"] in SHOWN:
                    _add(outputs, output_from_msg(message))  # type: ignore[no-untyped-call]
        except TimeoutError:
            self._lane.end()  # nothing can follow a cell that goes on
            raise CellFailed(f"does not end within {seconds:g} s", seen=source) from None
        except LaneDied:
            raise CellFailed("finds no kernel: it has ended", seen=source) from None
        for output in outputs:
            if output.output_type == "error":
                raise CellFailed(f"raises {output.ename}: {output.evalue}", seen=source)
        return outputs

    def show(self, source: str) -> str:
        """Run a cell and return the text that it shows."""
        return text_of(self.run(source))

    def run_all(self, sources: Iterable[str], seconds: float = CELL_SECONDS) -> None:
        """Run cells, one after the other, each for at most so many *seconds*; raises `CellFailed`."""
        for source in sources:
            self.run(source, seconds)

    def begin(self, sources: Iterable[str]) -> None:
        """Run the cells on which all others stand; raises `CellFailed`."""
        self.run_all(sources, SETUP_SECONDS)
        self.run(REMEMBER)

    def reset(self) -> None:
        """An engine as at the start, and the variables of `begin`, as they were then; raises `CellFailed`."""
        if self.touched:
            self.run("lab.reset()")
            self.run(FORGET)
            self.touched = False

    def end(self) -> None:
        """End the kernel, and with it its engine."""
        self._lane.end()
        shutil.rmtree(self._folder, ignore_errors=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None and self._lane.alive:
            # whatever the cells have made of `lab`, its engine ends with the kernel
            with suppress(LabkitError):
                self.run("lab.close()")
        self.end()


def need_engine() -> None:
    """Start a private engine and end it: a machine where that fails is told so once, and not by each cell.

    Raises what ``open_engine("sandbox")`` raises.
    """
    from labkit.engine import open_engine

    with open_engine("sandbox", name="probe"):
        pass


def text_of(outputs: Iterable[NotebookNode]) -> str:
    """What a reader without pictures sees of *outputs*."""
    told = (output.get("text") or output.get("data", {}).get("text/plain", "") for output in outputs)
    return "\n".join(each.rstrip("\n") for each in told if each)


def _import_ahead(path: Path) -> None:
    """What every kernel of a lab imports, and the cells of this one, once in the process that they are forked from."""
    for module in ("docker", "labkit.kernels.cells", "labkit.lab"):
        import_module(module)
    for statement in imports(path):
        with suppress(Exception):  # the cell does it again, and then it is its error
            exec(statement, {})


def _environ(folder: Path) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if name not in OF_A_SERVER}
    return {**kept, "LABKIT_PROVIDER": "sandbox", "LABKIT_PROGRESS": str(folder / "progress.sqlite")}


def _add(outputs: list[NotebookNode], output: NotebookNode) -> None:
    """As a notebook keeps them: what comes from one stream without a break is one output."""
    last = outputs[-1] if outputs else None
    if last is not None and output.output_type == "stream" and last.get("name") == output.name:
        last.text += output.text
    else:
        outputs.append(output)
