"""Lab images: the catalogue, a registry on the user's machine, and what is there already is left alone."""

from __future__ import annotations

import io
import os
import socket
import subprocess
import tarfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import docker
import pytest

import labkit
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


def test_an_image_is_pulled_by_its_digest(engine: Engine, registry: int) -> None:
    """What a registry has is taken from there, and called by its name here."""
    repository = f"host.docker.internal:{registry}/busybox"
    image = engine.client.images.get("busybox:lab")
    image.tag(repository, "1")
    engine.client.images.push(repository, tag="1")
    image.reload()
    for name in (f"{repository}:1", "busybox:lab"):
        engine.client.images.remove(name)
    pinned = replace(images.catalogue()["busybox"], registry=image.attrs["RepoDigests"][0])
    assert images._pull(engine, pinned, print)
    assert engine.client.images.get("busybox:lab").id == image.id
    absent = replace(pinned, registry=f"{repository}@sha256:{'0' * 64}")
    told: list[str] = []
    assert not images._pull(engine, absent, told.append)
    assert "not from a registry (manifest for" in told[-1], told
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


def test_a_registry_that_hangs_is_given_up(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """With bad wifi a registry takes the connection and says nothing: the next source is tried, and the reason told."""
    monkeypatch.delenv("LABKIT_OFFLINE", raising=False)
    told: list[str] = []
    with socket.create_server(("127.0.0.1", 0)) as silent:
        where = f"host.docker.internal:{silent.getsockname()[1]}/busybox@sha256:{'0' * 64}"
        image = replace(images.catalogue()["busybox"], registry=where)
        monkeypatch.setattr(images, "SILENCE", 2)
        assert images._pull(engine, image, told.append) is False
    assert "timed out" in told[-1], told


@pytest.mark.parametrize("explanation", ["", None, "\n", "no such host\nand more"])
def test_a_registrys_error_may_be_empty(explanation: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever words come with a registry's error, or none, the next source is tried."""
    monkeypatch.delenv("LABKIT_OFFLINE", raising=False)
    told: list[str] = []

    def pull(*_: object) -> None:
        raise docker.errors.APIError("x", explanation=explanation)

    monkeypatch.setattr(images, "_pull_by_digest", pull)
    engine = cast(Engine, None)
    assert images._pull(engine, images.catalogue()["busybox"], told.append) is False
    assert told[-1].startswith("  not from a registry (") and len(told[-1]) > 25


# -- the services answer

HELLO = """
defaults
    mode http
    timeout client 5s
    timeout server 5s
    timeout connect 5s
frontend web
    bind :80
    http-request return status 200 content-type text/plain string hello
"""


def _http(container: Any, port: int) -> str:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=5) as reply:
        return str(reply.read().decode())


def _redis(container: Any, port: int) -> str:
    with socket.create_connection(("127.0.0.1", port), 5) as connection:
        connection.sendall(b"PING\r\n")
        return connection.recv(64).decode()


def _postgres(container: Any, port: int) -> str:
    query = ["psql", "-h", "127.0.0.1", "-U", "postgres", "-tAc", "select 'answer ' || 6 * 7"]
    return str(container.exec_run(query, environment={"PGPASSWORD": "open"}).output.decode())


SERVICES: dict[str, tuple[int, Callable[[Any, int], str], str]] = {
    "redis": (6379, _redis, "+PONG"),
    "nginx": (80, _http, "Welcome to nginx"),
    "haproxy": (80, _http, "hello"),
    "postgres": (5432, _postgres, "answer 42"),
}
ALL = bool(os.environ.get("LABKIT_TEST_IMAGES"))
"""Build each service's image anew and try it, which takes some minutes; else one is tried, from the store."""


@pytest.mark.timeout(400)
@pytest.mark.parametrize("name", list(SERVICES) if ALL else ["redis"])
def test_a_service_answers(name: str) -> None:
    """A container of the image, started as it is, serves its clients."""
    port, ask, expected = SERVICES[name]
    with labkit.open_engine("sandbox", name=f"image-{name}", images=["debian"]) as engine:
        if ALL:
            images._run_dockerfile(engine, images.catalogue()[name])
        else:
            images.ensure(engine, [name])
        container = engine.client.containers.create(
            f"{name}:lab", ports={f"{port}/tcp": None}, environment={"POSTGRES_PASSWORD": "open"}
        )
        if name == "haproxy":
            container.put_archive("/etc/haproxy", tar("haproxy.cfg", HELLO))
        container.start()
        said, end = "", time.monotonic() + 60
        while expected not in said:
            container.reload()
            assert container.status == "running", container.logs().decode()
            assert time.monotonic() < end, (said, container.logs().decode())
            if here := [found.local_port for found in engine.ports if found.local_port]:
                with suppress(OSError):
                    said = ask(container, here[0])
            time.sleep(0.05)


def tar(name: str, text: str) -> bytes:
    written = io.BytesIO()
    with tarfile.open(fileobj=written, mode="w") as archive:
        member = tarfile.TarInfo(name)
        member.size = len(text)
        archive.addfile(member, io.BytesIO(text.encode()))
    return written.getvalue()
