"""The names of images: one spelling for each, what it stands for on an engine, and those inside an archive."""

from __future__ import annotations

import json
import tarfile
from typing import Any, BinaryIO, cast

import docker

__all__ = ["in_archive", "is_tagged", "reference", "resolve"]


def is_tagged(name: str) -> bool:
    """Whether *name* ends in a tag or a digest."""
    return "@" in name or ":" in name.rpartition("/")[2]


def reference(name: str, tag: str = "") -> str:
    """*name* as an engine lists it: with its tag, and without the registry that goes without saying."""
    name = name.removeprefix("docker.io/").removeprefix("library/")
    if tag and not is_tagged(name):
        return f"{name}@{tag}" if tag.startswith("sha256:") else f"{name}:{tag}"
    return name if is_tagged(name) else f"{name}:latest"


def resolve(api: docker.APIClient, name: str) -> str | None:
    """The id of the image that *name* stands for, or None."""
    try:
        return str(api.inspect_image(name)["Id"])
    except docker.errors.NotFound:
        return None


def in_archive(archive: object) -> dict[str, str]:
    """The names in an *archive* as ``docker save`` writes it (a file that can be read again), each with its image's id.

    Sources: Docker Image Specification v1.2 (``manifest.json``), OCI Image Layout (``index.json``).  Raises `ValueError`
    for what is neither, and for a stream that could be read only once.
    """
    if not (hasattr(archive, "seek") and hasattr(archive, "read")):
        raise ValueError("it is not a file")
    file = cast(BinaryIO, archive)
    start = file.tell()
    try:
        with tarfile.open(fileobj=file) as tar:
            members = {member.name: member for member in tar}
            if "manifest.json" in members:
                return _of_docker(_json(tar, members["manifest.json"]))
            return _of_oci(_json(tar, members["index.json"]))
    except (tarfile.TarError, EOFError, KeyError, TypeError) as error:
        raise ValueError(f"no manifest.json and no index.json ({error})") from None
    finally:
        file.seek(start)


def _json(tar: tarfile.TarFile, member: tarfile.TarInfo) -> Any:
    return json.load(cast(BinaryIO, tar.extractfile(member)))


def _of_docker(manifest: list[dict[str, Any]]) -> dict[str, str]:
    return {
        reference(name): "sha256:" + str(image["Config"]).rpartition("/")[2].removesuffix(".json")
        for image in manifest
        for name in image.get("RepoTags") or []
    }


def _of_oci(index: dict[str, Any]) -> dict[str, str]:
    named = {
        (image.get("annotations") or {}).get("io.containerd.image.name"): str(image["digest"])
        for image in index["manifests"]
    }
    return {reference(name): id_ for name, id_ in named.items() if name}
