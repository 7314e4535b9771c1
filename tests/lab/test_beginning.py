"""How a lab begins, and begins again."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from labkit import lab
from labkit.engine import Engine
from labkit.errors import Refused, UsageError
from labkit.lab import beginning


@pytest.fixture(autouse=True)
def ended() -> Iterator[None]:
    """Whatever a test has begun ends with it."""
    yield
    for engine in beginning._engines.values():
        engine.close()
    beginning._engines.clear()


@pytest.mark.parametrize("name", ["ada lovelace", "$(touch x)", "", "a", "-ada", "ada;id", "ada\n", 7, None])
def test_a_name_that_no_container_can_have_starts_nothing(
    name: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One message with the name and what would do, before an engine is opened; the former one lives on."""
    monkeypatch.setattr(beginning, "open_engine", None)
    with pytest.raises(UsageError, match="cannot have this name") as caught:
        lab.begin("test", name=name, image="busybox:lab")  # type: ignore[arg-type]
    assert repr(name) in str(caught.value)


@pytest.mark.parametrize("image", ["nosuch:1", "busybox", "$(touch x)", "", "busybox:lab; id", 7])
@pytest.mark.parametrize("provider", ["sandbox", "attach"])
def test_an_image_that_there_is_not_is_never_looked_for_on_the_internet(
    image: object, provider: str, monkeypatch: pytest.MonkeyPatch, module_engine: Engine
) -> None:
    """On a private engine the catalogue has it, or nothing starts; on a shared one it has to be there."""
    monkeypatch.setenv("LABKIT_PROVIDER", provider)
    monkeypatch.setenv("DOCKER_HOST", module_engine.url)
    if provider == "sandbox":
        monkeypatch.setattr(beginning, "open_engine", None)
    with pytest.raises(UsageError, match="no such image") as caught:
        lab.begin("test", name="ada", image=image)  # type: ignore[arg-type]
    assert repr(image) in str(caught.value)
    assert os.environ["DOCKER_HOST"] == module_engine.url
    assert not beginning._engines


@pytest.mark.parametrize("module_engine", ["debian-13"], indirect=True)
def test_beginning_again_says_what_goes(module_engine: Engine, capsys: pytest.CaptureFixture[str]) -> None:
    """The provider is told; a second time, that the private engine ends and what was on it; a typing error ends nothing."""
    first = lab.begin("again", name="ada", image="busybox:lab")
    assert (
        capsys.readouterr().out == "engine: again, provider sandbox (private: it ends with this notebook)\n"
    )
    first.client.containers.create("busybox:lab", name="ada")
    with pytest.raises(UsageError):
        lab.begin("again", name="ada lovelace", image="busybox:lab")
    assert first.ping()
    second = lab.begin("again", name="ada", image="busybox:lab")
    assert capsys.readouterr().out.startswith(
        "the former engine ends, with its containers: ada\nengine: again"
    )
    assert second.client.containers.list(all=True) == []
    assert os.environ["DOCKER_HOST"] == second.url != first.url


@pytest.mark.parametrize("module_engine", ["debian-13"], indirect=True)
def test_a_shared_engine_is_called_so_and_keeps_what_it_has(
    engine: Engine, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its address is told; begun again, nothing on it ends, and a name that is taken is refused with the remedy."""
    monkeypatch.setenv("LABKIT_PROVIDER", "attach")
    monkeypatch.setenv("DOCKER_HOST", engine.url)
    engine.client.api.tag("busybox:lab", "mine", "1")
    shared = lab.begin("shared", name="ada", image="mine:1")
    assert f"provider attach (shared, reached at {engine.url})" in capsys.readouterr().out
    engine.client.containers.create("busybox:lab", name="ada")
    with pytest.raises(Refused, match=r"docker rm --force ada"):
        lab.begin("shared", name="ada", image="mine:1")
    assert "ends" not in capsys.readouterr().out
    assert lab.state(shared, "ada") == "created"
    lab.tidy(shared, "ada")
    assert lab.state(engine, "ada") == "removed"
