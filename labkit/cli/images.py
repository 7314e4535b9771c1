"""``labkit images``: the lab images, and the image pack that carries them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from labkit.cli.shared import AsJson, EngineName, show_table
from labkit.progress import telling

__all__ = ["commands"]

commands = typer.Typer(help="Lab images, and the image pack that carries them.", no_args_is_help=True)


@commands.command("list")
def images_list(as_json: AsJson = False) -> None:
    """List the catalogue: which images are in the store, where they came from, and whether their recipe has changed since."""
    from labkit.engine import images
    from labkit.engine.catalogue import catalogue

    rows: list[dict[str, Any]] = []
    for image in catalogue().values():
        found = images.stored(image.name)
        rows.append(
            {
                "name": image.name,
                "tag": image.tag,
                "about": image.about,
                "source": found.source if found else None,
                "outdated": found.outdated if found else None,
                "bytes": found.size if found else None,
            }
        )
    if as_json:
        print(json.dumps(rows, indent=1))
    else:
        show_table(
            ["NAME", "SOURCE", "MiB", "ABOUT"],
            [
                [
                    r["name"],
                    f"{r['source']}, outdated" if r["outdated"] else r["source"] or "not here yet",
                    f"{r['bytes'] / 2**20:.1f}" if r["bytes"] else "",
                    r["about"],
                ]
                for r in rows
            ],
            "No images.",
        )


@commands.command("get")
def images_get(
    names: Annotated[list[str] | None, typer.Argument(help="Which (default: all).")] = None,
    source: Annotated[list[str] | None, typer.Option(help="Where from, in order: registry, build.")] = None,
    registry: Annotated[
        str | None,
        typer.Option(
            metavar="HOST[:PORT]", help="A mirror to ask in place of Docker Hub (or LABKIT_REGISTRY)."
        ),
    ] = None,
) -> None:
    """Have images in the store, from the first source that works; what is outdated is made anew."""
    from labkit.engine import images
    from labkit.engine.sources import SOURCES

    with telling() as tell:
        found = images.get(names or [], tell, sources=source or SOURCES, registry=registry, refresh=True)
    for image in found:
        print(f"{image.name}: {image.size / 2**20:.1f} MiB, from {image.source}")


@commands.command("export")
def images_export(
    file: Path, names: Annotated[list[str] | None, typer.Argument(help="Which (default: all).")] = None
) -> None:
    """Write images to one file, with checksums, for a room without a network."""
    from labkit.engine import images

    with telling() as tell:
        found = images.export_pack(file, names or [], tell)
    print(f"{file}: {', '.join(image.name for image in found)}, {file.stat().st_size // 2**20} MiB")


@commands.command("import")
def images_import(file: Path) -> None:
    """Take images out of a file made by export."""
    from labkit.engine import images

    with telling() as tell:
        found = images.import_pack(file, tell)
    print(f"in the store: {', '.join(image.name for image in found)}")


@commands.command("load")
def images_load(engine: EngineName, names: Annotated[list[str], typer.Argument(help="Which.")]) -> None:
    """Load images from the store into an engine that runs."""
    from labkit.engine import images, open_engine

    with open_engine("attach", engine=engine) as attached, telling() as tell:
        images.ensure(attached, names, tell)
    print(f"ready on {engine}: {', '.join(names)}")
