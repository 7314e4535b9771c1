"""The writable layer of one container: what it added, changed and deleted in its image's files, and how large that is.

``docker diff`` tells the paths; the sizes are those of the files in the layer's folder on the engine's host.  A file of the
image of which one byte was changed lies there whole: it is copied up before it is written (kernel, overlayfs).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from labkit.observe.quantities import ByteSize
from labkit.observe.readings import Unreadable
from labkit.observe.tables import Table, Tabular

if TYPE_CHECKING:
    from labkit.engine import Engine

__all__ = ["Change", "WritableLayer", "writable_layer"]

Kind = Literal["changed", "added", "deleted"]
_KINDS: tuple[Kind, ...] = ("changed", "added", "deleted")
"""As the engine numbers them (Engine API, ``ContainerChanges``)."""


@dataclass(frozen=True)
class Change:
    """A *path* in the container that was added, changed or deleted; *size*: bytes in the layer, None where not known."""

    path: str
    kind: Kind
    size: int | None = None

    @property
    def told_size(self) -> str:
        """The size, rounded; empty where there is none to tell."""
        return "" if self.size is None else ByteSize(self.size).rounded()


@dataclass(frozen=True, repr=False)
class WritableLayer(Tabular):
    """What *container* has written: *size* bytes, and the *changes* by path, folders left out that only hold others.

    *folder*: on the engine's host, empty where it is not known; *unsized* says why the sizes of files are not.
    """

    container: str
    size: int
    changes: tuple[Change, ...] = ()
    folder: str = ""
    unsized: Unreadable | None = None

    def table(self) -> Table:
        rows = [[change.kind, change.told_size or "-", change.path] for change in self.changes]
        return Table(["what", "size", "path"], rows, empty="it has changed nothing")


def writable_layer(engine: Engine, container: dict[str, Any]) -> WritableLayer:
    """The writable layer of *container*, which is given as the engine's API inspects it."""
    id_ = container["Id"]
    folder = ((container.get("GraphDriver") or {}).get("Data") or {}).get("UpperDir") or ""
    sizes, unsized = _sizes(engine, folder)
    raw = engine.client.api.diff(id_) or []
    row = engine.client.api.containers(all=True, size=True, filters={"id": id_})
    return WritableLayer(
        container["Name"].removeprefix("/"),
        (row[0].get("SizeRw") or 0) if row else 0,
        tuple(_changes(raw, sizes)),
        "" if unsized else folder,
        unsized,
    )


def _changes(raw: Iterable[dict[str, Any]], sizes: dict[str, int]) -> Iterable[Change]:
    found = {each["Path"]: _KINDS[each["Kind"]] for each in raw}
    above = {path[:cut] for path in found for cut, letter in enumerate(path) if letter == "/"}
    for path in sorted(found):
        if path not in above:
            yield Change(path, found[path], sizes.get(path) if found[path] != "deleted" else None)


def _sizes(engine: Engine, folder: str) -> tuple[dict[str, int], Unreadable | None]:
    """The sizes of the files in the layer, by path, or why they cannot be told."""
    source = "sizes of what was written"
    if not engine.host.available:
        return {}, Unreadable(source, engine.host.reason)
    if not folder:
        return {}, Unreadable(source, "this engine's storage driver tells no folder of the layer")
    done = engine.host.run(["find", folder, "-type", "f", "-printf", r"%s /%P\0"], check=False)
    if not done.ok:
        return {}, Unreadable(source, done.stderr.strip() or f"find ended with {done.code}")
    pairs = (each.partition(" ") for each in done.stdout.split("\0") if each)
    return {path: int(size) for size, _, path in pairs}, None
