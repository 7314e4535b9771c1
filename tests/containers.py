"""Commands in containers, for tests."""

from __future__ import annotations

from typing import Any

__all__ = ["said"]


def said(container: Any, command: list[str], **options: Any) -> str:
    """What a command writes; it must not fail."""
    code, output = container.exec_run(command, **options)
    assert not code, output
    return str(output.decode())
