"""A plan with its two buttons: pressed in a real kernel, and absent where nobody could press them."""

from __future__ import annotations

import queue
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from jupyter_client.blocking.client import BlockingKernelClient

import labkit
from labkit import observe
from labkit.engine import Engine
from labkit.errors import EngineUnreachable, Refused
from labkit.runbook import Plan, actions
from labkit.runbook.actions import VERBS
from labkit.runbook.actions.base import Verb
from labkit.widgets import Decision
from tests import notebooks
from tests.runbook.test_actions import down

pytestmark = pytest.mark.parametrize("module_engine", ["debian-13"], indirect=True)
VIEW = "application/vnd.jupyter.widget-view+json"
RECORD = "application/vnd.labkit.plan+json"
SHOW = """
import labkit
from labkit import observe, widgets
from labkit.runbook import Plan, actions
engine = labkit.open_engine("attach")
decision = widgets.decision(Plan.of(actions.start_again(observe.container(engine, "web"))), engine)
decision
"""


class Front:
    """A front end: runs cells, shows what they show, and presses buttons."""

    def __init__(self, client: BlockingKernelClient) -> None:
        self.client = client
        self.models: dict[str, dict[str, Any]] = {}

    def run(self, source: str, *, person: bool = True) -> dict[str, Any]:
        """The data of what the cell shows; *person*: whether it offers input, as a front end of people does."""
        return self._follow(self.client.execute(source, allow_stdin=person, store_history=True))

    def press(self, button: str) -> None:
        (id_,) = [id_ for id_, state in self.models.items() if state.get("description") == button]
        content = {"comm_id": id_, "data": {"method": "custom", "content": {"event": "click"}}}
        message = self.client.session.msg("comm_msg", content)
        self.client.shell_channel.send(message)
        self._follow(message["header"]["msg_id"])

    def _follow(self, id_: str) -> dict[str, Any]:
        shown: dict[str, Any] = {}
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            try:
                message = self.client.get_iopub_msg(timeout=1)
            except queue.Empty:
                continue
            content = message["content"]
            if message["msg_type"] == "comm_open":
                self.models[content["comm_id"]] = dict(content["data"]["state"])
            elif message["msg_type"] == "comm_msg":
                self.models.setdefault(content["comm_id"], {}).update(content["data"].get("state", {}))
            elif message["msg_type"] in ("execute_result", "error"):
                shown = content.get("data") or {"error": content["ename"], "text/plain": content["evalue"]}
            elif (
                message["msg_type"] == "status"
                and content["execution_state"] == "idle"
                and message["parent_header"].get("msg_id") == id_
            ):
                return shown
        raise TimeoutError

    @property
    def told(self) -> str:
        """The words under the buttons."""
        return str(
            [state["value"] for state in self.models.values() if "<pre" in str(state.get("value"))][-1]
        )

    @property
    def pressable(self) -> list[str]:
        return [
            state["description"]
            for state in self.models.values()
            if state.get("_model_name") == "ButtonModel" and not state.get("disabled")
        ]


@pytest.fixture
def front(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> Iterator[Front]:
    monkeypatch.setenv("DOCKER_HOST", engine.url)
    down(engine)
    with notebooks.kernel() as client:
        yield Front(client)


def test_approve_carries_the_plan_out(engine: Engine, front: Front) -> None:
    """On a shared engine, what is not labkit's too; the state is there in words, and the next cells have the result."""
    shown = front.run(SHOW)
    assert VIEW in shown and RECORD in shown
    assert "waits for your decision" in shown["text/plain"]
    assert "start container web" in shown["text/plain"]
    assert "nothing was changed" in front.run("decision.applied")["text/plain"]
    assert front.pressable == ["Approve", "Reject"]

    front.press("Approve")

    assert observe.container(engine, "web").running
    assert "carried out; run the cells below" in front.told and "docker stop web" in front.told
    assert front.pressable == []
    assert "docker stop web" in front.run("decision.applied")["text/plain"]
    assert "carried out" in front.run("decision")["text/plain"]


def test_reject_changes_nothing(engine: Engine, front: Front) -> None:
    """And it cannot be approved afterwards."""
    front.run(SHOW)
    front.press("Reject")
    assert "rejected" in front.told
    front.press("Approve")
    assert observe.container(engine, "web").status == "exited"
    assert "rejected" in front.run("decision.applied")["text/plain"]


def test_what_goes_wrong_is_shown_and_told_to_the_next_cell(engine: Engine, front: Front) -> None:
    """An engine that moved on: refused, in words under the buttons, and as an error where the result is used."""
    front.run(SHOW)
    engine.client.api.start("web")
    front.press("Approve")
    assert "has changed since the plan was made" in front.told
    assert "was not carried out: " in front.told and "nothing was done" in front.told
    assert front.run("decision.applied")["error"] == "Refused"


def test_where_nobody_answers_there_are_no_buttons(front: Front) -> None:
    """Under papermill, nbclient and nbval the plan shows as itself: table, text and record, and no widget."""
    shown = front.run(SHOW, person=False)
    assert VIEW not in shown
    assert front.models == {}
    assert shown == front.run("decision.plan", person=False)
    assert front.run("import sys; 'ipywidgets' in sys.modules", person=False)["text/plain"] == "False"


def test_an_empty_plan_asks_for_nothing(engine: Engine) -> None:
    """There is nothing to decide."""
    assert not Decision(Plan(), engine, asking=True).asking


def test_a_decision_is_made_once(engine: Engine) -> None:
    """Pressed twice, it is carried out once."""
    made = Decision(Plan.of(actions.start_again(down(engine))), engine, asking=True)
    made.approve()
    made.approve()
    made.reject()
    assert len(made.applied.done) == 1
    again = Decision(made.plan, engine, asking=True)
    again.approve()
    with pytest.raises(Refused):
        _ = again.applied


def test_an_engine_that_is_gone_is_told(engine: Engine, tmp_path: Path) -> None:
    """Approved, and nobody there: in words, and as an error where the result is used; no dry run."""
    plan = Plan.of(actions.start_again(down(engine)))
    place = tmp_path / "docker.sock"
    place.symlink_to(engine.url.removeprefix("unix://"))
    with labkit.open_engine("attach", url=f"unix://{place}") as reached:
        made = Decision(plan, reached, asking=True)
        place.unlink()
        reached.client.api.close()  # or a connection that is kept goes on
        made.approve()
        assert "was not carried out: " in made.state and "nothing was done" in made.state
        with pytest.raises(EngineUnreachable):
            _ = made.applied


def test_whatever_goes_wrong_is_told(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """An error that is nobody's is not taken for a dry run either."""

    def fail(engine: Engine, action: actions.Action) -> dict[str, Any]:
        raise ZeroDivisionError("of ours")

    monkeypatch.setitem(VERBS, ("container", "start"), Verb(fail, lambda *_: False))
    made = Decision(Plan.of(actions.start_again(down(engine))), engine, asking=True)
    made.approve()
    assert "failed: ZeroDivisionError" in made.state
    with pytest.raises(ZeroDivisionError):
        _ = made.applied
