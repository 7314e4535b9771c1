"""The live form of a picture: drawn anew in the page when it changes, in the page's theme, with its words for screen readers."""

from __future__ import annotations

from typing import Any

import anywidget
import traitlets

from labkit.widgets.elements import script, style
from labkit.widgets.pictures import Picture

__all__ = ["Live"]


class Live(anywidget.AnyWidget):
    """A picture that changes.  Printed, it says the same in words.

    *more*: what is to be had by unfolding it, below the picture; its first line is always seen.
    """

    _esm, _css = script("live"), style("live")
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
