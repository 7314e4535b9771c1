"""The layers of images and containers, against the engine's own files."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from labkit.engine import Engine
from labkit.engine.host import MissingHost
from labkit.errors import UsageError
from labkit.observe import Change, layer_stack
from labkit.observe.layers import _made_layers, instruction

WRITES = "echo hi >/new; echo a >>/etc/passwd; rm /etc/group; mkdir -p /d/e; echo 1 >/d/e/ü"
BUILT = "labkit-test:layers"


@pytest.fixture(scope="module")
def built(module_engine: Engine) -> Iterator[Engine]:
    """The module's engine with an image of three layers more than busybox's, one of them empty of files."""
    base = "busybox:lab"
    for words in (["sh", "-c", "head -c 70000 /dev/zero >/a"], ["true"]):
        container = module_engine.client.containers.create(base, words)
        container.start()
        container.wait()
        container.commit(*BUILT.split(":"), changes=["LABEL of=test"])
        container.remove()
        base = BUILT
    yield module_engine
    module_engine.client.images.remove(BUILT)


def on_disk(engine: Engine, *path: str) -> str:
    """A file below the engine's data folder."""
    return engine.host.read("/".join([engine.client.info()["DockerRootDir"], *path]))


def test_layers_are_those_of_the_engines_own_files(built: Engine) -> None:
    """Each layer's size and folder are what the engine's layer store keeps under its chain id, the lowest first."""
    stack = layer_stack(built, BUILT)
    assert len(stack.layers) == len(built.client.api.inspect_image(BUILT)["RootFS"]["Layers"]) > 1
    parents = [""]
    for layer in stack.layers:
        at = ["image", "overlay2", "layerdb", layer.chain.replace(":", "/")]
        assert int(on_disk(built, *at, "size")) == layer.size
        assert on_disk(built, *at, "cache-id") in layer.folder
        assert built.host.run(["test", "-d", layer.folder], check=False).ok
        if parents[-1]:
            assert on_disk(built, *at, "parent") == parents[-1]
        parents.append(layer.chain)
    assert stack.unplaced is None


def test_steps_that_made_no_layer_stand_apart(built: Engine) -> None:
    """As the configuration on the engine's disk has it, whatever the size of the layer is."""
    stack = layer_stack(built, "busybox:lab")
    digest = built.client.api.inspect_image("busybox:lab")["Id"].removeprefix("sha256:")
    history = json.loads(on_disk(built, "image/overlay2/imagedb/content/sha256", digest))["history"]
    assert len(stack.configured) == sum(step.get("empty_layer", False) for step in history) == 1
    assert stack.configured == ('CMD ["sh"]',)
    assert [layer.made for layer in stack.layers] == ["COPY dir:‹id› in /"]


def test_sharing_is_by_chain(built: Engine) -> None:
    """The built image shares busybox's layer and no other with it, and each says so of the other."""
    assert layer_stack(built, "busybox:lab").layers[0].shared == (BUILT,)
    assert [layer.shared for layer in layer_stack(built, BUILT).layers][:2] == [("busybox:lab",), ()]


def test_writable_layer_is_what_the_container_changed(engine: Engine) -> None:
    """Added, changed and deleted files, with the sizes of the files in the upper directory; folders above them are left out."""
    made = engine.client.containers.run("busybox:lab", ["sh", "-c", WRITES], name="web", detach=True)
    made.wait()
    own = layer_stack(engine, "web").writable
    assert own is not None and own.unsized is None
    whole = int(engine.host.run(["stat", "--format=%s", f"{own.folder}/etc/passwd"]).stdout)
    assert own.changes == (
        Change("/d/e/ü", "added", 2),
        Change("/etc/group", "deleted"),
        Change("/etc/passwd", "changed", whole),
        Change("/new", "added", 3),
    )
    assert own.size == whole + 5


def test_without_the_host_the_reason_is_told(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Layers, sizes and what was changed are still there; folders and the sizes of files are missing, with the reason."""
    engine.client.containers.run("busybox:lab", ["sh", "-c", WRITES], name="web", detach=True).wait()
    whole = layer_stack(engine, "web")
    monkeypatch.setattr(type(engine), "host", MissingHost("no root here"))
    stack = layer_stack(engine, "web")
    assert stack.unplaced is not None and stack.unplaced.reason == "no root here"
    assert [(each.made, each.size) for each in stack.layers] == [
        (each.made, each.size) for each in whole.layers
    ]
    assert stack.writable is not None and stack.writable.unsized is not None and whole.writable is not None
    assert {c.path for c in stack.writable.changes} == {c.path for c in whole.writable.changes}
    assert {c.size for c in stack.writable.changes} == {None}


def test_what_is_not_there_is_named_with_what_is(engine: Engine) -> None:
    """No traceback for a wrong name, and not for one that no image can have."""
    for wrong in ("no-such", "NO SUCH", ""):
        with pytest.raises(UsageError, match="busybox:lab"):
            layer_stack(engine, wrong)


@pytest.mark.parametrize(
    ("created_by", "told"),
    [
        ('/bin/sh -c #(nop)  CMD ["sh"]', 'CMD ["sh"]'),
        ("/bin/sh -c apt-get update  && true", "RUN apt-get update && true"),
        ("RUN /bin/sh -c make # buildkit", "RUN make"),
        ("|1 A=b /bin/sh -c make", "RUN make"),
        ("RUN |1 A=b /bin/sh -c make # buildkit", "RUN make"),
        ("COPY a /a # buildkit", "COPY a /a"),
        ("/bin/sh -c #(nop) ADD file:" + "a" * 64 + " in /", "ADD file:‹id› in /"),
        ("", "(not recorded)"),
        ("ENV DB_PASSWORD=hunter22", "ENV DB_PASSWORD=••••••"),
    ],
)
def test_instructions_read_as_in_a_dockerfile(created_by: str, told: str) -> None:
    """Whoever built it: the classic builder, BuildKit, or nobody who says so."""
    assert instruction(created_by) == told


def test_without_the_configuration_the_layers_are_guessed() -> None:
    """A step of size 0 is a layer only where one is left over, and then not one that can make none."""
    steps = [
        {"CreatedBy": "ADD a", "Size": 5},
        {"CreatedBy": 'CMD ["x"]', "Size": 0},
        {"CreatedBy": "RUN true", "Size": 0},
    ]
    assert _made_layers(steps, 1, []) == [True, False, False]
    assert _made_layers(steps, 2, []) == [True, False, True]
    assert _made_layers(steps, 2, [False, True, False]) == [True, False, True]
    assert _made_layers(steps, 3, []) == [False, False, False]
