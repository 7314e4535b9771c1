"""Where an engine's disk space goes, what of it nobody uses, and the largest files below its data folder.

Facts come from ``GET /system/df`` (Engine API).  Measured on 20.10 and 26.1: an image's ``SharedSize`` counts what it shares
with other images that are listed, and neither what the build cache of 26.1 shares with it nor what an untagged parent of 20.10
does, so a removed image may give nothing back until these go as well; and what two share that both go comes back, uncounted.
So of images a size is a guess, and what came back is measured afterwards.
"""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Literal

from labkit.engine.ports import own_name_of
from labkit.observe.containers import moment
from labkit.observe.quantities import ByteSize
from labkit.observe.readings import Unreadable
from labkit.observe.tables import Table, Tabular

if TYPE_CHECKING:
    from labkit.engine import Engine

__all__ = ["DiskUsage", "LargeFiles", "Unused", "UnusedObject", "disk_usage", "large_files", "unused"]

Sort = Literal["containers", "dangling-images", "images", "networks", "volumes", "build-cache"]
_ENDED = ("created", "exited", "dead")
_ID = re.compile(r"[0-9a-f]{64}")
_BUILT_IN = ("bridge", "host", "none")


@dataclass(frozen=True, repr=False)
class DiskUsage(Tabular):
    """Bytes by kind, as ``docker system df`` has them; *free*: bytes left on the data folder's file system, if known."""

    images: int
    containers: int
    volumes: int
    build_cache: int
    counts: dict[str, int]
    free: int | None = None

    @property
    def total(self) -> int:
        """Bytes of all kinds; layers that the build cache shares with an image are counted once, as the image's."""
        return self.images + self.containers + self.volumes + self.build_cache

    def table(self) -> Table:
        return Table(["kind", "objects", "size"], self._rows(), caption="docker system df")

    def details(self) -> Table:
        left = [] if self.free is None else [("free on the file system", "", ByteSize(self.free).rounded())]
        return Table(["kind", "objects", "size"], [*self._rows(), *left], caption="docker system df")

    def _rows(self) -> list[tuple[Any, ...]]:
        return [
            (name, self.counts[field], ByteSize(getattr(self, field)).rounded())
            for name, field in (
                ("images", "images"),
                ("containers", "containers"),
                ("volumes", "volumes"),
                ("build cache", "build_cache"),
            )
        ]


@dataclass(frozen=True)
class UnusedObject:
    """Something that nobody uses.  *kind* as in actions (container, image, …); *size*: bytes of its own, as the engine counts.

    *name* is one that people gave it; empty where it has only its id.  *since*: when it was made, or ended.
    """

    kind: str
    id: str
    name: str
    size: int
    why: str
    since: datetime | None = None


@dataclass(frozen=True, repr=False)
class Unused(Tabular):
    """What could go, in an order in which it can be removed; and what is *kept* because it was named."""

    found: tuple[UnusedObject, ...]
    kept: tuple[UnusedObject, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.found)

    @property
    def size(self) -> int:
        """Bytes that removing all of it gives back; of images about."""
        return sum(each.size for each in self.found)

    def of(self, kind: str) -> list[UnusedObject]:
        """Those of one kind."""
        return [each for each in self.found if each.kind == kind]

    def table(self) -> Table:
        """Those without a name of their own are counted together."""
        alike: dict[tuple[str, str, str], list[int]] = {}
        for each in self.found:
            alike.setdefault((each.kind, each.name, each.why), []).append(each.size)
        rows = [
            (kind, name or f"({len(sizes)} without a name)", ByteSize(sum(sizes)).rounded(), why)
            for (kind, name, why), sizes in alike.items()
        ]
        return Table(["kind", "name", "size", "why"], [*rows, *self._kept()], empty="nothing is unused")

    def details(self) -> Table:
        rows = [(each.kind, each.name or each.id, ByteSize(each.size), each.why) for each in self.found]
        return Table(["kind", "name", "size", "why"], [*rows, *self._kept()], empty="nothing is unused")

    def _kept(self) -> list[tuple[str, str, str, str]]:
        return [(each.kind, each.name or each.id, "", "kept: it is named") for each in self.kept]


@dataclass(frozen=True, repr=False)
class LargeFiles(Tabular):
    """The largest files below the data folder: bytes and path, largest first."""

    folder: str
    files: tuple[tuple[int, str], ...]

    def table(self) -> Table:
        rows = [(ByteSize(size).rounded(), path.rpartition("/")[2]) for size, path in self.files]
        return Table(["size", "file"], rows, caption=f"largest files below {self.folder}")

    def details(self) -> Table:
        rows = [(ByteSize(size), path) for size, path in self.files]
        return Table(["size", "file"], rows, caption=f"largest files below {self.folder}")


def disk_usage(engine: Engine) -> DiskUsage:
    """What the engine's objects take on its disk."""
    df = engine.client.api.df()
    cache = df.get("BuildCache") or []
    volumes = [max((each.get("UsageData") or {}).get("Size", 0), 0) for each in df.get("Volumes") or []]
    return DiskUsage(
        images=df.get("LayersSize") or 0,
        containers=sum(each.get("SizeRw") or 0 for each in df.get("Containers") or []),
        volumes=sum(volumes),
        build_cache=sum(each["Size"] for each in cache if not each["Shared"]),
        counts={
            "images": len(df.get("Images") or []),
            "containers": len(df.get("Containers") or []),
            "volumes": len(volumes),
            "build_cache": len(cache),
        },
        free=_free(engine),
    )


def _free(engine: Engine) -> int | None:
    if not engine.host.available:
        return None
    folder = engine.client.info()["DockerRootDir"]
    done = engine.host.run(["stat", "--file-system", "--format=%a %S", folder], check=False)
    blocks, _, size = done.stdout.partition(" ")
    return int(blocks) * int(size) if done.ok else None


def large_files(engine: Engine, count: int = 5) -> LargeFiles | Unreadable:
    """The *count* largest files below the engine's data folder, on its own file system."""
    if not engine.host.available:
        return Unreadable("data folder", engine.host.reason)
    folder = engine.client.info()["DockerRootDir"]
    script = 'find "$0" -xdev -type f -printf "%s %p\\n" | sort -k 1,1nr -k 2 | head -n "$1"'
    rows = engine.host.run(["sh", "-c", script, folder, str(count)]).stdout.splitlines()
    return LargeFiles(
        folder, tuple((int(size), path) for size, _, path in (row.partition(" ") for row in rows))
    )


def unused(engine: Engine, sorts: Collection[str], *, keep: Collection[str] = (), older: float = 0) -> Unused:
    """What nobody uses, of the *sorts* asked for: containers that have ended, dangling images (no tag, nobody's parent) or
    all unused images, networks, volumes, the build cache.

    *keep*: names, tags, ids or patterns (``db-*``) of what stays.  *older*: seconds since it was made or ended; what has no
    time counts as old.
    """
    df = engine.client.api.df()
    found: list[UnusedObject] = []
    kept: list[UnusedObject] = []
    going: set[str] = set()
    before = datetime.now(UTC) - timedelta(seconds=older)
    for sort, look in _LOOKS.items():
        if sort not in sorts:
            continue
        for each, names in look(engine, df, frozenset(going)):
            if any(fnmatch.fnmatchcase(name, pattern) for name in names for pattern in keep):
                kept.append(each)
            elif each.since is None or each.since <= before:
                found.append(each)
                going.add(each.id)
    return Unused(tuple(_in_order(found)), tuple(_in_order(kept)))


def _in_order(objects: list[UnusedObject]) -> list[UnusedObject]:
    """Each once (a dangling image is an unused one too), by kind in the order in which they can go, then by name."""
    kinds = list(dict.fromkeys(each.kind for each in objects))
    once = {(each.kind, each.id): each for each in objects}.values()
    # an image that was built on another is the younger one, and has to go first
    age = {each.id: -each.since.timestamp() if each.kind == "image" and each.since else 0.0 for each in once}
    return sorted(once, key=lambda each: (kinds.index(each.kind), age[each.id], each.name, each.why, each.id))


Found = Iterator[tuple[UnusedObject, list[str]]]
"""Each with the names by which it can be kept."""


def _containers(engine: Engine, df: dict[str, Any], going: frozenset[str]) -> Found:
    import docker.errors

    for row in df.get("Containers") or []:
        if row["State"] in _ENDED:
            try:
                name, state = own_name_of(row), engine.client.api.inspect_container(row["Id"])["State"]
            except (
                docker.errors.NotFound
            ):  # gone meanwhile: to count what all take needs seconds on a large engine
                continue
            ended = moment(state["FinishedAt"]) or datetime.fromtimestamp(row["Created"], UTC)
            told = f"{row['State']}, exit code {state['ExitCode']}"
            why = "never started" if row["State"] == "created" else told
            size = row.get("SizeRw") or 0
            yield UnusedObject("container", row["Id"], name, size, why, ended), _names(row["Id"], name)


def _dangling(engine: Engine, df: dict[str, Any], going: frozenset[str]) -> Found:
    ids = {row["Id"] for row in engine.client.api.images(filters={"dangling": True})}
    return (found for found in _images(engine, df, going) if found[0].id in ids)


def _images(engine: Engine, df: dict[str, Any], going: frozenset[str]) -> Found:
    users = {row["ImageID"] for row in engine.client.api.containers(all=True) if row["Id"] not in going}
    for row in df.get("Images") or []:
        if row["Id"] not in users:
            tags = sorted(tag for tag in row["RepoTags"] or [] if tag != "<none>:<none>")
            size = row["Size"] - max(row.get("SharedSize", 0), 0)
            why = "no container uses it" if tags else "no tag, no container uses it"
            made = datetime.fromtimestamp(row["Created"], UTC)
            found = UnusedObject("image", row["Id"], tags[0] if tags else "", size, why, made)
            yield found, _names(row["Id"].removeprefix("sha256:"), row["Id"], *tags)


def _networks(engine: Engine, df: dict[str, Any], going: frozenset[str]) -> Found:
    used = {
        name
        for row in engine.client.api.containers(all=True)
        if row["Id"] not in going
        for name in row["NetworkSettings"]["Networks"]
    }
    for row in engine.client.api.networks():
        if row["Name"] not in (*used, *_BUILT_IN) and row["Scope"] == "local":
            made, why = moment(row["Created"]), "no container is connected"
            yield (
                UnusedObject("network", row["Id"], row["Name"], 0, why, made),
                _names(row["Id"], row["Name"]),
            )


def _volumes(engine: Engine, df: dict[str, Any], going: frozenset[str]) -> Found:
    used = {
        mount.get("Name")
        for row in engine.client.api.containers(all=True)
        if row["Id"] not in going
        for mount in row["Mounts"]
    }
    for row in df.get("Volumes") or []:
        if row["Name"] not in used and row["Driver"] == "local":
            size = max((row.get("UsageData") or {}).get("Size", 0), 0)
            name = "" if _ID.fullmatch(row["Name"]) else row["Name"]
            made, why = moment(row["CreatedAt"]), "no container has it"
            yield UnusedObject("volume", row["Name"], name, size, why, made), _names(row["Name"])


def _cache(engine: Engine, df: dict[str, Any], going: frozenset[str]) -> Found:
    for row in df.get("BuildCache") or []:
        if not row["InUse"]:
            size = 0 if row["Shared"] else row["Size"]
            why = "its bytes are an image's too" if row["Shared"] else "no build runs"
            used = moment(row.get("LastUsedAt") or row["CreatedAt"])
            yield UnusedObject("build cache", row["ID"], "", size, why, used), _names(row["ID"])


def _names(id_: str, *others: str) -> list[str]:
    return [id_, id_[:12], *others]


_LOOKS = {
    "containers": _containers,
    "dangling-images": _dangling,
    "images": _images,
    "networks": _networks,
    "volumes": _volumes,
    "build-cache": _cache,
}
