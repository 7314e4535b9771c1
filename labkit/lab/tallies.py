"""How far a learner has come: counts, made from what was noted when they are asked for."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass
from functools import partial

from labkit.lab import acts
from labkit.lab.notebooks import book
from labkit.lab.notebooks.book import Book

__all__ = ["Tally", "kept", "tallies", "tally_of"]


@dataclass(frozen=True)
class Tally:
    """Counts of one learner in one lab; *seconds* of time spent.  Of a prediction or a check, the last time counts."""

    learner: str
    lab: str
    title: str
    predictions_right: int
    predictions_made: int
    checks_passed: int
    checks_all: int
    hints: int
    solutions: int
    seconds: int

    @property
    def begun(self) -> bool:
        """Whether the learner has been there."""
        return bool(
            self.predictions_made or self.checks_passed or self.hints or self.solutions or self.seconds
        )

    def __str__(self) -> str:
        """In words, without the time: it is never twice the same."""
        return (
            f"predictions {self.predictions_right} right of {self.predictions_made}, "
            f"checks {self.checks_passed} passed of {self.checks_all}, "
            f"hints {self.hints}, solutions {self.solutions}"
        )


def tallies(who: str | None = None) -> list[Tally]:
    """The tally of each lab for one learner (default: this one), in reading order; then of labs that are gone.

    Raises `LabkitError` where the file cannot be read.
    """
    if not acts.file().exists():
        return []
    chosen, known = who or acts.learner(), {each.stem: each for each in book.labs()}
    with acts.readable() as database:
        rows = database.execute(
            "SELECT lab FROM acts WHERE learner = ?1 UNION SELECT lab FROM spent WHERE learner = ?1",
            (chosen,),
        )
        labs = dict.fromkeys([*known, *(lab for (lab,) in rows)])
        return [tally_of(database, chosen, lab, known.get(lab)) for lab in labs]


def kept(database: sqlite3.Connection, who: str, lab: str, kind: str, value: str = "value") -> dict[str, int]:
    """What there is of this *kind*, each with its *value*: the last, or as SQL says."""
    grouped = (
        f"SELECT what, {value}, max(rowid) FROM acts WHERE learner = ? AND lab = ? AND kind = ? GROUP BY what"
    )
    return {what: found or 0 for what, found, _ in database.execute(grouped, (who, lab, kind))}


def tally_of(database: sqlite3.Connection, who: str, lab: str, known: Book | None) -> Tally:
    """How far *who* has come in *lab*; *known*: its notebook, if it is still there."""
    of = partial(kept, database, who, lab)
    exercises = set(known.exercises) if known else set(of("check"))
    predictions, passed = of("prediction"), of("check", "max(value)")
    spent = database.execute("SELECT seconds FROM spent WHERE learner = ? AND lab = ?", (who, lab)).fetchone()
    return Tally(
        learner=who,
        lab=lab,
        title=known.title if known else lab,
        predictions_right=sum(predictions.values()),
        predictions_made=len(predictions),
        checks_passed=sum(bool(passed.get(exercise)) for exercise in exercises),
        checks_all=len(exercises),
        hints=sum(of("hint", "count(DISTINCT value)").values()),
        solutions=len(of("solution")),
        seconds=round(spent[0]) if spent else 0,
    )
