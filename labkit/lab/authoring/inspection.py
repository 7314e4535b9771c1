"""Everything that is asked of a lab before it is given to learners: the house rules, and the proof of its checks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from labkit.errors import UsageError, no_such
from labkit.lab.authoring.proving import Proof, Trial, prove
from labkit.lab.authoring.rules import kind, violations
from labkit.lab.notebooks.book import FOLDER, labs, load
from labkit.lab.notebooks.metadata import malformed

__all__ = ["Report", "every", "find", "inspect"]


@dataclass(frozen=True)
class Report:
    """What was found: the house rules that a notebook breaks, and the *proof* of its checks (None for what has none)."""

    name: str
    broken_rules: list[str]
    proof: Proof | None = None

    @property
    def ok(self) -> bool:
        """Whether nothing was found."""
        return not self.broken_rules and not (self.proof and self.proof.problems)

    def as_json(self) -> dict[str, Any]:
        """The same, for a program."""
        proof = self.proof
        told: dict[str, Any] = {"name": self.name, "ok": self.ok, "broken_rules": self.broken_rules}
        if proof:
            told |= {"tried": proof.tried, "rejected": proof.rejected, "problems": proof.problems}
            told |= {"notes": proof.notes, "seconds": proof.seconds, "trials": [*map(asdict, proof.trials)]}
        return told


def inspect(path: Path, tell: Callable[[Trial], None] = lambda _: None) -> Report:
    """Inspect the notebook at *path*; *tell* is called with each thing that was tried.  No notebook at all is a finding too."""
    broken = violations(path)
    try:
        notebook = load(path)
    except UsageError:  # the only rule that it breaks
        return Report(path.stem, broken)
    if kind(path, notebook) != "lab" or malformed(notebook):
        return Report(path.stem, broken)
    return Report(path.stem, broken, prove(path, notebook, tell))


def every() -> list[Path]:
    """The notebooks of all labs and pages, in reading order."""
    return sorted(FOLDER.glob("*.ipynb"))


def find(name: str) -> Path:
    """The notebook of the lab or page *name*, with its number or without; the path of a notebook is taken as it is.

    Raises `UsageError`, with the nearest lab's name, when there is none.
    """
    if name.endswith(".ipynb") and Path(name).is_file():
        return Path(name)
    known = {path.stem: path for path in every()}
    for stem, path in known.items():
        if name in (stem, stem.partition("-")[2]):
            return path
    raise no_such("lab", name, [lab.stem for lab in labs()], otherwise=f"no notebook in {FOLDER}")
