"""Parameters that name something on a live engine: found by name and id, and what is told when it is not there."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import docker.errors
import nbformat
import pytest

from labkit.engine import Engine, open_engine
from labkit.errors import EngineUnreachable, UsageError
from labkit.runbook.parameters import prepare, read, validate


def declared(annotation: str, default: str = "None", name: str = "it") -> Any:
    source = f"{name}: {annotation} = {default}"
    cell = nbformat.v4.new_code_cell(source, metadata={"tags": ["parameters"]})
    return read(nbformat.v4.new_notebook(cells=[cell]))


@pytest.fixture
def ids(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, str]]:
    """An engine with one object of each kind, reached by DOCKER_HOST; their ids by kind."""
    monkeypatch.setenv("DOCKER_HOST", engine.url)
    client = engine.client
    container = client.containers.create("busybox:lab", name="web")
    image = client.images.get("busybox:lab")
    client.volumes.create("data")
    network = client.networks.create("backend")
    yield {"Container": container.id, "Image": image.id, "Volume": "data", "Network": network.id}


NAMES = {"Container": "web", "Image": "busybox:lab", "Volume": "data", "Network": "backend"}


@pytest.mark.parametrize("kind", NAMES)
def test_an_object_is_found_by_name_and_by_id(kind: str, ids: dict[str, str]) -> None:
    """A short id too; the value is its name, with its full id."""
    known = ids[kind].removeprefix("sha256:")
    for given in (NAMES[kind], ids[kind], known[:12]):
        found = dict(prepare(declared(kind), {"it": given}))["it"]
        assert (found, found.id) == (NAMES[kind], ids[kind])


@pytest.mark.parametrize("kind", NAMES)
def test_what_is_not_there_is_told_with_the_nearest_name(kind: str, ids: dict[str, str]) -> None:
    """Exit code 2, what there is, and what was probably meant; also for what no name can be."""
    misspelt = NAMES[kind][:-1] + "x"
    with pytest.raises(UsageError) as told:
        prepare(declared(kind), {"it": misspelt})
    assert told.value.what == f"no {kind.lower()} called {misspelt!r}"
    assert NAMES[kind] in told.value.seen
    assert told.value.try_ == f"-p it={NAMES[kind]}"
    with pytest.raises(UsageError) as told:
        prepare(declared(kind), {"it": NAMES[kind].upper()})
    assert told.value.try_ == f"-p it={NAMES[kind]}"
    for nonsense in ("<x>", "../volumes", "a b", "web/json", "ünï"):
        with pytest.raises(UsageError, match=f"no {kind.lower()} called {nonsense!r}"):
            prepare(declared(kind), {"it": nonsense})


def test_lists_and_optionals_are_looked_up_too(ids: dict[str, str]) -> None:
    """Each member of a list; nothing for None, and then without an engine."""
    both = declared("list[Container]", "[]")
    assert dict(prepare(both, {"it": "web,web"}))["it"] == ["web", "web"]
    with pytest.raises(UsageError, match="'wbe'") as told:
        prepare(both, {"it": "web,wbe"})
    assert told.value.try_ == "-p it=web"
    with pytest.raises(UsageError, match="no volume called 'dta'"):
        prepare(declared("Volume | None"), {"it": "dta"})


@pytest.mark.parametrize("module_engine", ["debian-12"], indirect=True)
def test_several_with_one_name_are_not_guessed_between(ids: dict[str, str], engine: Engine) -> None:
    """Docker 20.10 lets two networks have the same name; its own words say so."""
    engine.client.networks.create("backend")
    with pytest.raises(UsageError, match="cannot tell which network 'backend' is"):
        prepare(declared("Network"), {"it": "backend"})
    assert dict(prepare(declared("Network"), {"it": ids["Network"]}))["it"].id == ids["Network"]


def test_a_path_is_looked_for_on_the_engines_host(ids: dict[str, str], engine: Engine) -> None:
    """Not on this machine; a new one must be free, in a folder that is there."""
    engine.host.run("mkdir -p /srv/backups && touch /srv/backups/monday")
    there, free = declared("HostPath"), declared("NewHostPath")
    assert not Path("/srv/backups/monday").exists()
    assert dict(prepare(there, {"it": "/srv/backups/monday"}))["it"] == "/srv/backups/monday"
    assert dict(prepare(free, {"it": "/srv/backups/tuesday"}))["it"] == "/srv/backups/tuesday"
    for kind, given, told_ in [
        (there, "/srv/backups/mondya", "no path on the engine's host called"),
        (free, "/srv/backups/monday", "is there already"),
        (free, "/srv/backup/x", "no path on the engine's host called '/srv/backup'"),
    ]:
        with pytest.raises(UsageError, match=told_):
            prepare(kind, {"it": given})
    with pytest.raises(UsageError) as told:
        prepare(there, {"it": "/srv/backups/mondya"})
    assert told.value.try_ == "-p it=/srv/backups/monday"


@pytest.mark.parametrize(
    ("kind", "fact", "more", "called"),
    [
        ("Memory", "MemTotal", 1, "memory"),
        ("Optional[Memory]", "MemTotal", 1, "memory"),
        ("Annotated[Memory, Ge('6m')]", "MemTotal", 1, "memory"),
        ("CPUs", "NCPU", 0.000000001, "CPUs"),
        ("list[CPUs] | None", "NCPU", 0.01, "CPUs"),
    ],
)
def test_no_more_of_it_than_the_host_has(
    kind: str, fact: str, more: float, called: str, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A limit above it would limit nothing: refused with what there is; all of it is not too much."""
    monkeypatch.setenv("DOCKER_HOST", engine.url)
    there = engine.client.info()[fact]
    all_of_it = dict(prepare(declared(kind), {"it": str(there)}))["it"]
    assert all_of_it in (there, [there])
    for much in (str(there + more), "999999"):
        given = much if called == "CPUs" else f"{much}" + ("g" if much == "999999" else "")
        with pytest.raises(UsageError, match=f"more {called} than the engine's host has") as told:
            prepare(declared(kind), {"it": given})
        assert f"docker info: {fact} {there}" in told.value.seen
        assert told.value.expected == f"at most {there}"


def test_an_engine_has_the_same_bound_for_cpus(engine: Engine) -> None:
    """What we take of CPUs it takes, and no more: its own words name the number that ``docker info`` tells."""
    engine.capabilities.require("cpu-limit")
    there = engine.client.info()["NCPU"]
    engine.client.containers.create("busybox:lab", nano_cpus=there * 10**9)
    with pytest.raises(docker.errors.APIError) as told:
        engine.client.containers.create("busybox:lab", nano_cpus=there * 10**9 + 1)
    assert f"Range of CPUs is from 0.01 to {there}.00" in str(told.value.explanation)


@pytest.mark.parametrize("module_engine", ["debian-13"], indirect=True)
def test_the_engine_that_is_asked_is_the_one_that_is_used(ids: dict[str, str], tmp_path: Path) -> None:
    """By --engine as by DOCKER_HOST: a container of another engine is not found."""
    path = tmp_path / "book.ipynb"
    cell = nbformat.v4.new_code_cell("it: Container = 'web'", metadata={"tags": ["parameters"]})
    nbformat.write(nbformat.v4.new_notebook(cells=[cell]), path)
    name = f"other-{os.getpid()}"  # another test may have an engine called other, beside this one
    with open_engine(name=name):
        command = [sys.executable, "-m", "labkit", "run", str(path), "--out", str(tmp_path)]
        elsewhere = subprocess.run([*command, "--engine", name], capture_output=True, text=True, check=False)
    here = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (elsewhere.returncode, here.returncode) == (2, 1), elsewhere.stderr + here.stderr
    assert "no container called 'web'" in elsewhere.stderr
    assert "no container called" not in here.stderr  # it ran, and lacks only an outcome


@pytest.mark.parametrize("module_engine", ["debian-13"], indirect=True)
def test_no_engine_is_said_before_anything_starts(
    module_engine: Engine, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Exit code 3; without a live value no engine is asked at all."""
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/nobody.sock")
    with pytest.raises(EngineUnreachable, match=r"nobody\.sock"):
        prepare(declared("Container"), {"it": "web"})
    assert dict(prepare(declared("Container | None"), {}))["it"] is None
    assert dict(validate(declared("Container"), {"it": "web"}))["it"] == "web"
