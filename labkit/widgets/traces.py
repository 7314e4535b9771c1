"""A traced command as a person sees it: its three views as tabs, with the times, and with each body to be unfolded."""

from __future__ import annotations

import json
from typing import Any

import anywidget
import traitlets

from labkit.lab.tracing.traces import BEGIN, HEADINGS, Step, Trace
from labkit.widgets.elements import script, style

__all__ = ["Tabs", "view"]


def view(trace: Trace) -> Tabs:
    """The live view of *trace*."""
    return Tabs(trace)


class Tabs(anywidget.AnyWidget):
    """The live view of a *trace*.  ``shown`` is all that the page knows."""

    _esm, _css = script("traces"), style("traces")
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
            "end": done.end,
            "ms": _ms(done.seconds),
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
