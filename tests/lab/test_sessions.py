"""A lab's session: opened, taken up again, reset, on a private engine and on a shared one."""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import labkit.lab
from labkit import widgets
from labkit.engine import Engine
from labkit.errors import EngineUnreachable, Refused, UsageError
from labkit.lab import opening
from labkit.lab.notebooks.book import Book
from labkit.widgets import StateMachine

LAB = "30-container-states"


@pytest.fixture
def session() -> Iterator[labkit.lab.Session]:
    """A lab of this process, open."""
    opened = labkit.lab.open(LAB, name="ada", image="busybox:lab")
    yield opened
    opened.close()


def test_reset_is_the_start_again(session: labkit.lab.Session, capsys: pytest.CaptureFixture[str]) -> None:
    """What was made is gone, the image is there, the address and the session's own functions are the same."""
    before = session.engine.url
    session.engine.client.containers.run("busybox:lab", ["sleep", "100"], name="ada", detach=True)
    session.engine.client.volumes.create("ada-letters")
    session.engine.client.volumes.create()
    for number in range(9):
        session.engine.client.networks.create(f"ada-{number}")
    assert session.state("ada") == "running"
    again = labkit.lab.open(LAB, name="ada", image="busybox:lab")
    assert again.engine is session.engine
    told = capsys.readouterr().out
    assert "what is on it: containers ada; volumes ada-letters, 1 without a name" in told
    assert "ada-7, 1 more\n" in told and "ada-8" not in told
    life = StateMachine(session.engine, "ada")
    session.reset()
    assert capsys.readouterr().out.startswith("reset:")
    assert session.state("ada") == life.state == "removed"
    assert session.engine.client.volumes.list() == []
    assert session.engine.client.images.get("busybox:lab")
    assert session.engine.url == before == os.environ["DOCKER_HOST"]
    session.engine.client.containers.create("busybox:lab", name="ada")
    assert life.state == "created" and life.following
    life.close()


@pytest.mark.parametrize("module_engine", ["debian-13"], indirect=True)
def test_a_shared_engine_is_not_reset(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """The refusal names the engine and the way to tidy up, which leaves what is not the lab's; so does a section."""
    monkeypatch.setenv("LABKIT_PROVIDER", "attach")
    monkeypatch.setenv("DOCKER_HOST", engine.url)
    engine.client.containers.create("busybox:lab", name="theirs")
    shared = labkit.lab.open(LAB, name="ada", image="busybox:lab")
    assert f"shared, reached at {engine.url}" in repr(shared)
    shared.engine.client.containers.create("busybox:lab", name="ada")
    with pytest.raises(Refused, match=r"lab\.tidy\(\)") as caught:
        shared.reset()
    assert engine.url in str(caught.value) and shared.state("ada") == "created"
    again = labkit.lab.open(LAB, name="ada", image="busybox:lab")
    assert "what is on it: containers ada\nfor the start of the lab: lab.tidy()" in repr(again)
    with pytest.raises(UsageError, match=r"lab\.tidy\(\)"):
        again.restore("later")
    monkeypatch.setattr(Book, "sections", {"later": []})
    again.restore("later")
    assert (again.state("ada"), again.state("theirs")) == ("removed", "created")
    assert "taken up" not in repr(again)
    with pytest.raises(Refused, match="docker rm --force theirs"):
        labkit.lab.open(LAB, name="theirs", image="busybox:lab")
    again.close()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("30-container-state", "ada", "busybox:lab"), "30-container-states"),
        (("nosuch", "ada", "busybox:lab"), "'nosuch'"),
        (("../notebooks/30-container-states", "ada", "busybox:lab"), "no lab called"),
        (("", "ada", "busybox:lab"), "no lab called"),
        ((7, "ada", "busybox:lab"), "lab has to be text"),
        ((LAB, "ada lovelace", "busybox:lab"), "cannot have this name"),
        ((LAB, None, "busybox:lab"), "name has to be text"),
        ((LAB, "ada", "busybox"), "no such image"),
        ((LAB, "ada", "$(touch x)"), "no such image"),
        ((LAB, "ada", 7), "no such image"),
        ((LAB, "ada", ["busybox:lab"]), "no such image"),
    ],
)
def test_a_mistake_is_one_message_and_starts_nothing(
    arguments: tuple[Any, Any, Any], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A lab, a name or an image that there cannot be: what was seen, what would do, and no engine."""
    monkeypatch.setattr(opening, "open_engine", None)
    stem, name, image = arguments
    with pytest.raises(UsageError) as caught:
        labkit.lab.open(stem, name=name, image=image)
    assert message in str(caught.value) and "seen:" in str(caught.value)


def test_a_text_is_no_list_of_images(monkeypatch: pytest.MonkeyPatch) -> None:
    """It would be taken for images of one letter each; the message shows the list that was meant."""
    monkeypatch.setattr(opening, "open_engine", None)
    with pytest.raises(UsageError, match="\\['busybox:lab'\\]"):
        labkit.lab.open(LAB, name="ada", images="busybox:lab")


@pytest.mark.parametrize("module_engine", ["debian-13"], indirect=True)
def test_a_shared_engine_needs_the_image(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """An image that the shared engine does not have is never pulled; one of its own, of whatever name, will do."""
    monkeypatch.setenv("LABKIT_PROVIDER", "attach")
    monkeypatch.setenv("DOCKER_HOST", engine.url)
    with pytest.raises(UsageError, match="no such image") as caught:
        labkit.lab.open(LAB, name="ada", image="mine:1")
    assert "'mine:1'" in str(caught.value) and engine.url in str(caught.value)
    engine.client.api.tag("busybox:lab", "mine", "1")
    labkit.lab.open(LAB, name="ada", image="mine:1").close()


def test_functions_are_bound_with_their_signature(session: labkit.lab.Session) -> None:
    """`lab.until` takes what `until` takes but the engine, and its help says so."""
    assert list(inspect.signature(session.until).parameters) == ["container", "wanted", "restarts", "seconds"]
    assert "Wait until" in str(session.until.__doc__)


MISTAKES: dict[str, list[str]] = {
    "lab.hint()": [
        "missing a required argument: 'exercise'",
        "lab.hint(exercise)\n",
        "exercise: ending, ",
    ],
    "lab.hint(7)": ["exercise has to be text", "lab.hint(7)", "exercise: ending, "],
    "lab.hint('endng')": ["no exercise called 'endng'", "'ending'"],
    "lab.check('endng', exists)": ["no exercise called 'endng'", "'ending'"],
    "lab.check()": ["lab.check(exercise, conditions, …)"],
    "lab.restore()": ["lab.restore(section)\n", "section: (none)"],
    "lab.state()": ["lab.state(container)\n", "container: ada-there"],
    "lab.until('ada-there')": ["'wanted'", "wanted: created, running"],
    "lab.until('ada-there', 'runing')": ["no state called 'runing'", "try:      running"],
    "lab.able('hots')": ["no capability called 'hots'", "try:      host"],
    "lab.layers()": ["lab.layers(name, exact=…)"],
    "lab.changed(1)": ["too many positional arguments", "lab.changed()"],
    "lab.tidy('x')": ["lab.tidy('x')", "lab.tidy()"],
    "lab.predict('q', among=3)": ["among has to be a list", "lab.predict('q', among=3)"],
    "lab.predict('q', 1).saw()": ["guess.saw(actual)"],
    "lab.trace(line='docker ps', seconds='2')": ["seconds has to be a number"],
    "lab.hints('ending')": ["no method of lab called 'hints'", "lab.hint"],
    "widgets.layers(lab.engine, 5)": ["name has to be text", "layers(engine, name, exact=…)"],
    "widgets.layers('ada')": ["missing a required argument: 'name'", "seen:     layers('ada')"],
    "widgets.layers('ada', 'ada')": ["engine has to be an engine, such as lab.engine"],
    "widgets.usage(lab.engine, 5)": [
        "container has to be text",
        "usage(engine, container, seconds=…, exact=…)",
    ],
    "widgets.network_map(5)": ["engine has to be an engine"],
    "widgets.timeline(5)": ["of has to be a lab, or an engine"],
    "widgets.picture(lab.engine, 5)": ["container has to be text"],
    "widgets.state_machine(lab, 'ada')": ["engine has to be an engine, such as lab.engine"],
    "widgets.decision(3, 4)": ["engine has to be an engine", "decision(plan, engine)"],
    "widgets.decision(3, lab.engine)": ["no plan to decide about", "seen:     3"],
    "labkit.lab.watch(lab.engine, 5)": ["container has to be text", "labkit.lab.watch(engine, container)"],
    "labkit.lab.able(lab.engine, [])": ["capabilities has to be text"],
    "labkit.lab.tidy(lab.engine, '')": ["a container cannot have this name"],
    "labkit.lab.until(lab.engine, 'ada-there', 'running', seconds=float('nan'))": [
        "seconds has to be a number"
    ],
    "lab.until('ada-there', 'running', seconds=10**400)": ["seconds has to be a number"],
    "labkit.lab.predict('q', among=None)": ["among has to be a list"],
    "labkit.lab.Prediction(None)": ["question has to be text"],
    "labkit.lab.image('shop').follows('/a', of='/b', by=3)": ["expected: a function of a text"],
    "labkit.lab.open('a' * 300, name='ada')": ["no lab called"],
    "labkit.lab.open('30-container-states')": ["'name'", "labkit.lab.open(lab, name, image=…, images=…)"],
}


def _arguments(function: Callable[..., object]) -> dict[str, object]:
    """What it has to be given, none of it an engine."""
    wanted = inspect.signature(function).parameters.values()
    return {
        each.name: None if each.name == "engine" else "ada"
        for each in wanted
        if each.default is each.empty and each.kind is not each.VAR_POSITIONAL
    }


def test_a_mistake_in_a_cell_is_one_message(session: labkit.lab.Session) -> None:
    """Whatever is forgotten, too much, misspelt or of another kind: what was typed, and what can be; for every method."""
    session.engine.client.containers.create("busybox:lab", name="ada-there")
    names = {
        "lab": session,
        "labkit": labkit,
        "widgets": widgets,
        "exists": labkit.lab.container("ada").exists(),
    }
    for typed, told in MISTAKES.items():
        with pytest.raises(UsageError) as caught:
            eval(typed, names)
        assert not [part for part in told if part not in str(caught.value)], caught.value
    for name in (name for name in dir(session) if not name.startswith("_")):
        if callable(method := getattr(session, name)):
            with pytest.raises(UsageError, match=rf"lab\.{name}\(\) cannot be called"):
                method(no_such_option=1)
    for name, function in [
        (name, getattr(home, name)) for home in (labkit.lab, widgets) for name in home.__all__
    ]:
        if "engine" in (given := _arguments(function)):
            with pytest.raises(UsageError, match=rf"{name}\(\) cannot be called like this: engine has to be"):
                function(**given)
    assert not hasattr(session, "hints") and session.state("ada-there") == "created"


def test_an_engine_that_does_not_answer_is_one_message(session: labkit.lab.Session) -> None:
    """Whatever is asked while the daemon is away is told without a traceback of a library's; afterwards all goes on."""
    session.engine.kill()
    for ask in (lambda: session.state("ada"), lambda: session.happened("ada"), session.tidy, session.changed):
        with pytest.raises(EngineUnreachable):
            ask()
    session.engine.start()
    assert session.state("ada") == "removed"


@pytest.mark.usefixtures("own_folders")
def test_the_first_time_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    """What takes long once on a machine says what it is doing; the second time there is nothing to tell."""
    labkit.lab.open(LAB, name="ada", image="busybox:lab").close()
    assert "ready with busybox\n" in capsys.readouterr().out
    labkit.lab.open(LAB, name="ada", image="busybox:lab").close()
    assert "busybox" not in capsys.readouterr().out
