"""The live form of a picture: drawn anew in the page when it changes, in the page's theme, with its words for screen readers."""

from __future__ import annotations

from typing import Any

import anywidget
import traitlets

from labkit.widgets.pictures import Picture

__all__ = ["Live"]


class Live(anywidget.AnyWidget):
    """A picture that changes.  Printed, it says the same in words.

    *more*: what is to be had by unfolding it, below the picture; its first line is always seen.
    """

    _esm = """
    const CHANGES = ["change:svg", "change:more"];
    function theme(svg) {
      const light = document.body.dataset.jpThemeLight;
      if (light) svg?.setAttribute("data-theme", light === "true" ? "light" : "dark");
    }
    export default {
      render({ model, el }) {
        const picture = document.createElement("div"), more = document.createElement("details");
        picture.style.overflowX = "auto";
        more.style.cssText = "color:var(--jp-ui-font-color1);font-size:13px;margin-top:4px";
        more.append(document.createElement("summary"), document.createElement("pre"));
        more.lastChild.style.cssText = "white-space:pre-wrap;font-size:12px;margin:4px 0 0 16px";
        el.append(picture, more);
        const draw = () => {
          picture.innerHTML = model.get("svg");
          const svg = picture.querySelector("svg");
          svg.style.minWidth = "min(560px, 100vw)";
          const [summary, ...lines] = model.get("more").split("\\n");
          more.hidden = !summary;
          more.firstChild.textContent = summary;
          more.lastChild.textContent = lines.join("\\n");
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
        for (const name of CHANGES) model.on(name, draw);
        const watch = new MutationObserver(() => theme(el.querySelector("svg")));
        watch.observe(document.body, { attributes: true, attributeFilter: ["data-jp-theme-light"] });
        return () => { for (const name of CHANGES) model.off(name, draw); watch.disconnect(); resized.disconnect(); };
      },
    };
    """
    svg = traitlets.Unicode().tag(sync=True)
    text = traitlets.Unicode().tag(sync=True)
    more = traitlets.Unicode().tag(sync=True)

    def show(self, svg: str, text: str, more: str = "") -> None:
        """Put another picture in its place, with its words."""
        with self.hold_sync():  # one message: who sees the new picture also has its text
            self.svg, self.text, self.more = svg, text, more

    def picture(self) -> Picture:
        """A still of this moment."""
        return Picture(self.svg, self.text)

    def _repr_mimebundle_(self, **kwargs: Any) -> Any:
        """The live view, and for those that cannot show it (exported pages, screen readers) the still and the text."""
        bundle = super()._repr_mimebundle_(**kwargs)
        data, metadata = bundle if isinstance(bundle, tuple) else (bundle or {}, {})
        return {**data, **self.picture()._repr_mimebundle_()}, metadata

    def __repr__(self) -> str:
        return self.text
