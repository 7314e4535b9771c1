"""The owner's side of a keeper (``keeper.py``): start it, hear its answer, ask it to end."""

from __future__ import annotations

import subprocess
import sys
from contextlib import suppress
from pathlib import Path

from labkit.engine.keeper import GO
from labkit.engine.records import Record
from labkit.errors import EngineFailed

__all__ = ["await_answer", "end", "start"]

CODE = "import sys; sys.path.insert(0, sys.argv[1]); from labkit.engine.keeper import main; sys.exit(main(*sys.argv[2:]))"
PACKAGE = Path(__file__).parent.parent.parent


def start(folder: Path, data: Path) -> subprocess.Popen[bytes]:
    """Start a keeper for the folders of an engine, before there is anything to clear away.

    It takes care of them from their first byte.
    """
    return subprocess.Popen(
        [sys.executable, "-I", "-S", "-c", CODE, str(PACKAGE), str(folder), str(data)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        cwd="/",
        start_new_session=True,
    )


def await_answer(keeper: subprocess.Popen[bytes], engine: str) -> None:
    """Tell *keeper* that the folders are written, and wait for its answer.  Raises `EngineFailed` unless *engine* is ready."""
    assert keeper.stdin is not None and keeper.stdout is not None
    with suppress(BrokenPipeError), keeper.stdin:
        keeper.stdin.write(GO)
    answer = keeper.stdout.read().decode(errors="replace")
    if answer != "ready\n":
        reason, _, log = answer.removeprefix("failed ").strip().partition("\n")
        raise EngineFailed(
            f"the engine {engine} did not start",
            seen=f"{reason}\n{log[-1500:]}".strip() or "its keeper ended without a word",
            try_="labkit doctor",
        )


def end(keeper: subprocess.Popen[bytes] | Record | None) -> None:
    """Ask a keeper to end its engine, and wait until nothing of it is left; one that somebody else started by its record."""
    if isinstance(keeper, Record):
        keeper.stop()
    if not isinstance(keeper, subprocess.Popen):
        return
    keeper.terminate()
    try:
        keeper.wait(60)
    except subprocess.TimeoutExpired:
        keeper.kill()
        keeper.wait()
    for pipe in (keeper.stdin, keeper.stdout):
        if pipe is not None:
            with suppress(BrokenPipeError):
                pipe.close()
