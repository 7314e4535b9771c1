"""An engine's errors, as labkit's own."""

from __future__ import annotations

from collections.abc import Callable

import pytest

import labkit
from labkit.engine import Engine
from labkit.engine.failures import translated
from labkit.errors import EngineUnreachable, LabkitError, UsageError

CASES: dict[str, tuple[Callable[[Engine], object], type[LabkitError], str]] = {
    "no such container": (lambda e: e.client.containers.get("nobody"), UsageError, "nobody"),
    "no such image": (lambda e: e.client.images.get("nothing:1"), UsageError, "nothing:1"),
    "a name that is taken": (
        lambda e: e.client.containers.create("busybox:lab", name="web"),
        LabkitError,
        "web",
    ),
    "a command that fails": (
        lambda e: e.client.containers.run("busybox:lab", ["false"], remove=True),
        LabkitError,
        "exit status 1",
    ),
    "an answer that does not come": (
        lambda e: e.client.api.get(e.client.api._url("/events"), timeout=0.2),
        EngineUnreachable,
        "timed out",
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_each_error_has_one_meaning(case: str, engine: Engine) -> None:
    """What the SDK or the connection raises becomes the labkit error of its meaning, with the engine's own words."""
    engine.client.containers.create("busybox:lab", name="web")
    provoke, kind, words = CASES[case]
    with pytest.raises(LabkitError) as caught, translated():
        provoke(engine)
    assert type(caught.value) is kind
    assert words in caught.value.seen
    assert caught.value.__cause__ is not None


def test_an_engine_that_has_gone_is_unreachable() -> None:
    """A daemon that ends under our hands, and one that is asked for the first time then."""
    with labkit.open_engine("sandbox", name="gone") as engine:
        client = engine.client
        engine.host.run(["engine-service", "kill"])
        with pytest.raises(EngineUnreachable), translated():
            client.containers.list()
        engine._disconnect()
        with pytest.raises(EngineUnreachable), translated():
            engine.client.ping()


def test_other_errors_are_left_as_they_are() -> None:
    """A bug stays a bug, and a labkit error what it is."""
    for error in (ValueError("x"), UsageError("y")):
        with pytest.raises(type(error)) as caught, translated():
            raise error
        assert caught.value is error
