"""The ``labkit`` command.  No logic of its own: each command calls one function and shows what it returns."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer

from labkit.errors import LabkitError, UsageError
from labkit.progress import telling

__all__ = ["app", "main"]

app = typer.Typer(
    help="Docker, by hand: labs and runbooks against a live engine.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
engines = typer.Typer(help="Private engines, for use outside notebooks.", no_args_is_help=True)
packs_ = typer.Typer(help="Engine packs: root filesystems that hold a Docker engine.", no_args_is_help=True)
images_ = typer.Typer(help="Lab images, and the image pack that carries them.", no_args_is_help=True)
faults_ = typer.Typer(help="Real incidents in a private engine, to practise on.", no_args_is_help=True)
app.add_typer(engines, name="engine")
app.add_typer(packs_, name="pack")
app.add_typer(images_, name="images")
app.add_typer(faults_, name="fault")

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
EngineName = Annotated[str, typer.Argument(help="An engine's name or id, from `labkit engine list`.")]
Command = Annotated[list[str], typer.Argument(help="The command and its words.")]


def main() -> NoReturn:
    """Run the command line; a labkit error becomes its message and its exit code."""
    try:
        app(standalone_mode=True)
    except LabkitError as error:
        print(f"labkit: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        print("labkit: interrupted", file=sys.stderr)
        sys.exit(130)
    except BrokenPipeError:
        sys.stderr.close()
        sys.exit(141)
    except OSError as error:
        # a full disk, a folder that cannot be written: the user's machine, not our code
        if error.filename is None and error.errno is None:
            raise
        print(
            f"labkit: {error.strerror or error}" + (f": {error.filename}" if error.filename else ""),
            file=sys.stderr,
        )
        sys.exit(1)
    raise AssertionError("unreachable")


def _table(columns: list[str], rows: list[list[Any]], empty: str) -> None:
    if not rows:
        print(empty)
        return
    from rich.console import Console
    from rich.table import Table

    table = Table(*columns, box=None, header_style="bold", pad_edge=False)
    for row in rows:
        table.add_row(*(str(cell) for cell in row))
    Console(width=None if sys.stdout.isatty() else 160, highlight=False).print(table)


# -- the two ways in


@app.command()
def setup(tests: Annotated[bool, typer.Option("--tests", help="Also what the tests need.")] = False) -> None:
    """Make the engine pack and the lab images, if they are not there yet."""
    from labkit import setup as steps

    with telling() as tell:
        steps.for_labs(tell)
        if tests:
            steps.for_tests(tell)


@app.command()
def lab(
    port: Annotated[
        int | None, typer.Option(help="Port on 127.0.0.1 [default: 8888, or the next free one].")
    ] = None,
    with_parent: Annotated[
        bool, typer.Option("--with-parent", help="End when the calling process ends.")
    ] = False,
) -> None:
    """Start a private engine and JupyterLab, and print their URL.  Ctrl-C ends both."""
    from labkit import server
    from labkit import setup as steps

    url = server.running_lab()
    if url is not None:
        print(f"A lab runs here already:\n\n    {url}\n", flush=True)
        return
    with telling() as tell:
        steps.for_labs(tell)
        running = server.serve(tell, port=port, with_parent=with_parent)
        url = next(running)
    print(f"\nOpen this in a browser (Ctrl-C here ends engine and server):\n\n    {url}\n", flush=True)
    try:
        for _ in running:
            pass
    except KeyboardInterrupt:
        running.close()
        print("\nEngine and server have ended.", file=sys.stderr)


@app.command()
def doctor(as_json: AsJson = False) -> None:
    """Say what labkit needs of this machine, what is missing, what that costs, and the remedy."""
    from labkit import doctor as needs

    findings = needs.examine()
    if as_json:
        print(
            json.dumps(
                {"verdict": needs.verdict(findings), "findings": [asdict(f) for f in findings]}, indent=1
            )
        )
    else:
        for f in findings:
            print(f"{f.status:<9} {f.name:<15} {f.found}")
            if f.status != needs.OK:
                for label, text in (("costs", f.cost), ("try", f.remedy)):
                    for line in text.splitlines():
                        print(f"{'':25}  {label}: {line}")
        print(f"\n{needs.verdict(findings)}")
    if any(f.status == needs.MISSING for f in findings):
        raise typer.Exit(3)


@app.command()
def uninstall(yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False) -> None:
    """End every engine of yours and delete everything that labkit keeps on this machine."""
    from labkit import paths
    from labkit.engine import records
    from labkit.engine.keeper import erase
    from labkit.engine.packs import rootless

    folders = [paths.home(), paths.runtime()]
    if not yes and not typer.confirm(f"End all engines and delete {folders[0]} and {folders[1]}?"):
        raise typer.Exit(1)
    for record in records.listed():
        record.stop()
    records.collect()
    for folder in folders:
        if not erase(folder, rootless=rootless()):
            raise LabkitError(f"could not delete all of {folder}")
        print(f"deleted {folder}")


# -- runbooks and faults


@app.command("runbooks")
def runbooks_list(as_json: AsJson = False) -> None:
    """List the runbooks."""
    from labkit import runbook

    rows = [runbook.about(name) for name in runbook.names()]
    if as_json:
        print(
            json.dumps(
                [
                    {"name": r.name, "summary": r.summary, "risk": r.risk, "covers": list(r.covers)}
                    for r in rows
                ],
                indent=1,
            )
        )
    else:
        _table(["NAME", "RISK", "WHAT FOR"], [[r.name, r.risk, r.summary] for r in rows], "No runbooks.")


@app.command()
def run(
    name: Annotated[str, typer.Argument(help="The runbook, from `labkit runbooks`.")],
    parameter: Annotated[
        list[str] | None, typer.Option("--parameter", "-p", help="NAME=VALUE (may be repeated).")
    ] = None,
    apply: Annotated[
        bool, typer.Option("--apply", help="Carry the plan out; without it nothing is changed.")
    ] = False,
    out: Annotated[
        Path | None, typer.Option(help="Folder for the run's own folder [default: labkit's own].")
    ] = None,
    engine: Annotated[
        str | None, typer.Option(help="A private engine of yours [default: DOCKER_HOST, else the context].")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Run a runbook against an engine: evidence, diagnosis, plan and, with --apply, action and verification."""
    from labkit import runbook
    from labkit.engine import commandline, records

    environ = commandline.environ(records.find(engine).folder) if engine else {}
    outcome = runbook.run(
        name, runbook.assignments(parameter or []), apply=apply or None, out_dir=out, environ=environ
    )
    _show_outcome(outcome, as_json)


@app.command()
def report(
    executed: Annotated[Path, typer.Argument(help="A runbook's notebook that papermill, or you, executed.")],
    out: Annotated[Path | None, typer.Option(help="Folder for the report's own folder.")] = None,
    as_json: AsJson = False,
) -> None:
    """Make report and JSON from a runbook's notebook that was executed in another way."""
    from labkit import runbook

    _show_outcome(runbook.report(executed, out), as_json)


def _show_outcome(outcome: Any, as_json: bool) -> NoReturn:
    if as_json:
        print(outcome.model_dump_json(indent=1))
    else:
        print(outcome)
        print(f"\nreport  {outcome.folder}/report.html")
        if outcome.failure:
            print(f"\nlabkit: {outcome.failure.message}", file=sys.stderr)
    raise typer.Exit(outcome.exit_code)


@faults_.command("list")
def fault_list() -> None:
    """List the faults, and the ways in which each can be made."""
    from labkit import faults

    rows = [
        [name, variant, told.title]
        for name in faults.names()
        for variant, told in faults.get(name).VARIANTS.items()
    ]
    _table(["FAULT", "VARIANT", "WHAT HAPPENS"], rows, "No faults.")


@faults_.command("inject")
def fault_inject(
    name: Annotated[str, typer.Argument(help="The fault, from `labkit fault list`.")],
    engine: Annotated[str, typer.Option(help="The private engine to make it in.")],
    variant: Annotated[str | None, typer.Option(help="In which way [default: the first].")] = None,
    container: Annotated[str, typer.Option(help="The container that it happens to.")] = "web",
) -> None:
    """Make a real incident in a private engine, to practise on."""
    from labkit import faults
    from labkit.engine import open_engine

    with open_engine("attach", engine=engine) as opened:
        chosen = faults.inject(opened, name, variant, container)
    print(f"{name} ({chosen}) has happened to {container} on {engine}")


@faults_.command("undo")
def fault_undo(
    name: Annotated[str, typer.Argument(help="The fault, from `labkit fault list`.")],
    engine: Annotated[str, typer.Option(help="The private engine that it was made in.")],
    container: Annotated[str, typer.Option(help="The container that it happened to.")] = "web",
) -> None:
    """Remove everything that a fault made."""
    from labkit import faults
    from labkit.engine import open_engine

    with open_engine("attach", engine=engine) as opened:
        faults.get(name).undo(opened, container)
    print(f"nothing of {name} is left on {engine}")


# -- engines


@engines.command("list")
def engine_list(as_json: AsJson = False) -> None:
    """List your private engines on this machine."""
    from labkit.engine import records

    found = records.listed()
    rows = [
        {
            "id": r.id,
            "name": r.facts["name"],
            "pack": r.facts["pack"],
            "state": r.facts["state"] if r.alive else "abandoned",
            "owner": r.facts["owner"]["pid"] if r.facts["owner"] else None,
            "url": r.url,
        }
        for r in found
    ]
    if as_json:
        print(json.dumps(rows, indent=1))
    else:
        _table(
            ["ID", "PACK", "STATE", "OWNER", "URL"],
            [[r["id"], r["pack"], r["state"], r["owner"] or "none", r["url"]] for r in rows],
            "No engine runs.",
        )


@engines.command("start")
def engine_start(
    name: Annotated[str, typer.Argument(help="What to call it.")] = "engine",
    pack: Annotated[
        str | None, typer.Option(help="Engine pack, or `machine` for the dockerd installed here.")
    ] = None,
    image: Annotated[
        list[str] | None, typer.Option(help="A lab image that shall be ready (may be repeated).")
    ] = None,
) -> None:
    """Start a private engine that runs until `labkit engine stop`."""
    from labkit.engine import records
    from labkit.engine.sandbox import start_detached

    if any(record.alive and record.facts["name"] == name for record in records.listed()):
        raise UsageError(
            "an engine of this name runs already", seen=repr(name), try_=f"labkit engine stop {name}"
        )
    with telling() as tell:
        tell(f"starting the engine {name}")
        record = start_detached(name, pack=pack, images=image or ())
    print(
        f"{record.id} answers at {record.url}\n\n    labkit engine exec {name} docker ps\n    labkit engine stop {name}"
    )


@engines.command("stop")
def engine_stop(name: EngineName) -> None:
    """End an engine, with everything that runs on it."""
    from labkit.engine import records

    record = records.find(name)
    if not record.stop():
        raise LabkitError(f"{record.id} did not end in good order", try_="labkit engine gc")
    print(f"{record.id} has ended; nothing of it is left")


@engines.command("exec", context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False})
def engine_exec(
    name: EngineName,
    command: Command,
    host: Annotated[bool, typer.Option("--host", help="Run it on the engine's host, not here.")] = False,
) -> None:
    """Run a command so that `docker` reaches the engine; with --host, on the engine's host itself."""
    from labkit.engine import commandline, records
    from labkit.engine.host import NamespaceHost

    record = records.find(name)
    environment = {**os.environ, **commandline.environ(record.folder)}
    if host and record.init is not None:
        command = NamespaceHost(record.init.pid, user=record.facts["rootless"]).argv(command)
    try:
        raise typer.Exit(subprocess.run(command, env=environment, check=False).returncode)
    except FileNotFoundError:
        raise UsageError(f"no such command: {command[0]}") from None


@engines.command("logs")
def engine_logs(
    name: EngineName, tail: Annotated[int | None, typer.Option(help="Only the last lines.")] = None
) -> None:
    """Print the log of an engine's daemon."""
    from labkit.engine import records

    lines = (records.find(name).folder / "run/dockerd.log").read_text(errors="replace").splitlines()
    print("\n".join(lines[-tail:] if tail else lines))


@engines.command("gc")
def engine_gc() -> None:
    """Remove what engines left that could not end in good order (a power cut, kill -9 of everything)."""
    from labkit.engine import prepared, records

    told = records.collect()
    used = {layer for record in records.listed() for layer in record.facts.get("bound", [])}
    stale = prepared.collect(used)
    for line in [*told, *([f"{stale} image layers that nothing uses: removed"] if stale else [])]:
        print(line)
    if not told and not stale:
        print("Nothing was left.")
    if any("could not" in line for line in told):
        raise typer.Exit(1)


# -- packs


@packs_.command("list")
def pack_list(as_json: AsJson = False) -> None:
    """List the engine packs: those that are ready, and those that can be built."""
    from labkit.engine import packs

    ready = packs.names()
    rows: list[dict[str, Any]] = [
        {"name": name, "ready": name in ready, "versions": packs.find(name).versions if name in ready else {}}
        for name in dict.fromkeys([*packs.RECIPES, *ready])
    ]
    if as_json:
        print(json.dumps(rows, indent=1))
    else:
        shown = [
            [
                r["name"],
                "ready" if r["ready"] else "to build",
                ", ".join(f"{k} {v}" for k, v in r["versions"].items()),
            ]
            for r in rows
        ]
        _table(["NAME", "STATE", "VERSIONS"], shown, "No packs.")


@packs_.command("build")
def pack_build(name: Annotated[str, typer.Argument()] = "debian-13") -> None:
    """Make an engine pack from Debian packages."""
    from labkit.engine import packs

    with telling() as tell:
        pack = packs.build(name, tell)
    print(f"{pack.name} is ready: {', '.join(f'{k} {v}' for k, v in pack.versions.items())}")


@packs_.command("export")
def pack_export(file: Path, name: Annotated[str, typer.Option("--name")] = "debian-13") -> None:
    """Write an engine pack to one file, with checksums, for a machine without a network."""
    from labkit.engine import packs

    with telling() as tell:
        packs.export_pack(name, file, tell)
    print(f"{file}: {file.stat().st_size // 2**20} MiB")


@packs_.command("import")
def pack_import(file: Path) -> None:
    """Take an engine pack out of a file made by export."""
    from labkit.engine import packs

    with telling() as tell:
        pack = packs.import_pack(file, tell)
    print(f"{pack.name} is ready")


@packs_.command("remove")
def pack_remove(name: str) -> None:
    """Delete an engine pack."""
    from labkit.engine import packs

    packs.remove(name)
    print(f"{name} is deleted")


# -- images


@images_.command("list")
def images_list(as_json: AsJson = False) -> None:
    """List the catalogue: which images are in the store, and where they came from."""
    from labkit.engine import images

    rows: list[dict[str, Any]] = []
    for image in images.catalogue().values():
        found = images.stored(image.name)
        rows.append(
            {
                "name": image.name,
                "tag": image.tag,
                "about": image.about,
                "source": found.source if found else None,
                "bytes": found.size if found else None,
            }
        )
    if as_json:
        print(json.dumps(rows, indent=1))
    else:
        _table(
            ["NAME", "SOURCE", "MiB", "ABOUT"],
            [
                [
                    r["name"],
                    r["source"] or "not here yet",
                    f"{r['bytes'] / 2**20:.1f}" if r["bytes"] else "",
                    r["about"],
                ]
                for r in rows
            ],
            "No images.",
        )


@images_.command("get")
def images_get(
    names: Annotated[list[str] | None, typer.Argument(help="Which (default: all).")] = None,
    source: Annotated[list[str] | None, typer.Option(help="Where from, in order: registry, build.")] = None,
) -> None:
    """Have images in the store, from the first source that works."""
    from labkit.engine import images

    with telling() as tell:
        found = images.get(names or [], tell, sources=source or images.SOURCES)
    for image in found:
        print(f"{image.name}: {image.size / 2**20:.1f} MiB, from {image.source}")


@images_.command("export")
def images_export(
    file: Path, names: Annotated[list[str] | None, typer.Argument(help="Which (default: all).")] = None
) -> None:
    """Write images to one file, with checksums, for a room without a network."""
    from labkit.engine import images

    with telling() as tell:
        found = images.export_pack(file, names or [], tell)
    print(f"{file}: {', '.join(image.name for image in found)}, {file.stat().st_size // 2**20} MiB")


@images_.command("import")
def images_import(file: Path) -> None:
    """Take images out of a file made by export."""
    from labkit.engine import images

    with telling() as tell:
        found = images.import_pack(file, tell)
    print(f"in the store: {', '.join(image.name for image in found)}")


@images_.command("load")
def images_load(engine: EngineName, names: Annotated[list[str], typer.Argument(help="Which.")]) -> None:
    """Load images from the store into an engine that runs."""
    from labkit.engine import images, open_engine

    with open_engine("attach", engine=engine) as attached, telling() as tell:
        images.ensure(attached, names, tell)
    print(f"ready on {engine}: {', '.join(names)}")
