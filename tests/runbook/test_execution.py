"""Runbooks as an operator runs them: exit codes that tell the truth, whoever executes the notebook."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import nbformat
import pytest

from labkit import faults, observe, paths, runbook
from labkit.engine import Engine
from labkit.errors import EngineUnreachable, UsageError
from labkit.runbook.journal import Journal
from tests.runbook.test_reports import Page

pytestmark = pytest.mark.parametrize("module_engine", ["debian-13"], indirect=True)
NAME = "diagnose-exit-137"


@pytest.fixture(autouse=True)
def reached(engine: Engine, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The engine, from a home of the test's own: the plans that wait there are nobody else's."""
    monkeypatch.setenv("DOCKER_HOST", engine.url)
    monkeypatch.setenv("LABKIT_HOME", str(tmp_path / "home"))


def run(tmp_path: Path, name: str = NAME, **given: Any) -> runbook.Outcome:
    return runbook.run(name, given, out_dir=tmp_path / "runs")


def written(tmp_path: Path, *sources: str, at: int | None = None) -> str:
    """A notebook's path: of *sources* alone, or of the real runbook with them before its cell *at*."""
    cells = [nbformat.v4.new_code_cell(source) for source in sources]
    notebook = nbformat.v4.new_notebook(cells=cells)
    if at is not None:
        notebook = nbformat.read(runbook.find(NAME), as_version=4)
        notebook.cells[at:at] = cells
    path = tmp_path / "some book.ipynb"
    nbformat.write(notebook, path)
    return str(path)


# -- exit codes


def test_found_then_fixed_then_healthy(engine: Engine, tmp_path: Path) -> None:
    """4 while the plan waits, 0 when it was applied and has held, 0 when there is nothing to do."""
    faults.inject(engine, "exit-137")
    dry, applied, again = (
        run(tmp_path),
        run(tmp_path, apply="true", watch="1s", memory="80m"),
        run(tmp_path, apply=True),
    )
    assert [each.status for each in (dry, applied, again)] == ["incident", "fixed", "healthy"]
    assert [each.exit_code for each in (dry, applied, again)] == [4, 0, 0]
    assert engine.client.containers.get("web").attrs["HostConfig"]["Memory"] == 80 * 2**20


def test_applied_but_not_enough(engine: Engine, tmp_path: Path) -> None:
    """5: a limit a little higher does not help, and a start that succeeded is not taken for a cure."""
    faults.inject(engine, "exit-137")
    outcome = run(tmp_path, apply=True, memory="33m", watch="60s")  # which ends with the container
    assert (outcome.status, outcome.exit_code) == ("unverified", 5)
    assert outcome.verification is not None
    # what the engine has told by then; as a rule the oom first, but of a kill it may tell none at all
    life = list(observe.events(engine, observe.container(engine, "web")))
    began = max(number for number, event in enumerate(life) if event.action == "start")
    told = [str(event) for event in life[began:] if event.action in ("oom", "die")]
    expected = [f"after the change: {', '.join(told[:number])}" for number in range(1, len(told) + 1)]
    assert outcome.verification.evidence[0].fact in expected


def test_nothing_starts_for_a_parameter_that_does_not_fit(tmp_path: Path) -> None:
    """2, before a kernel starts: no folder is made."""
    for given in ({"contaner": "web"}, {"memory": "lots"}):
        with pytest.raises(UsageError):
            runbook.run(NAME, given, out_dir=tmp_path / "runs")
    assert not (tmp_path / "runs").exists()


def test_an_unknown_container_is_a_usage_error(engine: Engine, tmp_path: Path) -> None:
    """2, before a kernel starts, with the nearest name; plain papermill is told the same by the notebook."""
    engine.client.containers.create("busybox:lab", name="web")
    with pytest.raises(UsageError, match="no container called 'wbe'") as told:
        run(tmp_path, container="wbe")
    assert told.value.try_ == "-p container=web"
    assert not (tmp_path / "runs").exists()
    outcome = by_papermill(tmp_path, "-p", "container", "wbe")
    assert (outcome.status, outcome.exit_code) == ("usage", 2)
    assert outcome.failure is not None
    assert outcome.failure.message == str(told.value)


def test_no_engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """3, and where it was looked for, before a kernel starts; plain papermill is told the same by the notebook."""
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/nobody.sock")
    with pytest.raises(EngineUnreachable, match=f"{tmp_path}/nobody.sock"):
        run(tmp_path)
    assert not (tmp_path / "runs").exists()
    assert by_papermill(tmp_path).status == "unreachable"


def test_an_engine_that_moved_on_is_not_touched(engine: Engine, tmp_path: Path) -> None:
    """6: somebody started the container between the plan and its application; what was found is kept."""
    faults.inject(engine, "exit-137")
    cells = nbformat.read(runbook.find(NAME), as_version=4).cells
    apply = next(
        i for i, cell in enumerate(cells) if "plan.apply" in cell.source and cell.cell_type == "code"
    )
    somebody = "import docker; docker.from_env().api.update_container(p.container, mem_limit='31m')"
    outcome = run(tmp_path, written(tmp_path, somebody, at=apply), apply=True)
    assert (outcome.status, outcome.exit_code) == ("refused", 6)
    assert outcome.findings[0].code == "oom-of-pid-1"
    assert outcome.plan
    assert outcome.failure is not None
    assert outcome.failure.section == "Apply"
    assert engine.client.containers.get("web").status == "exited"


@pytest.mark.parametrize(
    "source", ["1 / 0", "import sys; sys.exit(0)", "import os; os._exit(0)", "'no outcome at all'"]
)
def test_a_run_that_broke_off_is_never_a_success(source: str, tmp_path: Path) -> None:
    """1: for an error, a ``sys.exit(0)``, a kernel that died, and a notebook without an outcome."""
    outcome = run(tmp_path, written(tmp_path, "x = 1", source))
    assert (outcome.status, outcome.exit_code) == ("failed", 1)
    assert outcome.failure is not None
    assert sorted(path.name for path in Path(outcome.folder).iterdir()) == [
        "journal.jsonl",
        "junit.xml",
        "outcome.json",
        "report.html",
        "report.md",
        "some book.ipynb",
    ]


def test_an_unknown_runbook_is_a_usage_error(tmp_path: Path) -> None:
    """2, with the nearest name; a file that is no notebook is one too."""
    with pytest.raises(UsageError, match="diagnose-exit-137"):
        runbook.run("diagnose-exit-173", out_dir=tmp_path)
    broken = tmp_path / "broken.ipynb"
    broken.write_text("{")
    with pytest.raises(UsageError, match="not a notebook"):
        runbook.run(str(broken), out_dir=tmp_path)


# -- interruption


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_an_interrupted_run_ends_cleanly(sent: signal.Signals, tmp_path: Path) -> None:
    """Ctrl-C, SIGTERM, SIGHUP: no kernel is left, and journal and report say that the run was interrupted."""
    started = tmp_path / "started"
    tell = f"import os, pathlib, time; pathlib.Path({str(started)!r}).write_text(str(os.getpid()))"
    path = written(tmp_path, "1", f"{tell}; time.sleep(1000)")
    code = "import sys; from pathlib import Path; from labkit import runbook;"
    code += "print(runbook.run(sys.argv[1], out_dir=Path(sys.argv[2])).model_dump_json())"
    process = subprocess.Popen(
        [sys.executable, "-c", code, path, str(tmp_path / "runs")], stdout=subprocess.PIPE, text=True
    )
    deadline = time.monotonic() + 60
    while not started.exists() or not started.read_text():
        assert time.monotonic() < deadline
        time.sleep(0.05)
    kernel = Path("/proc", started.read_text())
    assert kernel.exists() and kernel.name != str(process.pid)
    process.send_signal(sent)
    outcome = json.loads(process.communicate(timeout=60)[0])
    assert (outcome["status"], outcome["failure"]["message"]) == (
        "failed",
        f"interrupted by {sent.name}",
    )
    assert [each.kind for each in Journal.open(Path(outcome["folder"])).verify()][-3:] == [
        "step-failed",
        "run-interrupted",
        "run-ended",
    ]
    assert not kernel.exists()
    assert (Path(outcome["folder"]) / "report.html").exists()


# -- whoever executes it


def told(outcome: runbook.Outcome) -> dict[str, Any]:
    """An outcome without what differs from run to run: folder, times, and the clock times in details."""
    data = outcome.model_dump(mode="json", exclude={"folder", "timings", "seconds"})
    for each in (data["applied"] or {}).get("done", []):
        del each["seconds"]
    for each in data["findings"][0]["evidence"]:
        if each["source"] == "kernel log":  # its clock is known to a hundredth of a second only
            each["detail"] = each["detail"].partition(",")[2]
    return data


def by_papermill(tmp_path: Path, *words: str) -> runbook.Outcome:
    """The notebook executed by plain papermill as a person types it, and then reported."""
    out = tmp_path / "out.ipynb"
    command = [
        sys.executable,
        "-m",
        "papermill",
        "--no-progress-bar",
        str(runbook.find(NAME)),
        str(out),
        *words,
    ]
    subprocess.run(command, check=False, capture_output=True, env={**os.environ, "LABKIT_RUN_DIR": ""})
    return runbook.report(out, tmp_path / "runs")


def by_hand(tmp_path: Path) -> runbook.Outcome:
    """The notebook executed cell by cell as JupyterLab does, saved, and then reported."""
    from nbclient import NotebookClient

    notebook = nbformat.read(runbook.find(NAME), as_version=4)
    NotebookClient(notebook, kernel_name="python3").execute()
    path = tmp_path / f"{NAME}.ipynb"
    nbformat.write(notebook, path)
    return runbook.report(path, tmp_path / "runs")


def test_by_hand_by_papermill_and_by_labkit_the_outcome_is_the_same(engine: Engine, tmp_path: Path) -> None:
    """Three ways to run it, one outcome: status, findings with details, and the plan to its hash."""
    faults.inject(engine, "exit-137")
    ours = run(tmp_path)
    assert told(by_papermill(tmp_path, "-p", "container", "web")) == told(ours)
    assert told(by_hand(tmp_path)) == told(ours)


def test_papermill_applies_too(engine: Engine, tmp_path: Path) -> None:
    """``-p apply True`` is all it takes."""
    faults.inject(engine, "exit-137", "oom-of-child")
    outcome = by_papermill(tmp_path, "-p", "apply", "True", "-p", "watch", "1500ms")
    assert outcome.status == "fixed", outcome


@pytest.mark.parametrize("words", [("-p", "contaner", "web"), ("-p", "memory", "lots")])
def test_papermill_cannot_get_round_the_check(words: tuple[str, ...], tmp_path: Path) -> None:
    """What stock papermill lets through, the notebook refuses."""
    assert by_papermill(tmp_path, *words).status == "usage"


# -- what is left behind


def test_a_run_leaves_notebook_report_and_json(engine: Engine, tmp_path: Path) -> None:
    """One new folder a run, readable by its user alone; the report needs nothing from anywhere."""
    faults.inject(engine, "exit-137")
    first, second = run(tmp_path), run(tmp_path)
    assert first.folder != second.folder
    folder = Path(first.folder)
    assert folder.stat().st_mode & 0o077 == 0
    assert sorted(path.name for path in folder.iterdir()) == [
        f"{NAME}.ipynb",
        "journal.jsonl",
        "junit.xml",
        "outcome.json",
        "report.html",
        "report.md",
    ]
    assert runbook.Outcome.model_validate_json((folder / "outcome.json").read_text()) == first

    page = (folder / "report.html").read_text()
    assert Page(page).loads == []
    for wanted in ("oom-of-pid-1", "32m", "64m", "docker update --memory", first.plan_hash, "Timings"):
        assert wanted in page
    assert first.findings[0].evidence[0].detail.split()[1].rstrip(",") in page, "the container's id"
    assert [each.section for each in first.timings][-1] == "Outcome"


def test_a_report_links_to_the_cell_that_failed(tmp_path: Path) -> None:
    """The error is on top, and the way to its cell is one click."""
    outcome = run(tmp_path, written(tmp_path, "raise ValueError('<nobody>')"))
    page = (Path(outcome.folder) / "report.html").read_text()
    assert outcome.failure is not None
    assert f'href="#cell-{outcome.failure.cell}"' in page
    assert f'id="cell-{outcome.failure.cell}"' in page
    assert "<nobody>" not in page


def test_a_run_writes_nothing_into_the_users_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """History, settings and connection files of a run's kernel go to labkit's own folder."""
    monkeypatch.setenv("LABKIT_HOME", str(paths.home()))
    monkeypatch.setenv("HOME", str(tmp_path / "user"))
    (tmp_path / "user").mkdir()
    outcome = run(tmp_path, written(tmp_path, "import os; print('home is', os.environ['HOME'])"))
    assert outcome.folder is not None
    assert f"home is {tmp_path}/user" in Path(outcome.folder, "some book.ipynb").read_text()
    assert list((tmp_path / "user").rglob("*")) == []
