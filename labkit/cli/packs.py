"""``labkit pack``: engine packs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from labkit.cli.shared import AsJson, show_table
from labkit.progress import telling

__all__ = ["commands"]

commands = typer.Typer(help="Engine packs: root filesystems that hold a Docker engine.", no_args_is_help=True)


@commands.command("list")
def pack_list(as_json: AsJson = False) -> None:
    """List the engine packs: those that are ready, and those that can be built."""
    from labkit.engine import packs

    ready = packs.names()
    rows: list[dict[str, Any]] = []
    for name in dict.fromkeys([*packs.RECIPES, *ready]):
        pack = packs.find(name) if name in ready else None
        versions, outdated = (pack.versions, pack.outdated) if pack else ({}, False)
        rows.append({"name": name, "ready": pack is not None, "outdated": outdated, "versions": versions})
    if as_json:
        print(json.dumps(rows, indent=1))
    else:
        shown = [
            [
                r["name"],
                "outdated" if r["outdated"] else "ready" if r["ready"] else "to build",
                ", ".join(f"{k} {v}" for k, v in r["versions"].items()),
            ]
            for r in rows
        ]
        show_table(["NAME", "STATE", "VERSIONS"], shown, "No packs.")


@commands.command("build")
def pack_build(name: Annotated[str, typer.Argument()] = "debian-13") -> None:
    """Make an engine pack from Debian packages; one whose recipe has changed since, anew."""
    from labkit.engine import making

    with telling() as tell:
        pack = making.build(name, tell)
    print(f"{pack.name} is ready: {', '.join(f'{k} {v}' for k, v in pack.versions.items())}")


@commands.command("export")
def pack_export(file: Path, name: Annotated[str, typer.Option("--name")] = "debian-13") -> None:
    """Write an engine pack to one file, with checksums, for a machine without a network."""
    from labkit.engine import making

    with telling() as tell:
        making.export_pack(name, file, tell)
    print(f"{file}: {file.stat().st_size // 2**20} MiB")


@commands.command("import")
def pack_import(file: Path) -> None:
    """Take an engine pack out of a file made by export."""
    from labkit.engine import making

    with telling() as tell:
        pack = making.import_pack(file, tell)
    print(f"{pack.name} is ready")


@commands.command("remove")
def pack_remove(name: str) -> None:
    """Delete an engine pack."""
    from labkit.engine import packs

    packs.remove(name)
    print(f"{name} is deleted")
