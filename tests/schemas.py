"""``python -m tests.schemas`` writes ``docs/outcome.schema.json`` anew."""

from __future__ import annotations

import json
from pathlib import Path

from labkit.runbook.outcomes import schema

__all__ = ["PLACE", "text"]

PLACE = Path(__file__).parent.parent / "docs/outcome.schema.json"


def text() -> str:
    """What the file should hold."""
    return json.dumps(schema(), indent=2, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    PLACE.write_text(text(), encoding="utf-8")
