"""A check as a person sees it: a mark that turns by itself, what was seen, folded hints, and the solution when asked for."""

from __future__ import annotations

from typing import Any

import anywidget
import traitlets

from labkit.lab.checking.checks import Check
from labkit.lab.checking.hints import markdown
from labkit.widgets.elements import script, style

__all__ = ["Marks", "view"]


def view(check: Check) -> Marks:
    """The live view of *check*, which follows the engine from now on."""
    return Marks(check)


class Marks(anywidget.AnyWidget):
    """The live view of a *check*.  ``shown`` is all that the page knows: the solution is not among it until it was asked for."""

    _esm, _css = script("marks"), style("marks")
    shown = traitlets.Dict().tag(sync=True)

    def __init__(self, check: Check) -> None:
        self.check = check
        self._solution = ""
        super().__init__(shown=self._now())
        self.on_msg(self._asked)
        check.follow(self._show)

    def _now(self) -> dict[str, Any]:
        check, help = self.check, self.check.help
        hints = help.hints() if help and not check.done else []
        return {
            "name": check.name,
            "state": {"done": "done", "not yet": "not-yet"}.get(check.verdict, "unknown"),
            "words": f"{check.name}: {check.verdict}",
            "readings": [{"ok": each.ok, "text": str(each)} for each in check.readings if check.answered],
            "hints": [
                {"number": each.number, "title": each.title, "html": markdown(each.text)} for each in hints
            ],
            "solvable": help is not None,
            "solution": self._solution,
        }

    def _show(self) -> None:
        """In whatever thread: the comm's messages go out while a cell runs too."""
        self.shown = self._now()

    def _asked(self, _: object, message: Any, buffers: object) -> None:
        help = self.check.help
        if help and message == {"kind": "solution"}:
            self._solution = help.solution()._static()
            self._show()
        elif help and message.get("kind") == "hint":
            help.read(int(message["number"]))

    def __repr__(self) -> str:
        return repr(self.check)
