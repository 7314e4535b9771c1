"""``labkit engine``: private engines, for use outside notebooks."""

from __future__ import annotations

import json
import os
import subprocess
from typing import TYPE_CHECKING, Annotated

import typer

from labkit.cli.shared import AsJson, EngineName, show_table
from labkit.errors import EngineUnreachable, LabkitError, UsageError
from labkit.progress import telling

if TYPE_CHECKING:
    from labkit.engine.records import Record

__all__ = ["commands"]

CUT_OFF = "cut off"

commands = typer.Typer(help="Private engines, for use outside notebooks.", no_args_is_help=True)


@commands.command("list")
def engine_list(as_json: AsJson = False) -> None:
    """List your private engines on this machine."""
    from labkit.engine import records

    found = records.listed()
    rows = [
        {
            "id": r.id,
            "name": r.facts["name"],
            "pack": r.facts["pack"],
            "state": _state(r),
            "cut_off": r.cut_off,
            "owner": r.facts["owner"]["pid"] if r.facts["owner"] else None,
            "url": r.url,
        }
        for r in found
    ]
    if as_json:
        print(json.dumps(rows, indent=1))
    else:
        show_table(
            ["ID", "PACK", "STATE", "OWNER", "URL"],
            [[r["id"], r["pack"], r["state"], r["owner"] or "none", r["url"]] for r in rows],
            "No engine runs.",
        )
        for r in rows:
            if r["state"] == CUT_OFF:
                print(
                    f"\n{r['id']} is cut off from this machine: {r['cut_off']}\n"
                    "  its published ports are not reached, and it reaches nothing outside\n"
                    "  try:      its reset() (in a lab, lab.reset()), or end it and start another"
                )


def _state(record: Record) -> str:
    if not record.alive:
        return "abandoned"
    return CUT_OFF if record.cut_off else str(record.facts["state"])


@commands.command("start")
def engine_start(
    name: Annotated[str, typer.Argument(help="What to call it.")] = "engine",
    pack: Annotated[
        str | None, typer.Option(help="Engine pack, or `machine` for the dockerd installed here.")
    ] = None,
    image: Annotated[
        list[str] | None, typer.Option(help="A lab image to have ready (may be repeated).")
    ] = None,
) -> None:
    """Start a private engine that runs until `labkit engine stop`."""
    from labkit.engine import detached, packs, records

    records.check_name(name)
    packs.find(pack)
    records.need_free(name)
    with telling() as tell:
        tell(f"starting the engine {name}")
        record = detached.start(name, pack=pack, images=image or ())
    print(
        f"{record.id} answers at {record.url}\n\n    labkit engine exec {name} docker ps\n    labkit engine stop {name}"
    )


@commands.command("stop")
def engine_stop(name: EngineName) -> None:
    """End an engine, with everything that runs on it."""
    from labkit.engine import records

    record = records.find(name)
    if not record.stop():
        raise LabkitError(f"{record.id} did not end in good order", try_="labkit engine gc")
    print(f"{record.id} has ended; nothing of it is left")


@commands.command("exec", context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False})
def engine_exec(
    name: EngineName,
    command: Annotated[list[str], typer.Argument(help="The command and its words.")],
    host: Annotated[bool, typer.Option("--host", help="Run it on the engine's host, not here.")] = False,
) -> None:
    """Run a command so that `docker` reaches the engine; with --host, on the engine's host itself."""
    from labkit.engine import commandline, records
    from labkit.engine.host import NamespaceHost

    record = records.find(name)
    if command[0] == "--" and command[1:]:  # which many a person types there
        command = command[1:]
    environment = {**os.environ, **commandline.environ(record.folder)}
    if host:
        if record.init is None:
            raise EngineUnreachable(
                f"the engine {record.id} is still starting: it has no host yet", try_="again in a moment"
            )
        command = NamespaceHost(record.init, user=record.facts["rootless"]).argv(command)
    try:
        code = subprocess.run(command, env=environment, check=False).returncode
    except FileNotFoundError:
        first = "labkit engine exec --host NAME COMMAND" if command[0] == "--host" else ""
        raise UsageError(f"no such command: {command[0]}", try_=first) from None
    except OSError as error:
        raise UsageError(f"{command[0]!r} cannot be run", seen=error.strerror or "") from None
    raise typer.Exit(code if code >= 0 else 128 - code)  # ended by a signal: as a shell tells it


@commands.command("logs")
def engine_logs(
    name: EngineName, tail: Annotated[int | None, typer.Option(min=1, help="Only the last lines.")] = None
) -> None:
    """Print the log of an engine's daemon."""
    from labkit.engine import records

    lines = (
        (records.find(name).folder / "run/dockerd.log")
        .read_text(errors="replace", encoding="utf-8")
        .splitlines()
    )
    print("\n".join(lines[-tail:] if tail else lines))


@commands.command("gc")
def engine_gc() -> None:
    """Remove what engines left that could not end in good order, what was half made, and images that nothing uses."""
    from labkit import server
    from labkit.engine import leftovers
    from labkit.kernels import starting

    told = [*starting.end_all(gently=True), *server.collect(), *leftovers.collect()]
    for line in told or ["Nothing was left."]:
        print(line)
    if any("could not" in line for line in told):
        raise typer.Exit(1)
