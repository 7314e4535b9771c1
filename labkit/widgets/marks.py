"""A check as a person sees it: a mark that turns by itself, what was seen, folded hints, and the solution when asked for."""

from __future__ import annotations

from typing import Any

import anywidget
import traitlets

from labkit.lab.checking.checks import Check
from labkit.lab.checking.hints import markdown
from labkit.widgets.elements import page

__all__ = ["Marks", "view"]


def view(check: Check) -> Marks:
    """The live view of *check*, which follows the engine from now on."""
    return Marks(check)


class Marks(anywidget.AnyWidget):
    """The live view of a *check*.  ``shown`` is all that the page knows: the solution is not among it until it was asked for."""

    _esm = page("""
    const STYLE = LOOK + `
    .lk-check { border-left: 4px solid var(--lk-tone); padding: 2px 12px; --lk-tone: var(--lk-mute); }
    .lk-check[data-state=done] { --lk-tone: var(--lk-done); }
    .lk-check[data-state=not-yet] { --lk-tone: var(--lk-waits); }
    .lk-check .lk-verdict { font-size: 14px; margin: 4px 0; }
    .lk-check .lk-mark { display: inline-block; width: 1.5em; font-weight: 600; color: var(--lk-tone); }
    .lk-check ul { list-style: none; margin: 4px 0; padding: 0; font: 12px var(--lk-code); }
    .lk-check li { padding: 1px 0 1px 1.9em; text-indent: -1.9em; overflow-wrap: anywhere; }
    .lk-check li.lk-fails { color: var(--jp-ui-font-color0, CanvasText); }
    .lk-check li.lk-holds { color: var(--lk-mute); }
    .lk-check details, .lk-check .lk-ask { margin: 4px 0; }
    .lk-check .lk-prose { margin: 2px 0 6px 1.2em; max-width: 44em; }
    .lk-check .lk-prose:focus { outline: 1px dashed var(--lk-line); outline-offset: 4px; }
    .lk-check .lk-prose p { margin: 4px 0; }
    .lk-check .lk-prose pre { padding: 6px 8px; background: var(--jp-layout-color2, rgba(127,127,127,.12)); }
    .lk-check .lk-prose pre code { background: none; padding: 0; white-space: pre-wrap; word-break: normal;
      overflow-wrap: anywhere; }
    .lk-unseen { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); white-space: nowrap; }`;

    function render({ model, el }) {
      const style = make("style", "", STYLE), box = make("section", "lk-view lk-check");
      const mark = make("span", "lk-mark"), verdict = make("span", "");
      mark.setAttribute("aria-hidden", "true");
      const line = make("p", "lk-verdict", mark, verdict);
      line.setAttribute("role", "status");
      const list = make("ul"), hints = make("div"), ask = make("button", "", "Show one solution");
      const solution = make("div", "lk-prose");
      ask.type = "button";
      solution.tabIndex = -1;
      solution.setAttribute("role", "region");
      solution.setAttribute("aria-label", "one solution");
      const asking = make("p", "lk-ask", ask);
      box.append(line, list, hints, asking, solution);
      ours(ask);
      el.append(style, box);

      const reading = ({ ok, text }) => make("li", ok ? "lk-holds" : "lk-fails", `${ok ? "✓" : "✗"} ${text}`);
      const folded = new Map();  // by number, so that one that is unfolded stays so
      function fold({ number, title, html }) {
        if (folded.has(number)) return folded.get(number);
        const words = make("div", "lk-prose"), summary = ours(make("summary", "", title));
        const details = make("details", "", summary, words);
        words.innerHTML = html;
        details.addEventListener("toggle", () => {
          if (details.open && !details.dataset.told) {
            details.dataset.told = "yes";
            model.send({ kind: "hint", number });
          }
        });
        folded.set(number, details);
        return details;
      }
      let asked = false;
      ask.addEventListener("click", () => {
        asked = true;
        ask.disabled = true;
        ask.textContent = "asked for; it comes when the cell that runs has ended";
        model.send({ kind: "solution" });
      });
      function put(parent, nodes) {  // leaves alone what is there already: what has the focus keeps it
        if (nodes.length !== parent.children.length || nodes.some((node, n) => parent.children[n] !== node))
          parent.replaceChildren(...nodes);
      }
      function draw() {
        const { name, state, words, readings, hints: given, solution: told, solvable } = model.get("shown");
        box.dataset.state = state;
        box.setAttribute("aria-label", `check ${name}`);
        mark.textContent = { done: "✓", "not-yet": "○" }[state] || "?";
        if (verdict.textContent !== words) verdict.textContent = words;
        list.replaceChildren(...readings.map(reading));
        put(hints, given.map(fold));
        asking.hidden = !solvable || Boolean(told);
        if (told && solution.innerHTML === "") {
          solution.innerHTML = told;
          if (asked) solution.focus();
        }
      }
      draw();
      model.on("change:shown", draw);
      return () => model.off("change:shown", draw);
    }
    export default { render };
    """)
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
