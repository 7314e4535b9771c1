"""What a diagnosis says: one cause, how sure it is, and the evidence."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from labkit.observe.records import Evidence, Record, evidence_table
from labkit.observe.tables import Table

__all__ = ["Confidence", "Finding"]

Confidence = Literal["certain", "likely", "undecided"]


class Finding(Record):
    """One cause.

    *code* is its name for programs and *title* for people; *candidates* are the codes that remain when it
    is undecided; *incident*: whether something is wrong; *remedy* names what would help (``"memory"``, or
    nothing that a program should do); *advice* is for the reader.
    """

    kind: ClassVar[str] = "finding"

    diagnosis: str
    object: str
    code: str
    title: str
    confidence: Confidence
    incident: bool
    evidence: tuple[Evidence, ...]
    candidates: tuple[str, ...] = ()
    remedy: str = ""
    advice: str = ""

    def table(self) -> Table:
        return evidence_table(self.evidence, caption=self.headline)

    @property
    def headline(self) -> str:
        """The cause in a line or two."""
        lines = [f"{self.object}: {self.verdict}. {self.title}"]
        if self.candidates:
            lines.append("It is one of: " + ", ".join(self.candidates))
        return "\n".join([*lines, *([self.advice] if self.advice else [])])

    @property
    def verdict(self) -> str:
        """The cause's code, and how sure it is."""
        return self.code if self.code == self.confidence else f"{self.code} ({self.confidence})"

    def summary(self) -> dict[str, Any]:
        return {"object": self.object, "code": self.code, "confidence": self.confidence}
