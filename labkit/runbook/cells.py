"""The cells of an executed notebook as HTML that loads nothing and runs nothing.

Outputs are taken as they were shown: HTML by a list of what is harmless, pictures inline, and text for all others.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

from markupsafe import Markup, escape
from nbformat import NotebookNode

from labkit.runbook.outcomes import is_ours
from labkit.runbook.presenting import ERROR_MARK

__all__ = ["Shown", "shown", "styles"]

_TABLES = {"table", "thead", "tbody", "tfoot", "tr", "th", "td", "caption"}
_LISTS = {"ul", "ol", "li", "dl", "dt", "dd"}
_WORDS = {"span", "em", "strong", "b", "i", "u", "code", "kbd", "sub", "sup", "br"}
_BLOCKS = {"p", "div", "pre", "hr", "blockquote", "h1", "h2", "h3", "h4", "h5", "h6"}
_ATTRIBUTES = {"td": {"colspan", "rowspan"}, "th": {"colspan", "rowspan", "scope"}}
_PICTURES = ("image/png", "image/jpeg", "image/gif")


_NOTHING = Markup()


@dataclass(frozen=True)
class Shown:
    """One cell: its number in the notebook, *prose* or *source* as HTML, and its outputs; *state* is ``failed`` or empty."""

    index: int
    prose: Markup = _NOTHING
    source: Markup = _NOTHING
    outputs: tuple[Markup, ...] = ()
    state: str = ""


def shown(
    notebook: NotebookNode, failed: int | None = None, told: Mapping[str, str] | None = None
) -> list[Shown]:
    """All cells but papermill's marks.  *failed*: the number of the one that ended the run.

    *told*: what the page says elsewhere, as media type to link; an output that carries it is only referred to.
    """
    return [
        _prose(index, cell)
        if cell.cell_type == "markdown"
        else _code(index, cell, index == failed, told or {})
        for index, cell in enumerate(notebook.cells)
        if ERROR_MARK not in cell.metadata.get("tags", []) and cell.source.strip()
    ]


@cache
def styles() -> Markup:
    """The colours of highlighted code, for light and dark pages."""
    from pygments.formatters import HtmlFormatter  # type: ignore[import-untyped]  # it publishes no types

    light, dark = (HtmlFormatter(style=name).get_style_defs(".source") for name in ("default", "github-dark"))
    return Markup(f"{light}\n@media screen and (prefers-color-scheme: dark) {{\n{dark}\n}}")


def _prose(index: int, cell: NotebookNode) -> Shown:
    return Shown(index, prose=_markdown(cell.source))


@cache
def _reader() -> Any:
    import mistune

    class Plain(mistune.HTMLRenderer):
        """Headings below those of the page; no picture, since it would have to be loaded."""

        def heading(self, text: str, level: int, **attrs: Any) -> str:
            return super().heading(text, min(level + 2, 6), **attrs)

        def image(self, text: str, url: str, title: str | None = None) -> str:
            return f"<em>{escape(text)}</em>"

    return mistune.create_markdown(renderer=Plain(escape=True), plugins=["table", "strikethrough"])


def _markdown(text: str) -> Markup:
    return Markup(_reader()(text))


def _code(index: int, cell: NotebookNode, failed: bool, told: Mapping[str, str]) -> Shown:
    outputs = tuple(_output(output, told) for output in cell.get("outputs", []))
    return Shown(index, source=_highlighted(cell.source), outputs=outputs, state="failed" if failed else "")


def _highlighted(source: str) -> Markup:
    from pygments import highlight  # type: ignore[import-untyped]
    from pygments.formatters import HtmlFormatter
    from pygments.lexers import PythonLexer  # type: ignore[import-untyped]

    return Markup(highlight(source, PythonLexer(), HtmlFormatter(cssclass="source")))


def _output(output: NotebookNode, told: Mapping[str, str]) -> Markup:
    if output.output_type == "stream":
        return _text(output.text, output.name)
    if output.output_type == "error":
        return _error(output)
    link = next((told[media_type] for media_type in output.get("metadata", {}) if media_type in told), None)
    return Markup('<p class="above">{}</p>').format(Markup(link)) if link else _data(output.data)


def _data(data: Mapping[str, Any]) -> Markup:
    for media_type in _PICTURES:
        if media_type in data:
            return _picture(media_type, "".join(str(data[media_type]).split()), data)
    if "image/svg+xml" in data:
        drawn = base64.b64encode(str(data["image/svg+xml"]).encode()).decode()
        return _picture("image/svg+xml", drawn, data)
    if "text/html" in data:
        return Markup('<div class="html">{}</div>').format(_harmless(str(data["text/html"])))
    if "text/markdown" in data:
        return _markdown(str(data["text/markdown"]))
    return _text(str(data.get("text/plain", "")), "stdout")


def _picture(media_type: str, content: str, data: Mapping[str, Any]) -> Markup:
    return Markup('<img alt="{}" src="data:{};base64,{}">').format(
        data.get("text/plain", ""), media_type, content
    )


def _harmless(page: str) -> Markup:
    import nh3

    return Markup(
        nh3.clean(page, tags=_TABLES | _LISTS | _WORDS | _BLOCKS, attributes=_ATTRIBUTES, link_rel=None)
    )


def _text(text: str, name: str) -> Markup:
    return Markup('<pre class="{}">{}</pre>').format(name, text.rstrip()) if text.strip() else Markup()


def _error(output: NotebookNode) -> Markup:
    """The message; and where it came from, unless it is one of ours, which say all that can be said."""
    said = output.evalue if output.evalue.strip() else "(without a message)"
    message = Markup('<pre class="error">{}</pre>').format(
        said if is_ours(output.ename) else f"{output.ename}: {said}"
    )
    if is_ours(output.ename) or not output.traceback:
        return message
    trace = _text("\n".join(output.traceback), "traceback")
    return message + Markup("<details><summary>Traceback</summary>{}</details>").format(trace)
