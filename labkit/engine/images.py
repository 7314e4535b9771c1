"""The catalogue of lab images, the store of their archives, and the image pack.

Each image is a folder below ``labkit/images``: a ``Dockerfile`` that builds it from Debian packages, and ``image.toml``
that says what it is and where a registry has it.  An image comes from the first that works: it is in the store already;
a registry (when reachable, pinned by digest); or it is built.  On an engine it is called ``NAME:lab``.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import tarfile
import tomllib
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from labkit import paths
from labkit.engine import archives, packs, prepared
from labkit.engine.failures import translated
from labkit.engine.locks import working
from labkit.engine.packs import Pack, Progress, debootstrap
from labkit.errors import LabkitError, UsageError, no_such

if TYPE_CHECKING:
    from labkit.engine import Engine

__all__ = [
    "Image",
    "Stored",
    "catalogue",
    "ensure",
    "export_pack",
    "get",
    "import_pack",
    "load",
    "outdated",
    "prepared_with",
    "stored",
]

FOLDER = Path(__file__).parent.parent / "images"
TAG = "lab"
KIND = "images"
SOURCES = ("registry", "build")
SUITE = "trixie"
NEEDED_BYTES = 2 * 2**30
BUILDER = "image-builder"
SILENCE = 30
"""Seconds after which a registry that says nothing is given up."""
STATE = "images-"
"""How the names of prepared states begin that are made of images."""


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


@dataclass(frozen=True)
class Stored:
    """An image in the store: the engine's *id* of it, the *source* it came from, and its archive's size in bytes."""

    name: str
    id: str
    source: str
    size: int


def catalogue() -> dict[str, Image]:
    """All lab images by name, each after the one that it builds on."""
    found = {}
    for file in sorted(FOLDER.glob("*/image.toml")):
        facts = tomllib.loads(file.read_text(encoding="utf-8"))
        found[file.parent.name] = Image(
            file.parent.name, facts["about"], facts.get("registry", ""), facts.get("base", "")
        )
    return dict(sorted(found.items(), key=lambda item: bool(item[1].base)))


def _known(names: Sequence[str]) -> list[Image]:
    images = catalogue()
    for name in names:
        if name not in images:
            raise no_such("lab image", name, images)
    return [images[name] for name in dict.fromkeys(names)]


# -- the store


def _store() -> Path:
    folder = paths.home() / "images"
    folder.mkdir(exist_ok=True)
    return folder


def stored(name: str) -> Stored | None:
    """What the store has of image *name*, or None."""
    try:
        facts = json.loads((_store() / f"{name}.json").read_text(encoding="utf-8"))
        return Stored(name, facts["id"], facts["source"], (_store() / f"{name}.tar").stat().st_size)
    except (OSError, ValueError, KeyError):
        return None


@contextmanager
def _locked(progress: Progress) -> Iterator[None]:
    from filelock import FileLock, Timeout

    lock = FileLock(_store() / ".lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        progress("images: waiting for another labkit that is making them")
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def get(
    names: Sequence[str] = (), progress: Progress = print, *, sources: Sequence[str] = SOURCES
) -> list[Stored]:
    """Have the images *names* (default: the whole catalogue) in the store; make what is missing.

    *sources*: which to try, in order: ``registry``, ``build``.  Building takes a private engine, a Debian mirror and about
    half a minute an image.
    """
    wanted = _known(names or list(catalogue()))
    for source in sources:
        if source not in SOURCES:
            raise UsageError("no such source of images", seen=repr(source), expected=", ".join(SOURCES))
    if missing := [image for image in wanted if stored(image.name) is None]:
        with _locked(progress):
            missing = [image for image in missing if stored(image.name) is None]
            if missing:
                _make(missing, progress, sources)
    return [found for image in wanted if (found := stored(image.name))]


@working()
def _make(missing: list[Image], progress: Progress, sources: Sequence[str]) -> None:
    from labkit.engine import open_engine

    paths.need_space(_store(), NEEDED_BYTES, "make the lab images")
    with open_engine("sandbox", name=BUILDER) as engine:
        for image in missing:
            for source in sources:
                maker = {"registry": _pull, "build": _build}[source]
                if maker(engine, image, progress):
                    _keep(engine, image, source)
                    break
            else:
                raise LabkitError(
                    f"the image {image.name} cannot be had from {' or '.join(sources)}",
                    try_="labkit images import FILE     (from another machine's `labkit images export`)",
                )


def _keep(engine: Engine, image: Image, source: str) -> None:
    """Write the image's archive to the store, whole or not at all."""
    fresh = _store() / f".{image.name}.tar"
    found = engine.client.images.get(image.tag)
    try:
        with fresh.open("wb") as out:
            for chunk in found.save(named=image.tag):
                out.write(chunk)
        fresh.replace(_store() / f"{image.name}.tar")
    finally:
        fresh.unlink(missing_ok=True)
    (_store() / f"{image.name}.json").write_text(
        json.dumps({"id": found.id, "source": source}), encoding="utf-8"
    )


# -- the sources


def _pull(engine: Engine, image: Image, progress: Progress) -> bool:
    """Pull the image by its digest; false where no registry can be reached."""
    if not image.registry or os.environ.get("LABKIT_OFFLINE"):
        return False
    progress(f"image {image.name}: asking the registry for {image.registry.split('@')[0]}")
    try:
        with translated():
            _pull_by_digest(engine, image.registry)
    except LabkitError as error:  # also one that hangs, as with bad wifi
        progress(f"  not from a registry ({(error.seen.strip() or error.what).splitlines()[0][:100]})")
        return False
    engine.client.images.get(image.registry).tag(image.name, TAG)
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


def _build(engine: Engine, image: Image, progress: Progress) -> bool:
    """Build the image from Debian packages."""
    if image.base:
        _load_or_make_base(engine, image.base, progress)
        progress(f"image {image.name}: building from Debian packages")
        _run_dockerfile(engine, image)
        return True
    progress(f"image {image.name}: fetching and unpacking Debian {SUITE}")
    tar = _store() / f".{image.name}.rootfs.tar"
    try:
        debootstrap(SUITE, ["ca-certificates"], tar, progress, variant="minbase")
        with tar.open("rb") as rootfs:
            engine.client.api.import_image_from_data(
                rootfs, repository=image.name, tag=TAG, changes=['CMD ["bash"]', "ENV LC_ALL=C.UTF-8"]
            )
    finally:
        tar.unlink(missing_ok=True)
    return True


def _load_or_make_base(engine: Engine, base: str, progress: Progress) -> None:
    image = catalogue()[base]
    if _present(engine, image):
        return
    if stored(base) is None:
        _build(engine, image, progress)
        _keep(engine, image, "build")
    else:
        load(engine, [base])


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


# -- engines


def _present(engine: Engine, image: Image) -> bool:
    import docker

    try:
        engine.client.images.get(image.tag)
    except docker.errors.ImageNotFound:
        return False
    return True


def load(engine: Engine, names: Sequence[str]) -> None:
    """Load images from the store into *engine*."""
    for image in _known(names):
        with (_store() / f"{image.name}.tar").open("rb") as archive:
            for _ in engine.client.images.load(archive):
                pass


def ensure(engine: Engine, names: Sequence[str], progress: Progress = print) -> None:
    """Have the images *names* on *engine*, whatever engine it is; those that are there are left alone."""
    missing = [image.name for image in _known(names) if not _present(engine, image)]
    if missing:
        get(missing, progress)
        load(engine, missing)


def prepared_with(names: Sequence[str], pack: Pack, progress: Progress = lambda _: None) -> str:
    """The name of a prepared state for *pack* that holds the images *names*; made at the first call."""
    from labkit.engine.sandbox import Sandbox, open_sandbox

    images = get(names, progress)
    ids = [prepared.FORMAT, pack.digest, sorted((image.name, image.id) for image in images)]
    state = f"{STATE}{hashlib.sha256(json.dumps(ids).encode()).hexdigest()[:12]}"
    if prepared.find(state) is None:
        with _locked(progress):
            if prepared.find(state) is None:
                progress(f"making an engine ready with {', '.join(image.name for image in images)}")
                engine: Sandbox = open_sandbox(name=f"{BUILDER}-{os.getpid()}", pack=pack.name)
                with engine:
                    load(engine, names)
                    # a daemon that finds no networks makes its own; to take up those it finds costs it 150 ms
                    engine.host.run("find /var/lib/docker/network -type f -delete")
                    engine.save(state)
                made_of = {"pack": pack.digest, "images": {image.name: image.id for image in images}}
                prepared.note(state, {"format": prepared.FORMAT, **made_of})
    return state


def outdated() -> list[str]:
    """Names of prepared states that were made of images or of a pack that have changed, or are gone, since."""
    digests = {packs.find(name).digest for name in packs.names()}
    return [name for name in prepared.names() if name.startswith(STATE) and not _is_current(name, digests)]


def _is_current(state: str, digests: set[str]) -> bool:
    facts = prepared.made_of(state)
    here = {name: found.id for name in catalogue() if (found := stored(name))}
    return (
        facts.get("format") == prepared.FORMAT
        and facts["pack"] in digests
        and facts["images"].items() <= here.items()
    )


# -- the image pack


@working()
def export_pack(file: Path, names: Sequence[str] = (), progress: Progress = print) -> list[Stored]:
    """Write images from the store (default: all that are there) to one file, with checksums."""
    archives.check_target(file)
    images = [found for image in _known(names or list(catalogue())) if (found := stored(image.name))]
    if missing := set(names) - {image.name for image in images}:
        raise UsageError(f"not in the store: {', '.join(sorted(missing))}", try_="labkit images get")
    if not images:
        raise UsageError("there are no images to export", try_="labkit images get")
    payload = _store() / f".export-{os.getpid()}.tar"
    try:
        with tarfile.open(payload, "w") as tar:
            for image in images:
                progress(f"image {image.name}")
                tar.add(_store() / f"{image.name}.tar", f"{image.name}.tar")
        facts = [{"name": image.name, "id": image.id, "source": image.source} for image in images]
        archives.write(file, {"kind": KIND, "images": facts}, payload)
    finally:
        payload.unlink(missing_ok=True)
    return images


@working()
def import_pack(file: Path, progress: Progress = print) -> list[Stored]:
    """Take the images out of *file* into the store; those that are there already are replaced."""
    payload = _store() / f".import-{os.getpid()}.tar"
    try:
        manifest = archives.read(file, KIND, payload)
        _known([str(image["name"]) for image in manifest["images"]])
        with _locked(progress), tarfile.open(payload) as tar:
            for image in manifest["images"]:
                _take(tar, image)
                progress(f"image {image['name']}")
        return [found for image in manifest["images"] if (found := stored(image["name"]))]
    finally:
        payload.unlink(missing_ok=True)


def _take(tar: tarfile.TarFile, image: dict[str, Any]) -> None:
    source = tar.extractfile(f"{image['name']}.tar") or io.BytesIO()
    fresh = _store() / f".{image['name']}.tar"
    try:
        with fresh.open("wb") as out:
            while chunk := source.read(2**20):
                out.write(chunk)
        fresh.replace(_store() / f"{image['name']}.tar")
    finally:
        fresh.unlink(missing_ok=True)
    (_store() / f"{image['name']}.json").write_text(
        json.dumps({"id": image["id"], "source": image["source"]}),
        encoding="utf-8",
    )
