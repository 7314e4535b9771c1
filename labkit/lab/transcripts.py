"""A learner's progress over all labs: in a notebook, as a page of its own, and as a table for other programs."""

from __future__ import annotations

import csv
import io
from dataclasses import asdict, fields
from html import escape
from pathlib import Path

from labkit.lab.acts import learner as this_learner
from labkit.lab.showing import Shown
from labkit.lab.tallies import Tally, tallies

__all__ = ["COLUMNS", "NOTHING", "Transcript", "duration", "transcript"]

COLUMNS = ["LAB", "PREDICTIONS", "CHECKS", "HINTS", "SOLUTIONS", "TIME"]
FORMULA = tuple("=+-@\t\r\n＝＋－＠")
"""How a formula begins, for one spreadsheet or another."""
NOTHING = "Nothing yet. What you do in a lab is counted here."


def transcript(learner: str | None = None) -> Transcript:
    """What *learner* (default: this one) has done in each lab.  Raises `LabkitError` where that cannot be read."""
    chosen = learner or this_learner()
    return Transcript(chosen, tallies(chosen))


class Transcript(Shown):
    """The *tallies* of one *learner*, a row a lab, in reading order."""

    def __init__(self, learner: str, tallies: list[Tally]) -> None:
        self.learner, self.tallies = learner, tallies

    @property
    def begun(self) -> bool:
        """Whether there is anything to tell."""
        return any(tally.begun for tally in self.tallies)

    def rows(self) -> list[list[str]]:
        """What stands under `COLUMNS`."""
        return [
            [
                tally.lab,
                f"{tally.predictions_right} right of {tally.predictions_made}",
                f"{tally.checks_passed} passed of {tally.checks_all}",
                str(tally.hints),
                str(tally.solutions),
                duration(tally.seconds),
            ]
            for tally in self.tallies
        ]

    def paired(self) -> list[tuple[Tally, list[str]]]:
        """Each tally with its row."""
        return list(zip(self.tallies, self.rows(), strict=True))

    def csv(self) -> str:
        """A line a lab, with the names of `Tally`'s fields above; seconds of time (RFC 4180, but for the line ends).

        All text is in quotes, and what a spreadsheet would take for a formula begins with ``'``
        (OWASP, CSV Injection: https://owasp.org/www-community/attacks/CSV_Injection).
        """
        out = io.StringIO()
        names = [field.name for field in fields(Tally)]
        table = csv.DictWriter(out, names, lineterminator="\n", quoting=csv.QUOTE_NONNUMERIC)
        table.writeheader()
        table.writerows(
            {name: _no_formula(value) for name, value in asdict(tally).items()} for tally in self.tallies
        )
        return out.getvalue()

    def page(self) -> str:
        """A page of its own, which loads nothing: light, dark, and on paper."""
        from jinja2 import Environment

        source = Path(__file__).with_name("transcript.html.j2").read_text(encoding="utf-8")
        template = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True).from_string(source)
        return template.render(transcript=self, columns=COLUMNS)

    def __repr__(self) -> str:
        if not self.begun:
            return NOTHING
        table = [COLUMNS, *self.rows()]
        widths = [max(map(len, column)) for column in zip(*table, strict=True)]
        lines = ("  ".join(map(str.ljust, row, widths)).rstrip() for row in table)
        return "\n".join(lines)

    def _static(self) -> str:
        if not self.begun:
            return ""
        head = "".join(f"<th>{name.capitalize()}</th>" for name in COLUMNS)
        body = "".join(
            "<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in self.rows()
        )
        return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def _no_formula(cell: str | int) -> str | int:
    return f"'{cell}" if isinstance(cell, str) and cell.startswith(FORMULA) else cell


def duration(seconds: int) -> str:
    """*seconds* for a reader: to the minute."""
    hours, minutes = divmod(seconds // 60, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min" if minutes else "-" if not seconds else "< 1 min"
