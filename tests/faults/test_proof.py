"""Every fault proves itself, from a healthy engine to no residue, with its diagnosis and its runbook between.

A new fault is picked up by its name: ``faults/NAME.py``, ``diagnosis/NAME.py`` and ``runbooks/*-NAME.ipynb``.
"""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Any

import nbformat
import pytest

import labkit
from labkit import diagnosis, faults, runbook
from labkit.engine import Engine
from labkit.engine.capabilities import Capabilities, Capability
from labkit.errors import MissingCapability, Refused, UsageError
from labkit.faults import wire

EVERY = [(name, variant) for name in faults.names() for variant in faults.get(name).VARIANTS]


def play(name: str, engine: Engine, monkeypatch: pytest.MonkeyPatch, **given: Any) -> runbook.Outcome:
    """Run the runbook of the fault *name* in this process, cell by cell, and return its outcome.

    As a notebook would, it attaches to the engine as to one that is not labkit's.
    """
    monkeypatch.setenv("DOCKER_HOST", engine.url)
    (known,) = [each for each in runbook.names() if each.endswith(f"-{name}")]
    namespace: dict[str, Any] = {"In": [""]}  # where the runbook finds its parameters
    code = [
        cell for cell in nbformat.read(runbook.find(known), as_version=4).cells if cell.cell_type == "code"
    ]
    for cell in code[:-1]:
        namespace["In"].append(cell.source)
        exec(compile(cell.source, known, "exec"), namespace)
        if "parameters" in cell.metadata.get("tags", []):
            namespace.update({key: value for key, value in given.items() if key in namespace})
    outcome = eval(compile(code[-1].source, known, "eval"), namespace)
    namespace["engine"].close()
    assert isinstance(outcome, runbook.Outcome)
    return outcome


def objects(engine: Engine) -> dict[str, list[str]]:
    """Everything on the engine, by kind, and the limits and states of its containers."""
    client = engine.client
    containers = client.containers.list(all=True)
    return {
        "containers": sorted(
            f"{each.id} {each.status} {each.attrs['HostConfig']['Memory']}" for each in containers
        ),
        "volumes": sorted(each.id for each in client.volumes.list()),
        "networks": sorted(each.id for each in client.networks.list()),
        "images": sorted(each.id for each in client.images.list(all=True)),
    }


@pytest.mark.parametrize(("name", "variant"), EVERY)
def test_a_fault_proves_itself(
    name: str, variant: str, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Healthy, injected, named, planned, applied, planned again, undone: each link of the chain holds."""
    fault, expected = faults.get(name), faults.get(name).VARIANTS[variant]
    before = objects(engine)
    assert fault.oracle(engine) is None, "a healthy engine"

    faults.inject(engine, name, variant)
    assert fault.oracle(engine) == variant
    found = diagnosis.get(name).diagnose(engine, "web")
    assert found.code == expected.code, found

    there = objects(engine)
    dry = play(name, engine, monkeypatch)
    assert (dry.status, objects(engine)) == ("incident", there), "a plan changes nothing"
    assert bool(dry.plan) is expected.cured

    if expected.cured:
        applied = play(name, engine, monkeypatch, apply=True, watch="1500ms")
        assert applied.status == "fixed", applied
        assert fault.oracle(engine) is None
        again = play(name, engine, monkeypatch, apply=True)
        assert (again.status, bool(again.plan)) == ("healthy", False), again

    fault.undo(engine)
    fault.undo(engine)
    assert objects(engine) == before, "no residue"


def test_a_fault_is_not_made_on_a_shared_engine(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only a private engine is broken on purpose."""
    monkeypatch.setenv("DOCKER_HOST", engine.url)
    with labkit.open_engine("attach") as shared, pytest.raises(Refused, match="shared engine"):
        faults.inject(shared, "exit-137")
    assert engine.client.containers.list(all=True) == []


def test_a_fault_needs_limits_that_hold(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where memory cannot be limited nothing runs out of it: the reason is told, and nothing is made."""
    reason = "MemoryLimit is false in docker info"
    found = Capabilities([Capability("memory-limit", ok=False, reason=reason)])
    monkeypatch.setattr(engine, "_capabilities", found)
    with pytest.raises(MissingCapability, match=reason):
        faults.inject(engine, "exit-137")
    assert engine.client.containers.list(all=True) == []
    assert faults.inject(engine, "exit-137", "killed") == "killed", "which needs none"


@pytest.mark.parametrize("engine", ["debian-13"], indirect=True)
def test_a_kill_that_the_engine_did_not_tell_is_made_again(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where no event tells that the first container ran out of memory, a second one does."""
    seen: list[str] = []

    def events(engine: Engine, container_id: str) -> list[tuple[str, str]]:
        seen.append(container_id)
        told = wire_events(engine, container_id)
        return told if container_id != seen[0] else [event for event in told if event[0] != "oom"]

    wire_events = wire.events
    monkeypatch.setattr(wire, "events", events)
    monkeypatch.setattr("labkit.faults.exit_137.MISSED_SECONDS", 0.5)
    assert faults.inject(engine, "exit-137") == "oom-of-pid-1"
    assert engine.client.containers.get("web").id == seen[-1] != seen[0]
    faults.undo(engine, "exit-137")


def test_an_unknown_fault_or_variant_is_a_usage_error(engine: Engine) -> None:
    """A typo is answered with what there is."""
    with pytest.raises(UsageError, match="exit-137"):
        faults.get("exit-173")
    with pytest.raises(UsageError, match="oom-of-child"):
        faults.inject(engine, "exit-137", "oom")


def test_undo_leaves_what_it_did_not_make(engine: Engine) -> None:
    """A container of the same name that is not the fault's stays."""
    engine.client.containers.run("busybox:lab", ["sleep", "1000"], name="web", detach=True)
    faults.get("exit-137").undo(engine)
    assert engine.client.containers.get("web").status == "running"


@pytest.mark.parametrize("package", ["diagnosis", "runbook", "observe"])
def test_no_diagnosis_and_no_runbook_imports_a_fault(package: str) -> None:
    """What finds an incident knows nothing of what made it."""
    root = Path(labkit.__file__).parent
    for path in (root / package).rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names = (
                [alias.name for alias in node.names] if isinstance(node, ast.Import | ast.ImportFrom) else []
            )
            module = node.module or "" if isinstance(node, ast.ImportFrom) else ""
            assert not [each for each in [*names, module] if "faults" in each.split(".")], path


@pytest.mark.parametrize("name", runbook.names())
def test_no_runbook_notebook_imports_a_fault(name: str) -> None:
    """Nor does a runbook's notebook."""
    for cell in nbformat.read(runbook.find(name), as_version=4).cells:
        assert cell.cell_type != "code" or "faults" not in cell.source
