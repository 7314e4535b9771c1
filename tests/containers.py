"""Commands in containers, for tests."""

from __future__ import annotations

from typing import Any

__all__ = ["said"]


def said(container: Any, command: list[str], **options: Any) -> str:
    """What a command that writes something writes; it must not fail.

    docker-py 7 loses an output that reaches it together with the head of the engine's answer, about one of 400 on a busy machine
    (it reads on from the bare socket, past what is buffered already): so where nothing came, it is asked again.
    """
    for _ in range(20):
        code, output = container.exec_run(command, **options)
        assert not code, output
        if output:
            return str(output.decode())
    raise AssertionError(f"{command} wrote nothing")
