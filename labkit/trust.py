"""Which notebooks Jupyter may show as they are: those in whose outputs nothing can run, or fetch anything.

Jupyter shows the pictures and pages of a notebook that it does not trust cut down, or not at all.  It is not for labkit to
have a reader's own, or somebody else's, trusted unread: so every output is read.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from contextlib import suppress
from html.parser import HTMLParser
from pathlib import Path

__all__ = ["is_still", "sign"]

TAGS = re.compile(
    "b|br|code|dd|details|div|dl|dt|em|h[2-4]|hr|i|li|ol|p|pre|small|span|strong|sub|summary|sup|"
    "table|tbody|td|th|thead|tr|ul"
)
ATTRIBUTES = {"class", "colspan", "open", "rowspan", "scope", "style", "title"}
ACTIVE_STYLE = re.compile(r"url|expression|import|binding|behavior|[\\@<&]", re.I)
ACTIVE_PICTURE = re.compile(r"<script|<foreignObject|\bon\w+\s*=|javascript:", re.I)


def sign(notebooks: Path, data: Path) -> None:
    """Sign the notebooks in the folder *notebooks* whose outputs are all still, in Jupyter's *data* folder."""
    import nbformat
    from nbformat.sign import NotebookNotary

    data.mkdir(parents=True, exist_ok=True)
    notary = NotebookNotary(data_dir=str(data))  # type: ignore[no-untyped-call]  # nbformat is untyped
    for path in sorted(notebooks.glob("*.ipynb")):
        with suppress(Exception):  # a learner's own, half written: JupyterLab says what is wrong with it
            notebook = nbformat.read(path, as_version=4)  # type: ignore[no-untyped-call]
            outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
            if all(is_still(output.data) for output in outputs if "data" in output):
                notary.sign(notebook)  # type: ignore[no-untyped-call]
    notary.store.close()


def is_still(data: Mapping[str, str]) -> bool:
    """Whether an output is text, a picture, or a page in which nothing can run."""
    if not set(data) <= {"text/plain", "image/svg+xml", "text/html"}:
        return False
    return not ACTIVE_PICTURE.search(data.get("image/svg+xml", "")) and _Page(data.get("text/html", "")).still


class _Page(HTMLParser):
    """A page, read tag by tag: *still* if all of them, and all that they say, are known to be harmless."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.still, self._tags = True, 0
        self.feed(page)
        self.close()
        # what this parser takes for text, or for a comment, a browser may take for a tag
        self.still &= self._tags == page.count("<")

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._tags += 1
        self.still &= bool(TAGS.fullmatch(tag)) and {name for name, _ in attrs} <= ATTRIBUTES
        self.still &= not any(ACTIVE_STYLE.search(value or "") for name, value in attrs if name == "style")

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)

    def handle_endtag(self, tag: str) -> None:
        self._tags += 1
        self.still &= bool(TAGS.fullmatch(tag))
