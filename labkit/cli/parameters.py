"""How ``labkit run`` takes a runbook's parameters, and tells them: ``labkit run NAME --help``."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from typer.core import TyperCommand

__all__ = ["SETTINGS", "RunCommand", "given"]

SETTINGS = {"ignore_unknown_options": True, "allow_extra_args": True}
"""A runbook's own options are not known when the command line is read."""


class RunCommand(TyperCommand):
    """A command whose first word is a runbook, which has options of its own."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        words = _joined(args)
        if "--help" in words:
            name = self.make_parser(ctx).parse_args(list(words))[0].get("name")
            if isinstance(name, str):
                _show_help(name)
                ctx.exit()
        return super().parse_args(ctx, words)


def _joined(words: list[str]) -> list[str]:
    """*words* with papermill's ``-p NAME VALUE`` as ``-p NAME=VALUE``."""
    joined: list[str] = []
    rest = list(words)
    while rest:
        joined.append(rest.pop(0))
        if joined[-1] in ("-p", "--parameter") and len(rest) > 1 and "=" not in rest[0]:
            joined.append(f"{rest.pop(0)}={rest.pop(0)}")
    return joined


def given(
    name: str, words: list[str], pairs: list[str], file: Path | None, environ: Mapping[str, str]
) -> dict[str, Any]:
    """The parameters for the runbook *name*: those of *file*, then ``-p`` *pairs*, then ``--name value`` *words*.

    The later wins; secrets are asked for, where that was said.  *environ*: more variables, which may name the engine.
    Raises `UsageError` for what cannot be read.
    """
    from labkit import runbook
    from labkit.runbook.inputs import options
    from labkit.runbook.parameters import answered

    declared = runbook.about(name).parameters
    switches = [each.name for each in declared if each.type is bool]
    chosen = {
        **(runbook.from_file(file) if file else {}),
        **runbook.assignments(pairs),
        **options(words, switches),
    }
    return answered(declared, chosen, environ)


def _show_help(name: str) -> None:
    """Title, risk, and the parameters with what they take, their help and their defaults, as a shell takes them."""
    from shlex import quote

    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from labkit import runbook
    from labkit.runbook.kinds import written

    about = runbook.about(name)
    console = Console(highlight=False, soft_wrap=False)
    console.print(Text(about.title, style="bold"))
    for line in (about.summary, f"Risk: {about.risk}" if about.risk else ""):
        if line:
            console.print(Text(line))
    console.print(
        Text(f"\nUsage: labkit run {name} [--NAME VALUE]... [-p NAME=VALUE]... [--params-file FILE]\n")
    )
    table = Table.grid(padding=(0, 2))
    for each in about.parameters:
        told = [each.help] if each.help else []
        told += [each.takes, f"default: {quote(written(each.default))}"]
        option = each.name.replace("_", "-")
        table.add_row(Text(f"  --{option}"), Text("\n".join(told)))
    console.print(table if about.parameters else Text("  It has no parameters."))
    console.print(Text("\nOptions of every run: labkit run --help"))
