"""The catalogue of lab images: what each is, where a registry has it, and the recipe that it is built by.

Each image is a folder below ``labkit/images``: a ``Dockerfile`` that builds it from Debian packages, and ``image.toml``
that says what it is and where a registry has it.  On an engine it is called ``NAME:lab``.
"""

from __future__ import annotations

import hashlib
import json
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from labkit.errors import UsageError, no_such

__all__ = ["DEBIAN", "TAG", "Image", "catalogue", "known", "recipe"]

FOLDER = Path(__file__).parent.parent / "images"
FACTS = "image.toml"
TAG = "lab"
DEBIAN: dict[str, Any] = {
    "suite": "trixie",
    "packages": ["ca-certificates"],
    "variant": "minbase",
    "changes": ['CMD ["bash"]', "ENV LC_ALL=C.UTF-8"],
}
"""How the image is made that has no Dockerfile, since it builds on no other."""


@dataclass(frozen=True)
class Image:
    """An image of the catalogue.  *registry*: its pinned reference, ``NAME@sha256:…``; *base*: the one it builds on."""

    name: str
    about: str
    registry: str
    base: str

    @property
    def tag(self) -> str:
        """What it is called on an engine."""
        return f"{self.name}:{TAG}"

    @property
    def folder(self) -> Path:
        """Where its Dockerfile lies."""
        return FOLDER / self.name


def catalogue() -> dict[str, Image]:
    """All lab images by name, each after the one that it builds on."""
    found = {}
    for file in sorted(FOLDER.glob(f"*/{FACTS}")):
        facts = tomllib.loads(file.read_text(encoding="utf-8"))
        found[file.parent.name] = Image(
            file.parent.name, facts["about"], facts.get("registry", ""), facts.get("base", "")
        )
    return dict(sorted(found.items(), key=lambda item: bool(item[1].base)))


def known(names: Sequence[str]) -> list[Image]:
    """The images *names*, each once.  Raises `UsageError` for a name that none has."""
    images = catalogue()
    if isinstance(names, str):  # whose letters would be taken for names
        raise UsageError("lab images are named in a list", seen=repr(names), expected=repr([names]))
    for name in names:
        if name not in images:
            raise no_such("lab image", name, images)
    return [images[name] for name in dict.fromkeys(names)]


def recipe(image: Image, source: str) -> str:
    """A digest of all that decides what *image* is when it comes from *source*: its pin in the registry, or how it is built."""
    made_of: Any = image.registry if source == "registry" else _build(image)
    return hashlib.sha256(json.dumps([source, made_of]).encode()).hexdigest()


def _build(image: Image) -> list[Any]:
    """The Dockerfile and what goes with it to the engine, by name, whether it is a program, and content; then the base's."""
    files = [path for path in sorted(image.folder.rglob("*")) if path.is_file() and path.name != FACTS]
    context = [
        (
            str(path.relative_to(image.folder)),
            bool(path.stat().st_mode & 0o100),
            hashlib.sha256(path.read_bytes()).hexdigest(),
        )
        for path in files
    ]
    return [context, _build(catalogue()[image.base]) if image.base else DEBIAN]
