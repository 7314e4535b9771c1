"""Lab images: the catalogue, a registry on the user's machine, and what is there already is left alone."""

from __future__ import annotations

import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from labkit.engine import Engine, images, packs


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[int]:
    """A real registry (the pack's docker-registry) on this machine's loopback; gives its port."""
    program = packs.find().program("usr/bin/docker-registry")
    assert program is not None
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    config = tmp_path / "registry.yml"
    config.write_text(
        f"version: 0.1\nhttp: {{addr: '127.0.0.1:{port}'}}\n"
        f"storage: {{filesystem: {{rootdirectory: '{tmp_path}/blobs'}}, delete: {{enabled: true}}}}\n"
    )
    process = subprocess.Popen(
        [*program, "serve", str(config)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        end = time.monotonic() + 20
        while True:
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/v2/", timeout=2).close()
                break
            except OSError:
                assert time.monotonic() < end and process.poll() is None
                time.sleep(0.05)
        yield port
    finally:
        process.kill()
        process.wait()


def test_engine_pushes_to_and_pulls_from_a_registry_on_this_machine(engine: Engine, registry: int) -> None:
    """An image pushed to a registry on the user's machine is pulled back by digest, the same to the bit."""
    repository = f"host.docker.internal:{registry}/busybox"
    image = engine.client.images.get("busybox:lab")
    image.tag(repository, "1")
    pushed = engine.client.images.push(repository, tag="1")
    assert "digest: sha256:" in pushed, pushed
    engine.client.images.remove(f"{repository}:1")
    engine.client.images.remove("busybox:lab")
    pulled = engine.client.images.pull(repository, tag="1")
    assert pulled.id == image.id
    assert pulled.attrs["RepoDigests"][0].startswith(f"{repository}@sha256:")
    engine.reset()


def test_ensure_leaves_what_is_there_alone(engine: Engine) -> None:
    """An image that the engine has is neither loaded nor tagged again."""
    told: list[str] = []
    images.ensure(engine, ["busybox"], told.append)
    assert told == []


def test_every_image_of_the_catalogue_can_be_built() -> None:
    """Every image has a description, and a Dockerfile or nothing that it builds on."""
    found = images.catalogue()
    assert set(found) == {"debian", "busybox", "redis", "nginx", "postgres", "haproxy"}
    for image in found.values():
        assert image.about
        assert (image.folder / "Dockerfile").exists() == bool(image.base)
        assert not image.registry or "@sha256:" in image.registry
