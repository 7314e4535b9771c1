"""The form for a runbook's parameters: what is typed is checked beside the field, and used by the cells below."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from jupyter_client.blocking.client import BlockingKernelClient

from labkit.engine import Engine
from labkit.runbook.parameters import check
from labkit.widgets.forms import Form, form
from tests import notebooks

CELL = """\
times: Annotated[int, Between(1, 9)] = 3  # how often
memory: ByteSize | None = None
mode: Literal["gentle", "hard"] = "gentle"
force: bool = False
keep: list[str] = []
password: Secret | None = None
"""
VIEW = "application/vnd.jupyter.widget-view+json"


def notebook(cell: str = CELL, **values: Any) -> dict[str, Any]:
    """A notebook's variables, after its parameters cell and ``p = check(globals())``."""
    defaults = {"times": 3, "memory": None, "mode": "gentle", "force": False, "keep": [], "password": None}
    space: dict[str, Any] = {"In": ["", cell, "p"], **(values or defaults)}
    space["p"] = check(space)
    return space


@pytest.fixture
def space() -> dict[str, Any]:
    return notebook()


@pytest.mark.parametrize(
    ("name", "typed", "plain"),
    [
        ("times", "7", 7),
        ("memory", "512m", "512m"),
        ("memory", "none", None),
        ("mode", "hard", "hard"),
        ("force", True, True),
        ("keep", "a,b", ["a", "b"]),
        ("password", "env:PATH", "env:PATH"),
    ],
)
def test_what_fits_is_what_the_cells_below_use(
    name: str, typed: Any, plain: Any, space: dict[str, Any]
) -> None:
    """In the notebook's variables, and in its parameters under the name they have; read again, it is the same."""
    shown = form(space["p"])
    shown.fields[name].value = "1k" if typed == "none" else typed
    shown.fields[name].value = typed
    assert shown.messages[name].value.startswith("✓ ")
    assert (space[name], space["p"].plain()[name]) == (plain, plain)
    assert space["p"] is shown.values
    assert check(space).plain() == space["p"].plain()
    assert repr(shown) == repr(space["p"])


@pytest.mark.parametrize(
    ("name", "typed", "told"),
    [("times", "10", "1 to 9"), ("times", "x", "a valid integer"), ("memory", "64q", "a size such as 512m")],
)
def test_what_does_not_fit_is_told_beside_its_field(
    name: str, typed: str, told: str, space: dict[str, Any]
) -> None:
    """The message is there, in the text form too, and nothing is used until everything fits again."""
    shown, before = form(space["p"]), space["p"]
    shown.fields[name].value = typed
    assert told in shown.messages[name].value
    assert shown.messages[name].value == f"✗ {shown.wrong[name]}"
    assert shown.wrong[name] in repr(shown)
    shown.fields["force"].value = True
    assert space["p"] is before and space["force"] is False
    assert shown.children[-1].value.endswith("the cells below keep the values that fitted last")
    shown.fields[name].value = "4"
    assert shown.wrong == {} and shown.children[-1].value == ""
    assert space["force"] is True and space["p"].force is True


def test_a_secret_is_not_typed_into_a_form(space: dict[str, Any]) -> None:
    """A widget's state may be saved with the notebook: the field is emptied, and says how a secret is given."""
    shown = form(space["p"])
    shown.fields["password"].value = "correct horse"
    assert shown.fields["password"].value == ""
    assert "env:NAME or file:PATH" in shown.messages["password"].value
    assert "correct horse" not in str([widget.get_state() for widget in shown.fields.values()]) + repr(shown)


def test_a_new_form_takes_the_place_of_the_former(space: dict[str, Any]) -> None:
    """So that a cell that is run often leaves one."""
    first = form(space["p"])
    assert form(space["p"]) is Form.latest
    assert first.comm is None


@pytest.mark.parametrize("module_engine", ["debian-13"], indirect=True)
def test_objects_are_looked_for_while_one_types(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """A container that is not there is told with the nearest name, before any cell is run again."""
    monkeypatch.setenv("DOCKER_HOST", engine.url)
    for name in ("web", "db"):
        engine.client.containers.create("busybox:lab", name=name)
    space = notebook("container: Container = 'web'", container="web")
    shown = form(space["p"])
    shown.fields["container"].value = "wbe"
    assert shown.wrong["container"] == "no container called 'wbe'; try web"
    shown.fields["container"].value = "db"
    assert (space["container"], space["p"].container) == ("db", "db")


# -- in a kernel


@pytest.fixture
def kernel() -> Iterator[BlockingKernelClient]:
    with notebooks.kernel() as client:
        yield client


def run(client: BlockingKernelClient, source: str, *, person: bool) -> list[dict[str, Any]]:
    """What the kernel says to a cell that JupyterLab (a *person*), or a program, sends."""
    message = client.session.msg("execute_request", {"code": source, "silent": False, "store_history": True})
    message["metadata"] = {"cellId": "a"} if person else {}
    client.shell_channel.send(message)
    said: list[dict[str, Any]] = []
    while not said or said[-1]["content"].get("execution_state") != "idle":
        heard = client.get_iopub_msg(timeout=60)
        if heard["parent_header"].get("msg_id") == message["header"]["msg_id"]:
            said.append(heard)
    assert not [each["content"]["evalue"] for each in said if each["msg_type"] == "error"]
    return said


def shown(said: list[dict[str, Any]]) -> dict[str, Any]:
    return next(each["content"]["data"] for each in said if each["msg_type"] == "execute_result")


def test_only_a_person_gets_the_form(kernel: BlockingKernelClient) -> None:
    """A program gets the text, as before, and no widget; a person both, and what is typed reaches the notebook."""
    run(kernel, "from labkit import runbook", person=True)
    run(kernel, "times: int = 3", person=True)
    said = run(kernel, "p = runbook.check(globals()); p", person=False)
    assert shown(said)["text/plain"] == "times = 3"
    assert VIEW not in shown(said)
    assert not [each for each in said if each["msg_type"] == "comm_open"]

    said = run(kernel, "p", person=True)
    assert shown(said)["text/plain"] == "times = 3"
    assert VIEW in shown(said)
    (field,) = [
        each["content"]["comm_id"]
        for each in said
        if each["msg_type"] == "comm_open" and each["content"]["data"]["state"].get("description") == "times"
    ]
    data = {"method": "update", "state": {"value": "5"}, "buffer_paths": []}
    kernel.shell_channel.send(kernel.session.msg("comm_msg", {"comm_id": field, "data": data}))
    assert shown(run(kernel, "times, p.times", person=False)) == {"text/plain": "(5, 5)"}
