"""A prediction that is made in a form: an answer chosen or typed, committed, and later graded by what the engine did."""

from __future__ import annotations

from typing import Any

import anywidget
import traitlets

from labkit.errors import LabkitError
from labkit.lab.predictions import Prediction
from labkit.widgets.elements import script, style

__all__ = ["Question", "view"]


def view(prediction: Prediction) -> Question:
    """The live view of *prediction*."""
    return Question(prediction)


class Question(anywidget.AnyWidget):
    """The live view of a *prediction*: a form until it is committed, then the answer, then the grade."""

    _esm, _css = script("predictions"), style("predictions")
    asked = traitlets.Dict().tag(sync=True)
    shown = traitlets.Dict().tag(sync=True)

    def __init__(self, prediction: Prediction) -> None:
        self.prediction = prediction
        asked = {"question": prediction.question, "among": [str(each) for each in prediction.among]}
        super().__init__(asked=asked, shown=self._now())
        self.on_msg(self._answered)
        prediction.on_change(self._show)

    def _now(self, wrong: str = "") -> dict[str, Any]:
        made = self.prediction
        mark = {True: "✓ ", False: "✗ ", None: ""}[made.right]
        waits = f"You predict: {made.answer}." if made.committed else ""
        return {
            "answer": str(made.answer),
            "committed": made.committed,
            "closed": made.committed or bool(made.grade),
            "right": made.right,
            "words": wrong or (f"{mark}{made.grade}" if made.grade else waits),
        }

    def _show(self, wrong: str = "") -> None:
        self.shown = self._now(wrong)

    def _answered(self, _: object, message: Any, buffers: object) -> None:
        """What was chosen by its place, or typed; what is wrong with it is told in the form."""
        chosen = message.get("chosen")
        try:
            if chosen is None:
                self.prediction.commit(str(message.get("typed", "")))
            else:
                among = self.prediction.among
                self.prediction.commit(among[chosen] if 0 <= chosen < len(among) else "")
        except LabkitError as error:
            self._show(f"{error.what}; {error.try_}" if error.try_ else f"Choose or type {error.expected}.")

    def __repr__(self) -> str:
        return repr(self.prediction)
