"""A real registry on the engine's host: what is pushed can be pulled, a forgery cannot, and nothing of it is left."""

from __future__ import annotations

import io
from contextlib import suppress
from pathlib import Path

import pytest

import labkit
from labkit.engine import Engine
from labkit.errors import LabkitError, MissingCapability, UsageError
from labkit.lab.registries import Registry, open_registry

BOOK = b'FROM busybox:lab\nRUN echo leek soup >/soup\nRUN echo apple cake >/cake\nCMD ["cat", "/soup"]\n'


@pytest.fixture
def registry(engine: Engine) -> Registry:
    return open_registry(engine)


@pytest.fixture
def cookbook(engine: Engine, registry: Registry) -> str:
    """An image of three layers in the registry, of which the engine has none but the lowest."""
    reference = f"{registry}/cookbook:1"
    try:
        registry.digest(reference)
    except LabkitError:
        engine.client.images.build(fileobj=io.BytesIO(BOOK), tag=reference, rm=True)
        engine.client.images.push(reference)
        engine.client.images.remove(reference)
    return reference


def test_what_is_pushed_can_be_pulled(engine: Engine, registry: Registry, cookbook: str) -> None:
    """An image comes back from the registry, by its tag and by the digest that the registry tells."""
    for name in (cookbook, f"{registry}/cookbook@{registry.digest(cookbook)}"):
        engine.client.images.pull(name)
        assert engine.client.containers.run(name, remove=True) == b"leek soup\n"
        engine.client.images.remove(name)
    assert len(registry.layers("cookbook:1")) == 3


def test_a_forged_layer_is_refused_and_then_whole_again(
    engine: Engine, registry: Registry, cookbook: str
) -> None:
    """A layer with other content cannot be pulled and nothing of the image is kept; after the block it can."""
    count = "ls /var/lib/docker/image/overlay2/layerdb/sha256 | wc -l"
    before = engine.host.run(count).stdout
    with registry.tampered(cookbook, "leek soup", "mold soup") as layer:
        assert layer == registry.layers(cookbook)[1]
        told = engine.client.api.pull(cookbook, stream=True, decode=True)
        errors = [line["error"] for line in told if "error" in line]
        assert errors == [f"filesystem layer verification failed for digest {layer}"]
        assert [image.tags for image in engine.client.images.list()] == [["busybox:lab"]]
        assert engine.host.run(count).stdout == before
    assert engine.client.images.pull(cookbook).tags == [cookbook]
    engine.client.images.remove(cookbook)


@pytest.mark.parametrize(
    ("words", "instead"), [("leek soup", "mold"), ("leek/soup", "leek.soup"), ("no such", "sentence")]
)
def test_a_forgery_that_cannot_be_is_refused(
    registry: Registry, cookbook: str, words: str, instead: str
) -> None:
    """Words of another length, with signs in them, or that no layer holds are a usage error, and nothing changes."""
    with pytest.raises(UsageError), registry.tampered(cookbook, words, instead):
        pass
    assert registry.layers(cookbook)


def test_what_the_registry_has_not_is_said(registry: Registry) -> None:
    """A tag that was never pushed is one clear message."""
    with pytest.raises(LabkitError, match="has no soup:2"):
        registry.digest("soup:2")


def test_opened_again_it_is_the_same_and_stopped_it_leaves_nothing(
    engine: Engine, registry: Registry, cookbook: str
) -> None:
    """Opening a second time finds what was pushed; after stop, said twice, neither process nor file is left."""
    assert open_registry(engine).digest(cookbook) == registry.digest(cookbook)
    registry.stop()
    registry.stop()
    left = "/run/labkit-registry* /var/lib/docker-registry/* /etc/docker/registry/labkit*"
    look = f"pgrep -f '[d]ocker-registry serve'; ls -d {left}"
    assert engine.host.run(look, check=False).stdout == ""


def test_the_registry_ends_with_its_engine() -> None:
    """No process of the engine's host is left when the engine has ended, the registry's neither."""
    with labkit.open_engine("sandbox", name="ends") as engine:
        open_registry(engine)
        here = _processes_beside(engine.host.pid)  # type: ignore[attr-defined]
        assert "docker-registry" in {_name(pid) for pid in here}
    assert not [pid for pid in here if Path(f"/proc/{pid}").exists()]


def _name(pid: str) -> str:
    with suppress(OSError):  # it has ended
        return Path(f"/proc/{pid}/comm").read_text().strip()
    return ""


def _processes_beside(pid: int) -> list[str]:
    """The processes of this machine that share the process namespace of *pid*."""
    wanted = Path(f"/proc/{pid}/ns/pid").readlink()
    found = []
    for entry in Path("/proc").glob("[0-9]*/ns/pid"):
        with suppress(OSError):  # it has ended
            if entry.readlink() == wanted:
                found.append(entry.parts[2])
    return found


def test_a_port_that_is_taken_is_said(engine: Engine) -> None:
    """Where a container has the port, the registry does not start, the message says why, and nothing half-made is left."""
    engine.client.containers.run("busybox:lab", "sleep 100", detach=True, ports={"80/tcp": 5001})
    with pytest.raises(LabkitError, match="port 5001 is taken"):
        open_registry(engine, 5001)
    assert (
        "5001"
        not in engine.host.run("ls /run /etc/docker/registry /var/lib/docker-registry", check=False).stdout
    )


def test_no_registry_beside_an_engine_that_is_not_ours(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a shared engine nothing is started on somebody's host."""
    monkeypatch.setattr(engine, "owned", False, raising=False)
    with pytest.raises(MissingCapability):
        open_registry(engine)
