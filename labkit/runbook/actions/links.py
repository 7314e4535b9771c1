"""An archive as an engine takes it: symbolic links that lead out of the folder are handed over by themselves.

An engine that unpacks into a folder refuses an archive with a link such as ``current -> ../../common`` when its target lies
outside (moby, ``pkg/archive``, *invalid symlink*; measured on 20.10 and 26.1), though in a volume it is as good as any: it
means what is there in the container that has the volume.  Unpacked from the root, nothing lies outside.
"""

from __future__ import annotations

import io
import posixpath
import tarfile
from collections.abc import Iterator
from pathlib import Path

__all__ = ["apart"]

_CHUNK = 2**20


def apart(file: Path, folder: str) -> tuple[Iterator[bytes], bytes]:
    """The tar archive *file* without links that lead out, and these as an archive to unpack at the root, below *folder*.

    The second is empty where there are none.
    """
    with tarfile.open(file, "r:") as tar:
        links = [info for info in tar if info.issym() and _leads_out(info)]
    return _without(file, [(info.offset, info.offset_data) for info in links]), _archive(links, folder)


def _leads_out(link: tarfile.TarInfo) -> bool:
    """As the engine reckons: an absolute target is below the folder, too."""
    inside = posixpath.join(posixpath.dirname(link.name), link.linkname.lstrip("/"))
    return posixpath.normpath(inside).split("/")[0] == ".."


def _without(file: Path, left_out: list[tuple[int, int]]) -> Iterator[bytes]:
    """The bytes of *file*, but for these stretches from one offset to another."""
    position = 0
    with file.open("rb") as opened:
        for begin, end in [*left_out, (file.stat().st_size, 0)]:
            while position < begin and (chunk := opened.read(min(_CHUNK, begin - position))):
                position += len(chunk)
                yield chunk
            position = opened.seek(end)


def _archive(links: list[tarfile.TarInfo], folder: str) -> bytes:
    if not links:
        return b""
    written = io.BytesIO()
    with tarfile.TarFile(fileobj=written, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for link in links:
            link.name = posixpath.join(folder.strip("/"), posixpath.normpath(link.name))
            link.pax_headers = {}  # they would go before the new name
            tar.addfile(link)
    return written.getvalue()
