"""What is kept of a run: records that show as text and HTML and carry themselves as JSON inside a notebook.

Shown in a notebook, a record puts its whole JSON in the output's metadata (with ids and clock times, which
differ from run to run) and only a summary that repeats in the output's data.  So an executed notebook
carries all of it, and a strict comparison of outputs still holds.
"""

from __future__ import annotations

from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict

from labkit.observe.tables import Table, Tabular

__all__ = ["Evidence", "Record", "evidence_table"]


class Record(Tabular, BaseModel):
    """The base of all records; *kind* names its media type, ``application/vnd.labkit.KIND+json``."""

    model_config = ConfigDict(frozen=True)
    kind: ClassVar[str] = "record"

    @classmethod
    def media_type(cls) -> str:
        """The media type under which a notebook's output carries the record."""
        return f"application/vnd.labkit.{cls.kind}+json"

    def summary(self) -> dict[str, Any]:
        """What repeats from run to run."""
        return {}

    def _repr_mimebundle_(self, **_: object) -> tuple[dict[str, Any], dict[str, Any]]:
        return {self.media_type(): self.summary()}, {self.media_type(): self.model_dump(mode="json")}

    def __str__(self) -> str:
        return repr(self)


class Evidence(BaseModel):
    """One *fact* and the *source* it was read from; *detail* holds its ids and clock times."""

    model_config = ConfigDict(frozen=True)

    source: str
    fact: str
    detail: str = ""


def evidence_table(evidence: tuple[Evidence, ...], caption: str = "") -> Table:
    """Evidence as a table, without its details."""
    return Table(["source", "evidence"], [(item.source, item.fact) for item in evidence], caption=caption)
