"""Where a lab image comes from that is not in the store: a registry, when one can be reached, or Debian packages."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from textwrap import shorten
from typing import TYPE_CHECKING

from labkit.engine import mirrors
from labkit.engine.catalogue import DEBIAN, TAG, Image
from labkit.engine.debian import Progress, debootstrap
from labkit.engine.failures import translated
from labkit.errors import EngineUnreachable, LabkitError

if TYPE_CHECKING:
    from labkit.engine import Engine

__all__ = ["SOURCES", "Search", "build", "pull"]

SOURCES = ("registry", "build")
SILENCE = 15
"""Seconds after which a registry that says nothing is given up."""


@dataclass(frozen=True)
class Search:
    """Which *sources* to try, in order; the registry to ask in place of the catalogue's; and the *silent* ones, given up."""

    sources: Sequence[str] = SOURCES
    mirror: str = ""
    silent: set[str] = field(default_factory=set)


def pull(engine: Engine, image: Image, progress: Progress, search: Search) -> bool:
    """Pull *image* by its digest; false where no registry gives it.

    A registry that falls silent is added to those of *search* that are given up, and not asked again.
    """
    reference = mirrors.reference(image.registry, search.mirror) if image.registry else ""
    registry = reference.partition("/")[0]
    if not reference or registry in search.silent or os.environ.get("LABKIT_OFFLINE"):
        return False
    asked = f"{search.mirror} for {image.registry.partition('/')[2]}" if search.mirror else f"for {reference}"
    progress(f"image {image.name}: asking the registry {asked.partition('@')[0]}")
    try:
        with translated():
            _pull_by_digest(engine, reference)
    except LabkitError as error:
        if isinstance(error, EngineUnreachable):  # it hangs, as with bad wifi
            search.silent.add(registry)
        why = shorten((error.seen.strip() or error.what).splitlines()[0], 200, placeholder=" …")
        progress(f"  not from a registry ({why})")
        return False
    engine.client.images.get(reference).tag(image.name, TAG)
    return True


def _pull_by_digest(engine: Engine, reference: str) -> None:
    """As the SDK's ``pull``, which waits for ever where a registry falls silent (docker-py passes ``timeout=None``)."""
    api = engine.client.api
    name, _, digest = reference.partition("@")
    query = {"fromImage": name, "tag": digest}
    response = api._post(api._url("/images/create"), params=query, stream=True, timeout=SILENCE)
    with closing(response):
        api._raise_for_status(response)
        for line in api._stream_helper(response, decode=True):
            if "error" in line:
                raise LabkitError("the registry does not give it", seen=str(line["error"]))


def build(engine: Engine, image: Image, progress: Progress, folder: Path) -> None:
    """Build *image* from Debian packages, on an *engine* that has its base.  *folder*: for a file of 200 MB meanwhile."""
    if image.base:
        progress(f"image {image.name}: building from Debian packages")
        _run_dockerfile(engine, image)
        return
    progress(f"image {image.name}: fetching and unpacking Debian {DEBIAN['suite']}")
    tar = folder / f".{image.name}.rootfs.tar"
    try:
        debootstrap(DEBIAN["suite"], DEBIAN["packages"], tar, progress, variant=DEBIAN["variant"])
        with tar.open("rb") as rootfs:
            engine.client.api.import_image_from_data(
                rootfs, repository=image.name, tag=TAG, changes=DEBIAN["changes"]
            )
    finally:
        tar.unlink(missing_ok=True)


def _run_dockerfile(engine: Engine, image: Image) -> None:
    import docker

    try:
        engine.client.images.build(path=str(image.folder), tag=image.tag, rm=True, forcerm=True)
    except docker.errors.BuildError as error:
        said = "".join(str(entry.get("stream") or entry.get("error") or "") for entry in error.build_log)
        raise LabkitError(
            f"could not build the image {image.name}",
            seen="\n".join(said.strip().splitlines()[-8:]),
            try_="is a Debian mirror reachable?\nlabkit images import FILE needs none",
        ) from None
