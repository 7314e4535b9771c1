"""On a shared engine nothing is changed that is not labkit's, whichever request is tried."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import docker
import pytest

import labkit
from labkit.engine import Engine, references
from labkit.errors import Refused
from tests.containers import said


class Try(NamedTuple):
    """A request; ``{c}`` stands for the container, ``{x}`` for an exec in it, ``{i}`` for the image, ``{n}`` and ``{v}``
    for network and volume, ``{my}`` for a container of ours, and ``{net}`` for a network of ours."""

    method: str
    path: str
    query: Mapping[str, str] = MappingProxyType({})
    body: dict[str, Any] | None = None
    stream: bytes | None = None

    def __str__(self) -> str:
        return f"{self.method} {self.path} {' '.join(f'{k}={v}' for k, v in self.query.items())}".strip()


ON_THEIRS = [
    *(
        Try("POST", f"/containers/{{c}}/{verb}")
        for verb in ("start", "stop", "restart", "kill", "pause", "unpause")
    ),
    Try("POST", "/containers/{c}/update", body={"Memory": 2**26}),
    Try("POST", "/containers/{c}/rename", {"name": "mine"}),
    Try("POST", "/containers/{c}/resize", {"h": "1", "w": "1"}),
    Try("POST", "/containers/{c}/exec", body={"Cmd": ["true"]}),
    Try("POST", "/containers/{c}/attach", {"stream": "1", "stdin": "1"}),
    Try("PUT", "/containers/{c}/archive", {"path": "/"}),
    Try("DELETE", "/containers/{c}", {"force": "1"}),
    Try("DELETE", "//containers//{c}", {"force": "1"}),
    Try("POST", "/exec/{x}/start", body={"Detach": True}),
    Try("POST", "/exec/{x}/resize", {"h": "1", "w": "1"}),
    Try("POST", "/commit", {"container": "{c}"}),
    Try("POST", "/commit", {"container": "{my}", "repo": "theirs", "tag": "1"}),
    Try("POST", "/networks/{n}/connect", body={"Container": "{c}"}),
    Try("POST", "/networks/{net}/connect", body={"Container": "{c}"}),
    Try("POST", "/networks/bridge/disconnect", body={"Container": "{c}", "Force": True}),
    Try("POST", "/networks/bridge/disconnect", body={"Container": "{my}", "CONTAINER": "{c}"}),
    Try("POST", "/networks/bridge/disconnect", stream=b'{"Container": "theirs"}'),
    Try("POST", "/containers/create", {"name": "mine"}, stream=b"[]"),
    Try("GET", "/containers/{c}/attach/ws", {"stream": "1", "stdin": "1"}),
    Try("DELETE", "/networks/{n}"),
    Try("PUT", "/volumes/{v}", body={}),
    Try("DELETE", "/volumes/{v}"),
    Try("DELETE", "/images/{i}"),
    Try("DELETE", "/images/docker.io/library/{i}"),
    Try("POST", "/images/theirs/push", {"tag": "1"}),
    Try("POST", "/images/busybox:lab/tag", {"repo": "theirs", "tag": "1"}),
    Try("POST", "/build", {"t": "theirs:1"}),
    Try("POST", "/build", {"t": "mine:1", "pull": "1"}),
    Try("POST", "/images/create", {"fromImage": "theirs", "tag": "1"}),
    Try("POST", "/images/create", {"fromImage": "theirs:1"}),
    Try("POST", "/images/create", {"fromImage": "theirs"}),
    Try("POST", "/images/create", {"fromSrc": "-", "repo": "theirs", "tag": "1"}),
]
OF_THE_ENGINE = [
    *(Try("POST", f"/{kind}/prune") for kind in ("containers", "images", "volumes", "networks", "build")),
    *(Try("POST", f"/swarm/{verb}", body={}) for verb in ("init", "join", "leave", "unlock", "update")),
    *(Try("POST", f"/{kind}/create", body={}) for kind in ("services", "secrets", "configs", "plugins")),
    *(Try("POST", f"/{kind}/some/update", body={}) for kind in ("services", "secrets", "configs", "nodes")),
    *(Try("DELETE", f"/{kind}/some") for kind in ("services", "secrets", "configs", "nodes", "plugins")),
    Try("POST", "/plugins/pull", {"remote": "some"}),
    *(Try("POST", f"/plugins/some/{verb}") for verb in ("enable", "disable", "push", "set", "upgrade")),
    Try("POST", "/session"),
    Try("POST", "/containers/some/copy"),
    Try("POST", "/what/comes/next"),
    Try("PATCH", "/containers/some"),
]


@pytest.fixture
def shared(engine: Engine) -> Iterator[Engine]:
    """The same engine, attached to as somebody else's, with objects of theirs and of ours on it."""
    somebody = engine.client
    container = somebody.containers.create("busybox:lab", ["sleep", "1000"], name="theirs", stdin_open=True)
    container.start()
    somebody.networks.create("theirs")
    somebody.volumes.create("theirs")
    somebody.images.get("busybox:lab").tag("other:1")
    # an image of its own, so that to name another so would be seen
    container.commit("theirs", "1")
    with labkit.open_engine("attach", url=engine.url) as attached:
        attached.client.networks.create("net")
        attached.client.containers.create("busybox:lab", ["sleep", "1000"], name="my")
        yield attached
    for name in {tag for image in somebody.images.list() for tag in image.tags} - {"busybox:lab"}:
        somebody.images.remove(name, force=True)


def everything(engine: Engine) -> object:
    """What could have changed of what is theirs, and the names of all images."""
    api = engine.client.api
    found = api.inspect_container("theirs")
    found["ExecIDs"] = None  # this comes and goes by itself
    return (
        found,
        api.inspect_network("theirs"),
        api.inspect_volume("theirs"),
        sorted((tag, image["Id"]) for image in api.images() for tag in image["RepoTags"] or []),
        api.inspect_network("net")["Containers"],
    )


def send(engine: Engine, what: Try, names: dict[str, str]) -> Any:
    api = engine.client.api
    body = what.body and {k: v.format(**names) if isinstance(v, str) else v for k, v in what.body.items()}
    query = {key: value.format(**names) for key, value in what.query.items()}
    url = f"{api.base_url}/v{api._version}{what.path.format(**names)}"
    stream = io.BytesIO(what.stream) if what.stream else None
    return api.request(what.method, url, params=query, json=body, data=stream, timeout=60)


def test_nothing_of_theirs_is_changed(engine: Engine, shared: Engine) -> None:
    """Every request that would change somebody's object, or the engine, is refused by name, and changes nothing."""
    exec_ = engine.client.api.exec_create("theirs", ["touch", "/changed"])["Id"]
    id_ = engine.client.api.inspect_container("theirs")["Id"]
    before, passed = everything(engine), []
    for container in ("theirs", id_, id_[:12]):
        names = {
            "c": container,
            "x": exec_,
            "i": "theirs:1",
            "n": "theirs",
            "v": "theirs",
            "my": "my",
            "net": "net",
        }
        for what in [*ON_THEIRS, *OF_THE_ENGINE]:
            try:
                answer = send(shared, what, names)
            except Refused as refused:
                assert "is refused" in str(refused) and refused.try_, what
            else:
                passed.append(f"{what}: {answer.status_code}")
    assert passed == []
    assert everything(engine) == before
    assert engine.client.containers.get("theirs").diff() in (None, [])


def test_a_websocket_is_refused(shared: Engine) -> None:
    """The one way past the HTTP session, writing to a container through a websocket, is closed."""
    with pytest.raises(Refused, match="websocket"):
        shared.client.api.attach_socket("theirs", params={"stdin": 1, "stream": 1}, ws=True)


def test_an_approval_lets_one_object_be_changed(engine: Engine, shared: Engine) -> None:
    """What is approved by name may be changed, until the approval ends, and nothing else."""
    client = shared.client
    with shared.approve("container", "theirs"):
        client.containers.get("theirs").stop(timeout=0)
        with pytest.raises(Refused):
            client.volumes.get("theirs").remove()
    with pytest.raises(Refused):
        client.containers.get("theirs").remove()
    for kind, remove in {
        "container": lambda: client.containers.get("theirs").remove(),
        "volume": lambda: client.volumes.get("theirs").remove(),
        "network": lambda: client.networks.get("theirs").remove(),
        "image": lambda: client.images.get("theirs:1").remove(),
    }.items():
        with shared.approve(kind, "theirs:1" if kind == "image" else "theirs"):
            remove()
    with pytest.raises(docker.errors.NotFound):
        engine.client.images.get("theirs:1")


def test_an_approved_name_of_an_image_is_not_its_other_names(shared: Engine) -> None:
    """`other:1` may go, `busybox:lab`, the same image, may not, and neither may the image by its id."""
    with shared.approve("image", "other:1"):
        for name in ("busybox:lab", shared.client.images.get("other:1").id):
            with pytest.raises(Refused):
                shared.client.images.remove(name)
        shared.client.images.remove("other:1")


def test_what_labkit_made_it_may_change(shared: Engine) -> None:
    """The whole life of objects of our own passes: containers, exec, networks, volumes, and images named here."""
    client = shared.client
    mine = client.containers.get("my")
    mine.start()
    assert said(mine, ["echo", "hi"]) == "hi\n"
    mine.pause()
    mine.unpause()
    mine.rename("mine")
    client.networks.get("net").connect("mine")
    client.networks.get("theirs").connect("mine")
    client.networks.get("theirs").disconnect("mine")
    mine.put_archive("/", tar(hello=b"hi"))
    mine.commit("mine", "1")
    client.images.get("busybox:lab").tag("mine:2")
    client.images.get("busybox:lab").tag("other:1")  # it is that already
    dockerfile = io.BytesIO(b"FROM busybox:lab\nENV A=1\n")
    client.images.build(fileobj=dockerfile, tag="mine:2")
    client.api.import_image_from_data(tar(hello=b"hi"), repository="mine", tag="3")
    for name in ("mine:1", "mine:2", "mine:3"):
        client.images.remove(name)
    mine.stop(timeout=0)
    mine.remove()
    client.networks.get("net").remove()
    client.volumes.create("mine").remove()
    client.volumes.create("theirs")  # it is there: nothing changes
    with pytest.raises(Refused):
        client.volumes.get("theirs").remove()


def test_listening_changes_nothing(shared: Engine) -> None:
    """Logs, attaching without input, and copying out of somebody's container pass."""
    theirs = shared.client.containers.get("theirs")
    assert theirs.logs() == b""
    shared.client.api.attach_socket("theirs", params={"stdout": 1, "stream": 1}).close()
    assert list(theirs.get_archive("/bin/busybox")[0])
    with pytest.raises(docker.errors.NotFound):
        shared.client.containers.get("nobody")


def test_an_archive_does_not_move_names(engine: Engine, shared: Engine, tmp_path: Any) -> None:
    """Loading adds names; one that is somebody's is not moved to another image, and the same again is no change."""
    archive = tmp_path / "saved.tar"
    client = shared.client
    client.images.get("busybox:lab").tag("mine:1")
    archive.write_bytes(b"".join(client.images.get("mine:1").save(named="mine:1")))
    client.images.remove("mine:1")
    with archive.open("rb") as file:
        client.images.load(file)
    assert client.images.get("mine:1").id == client.images.get("busybox:lab").id
    moved = archive.read_bytes().replace(b'"mine:1"', b'"thrs:1"')
    assert references.in_archive(io.BytesIO(moved)) == {"thrs:1": client.images.get("mine:1").id}
    engine.client.images.get("theirs:1").tag("thrs:1")
    with pytest.raises(Refused, match="thrs:1"):
        client.images.load(moved)
    with pytest.raises(Refused, match=r"manifest\.json"):
        client.images.load(b"no archive")
    with pytest.raises(Refused, match="not a file"):
        client.images.load(iter([moved]))
    with shared.approve("image", "thrs:1"):
        client.images.load(moved)
    assert client.images.get("thrs:1").id == client.images.get("busybox:lab").id


def tar(**files: bytes) -> bytes:
    written = io.BytesIO()
    with tarfile.open(fileobj=written, mode="w") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return written.getvalue()
