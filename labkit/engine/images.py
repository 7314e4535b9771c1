"""The store of lab images: an archive each, and what it was made by; on an engine; and in one file, the image pack.

An image comes from the first that works: it is in the store already; a registry (when reachable, pinned by digest); or it
is built.  One in the store whose recipe has changed since is used all the same, until somebody asks for a new one.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import tarfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from labkit import paths, texts
from labkit.engine import archives, mirrors, packs, prepared
from labkit.engine.catalogue import Image, catalogue, known, recipe
from labkit.engine.debian import Progress
from labkit.engine.locks import working
from labkit.engine.packs import Pack
from labkit.engine.sources import SOURCES, Search, build, pull
from labkit.errors import LabkitError, UsageError

if TYPE_CHECKING:
    from labkit.engine import Engine

__all__ = [
    "Stored",
    "ensure",
    "export_pack",
    "get",
    "import_pack",
    "load",
    "prepared_with",
    "stale_states",
    "stored",
]

KIND = "images"
NEEDED_BYTES = 2 * 2**30
BUILDER = "image-builder"
STATE = "images-"
"""How the names of prepared states begin that are made of images."""


@dataclass(frozen=True)
class Stored:
    """An image in the store: the engine's *id* of it, the *source* it came from, and its archive's size in bytes.

    *recipe*: what it was made by (`labkit.engine.catalogue.recipe`); nothing for one of before that was noted.
    """

    name: str
    id: str
    source: str
    size: int
    recipe: str = ""

    @property
    def outdated(self) -> bool:
        """Whether the catalogue has another recipe for it today; false where nobody noted how it was made."""
        return bool(self.recipe) and self.recipe != recipe(catalogue()[self.name], self.source)


# -- the store


def _store() -> Path:
    folder = paths.home() / "images"
    folder.mkdir(exist_ok=True)
    return folder


def stored(name: str) -> Stored | None:
    """What the store has of image *name*, or None."""
    try:
        facts = json.loads((_store() / f"{name}.json").read_text(encoding="utf-8"))
        size = (_store() / f"{name}.tar").stat().st_size
        return Stored(name, facts["id"], facts["source"], size, facts.get("recipe", ""))
    except (OSError, ValueError, KeyError):
        return None


def _keep(name: str, archive: Iterable[bytes], facts: dict[str, str]) -> None:
    """Write an image to the store, whole or not at all; cut off in the middle, there is none rather than a mixture."""
    fresh, about = _store() / f".{name}.tar", _store() / f"{name}.json"
    try:
        with fresh.open("wb") as out:
            out.writelines(archive)
        about.unlink(missing_ok=True)
        fresh.replace(_store() / f"{name}.tar")
    finally:
        fresh.unlink(missing_ok=True)
    texts.write({about: json.dumps(facts)})


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
    names: Sequence[str] = (),
    progress: Progress = print,
    *,
    sources: Sequence[str] = SOURCES,
    registry: str | None = None,
    refresh: bool = False,
) -> list[Stored]:
    """Have the images *names* (default: the whole catalogue) in the store; make what is missing.

    *sources*: which to try, in order: ``registry``, ``build``.  *registry*: the mirror to ask (default: ``LABKIT_REGISTRY``,
    else the registries that the catalogue names).  Building takes a private engine, a Debian mirror and about
    half a minute an image.  *refresh*: make those anew, too, whose recipe has changed; else *progress* is told of them.
    Where that fails, what is in the store stays.
    """
    wanted = known(names or list(catalogue()))
    for source in sources:
        if source not in SOURCES:
            raise UsageError("no such source of images", seen=repr(source), expected=", ".join(SOURCES))
    search = Search(sources, mirrors.chosen(registry))
    if any(_wanting(image, refresh) for image in wanted):
        with _locked(progress):
            if missing := [image for image in wanted if _wanting(image, refresh)]:
                _make_all(missing, progress, search, refresh)
    found = [found for image in wanted if (found := stored(image.name))]
    for image in found:
        if image.outdated:
            progress(
                f"image {image.name}: its recipe has changed since it was made; `labkit images get {image.name}` makes it anew"
            )
    return found


def _wanting(image: Image, refresh: bool) -> bool:
    found = stored(image.name)
    return found is None or (refresh and found.outdated)


@working()
def _make_all(missing: list[Image], progress: Progress, search: Search, refresh: bool) -> None:
    from labkit.engine import open_engine

    paths.need_space(_store(), NEEDED_BYTES, "make the lab images")
    with open_engine("sandbox", name=BUILDER, config=mirrors.config(search.mirror)) as engine:
        mirrors.trust(engine, search.mirror)
        for image in missing:
            if _wanting(image, refresh):  # not if it was made as another's base
                _make(engine, image, progress, search)


def _make(engine: Engine, image: Image, progress: Progress, search: Search) -> None:
    """Have *image* on *engine* from the first source of *search* that works, and in the store."""
    for source in search.sources:
        if source == "build":
            if image.base:
                _make_base(engine, catalogue()[image.base], progress)
            build(engine, image, progress, _store())
        elif not pull(engine, image, progress, search):
            continue
        found = engine.client.images.get(image.tag)
        facts = {"id": found.id, "source": source, "recipe": recipe(image, source)}
        _keep(image.name, found.save(named=image.tag), facts)
        return
    raise LabkitError(
        f"the image {image.name} cannot be had from {' or '.join(search.sources)}",
        try_="labkit images import FILE     (from another machine's `labkit images export`)",
    )


def _make_base(engine: Engine, base: Image, progress: Progress) -> None:
    """Have the *base* of another image on *engine*, as its recipe is today."""
    if _present(engine, base):
        return
    if _wanting(base, refresh=True):
        _make(engine, base, progress, Search(["build"]))
    else:
        load(engine, [base.name])


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
    for image in known(names):
        with (_store() / f"{image.name}.tar").open("rb") as archive:
            for _ in engine.client.images.load(archive):
                pass


def ensure(engine: Engine, names: Sequence[str], progress: Progress = print) -> None:
    """Have the images *names* on *engine*, whatever engine it is; those that are there are left alone."""
    missing = [image.name for image in known(names) if not _present(engine, image)]
    if missing:
        get(missing, progress)
        load(engine, missing)


def prepared_with(names: Sequence[str], pack: Pack, progress: Progress = lambda _: None) -> str:
    """The name of a prepared state for *pack* that holds the images *names*; made at the first call."""
    from labkit.engine.opening import open_sandbox

    images = get(names, progress)
    ids = [prepared.FORMAT, pack.digest, sorted((image.name, image.id) for image in images)]
    state = f"{STATE}{hashlib.sha256(json.dumps(ids).encode()).hexdigest()[:12]}"
    if prepared.find(state) is None:
        with _locked(progress):
            if prepared.find(state) is None:
                progress(f"making an engine ready with {', '.join(image.name for image in images)}")
                engine = open_sandbox(name=f"{BUILDER}-{os.getpid()}", pack=pack.name)
                with engine:
                    load(engine, names)
                    # a daemon that finds no networks makes its own; to take up those it finds costs it 150 ms
                    engine.host.run("find /var/lib/docker/network -type f -delete")
                    made_of = {"pack": pack.digest, "images": {image.name: image.id for image in images}}
                    with working():  # a state of which nothing is noted yet is nobody's, to a collection
                        engine.save(state)
                        prepared.note(state, {"format": prepared.FORMAT, **made_of})
    return state


def stale_states() -> list[str]:
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
    images = [found for image in known(names or list(catalogue())) if (found := stored(image.name))]
    if missing := set(names) - {image.name for image in images}:
        raise UsageError(f"not in the store: {', '.join(sorted(missing))}", try_="labkit images get")
    if not images:
        raise UsageError("there are no images to export", try_="labkit images get")
    paths.need_space(_store(), sum(image.size for image in images), "put the images into one file")
    payload = _store() / f".export-{os.getpid()}.tar"
    try:
        with tarfile.open(payload, "w") as tar:
            for image in images:
                progress(f"image {image.name}")
                tar.add(_store() / f"{image.name}.tar", f"{image.name}.tar")
        archives.write(file, {"kind": KIND, "images": [asdict(image) for image in images]}, payload)
    finally:
        payload.unlink(missing_ok=True)
    return images


@working()
def import_pack(file: Path, progress: Progress = print) -> list[Stored]:
    """Take the images out of *file* into the store; those that are there already are replaced."""
    payload = _store() / f".import-{os.getpid()}.tar"
    try:
        manifest = archives.read(file, KIND, payload)
        with archives.understood(file):
            facts = {str(image["name"]): _facts(image) for image in manifest["images"]}
        images = known(list(facts))
        with archives.understood(file), _locked(progress), tarfile.open(payload) as tar:
            members = {image.name: tar.getmember(f"{image.name}.tar") for image in images}
            for name, member in members.items():
                _keep(name, _chunks(tar.extractfile(member) or io.BytesIO()), facts[name])
                progress(f"image {name}")
        return [found for image in images if (found := stored(image.name))]
    finally:
        payload.unlink(missing_ok=True)


def _facts(told: dict[str, Any]) -> dict[str, str]:
    return {"id": str(told["id"]), "source": str(told["source"]), "recipe": str(told.get("recipe", ""))}


def _chunks(file: IO[bytes]) -> Iterator[bytes]:
    while chunk := file.read(2**20):
        yield chunk
