"""A traced command as a person sees it: its three views as tabs, with the times, and with each body to be unfolded."""

from __future__ import annotations

import json
from typing import Any

import anywidget
import traitlets

from labkit.lab.tracing.traces import BEGIN, HEADINGS, Step, Trace
from labkit.widgets.elements import page

__all__ = ["Tabs", "view"]


def view(trace: Trace) -> Tabs:
    """The live view of *trace*."""
    return Tabs(trace)


class Tabs(anywidget.AnyWidget):
    """The live view of a *trace*.  ``shown`` is all that the page knows."""

    _esm = page("""
    const STYLE = LOOK + `
    .lk-trace { border: 1px solid var(--lk-line); border-radius: 4px; max-width: 72em; }
    .lk-trace [role=tablist] { display: flex; flex-wrap: wrap; border-bottom: 1px solid var(--lk-line); }
    .lk-trace [role=tab] { border: 0; border-bottom: 3px solid transparent; border-radius: 0; padding: 6px 12px; }
    .lk-trace [role=tab][aria-selected=true] { border-bottom-color: var(--lk-lit); font-weight: 600; }
    .lk-trace [role=tab] small { font-weight: 400; color: var(--lk-mute); padding-left: .5em; }
    .lk-trace :focus-visible { outline-offset: -2px; }
    .lk-trace [role=tabpanel] { padding: 8px 12px; overflow-x: auto; }
    .lk-trace pre, .lk-trace code { font: 12px/1.5 var(--lk-code); color: inherit; background: none;
      margin: 0; padding: 0; white-space: pre-wrap; overflow-wrap: anywhere; }
    .lk-trace .lk-row { display: grid; grid-template-columns: 6em minmax(0, 1fr); gap: 0 1em; padding: 2px 0; }
    .lk-trace .lk-ms { text-align: right; font: 12px/1.5 var(--lk-code);
      color: var(--lk-mute); white-space: nowrap; }
    .lk-trace .lk-why { color: var(--lk-mute); }
    .lk-trace details pre { max-height: 24em; overflow: auto; margin: 2px 0 6px 1.2em; }
    .lk-trace .lk-code { margin: 6px 0; font-weight: 600; }`;
    let count = 0;

    const row = (ms, ...what) => make("div", "lk-row", make("span", "lk-ms", ms), make("div", "", ...what));
    const code = text => make("code", "", text);

    function typed({ command }) {
      const end = `exit code ${command.code}` + (command.ended && ` (${command.ended})`);
      return [
        row(command.ms, code(command.line)),
        row("", make("pre", "", command.output)),
        row("", make("p", "lk-code", end)),
      ];
    }
    function sent({ steps }) {
      return steps.map(({ ms, request, bodies }) => {
        if (!bodies.length) return row(ms, code(request));
        const folded = make("details", "", make("summary", "", code(request)));
        for (const { title, text } of bodies) folded.append(make("div", "lk-why", title), make("pre", "", text));
        return row(ms, folded);
      });
    }
    function called({ begin, steps }) {
      const lines = steps.map(({ call_ms, code: text, why }) =>
        row(call_ms, ...(text ? [code(text)] : []), ...(why ? [make("div", "lk-why", why)] : [])));
      return [row("", code(begin)), ...lines];
    }

    function render({ model, el }) {
      const shown = model.get("shown"), own = `lk-trace-${count++}`;
      const list = make("div"), box = make("section", "lk-view lk-trace", list);
      box.setAttribute("aria-label", shown.command.line);
      list.setAttribute("role", "tablist");
      const tabs = [], panels = [];
      function choose(number, focus) {
        tabs.forEach((tab, n) => {
          tab.setAttribute("aria-selected", n === number);
          tab.tabIndex = n === number ? 0 : -1;
          panels[n].hidden = n !== number;
        });
        if (focus) tabs[number].focus();
      }
      [typed, sent, called].forEach((fill, n) => {
        const tab = make("button", "", shown.headings[n], make("small", "", shown.totals[n]));
        const panel = make("div", "", ...fill(shown));
        Object.assign(tab, { type: "button", id: `${own}-tab-${n}` });
        Object.assign(panel, { id: `${own}-panel-${n}`, tabIndex: 0 });
        tab.setAttribute("role", "tab");
        tab.setAttribute("aria-controls", panel.id);
        panel.setAttribute("role", "tabpanel");
        panel.setAttribute("aria-labelledby", tab.id);
        tab.addEventListener("click", () => choose(n));
        tab.addEventListener("keydown", event => {
          const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
          if (!step) return;
          event.preventDefault();
          event.stopPropagation();
          choose((n + step + 3) % 3, true);
        });
        tabs.push(tab);
        panels.push(panel);
      });
      list.append(...tabs);
      box.append(...panels);
      choose(0);
      el.append(make("style", "", STYLE), box);
    }
    export default { render };
    """)
    shown = traitlets.Dict().tag(sync=True)

    def __init__(self, trace: Trace) -> None:
        self.trace = trace
        super().__init__(shown=_shown(trace))

    def __repr__(self) -> str:
        return self.trace.times


def _shown(trace: Trace) -> dict[str, Any]:
    done, calls = trace.command, [step.performed.seconds for step in trace.steps]
    executed = [seconds for seconds in calls if seconds is not None]
    requests = len(trace.steps)
    return {
        "headings": HEADINGS,
        "begin": BEGIN,
        "totals": [
            _ms(done.seconds),
            f"{requests} request{'' if requests == 1 else 's'}",
            f"{len(executed)} of {sum(bool(step.code) for step in trace.steps)} executed",
        ],
        "command": {
            "line": done.line,
            "output": done.output,
            "code": done.code,
            "ms": _ms(done.seconds),
            "ended": f"ended after {done.ended:g} s" if done.ended else "",
        },
        "steps": [_step(step) for step in trace.steps],
    }


def _step(step: Step) -> dict[str, Any]:
    done = step.performed
    why = (
        f"not executed: {done.why}"
        if step.code and done.why
        else f"raises {done.raised}"
        if done.raised
        else ""
    )
    bodies = {"sent": step.sent, "answered": step.answered}
    return {
        "ms": _ms(step.seconds),
        "request": step.request,
        "bodies": [{"title": title, "text": _pretty(text)} for title, text in bodies.items() if text],
        "code": step.code,
        "call_ms": _ms(done.seconds),
        "why": why or ("" if step.code else step.call),
    }


def _ms(seconds: float | None) -> str:
    return "" if seconds is None else f"{seconds * 1000:.1f} ms"


def _pretty(text: str) -> str:
    """JSON with a line for each field; anything else as it is."""
    try:
        return json.dumps(json.loads(text), indent=2, ensure_ascii=False)
    except ValueError:
        return text
