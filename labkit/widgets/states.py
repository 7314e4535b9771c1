"""The state machine of one container: live, or as a still of this moment."""

from __future__ import annotations

import threading
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import anywidget
import traitlets

from labkit.observe import Event
from labkit.widgets.histories import History

if TYPE_CHECKING:
    from labkit.engine import Engine

__all__ = ["Picture", "StateMachine", "picture"]

LOOK_EVERY = 0.25
"""Seconds between looks at the container; needed for what the engine tells no event of (``removing``, ``dead``)."""

PATIENCE = 20
"""Looks in vain, one after the other, after which the engine counts as gone."""


@dataclass(frozen=True, repr=False)
class Picture:
    """A still: *svg* in a notebook, *text* everywhere else."""

    svg: str
    text: str

    def _repr_mimebundle_(self, **_: object) -> dict[str, str]:
        return {"image/svg+xml": self.svg, "text/plain": self.text}

    def __repr__(self) -> str:
        return self.text


def picture(engine: Engine, container: str) -> Picture:
    """The state machine of *container* (its name) now, with the way it walked as far as the engine's log tells it."""
    history = History(engine, container)
    return Picture(history.svg, history.text)


class StateMachine(anywidget.AnyWidget):
    """The state machine of *container* (its name; it need not exist yet), live: the present state is lit.

    Follows the engine until `stop` or `close`, or until the engine is gone.  Printed, it says the same in words.  A new one for
    the same container takes over from the former.
    """

    _esm = """
    function theme(svg) {
      const light = document.body.dataset.jpThemeLight;
      if (light) svg?.setAttribute("data-theme", light === "true" ? "light" : "dark");
    }
    export default {
      render({ model, el }) {
        const draw = () => {
          el.innerHTML = model.get("svg");
          const svg = el.querySelector("svg");
          svg.setAttribute("aria-label", model.get("text"));
          theme(svg);
          fit();
        };
        // in a view of its own (Create New View for Cell Output) the picture is as large as the pane
        const fit = () => {
          const pane = el.closest(".jp-LinkedOutputView"), svg = el.querySelector("svg");
          if (pane && svg) {
            const width = pane.clientWidth - 24, height = pane.clientHeight - 24, { viewBox } = svg;
            const scale = Math.min(width / viewBox.baseVal.width, height / viewBox.baseVal.height);
            if (scale > 0) svg.style.cssText = `width:${scale * viewBox.baseVal.width}px;max-width:none;height:auto`;
          }
        };
        const resized = new ResizeObserver(fit);
        requestAnimationFrame(() => {
          const pane = el.closest(".jp-LinkedOutputView");
          if (pane) { resized.observe(pane); fit(); }
        });
        draw();
        model.on("change:svg", draw);
        const watch = new MutationObserver(() => theme(el.querySelector("svg")));
        watch.observe(document.body, { attributes: true, attributeFilter: ["data-jp-theme-light"] });
        return () => { model.off("change:svg", draw); watch.disconnect(); resized.disconnect(); };
      },
    };
    """
    svg = traitlets.Unicode().tag(sync=True)
    text = traitlets.Unicode().tag(sync=True)

    _live: ClassVar[dict[tuple[str, str], StateMachine]] = {}

    def __init__(self, engine: Engine, container: str) -> None:
        self._history = History(engine, container)
        self._lock = threading.Lock()
        self._done = threading.Event()
        self._wake = threading.Event()
        self._stream: Any = None
        super().__init__(svg=self._history.svg, text=self._history.text)
        former = self._live.pop((engine.id, container), None)
        if former is not None:
            former.stop()
        self._live[engine.id, container] = self
        for target in (self._follow, self._listen):
            threading.Thread(target=target, name=f"labkit-states-{container}", daemon=True).start()

    @property
    def state(self) -> str:
        """The present state."""
        self._refresh()
        return self._history.present

    @property
    def following(self) -> bool:
        """Whether it still follows the engine."""
        return not self._done.is_set()

    def picture(self) -> Picture:
        """A still of this moment."""
        self._refresh()
        return Picture(self.svg, self.text)

    def close(self) -> None:
        """Stop following, and take the live picture away."""
        self.stop()
        super().close()

    def stop(self) -> None:
        """Stop following; the picture stays as it is."""
        self._done.set()
        self._wake.set()
        with suppress(Exception):
            self._stream.close()

    def _refresh(self) -> None:
        with self._lock:
            self._history.refresh()
            self._show()

    def _show(self) -> None:
        with self.hold_sync():  # one message: who sees the new picture also has its text
            self.svg, self.text = self._history.svg, self._history.text

    def _follow(self) -> None:
        """Show what has changed when an event came, or a look says so; give up when the engine is gone."""
        failures = 0
        while not self._done.is_set():
            woken = self._wake.wait(LOOK_EVERY)
            self._wake.clear()
            try:
                with self._lock:
                    if not self._done.is_set() and (self._history.look() or woken):
                        self._show()
                failures = 0
            except Exception:  # whatever a daemon that goes away, or is restarted, makes of a request
                failures += 1
                if failures >= PATIENCE:
                    self.stop()

    def _listen(self) -> None:
        """Hear every event of the container, those of before first, and wake the follower."""
        while not self._done.is_set():
            with suppress(Exception):
                filters = {"type": "container", "container": self._history.name}
                self._stream = self._history.engine.client.events(since="1", filters=filters, decode=True)
                for raw in self._stream:
                    actor = raw["Actor"]
                    with self._lock:
                        self._history.hear(
                            Event(
                                raw["timeNano"], raw["Type"], raw["Action"], actor["ID"], actor["Attributes"]
                            )
                        )
                    self._wake.set()
            self._done.wait(LOOK_EVERY)

    def _repr_mimebundle_(self, **kwargs: Any) -> Any:
        """The live view, and for those that cannot show it (exported pages, screen readers) the still and the text."""
        bundle = super()._repr_mimebundle_(**kwargs)
        data, metadata = bundle if isinstance(bundle, tuple) else (bundle or {}, {})
        still = self.picture() if self.following else Picture(self.svg, self.text)
        return {**data, **still._repr_mimebundle_()}, metadata

    def __repr__(self) -> str:
        return self.text
