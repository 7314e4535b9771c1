"""Facts as a table that is the same in a terminal, in a notebook, and to a screen reader."""

from __future__ import annotations

import html
from collections.abc import Iterable, Sequence
from typing import Any

__all__ = ["Table", "Tabular"]


class Table:
    """Rows under *columns*; prints as aligned text, shows as an HTML table.

    *empty* is what stands in place of a table without rows; *caption* is a line above it.
    """

    def __init__(
        self, columns: Sequence[str], rows: Iterable[Sequence[Any]], *, caption: str = "", empty: str = "none"
    ) -> None:
        self.columns = list(columns)
        self.rows = [[_cell(value) for value in row] for row in rows]
        self.caption, self.empty = caption, empty

    def __repr__(self) -> str:
        lines = [self.caption] if self.caption else []
        if not self.rows:
            return "\n".join([*lines, self.empty])
        widths = [max(len(row[i]) for row in [self.columns, *self.rows]) for i in range(len(self.columns))]
        for row in [self.columns, ["-" * width for width in widths], *self.rows]:
            lines.append(
                "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
            )
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        caption = f"<p>{html.escape(self.caption)}</p>" if self.caption else ""
        if not self.rows:
            return f"{caption}<p><em>{html.escape(self.empty)}</em></p>"
        head = "".join(f"<th style='text-align:left'>{html.escape(name)}</th>" for name in self.columns)
        body = "".join(
            "<tr>"
            + "".join(f"<td style='text-align:left'>{html.escape(cell)}</td>" for cell in row)
            + "</tr>"
            for row in self.rows
        )
        return f"{caption}<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


class Tabular:
    """Something that shows as its `table`: what repeats from run to run, without ids and clock times.

    `details` adds those.
    """

    def table(self) -> Table:
        """The facts that repeat."""
        raise NotImplementedError

    def details(self) -> Table:
        """All facts, with ids and clock times."""
        return self.table()

    def __repr__(self) -> str:
        return repr(self.table())

    def _repr_html_(self) -> str:
        return self.table()._repr_html_()


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return " ".join(str(value).split())
