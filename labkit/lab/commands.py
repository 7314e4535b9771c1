"""``!docker …`` in a lab: typed as in a shell, printed the same every time."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Mapping

__all__ = ["expand", "readable_commands", "without_ids"]

ID = re.compile(r"\b(?:[0-9a-f]{64}|[0-9a-f]{12})\b")
NAME = re.compile(r"(?<![{$])\{([A-Za-z_]\w*)\}(?!\})")


def readable_commands() -> None:
    """Make ``!command`` in this notebook leave ``{{…}}`` to docker, and print ids as ``‹id›``.

    ``{name}`` is still replaced by the notebook's variable of that name.  The exit code is in ``_exit_code``, as always.
    Does nothing outside IPython.
    """
    from IPython import get_ipython

    shell = get_ipython()
    if shell is not None:
        shell.system = lambda command: _run(command, shell.user_ns)


def _run(command: str, names: dict[str, object]) -> None:
    """Run *command* with ``sh``, both streams as they come; an interrupt reaches it and ends it."""
    with subprocess.Popen(
        ["sh", "-c", expand(command, names)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    ) as process:
        assert process.stdout is not None
        try:
            for line in process.stdout:
                sys.stdout.write(without_ids(line))
        except KeyboardInterrupt:
            process.terminate()
            raise
    names["_exit_code"] = process.returncode


def expand(command: str, names: Mapping[str, object]) -> str:
    """*command* with each ``{name}`` that is in *names* replaced; double braces, ``$x`` and all else stay."""
    return NAME.sub(lambda found: str(names.get(found[1], found[0])), command)


def without_ids(text: str) -> str:
    """*text* with each id, in full (64 hexadecimal digits) or short (12), as ``‹id›``: they differ from engine to engine."""
    return ID.sub("‹id›", text)
