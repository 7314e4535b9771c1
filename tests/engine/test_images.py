"""Lab images: the catalogue, a registry on the user's machine, and what is there already is left alone."""

from __future__ import annotations

import io
import json
import os
import re
import shutil
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
from labkit.engine import Engine, images, mirrors, packs, sources
from labkit.engine import catalogue as catalogues
from labkit.engine.catalogue import catalogue
from labkit.errors import LabkitError, UsageError
from tests.ports import free_port


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[int]:
    """A real registry (the pack's docker-registry) on this machine's loopback; gives its port."""
    program = packs.find().program("usr/bin/docker-registry")
    assert program is not None
    port = free_port()
    config = tmp_path / "registry.yml"
    config.write_text(
        f"version: 0.1\nhttp: {{addr: '127.0.0.1:{port}'}}\n"
        f"storage: {{filesystem: {{rootdirectory: '{tmp_path}/blobs'}}, delete: {{enabled: true}}}}\n"
    )
    process = subprocess.Popen(
        [*program, "serve", str(config)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        end = time.monotonic() + 60
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


def test_an_image_is_pulled_by_its_digest(
    engine: Engine, registry: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a registry has is taken from there, and called by its name here; so it is from a mirror of the one that is named.

    Where that has not got it, gives something else under the digest, or is not there at all, the reason is told.
    """
    monkeypatch.delenv("LABKIT_OFFLINE", raising=False)
    repository = f"host.docker.internal:{registry}/library/busybox"
    image = engine.client.images.get("busybox:lab")
    image.tag(repository, "1")
    engine.client.images.push(repository, tag="1")
    image.reload()
    pin, told = image.attrs["RepoDigests"][0], []
    digest = pin.partition("@")[2]
    mirrored = sources.Search(mirror=f"localhost:{registry}")
    for reference, search in ((pin, sources.Search()), (f"docker.io/library/busybox@{digest}", mirrored)):
        engine.client.images.remove(image.id, force=True)
        pinned = replace(catalogue()["busybox"], registry=reference)
        assert sources.pull(engine, pinned, told.append, search)
        assert engine.client.images.get("busybox:lab").id == image.id
    assert told[-1] == f"image busybox: asking the registry localhost:{registry} for library/busybox"

    engine.client.images.remove(image.id, force=True)
    forged = "1" * 64  # not the digest of what was pulled above: the engine may have kept that for a while
    given_as(digest.partition(":")[2], forged, tmp_path / "blobs")
    for where, tag, why in (
        (mirrored, "0" * 64, "manifest for"),
        (mirrored, forged, "verification failed"),
        (sources.Search(mirror="127.0.0.1:1"), "0" * 64, "connection refused"),
    ):
        absent = replace(pinned, registry=f"docker.io/library/busybox@sha256:{tag}")
        assert not sources.pull(engine, absent, told.append, where)
        assert told[-1].startswith("  not from a registry (") and why in told[-1], told
    engine.reset()


def given_as(known: str, other: str, folder: Path) -> None:
    """Have the registry whose files are in *folder* give what has the digest *known* under *other* as well."""
    for kept in [*folder.glob(f"**/{known}")]:
        place = (
            str(kept.relative_to(folder)).replace(known, other).replace(f"/{known[:2]}/", f"/{other[:2]}/")
        )
        shutil.copytree(kept, folder / place)
        if (folder / place / "link").exists():
            (folder / place / "link").write_text(f"sha256:{other}")


@pytest.mark.parametrize(
    ("mirror", "asked"),
    [
        ("", "docker.io/library/busybox@sha256:0"),
        ("localhost:5000", "host.docker.internal:5000/library/busybox@sha256:0"),
        ("127.0.0.9/hub", "host.docker.internal/hub/library/busybox@sha256:0"),
        ("room7.lan:5000/docker/hub", "room7.lan:5000/docker/hub/library/busybox@sha256:0"),
        *(
            (wrong, None)
            for wrong in ("mirror", "http://room7.lan", "room7.lan/", "room7.lan/Hub", "a b:1", ":5000")
        ),
    ],
)
def test_a_mirror_takes_the_place_of_the_registry(
    mirror: str, asked: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By path and digest as the catalogue has them, and the machine's loopback is meant; nonsense is told at once."""
    monkeypatch.setenv("LABKIT_REGISTRY", mirror)
    if asked is None:
        with pytest.raises(UsageError, match="names no registry"):
            images.get(["busybox"])
    else:
        assert mirrors.reference("docker.io/library/busybox@sha256:0", mirrors.chosen(None)) == asked
        assert mirrors.chosen("other:1") == "other:1"


def test_what_docker_is_told_of_a_mirror_counts(
    engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Plain HTTP where this machine's daemon.json allows it, and whom certs.d trusts; of private keys nothing is taken."""
    monkeypatch.setattr(mirrors, "DOCKER", tmp_path)
    assert mirrors.config("room7.lan:5000") == {"insecure-registries": ["10.0.2.2/32"]}
    (tmp_path / "daemon.json").write_text('{"insecure-registries": ["room7.lan:5000"]}')
    assert mirrors.config("room7.lan:5000") == {"insecure-registries": ["10.0.2.2/32", "room7.lan:5000"]}
    assert mirrors.config("") == {"insecure-registries": ["10.0.2.2/32"]}
    folder = tmp_path / "certs.d/room7.lan:5000"
    folder.mkdir(parents=True)
    for name in ("ca.crt", "client.key"):
        (folder / name).write_text(name)
    mirrors.trust(engine, "room7.lan:5000/hub")
    assert engine.host.run(["ls", str(folder)]).stdout.split() == ["ca.crt"]


def test_an_outdated_image_is_used_until_a_new_one_is_asked_for(
    registry: int, own_folders: tuple[Path, Path], own_catalogue: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A new recipe changes nothing by itself: that is told; asked for, the image comes by its digest, or the old one stays."""
    monkeypatch.delenv("LABKIT_OFFLINE", raising=False)
    told: list[str] = []
    facts = own_folders[0] / "images/busybox.json"
    kept = json.loads(facts.read_text())
    facts.write_text(json.dumps({"id": kept["id"], "source": kept["source"]}))
    (before,) = images.get(["busybox"], told.append, refresh=True)
    assert not before.outdated and told == [], "a store of before recipes were noted"

    facts.write_text(json.dumps({**kept, "recipe": "another"}))
    (outdated,) = images.get(["busybox"], told.append)
    assert outdated.outdated and "labkit images get busybox" in told[-1]

    pin = _pushed("busybox", registry).replace(f"host.docker.internal:{registry}", "docker.io")
    monkeypatch.setenv("LABKIT_REGISTRY", f"127.0.0.1:{registry}")
    _set_pin(own_catalogue, pin.partition("@")[0] + f"@sha256:{'0' * 64}")
    with pytest.raises(LabkitError, match="cannot be had from registry"):
        images.get(["busybox"], told.append, sources=["registry"], refresh=True)
    assert images.stored("busybox") == outdated

    _set_pin(own_catalogue, pin)
    (fresh,) = images.get(["busybox"], told.append, sources=["registry"], refresh=True)
    assert (fresh.id, fresh.source, fresh.outdated) == (before.id, "registry", False)
    _set_pin(own_catalogue, pin[:-4] + "0000")
    assert fresh.outdated


def _pushed(name: str, registry: int) -> str:
    """What the image is called in the *registry* by its digest, once it is there."""
    repository = f"host.docker.internal:{registry}/{name}"
    with labkit.open_engine("sandbox", name="pusher") as engine:
        images.load(engine, [name])
        image = engine.client.images.get(f"{name}:lab")
        image.tag(repository, "1")
        engine.client.images.push(repository, tag="1")
        image.reload()
        return str(image.attrs["RepoDigests"][0])


@pytest.fixture
def own_catalogue(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the catalogue, to change."""
    folder = Path(shutil.copytree(catalogues.FOLDER, tmp_path / "catalogue"))
    monkeypatch.setattr(catalogues, "FOLDER", folder)
    return folder


def _set_pin(folder: Path, reference: str) -> None:
    facts = folder / "busybox/image.toml"
    facts.write_text(re.sub(r'registry = "[^"]*"', f'registry = "{reference}"', facts.read_text()))


def test_a_recipe_is_all_that_decides_what_an_image_is(own_catalogue: Path) -> None:
    """Dockerfile, what goes with it, its mode, and the base's count for what is built, the pin for what is pulled."""

    def recipes() -> tuple[str, str]:
        image = catalogue()["postgres"]
        return catalogues.recipe(image, "build"), catalogues.recipe(image, "registry")

    folder = own_catalogue / "postgres"
    seen = [recipes()]
    for change in (
        lambda: (folder / "Dockerfile").write_text("FROM debian:lab\n"),
        lambda: (folder / "more").write_text("x"),
        lambda: (folder / "entrypoint.sh").chmod(0o644),
        lambda: (own_catalogue / "debian/Dockerfile").write_text("FROM scratch\n"),
    ):
        change()
        seen.append(recipes())
    assert len({built for built, _ in seen}) == len(seen) and len({pulled for _, pulled in seen}) == 1
    facts = folder / "image.toml"
    facts.write_text(facts.read_text().replace("about =", "about = 'another'\nis ="))
    assert recipes() == seen[-1], "what it is said to be does not matter"
    facts.write_text(facts.read_text().replace("@sha256:", "@sha256:0"))
    assert recipes()[0] == seen[-1][0] and recipes()[1] != seen[-1][1]


def test_ensure_leaves_what_is_there_alone(engine: Engine) -> None:
    """An image that the engine has is neither loaded nor tagged again."""
    told: list[str] = []
    images.ensure(engine, ["busybox"], told.append)
    assert told == []


def test_every_image_of_the_catalogue_can_be_built() -> None:
    """Every image has a description, and a Dockerfile or nothing that it builds on."""
    found = catalogue()
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
        image = replace(catalogue()["busybox"], registry=where)
        monkeypatch.setattr(sources, "SILENCE", 2)
        given_up = sources.Search()
        assert sources.pull(engine, image, told.append, given_up) is False
    assert "timed out" in told[-1], told
    heard = len(told)
    assert sources.pull(engine, image, told.append, given_up) is False
    assert len(told) == heard, "another image of that registry does not wait again"


@pytest.mark.parametrize("explanation", ["", None, "\n", "no such host\nand more"])
def test_a_registrys_error_may_be_empty(explanation: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever words come with a registry's error, or none, the next source is tried."""
    monkeypatch.delenv("LABKIT_OFFLINE", raising=False)
    told: list[str] = []

    def pull(*_: object) -> None:
        raise docker.errors.APIError("x", explanation=explanation)

    monkeypatch.setattr(sources, "_pull_by_digest", pull)
    engine = cast(Engine, None)
    assert sources.pull(engine, catalogue()["busybox"], told.append, sources.Search()) is False
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
            sources._run_dockerfile(engine, catalogue()[name])
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
