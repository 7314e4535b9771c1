"""The layers of an image, bottom to top: what made each, how large it is, who shares it, and where it lies on the engine's host.

A layer's place is found through its *chain id*, a digest of its own content's digest and of all below it (OCI image
specification, "Layer ChainID"), which is what two images have in common when they share a layer.  Which steps of
``docker history`` made a layer is said by the image's configuration (``history[].empty_layer``); the API does not tell, so
where the host cannot be read a step of size 0 counts as none unless layers are left over.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from labkit.engine.ports import own_name_of
from labkit.errors import UsageError
from labkit.observe.quantities import ByteSize
from labkit.observe.readings import Unreadable
from labkit.observe.tables import Table, Tabular
from labkit.observe.writable import WritableLayer, writable_layer
from labkit.shapes import hide

if TYPE_CHECKING:
    from labkit.engine import Engine

__all__ = ["Layer", "LayerStack", "chain_ids", "instruction", "layer_stack"]

MISSING = "<missing>"
MISSING_MEANS = (
    "in docker history means: no image of that step is on this engine. Nothing is lost: its layer is here."
)
NOT_RECORDED = "(not recorded)"
_SHOWN = 60
"""Letters of an instruction in the table."""
_ID = re.compile(r"\b(?:sha256:)?[0-9a-f]{64}\b")
_METADATA = re.compile(
    "ARG|CMD|ENTRYPOINT|ENV|EXPOSE|HEALTHCHECK|LABEL|MAINTAINER|ONBUILD|SHELL|STOPSIGNAL|USER|VOLUME"
)
_FOLDERS = {"overlay2": "overlay2/{}/diff", "fuse-overlayfs": "fuse-overlayfs/{}/diff", "vfs": "vfs/dir/{}"}
"""Below the data folder: where a storage driver keeps a layer."""


@dataclass(frozen=True)
class Layer:
    """One layer: the step that *made* it, *size* in bytes (None: not recorded), the *chain* id that it is known by.

    *shared*: names of other images with this very layer.  *folder*: on the engine's host; empty where that is not known.
    """

    made: str
    size: int | None
    chain: str
    shared: tuple[str, ...] = ()
    folder: str = ""

    @property
    def told_size(self) -> str:
        """The size, rounded."""
        return "?" if self.size is None else ByteSize(self.size).rounded()


@dataclass(frozen=True, repr=False)
class LayerStack(Tabular):
    """*image*'s *layers*, the lowest first; *configured*: steps that made none; *missing*: steps without an image here.

    *unplaced* says why the folders are not known, if so.  *writable*: the layer on top that a container has of its own.
    """

    image: str
    layers: tuple[Layer, ...]
    configured: tuple[str, ...] = ()
    missing: int = 0
    unplaced: Unreadable | None = None
    writable: WritableLayer | None = None

    @property
    def size(self) -> int:
        """Bytes of all layers of the image together."""
        return sum(layer.size or 0 for layer in self.layers)

    @property
    def title(self) -> str:
        """Name, number of layers and size."""
        count = len(self.layers)
        told = f"{self.image}: {count} layer{'' if count == 1 else 's'}, {ByteSize(self.size).rounded()}"
        return f"{self.writable.container} on {told}" if self.writable else told

    def table(self) -> Table:
        """The top layer first, as in ``docker history``."""
        rows = [
            [number, layer.told_size, shortened(layer.made), ", ".join(layer.shared) or "-"]
            for number, layer in reversed(list(enumerate(self.layers, 1)))
        ]
        if self.writable:
            size = ByteSize(self.writable.size).rounded()
            rows.insert(0, ["writable", size, f"(what {self.writable.container} writes)", "-"])
        return Table(["layer", "size", "made by", "shared with"], rows, empty="it has no layers")

    def details(self) -> Table:
        rows = [
            [number, layer.size, layer.made, ", ".join(layer.shared) or "-", layer.folder]
            for number, layer in reversed(list(enumerate(self.layers, 1)))
        ]
        if self.writable:
            rows.insert(0, ["writable", self.writable.size, "", "-", self.writable.folder])
        return Table(["layer", "bytes", "made by", "shared with", "folder on the engine's host"], rows)


def shortened(text: str) -> str:
    """*text*, cut to the length that a table shows."""
    return text if len(text) <= _SHOWN else text[: _SHOWN - 1] + "…"


def layer_stack(engine: Engine, name: str) -> LayerStack:
    """The layers of the image *name*, or of the container *name* with its own writable layer.

    Raises `UsageError`, naming what there is, when neither is there.
    """
    container = _container(engine, name)
    if container is None:
        return _stack(engine, name)
    writable = writable_layer(engine, container)
    return replace(_stack(engine, container["Image"], container["Config"]["Image"]), writable=writable)


def _container(engine: Engine, name: str) -> dict[str, Any] | None:
    """What the engine says of the container *name*; its id will do when no image is called so."""
    import docker.errors

    try:
        found: dict[str, Any] = engine.client.api.inspect_container(name)
    except (docker.errors.NotFound, docker.errors.NullResource):
        return None
    return found if found["Name"] == f"/{name}" or _image(engine, name) is None else None


def _image(engine: Engine, name: str) -> dict[str, Any] | None:
    import docker.errors

    try:
        return dict(engine.client.api.inspect_image(name))
    except docker.errors.NullResource:
        return None
    except docker.errors.APIError as error:
        if error.status_code in (400, 404):  # 400: no name that an image can have
            return None
        raise


def _stack(engine: Engine, name: str, called: str = "") -> LayerStack:
    image = _image(engine, name)
    if image is None:
        raise _nothing_so_called(engine, name)
    chains = chain_ids(image["RootFS"].get("Layers") or [])
    steps = engine.client.api.history(name)[::-1]
    folders, empty, unplaced = _on_host(engine, image["Id"], chains)
    made = _made_layers(steps, len(chains), empty)
    shared = _shared(engine, image["Id"])
    told = [step for step, makes in zip(steps, made, strict=True) if makes] or [{}] * len(chains)
    layers = (
        Layer(_told(step), step.get("Size"), chain, shared.get(chain, ()), folders.get(chain, ""))
        for chain, step in zip(chains, told, strict=True)
    )
    return LayerStack(
        called or name,
        tuple(layers),
        tuple(_told(step) for step, makes in zip(steps, made, strict=True) if not makes),
        sum(step["Id"] == MISSING for step in steps),
        unplaced,
    )


def _nothing_so_called(engine: Engine, name: str) -> UsageError:
    images = sorted(tag for row in engine.client.api.images() for tag in row["RepoTags"] or [])
    containers = sorted(own_name_of(row) for row in engine.client.api.containers(all=True))
    return UsageError(
        f"no image and no container is called {name!r} on the engine {engine.name!r}",
        expected=f"an image ({', '.join(images) or 'there is none'})\n"
        f"or a container ({', '.join(containers) or 'there is none'})",
    )


def chain_ids(diff_ids: Sequence[str]) -> list[str]:
    """The chain id of each layer, from the digests of their contents, the lowest first."""
    chains: list[str] = []
    for digest in diff_ids:
        chains.append(_sha256(f"{chains[-1]} {digest}") if chains else digest)
    return chains


def _sha256(text: str) -> str:
    return "sha256:" + hashlib.sha256(text.encode()).hexdigest()


def _shared(engine: Engine, but: str) -> dict[str, tuple[str, ...]]:
    """By chain id, the names of the images that have it, the one with the id *but* left out."""
    found: dict[str, set[str]] = {}
    for row in engine.client.api.images():
        image = None if row["Id"] == but else _image(engine, row["Id"])
        for chain in chain_ids((image or {}).get("RootFS", {}).get("Layers") or []):
            found.setdefault(chain, set()).update(row["RepoTags"] or ["an image without a tag"])
    return {chain: tuple(sorted(names)) for chain, names in found.items()}


def _made_layers(steps: list[dict[str, Any]], count: int, empty: list[bool]) -> list[bool]:
    """Which of the *steps* made one of *count* layers; *empty*: what the image's configuration says, if that is known.

    Where they cannot be told apart, none did.
    """
    made = [not each for each in empty] if len(empty) == len(steps) else [step["Size"] > 0 for step in steps]
    left = count - sum(made)
    for index, step in enumerate(steps):
        if left > 0 and not made[index] and not _METADATA.match(_told(step)):
            made[index], left = True, left - 1
    return made if left == 0 else [False] * len(steps)


def _told(step: dict[str, Any]) -> str:
    return instruction(step.get("CreatedBy") or "", step.get("Comment") or "")


def instruction(created_by: str, comment: str = "") -> str:
    """A step of ``docker history`` as a line of a Dockerfile, whoever built it; without ids and secrets."""
    text = " ".join(created_by.removesuffix("# buildkit").split())
    text = re.sub(r"^(?:RUN )?(?:\|\d+ .*?)?/bin/sh -c (?!#\(nop\))", "RUN ", text)
    text = re.sub(r"^(?:RUN )?/bin/sh -c #\(nop\) *", "", text)
    return hide(_ID.sub("‹id›", text)) or comment or NOT_RECORDED


_LOOK = """
root=$0 driver=$1 image=$2; shift 2
cat "$root/image/$driver/imagedb/content/sha256/$image" || exit; echo
for chain; do cat "$root/image/$driver/layerdb/sha256/$chain/cache-id" 2>/dev/null || printf -- -; echo; done
"""


def _on_host(
    engine: Engine, image: str, chains: list[str]
) -> tuple[dict[str, str], list[bool], Unreadable | None]:
    """The layers' folders by chain id, which steps made none, and why that is not known, if so."""
    source = "folders of the layers"
    if not engine.host.available:
        return {}, [], Unreadable(source, engine.host.reason)
    info = engine.client.info()
    root, driver = info["DockerRootDir"], info["Driver"]
    if driver not in _FOLDERS:
        return {}, [], Unreadable(source, f"the storage driver {driver} keeps them in a way of its own")
    done = engine.host.run(
        ["sh", "-c", _LOOK, root, driver, *(each[7:] for each in (image, *chains))], check=False
    )
    config, _, listing = done.stdout.rpartition("}\n")
    if not done.ok or not config:
        return {}, [], Unreadable(source, done.stderr.strip() or "the image's configuration is not there")
    empty = [bool(step.get("empty_layer")) for step in json.loads(config + "}").get("history") or []]
    places = zip(chains, listing.split(), strict=True)
    return {c: f"{root}/{_FOLDERS[driver].format(at)}" for c, at in places if at != "-"}, empty, None
