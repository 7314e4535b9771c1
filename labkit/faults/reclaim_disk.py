"""A disk that fills with what nobody uses any more: what a week of deployments leaves behind."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from labkit import labels
from labkit.faults import wire
from labkit.faults.variants import Variant

if TYPE_CHECKING:
    from labkit.engine import Engine

__all__ = ["VARIANTS", "inject", "oracle", "undo"]

VARIANTS = {
    "leftovers": Variant(
        "an ended container, an image that lost its tag, an empty network", "reclaimable", cured=True
    ),
    "volumes": Variant("a volume that no container has", "only-volumes", cured=False),
}

LABEL = labels.FAULT
_WRITE = "dd if=/dev/zero of={} bs=1M count={} 2>/dev/null"


def inject(engine: Engine, variant: str, container: str = "web") -> None:
    """Make the leftovers, beside a container that runs and an image that still has its tag: these two are to stay."""
    try:
        _MAKERS[variant](engine, container)
    except BaseException:
        undo(engine, container)
        raise


def _leftovers(engine: Engine, container: str) -> None:
    client, made = engine.client, _labels(engine)
    client.containers.run("busybox:lab", ["sleep", "1000000"], name=container, detach=True, labels=made)
    for release, megabytes in enumerate((4, 2), 1):
        name = f"{container}-release-{release}"
        script = f"{_WRITE.format('/log', 2 + megabytes)}; exit {release % 2}"
        client.containers.run("busybox:lab", ["sh", "-c", script], name=name, labels=made, detach=True)
        client.api.wait(name)
        # the second one takes the name away from the first
        client.api.load_image(_archive(f"{container}-app:lab", release, megabytes))
    client.api.remove_container(f"{container}-release-2")
    client.networks.create(f"{container}-old", labels=made)


def _archive(tag: str, release: int, megabytes: int) -> bytes:
    """An image as ``docker save`` writes it (OCI image-spec, config.md); always the same, so its id is too."""
    layer = _tar({"release": bytes(megabytes * 2**20)})
    created = f"2026-01-{release:02}T00:00:00Z"
    config = {
        "architecture": "amd64",
        "os": "linux",
        "created": created,
        "config": {"Labels": {labels.KIT: "fault", LABEL: "reclaim-disk"}},
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{hashlib.sha256(layer).hexdigest()}"]},
        "history": [{"created": created, "created_by": f"release {release}"}],
    }
    manifest = [{"Config": "config.json", "RepoTags": [tag], "Layers": ["layer.tar"]}]
    texts = {"config.json": config, "manifest.json": manifest}
    return _tar({"layer.tar": layer, **{name: json.dumps(text).encode() for name, text in texts.items()}})


def _tar(files: dict[str, bytes]) -> bytes:
    out = io.BytesIO()
    with tarfile.TarFile(fileobj=out, mode="w") as tar:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))
    return out.getvalue()


def _volumes(engine: Engine, container: str) -> None:
    volume, made = f"{container}-data", _labels(engine)
    engine.client.volumes.create(volume, labels=made)
    command = ["sh", "-c", _WRITE.format("/data/file", 2)]
    engine.client.containers.run(
        "busybox:lab", command, volumes=[f"{volume}:/data"], labels=made, remove=True
    )


_MAKERS = {"leftovers": _leftovers, "volumes": _volumes}


def _labels(engine: Engine) -> dict[str, str]:
    return {**labels.ours(engine.id), LABEL: "reclaim-disk"}


def oracle(engine: Engine, container: str = "web") -> str | None:
    """Which leftovers there are, from lists of the raw API."""
    if _listed(engine, "containers", "&all=1", status=["exited"]) or _listed(
        engine, "images", dangling=["true"]
    ):
        return "leftovers"
    networks = _listed(engine, "networks", dangling=["true"])
    volumes = _listed(engine, "volumes", dangling=["true"])
    return "leftovers" if networks else "volumes" if volumes else None


def _listed(engine: Engine, kind: str, more: str = "", **filters: list[str]) -> list[dict[str, Any]]:
    chosen = quote(json.dumps({"label": [f"{LABEL}=reclaim-disk"], **filters}))
    path = {"containers": "containers/json", "images": "images/json"}.get(kind, kind)
    found = json.loads(wire.get(engine, f"/{path}?filters={chosen}{more}") or b"[]")
    return list((found.get("Volumes") if isinstance(found, dict) else found) or [])


def undo(engine: Engine, container: str = "web") -> None:
    """Remove all that this fault made."""
    api = engine.client.api
    for row in _listed(engine, "containers", "&all=1"):
        api.remove_container(row["Id"], force=True, v=True)
    for row in _listed(engine, "images"):
        api.remove_image(row["Id"], force=True)
    for row in _listed(engine, "networks"):
        api.remove_network(row["Id"])
    for row in _listed(engine, "volumes"):
        api.remove_volume(row["Name"])
