"""A prediction that is made in a form: an answer chosen or typed, committed, and later graded by what the engine did."""

from __future__ import annotations

from typing import Any

import anywidget
import traitlets

from labkit.errors import LabkitError
from labkit.lab.predictions import Prediction
from labkit.widgets.elements import page

__all__ = ["Question", "view"]


def view(prediction: Prediction) -> Question:
    """The live view of *prediction*."""
    return Question(prediction)


class Question(anywidget.AnyWidget):
    """The live view of a *prediction*: a form until it is committed, then the answer, then the grade."""

    _esm = page("""
    const STYLE = LOOK + `
    .lk-question { border: 1px solid var(--lk-line); border-radius: 4px; padding: 6px 12px 8px; min-width: 0; }
    .lk-question legend { font-weight: 600; padding: 0 4px; }
    .lk-question label { display: block; padding: 2px 0; cursor: pointer; }
    .lk-question label:has(:checked) { font-weight: 600; }
    .lk-question input { accent-color: var(--lk-lit); }
    .lk-question input[type=text] { font: inherit; color: inherit; background: var(--jp-layout-color1, Canvas); padding: 2px 6px;
      border: 1px solid var(--lk-line); border-radius: 3px; }
    .lk-question button { margin-top: 4px; }
    .lk-question p { margin: 4px 0 0; }
    .lk-question p:empty { display: none; }
    .lk-question[data-right=yes] { border-left: 4px solid var(--lk-done); }
    .lk-question[data-right=no] { border-left: 4px solid var(--lk-waits); }`;
    let count = 0;

    function render({ model, el }) {
      const { question, among } = model.get("asked"), group = `lk-question-${count++}`;
      const form = make("form"), box = make("fieldset", "lk-view lk-question", make("legend", "", question));
      const told = make("p"), commit = make("button", "", "This is my prediction");
      told.setAttribute("role", "status");
      const inputs = (among.length ? among : [null]).map((words, number) => {
        const input = make("input");
        input.name = group;
        if (words === null) {
          input.type = "text";
          input.autocomplete = "off";
          input.setAttribute("aria-label", "your prediction");
          input.addEventListener("keydown", event => {  // JupyterLab keeps Enter from a form's input
            if (event.key !== "Enter" || event.isComposing) return;
            event.preventDefault();
            form.requestSubmit();
          });
          box.append(input);
        } else {
          input.type = "radio";
          input.value = number;
          box.append(make("label", "", input, ` ${words}`));
        }
        return input;
      });
      box.append(make("div", "", commit), told);
      form.append(box);
      el.append(make("style", "", STYLE), form);
      [...inputs, commit].forEach(ours);
      form.addEventListener("submit", event => {
        event.preventDefault();
        const answer = among.length ? inputs.findIndex(input => input.checked) : inputs[0].value;
        model.send(among.length ? { chosen: answer } : { typed: answer });
      });
      function draw() {
        const { answer, committed, closed, right, words } = model.get("shown");
        if (committed && among.length) inputs.forEach((input, number) => { input.checked = among[number] === answer; });
        if (committed && !among.length) inputs[0].value = answer;
        for (const control of [...inputs, commit]) control.disabled = closed;
        commit.hidden = closed;
        box.dataset.right = right === null ? "" : right ? "yes" : "no";
        if (told.textContent !== words) told.textContent = words;
      }
      draw();
      model.on("change:shown", draw);
      return () => model.off("change:shown", draw);
    }
    export default { render };
    """)
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
