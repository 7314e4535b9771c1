"""A run that is killed at any moment goes on where it was, does nothing twice, and ends in the same state."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from subprocess import PIPE
from typing import Any

import nbformat
import pytest
from docker.models.containers import ContainerCollection

import labkit
from labkit import faults, labels, observe, runbook
from labkit.engine import Engine, images
from labkit.engine.processes import Process
from labkit.errors import Refused
from labkit.faults import volumes
from labkit.observe.events import engine_time
from labkit.runbook.actions import restarts
from labkit.runbook.execution import Order, clear_away
from labkit.runbook.journal import Entry, Journal
from tests.commands import processes

KILLER = Path(__file__).parent / "killer"
ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Book:
    """A runbook to be killed: how its situation is made, and what it then does, by the engine's events."""

    source: Callable[[Path], str]
    given: dict[str, Any]
    make: Callable[[Engine, Path], object]
    does: dict[tuple[str, str, str], int]

    def parameters(self, folder: Path) -> dict[str, Any]:
        """What it is given, with the test's own *folder* in place of ``FOLDER``."""
        return {name: str(value).replace("FOLDER", str(folder)) for name, value in self.given.items()}


def acting(folder: Path, stem: str, names: tuple[str, ...], action: str) -> str:
    """A runbook that does *action* (code that makes one of ``each``) to the containers *names*, written to *folder*."""
    sources = [
        "## Parameters",
        "apply: bool = False  # carry the plan out",
        "import labkit\nfrom labkit import observe, runbook\nfrom labkit.diagnosis import Finding\n"
        "from labkit.runbook.verification import Verification\n"
        "p = runbook.check(globals())\nengine = labkit.open_engine('attach').use()",
        "## Evidence",
        f"seen = [observe.container(engine, name) for name in {names}]\n"
        "down = [each for each in seen if not each.running]\n"
        "finding = Finding(diagnosis='down', object='them', code='down' if down else 'up', title='They are down.',\n"
        "                  confidence='certain', incident=bool(down), evidence=())\nfinding",
        "## Plan",
        f"plan = runbook.Plan.of(*({action} for each in seen))\nplan",
        "## Apply",
        "applied = plan.apply(engine) if p.apply else plan.wait()\napplied",
        "verified = Verification(ok=True) if applied.done else Verification()\n"
        "runbook.outcome(p, finding, plan, applied, verified, engine=engine)",
    ]
    make = {True: nbformat.v4.new_markdown_cell, False: nbformat.v4.new_code_cell}
    cells = [make[source.startswith("## ")](source) for source in sources]
    cells[1].metadata["tags"] = ["parameters"]
    path = folder / f"{stem}.ipynb"
    spec = {"name": "python3", "display_name": "Python 3", "language": "python"}
    metadata = {"kernelspec": spec, "labkit": {"title": "Acting"}}
    nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata=metadata), path)
    return str(path)


def three(folder: Path) -> str:
    """A runbook of three actions, written to *folder*."""
    return acting(folder, "three-actions", ("one", "two", "three"), "runbook.start_again(each)")


def _make_three(engine: Engine, folder: Path) -> None:
    for name in ("one", "two", "three"):
        engine.client.containers.create(
            "busybox:lab",
            ["sleep", "1000"],
            name=name,
            network_mode="none",
            labels=labels.ours(engine.id),
        )


def _make_volume(engine: Engine, folder: Path) -> None:
    """A volume in use, and no copy of it in *folder*, nor half of one."""
    for left in [*folder.glob("web-data.tar*"), *folder.glob(".web-data.tar*")]:
        left.unlink()
    volumes.make(engine, "web", "backup-volume", volumes.archive(), up=True)


def _make_copy(engine: Engine, folder: Path) -> None:
    """A copy in *folder* of a volume that is gone."""
    volumes.write(folder / "web-data.tar", volumes.archive(), noted=volumes.archive())
    images.ensure(engine, ["busybox"])


BOOKS = {
    "diagnose-exit-137": Book(
        lambda _: "diagnose-exit-137",
        # the second pass finds it at this already
        {"watch": "500ms", "memory": "64m"},
        lambda engine, _: str(faults.inject(engine, "exit-137")),
        {("container", "web", "update"): 1, ("container", "web", "start"): 1},
    ),
    "three-actions": Book(
        three,
        {},
        _make_three,
        {("container", name, "start"): 1 for name in ("one", "two", "three")},
    ),
    "do-backup-volume": Book(
        lambda _: "do-backup-volume",
        {"file": "FOLDER/web-data.tar"},
        _make_volume,
        {("container", "web", "stop"): 1, ("container", "web", "start"): 1},
    ),
    "do-restore-volume": Book(
        lambda _: "do-restore-volume",
        {"file": "FOLDER/web-data.tar"},
        _make_copy,
        # the content, and the topmost folder
        {("volume", "web-data", "create"): 1, ("container", "labkit-copy", "extract-to-dir"): 2},
    ),
}
"""A runbook joins by a line here."""
WHOLE = ("diagnose-exit-137", "do-backup-volume")
"""These are killed while they look, too; the others from the approval on, where they begin to do something."""


# -- runs in processes of their own, forked from one that has imported everything


def _run(name: str, given: dict[str, Any], folder: str, environ: dict[str, str], kernel: str | None) -> None:
    """Run it, armed, in this process; a kernel is armed by ``PYTHONPATH``, a lane is a fork."""
    os.environ.update(environ)
    sys.path.insert(0, str(KILLER))
    sys.modules.pop("sitecustomize", None)  # Debian's Python has one of its own
    import sitecustomize  # noqa: F401  # arms

    runbook.run(name, given, apply=True, out_dir=Path(folder), environ=environ, kernel=kernel)


def _resume(folder: str) -> int:
    return runbook.resume(folder).exit_code


def in_process(function: Callable[..., int | None], *given: Any) -> int | None:
    """What *function* returns, called in a process of its own; None when that is killed, or has not ended in some minutes."""
    reading, writing = processes.Pipe(duplex=False)
    process = processes.Process(target=_tell, args=(writing, function, given, dict(os.environ)))
    process.start()
    writing.close()
    with reading:  # two threads may not ask at the same time how processes have ended (multiprocessing)
        if not reading.poll(150):
            process.kill()
        with suppress(EOFError):
            return int(reading.recv())
    return None


def _tell(
    writing: Connection, function: Callable[..., int | None], given: tuple[Any, ...], environ: dict[str, str]
) -> None:
    os.environ.clear()  # it is that of whichever test was the first to ask for a process
    os.environ.update(environ)
    writing.send(function(*given) or 0)


def cut_off(book: Book, engine: Engine, tmp_path: Path, kill: str, kernel: str | None = None) -> Path:
    """A run of *book* that was killed as *kill* says; returns its folder."""
    environ = {
        "DOCKER_HOST": engine.url,
        "LABKIT_TEST_KILL": kill,
        "PYTHONPATH": f"{KILLER}:{ROOT}:{os.environ.get('PYTHONPATH', '')}",
    }
    out = tmp_path / "runs"
    before = set(out.glob("*"))
    in_process(_run, book.source(tmp_path), book.parameters(tmp_path), str(out), environ, kernel)
    (folder,) = set(out.glob("*")) - before
    return folder


def state(engine: Engine) -> list[Any]:
    """What the runbooks here may change, of every container, and what is in the volumes."""
    seen = [observe.container(engine, each.id) for each in engine.client.containers.list(all=True)]
    inside = "cd /var/lib/docker/volumes && find */_data -printf '%p %m %u %g\\n' -type f -exec md5sum {} +"
    return [
        *sorted((each.name, each.status, each.memory, each.memory_swap) for each in seen),
        *sorted(engine.host.run(inside, check=False).stdout.splitlines()),
    ]


def done(engine: Engine, since: float, book: Book) -> Counter[tuple[str, str, str]]:
    """How often the engine says that something was done, of what *book* does; jobs without the end of their names."""
    kinds = {(kind, action) for kind, _, action in book.does}
    return Counter(
        (event.kind, re.sub("-[0-9a-f]{8}$", "", event.attributes.get("name", event.id)), event.action)
        for event in observe.events(engine, since=since)
        if (event.kind, event.action) in kinds
    )


def clear(engine: Engine) -> None:
    for container in engine.client.containers.list(all=True):
        container.remove(force=True)
    for volume in engine.client.volumes.list():
        volume.remove()


def places(entries: list[Entry]) -> list[tuple[str, int]]:
    """Each place in a journal where something may be cut off, as (kind, number).

    The end of a step and the beginning of the next are one place.
    """
    seen: Counter[str] = Counter()
    found = []
    for entry in entries:
        seen[entry.kind] += 1
        if entry.kind not in ("run-started", "step-done", "record", "run-ended"):
            found.append((entry.kind, seen[entry.kind]))
    return found


def kills(entries: list[Entry], *, whole: bool) -> list[str]:
    """After each entry (from the approval on, or *whole*), the runner and the kernel in turns; before an action is noted as done.

    Before an entry is elsewhere after the one before it: nothing happens in between.
    """
    found: list[str] = []
    every = places(entries)
    for kind, number in every[0 if whole else every.index(("approval", 1)) :]:
        for when in ("before", "after") if kind == "action-done" else ("after",):
            found.append(f"{when} {kind} {number} {('runner', 'kernel')[len(found) % 2]}")
    return [*found, "before run-ended 1 runner"]


@dataclass(frozen=True)
class Stage:
    """An engine and a folder where *book* is played, and how it ends there when nobody is killed."""

    book: Book
    engine: Engine
    folder: Path
    whole: Path
    end: list[Any]

    @classmethod
    def of(cls, book: Book, engine: Engine, folder: Path) -> Stage:
        """Play it to its end."""
        folder.mkdir()
        clear(engine)
        book.make(engine, folder)
        whole = cut_off(book, engine, folder, "after run-ended 2 nobody")
        return cls(book, engine, folder, whole, state(engine))

    def survive(self, kill: str, kernel: str | None) -> None:
        """Kill it there and resume it: same state, same outcome, and each action was done once."""
        clear(self.engine)
        self.book.make(self.engine, self.folder)
        since = time.time()
        folder = cut_off(self.book, self.engine, self.folder, kill, kernel)
        assert (folder / "killed").exists(), kill
        assert in_process(_resume, str(folder)) == 0, kill
        entries = Journal.open(folder).verify()
        assert state(self.engine) == self.end, kill
        assert done(self.engine, since, self.book) == self.book.does, kill
        assert told(folder) == told(self.whole), kill
        assert [entry.kind for entry in entries][-1] == "run-ended", kill


on_debian_13 = pytest.mark.parametrize("module_engine", ["debian-13"], indirect=True)


@pytest.fixture(scope="module")
def engines(module_engine: Engine) -> Iterator[tuple[Engine, Engine]]:
    """Two, since a run waits more than it works."""
    with labkit.open_engine("sandbox", name="test-2", pack="debian-13", images=["busybox"]) as other:
        yield module_engine, other


@pytest.fixture
def engine(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> Engine:
    """The module's, which ``DOCKER_HOST`` names, without what a killing that failed has left."""
    monkeypatch.setenv("DOCKER_HOST", engine.url)
    clear(engine)
    return engine


@pytest.mark.timeout(1200)
@on_debian_13
@pytest.mark.parametrize("name", BOOKS)
def test_killed_at_every_step(name: str, engines: tuple[Engine, Engine], tmp_path: Path) -> None:
    """Killed at each step boundary and around each action, then resumed: same state, each action once."""
    stages = [Stage.of(BOOKS[name], engine, tmp_path / engine.id) for engine in engines]
    assert told(stages[0].whole)["status"] == "fixed"
    all_kills = kills(Journal.open(stages[0].whole).entries(), whole=name in WHOLE)
    assert len(all_kills) > (18 if name in WHOLE else 12), "there are steps and actions"
    assert {kill.split()[1] for kill in all_kills} >= {
        "step-started",
        "approval",
        "action-started",
        "action-done",
    }
    # now and then on an ordinary kernel, elsewhere on a lane
    waiting = deque((kill, None if number % 6 else "python3") for number, kill in enumerate(all_kills))

    def play(stage: Stage) -> None:
        while waiting:
            stage.survive(*waiting.popleft())

    with ThreadPoolExecutor(len(stages)) as threads:
        list(threads.map(play, stages))
    for engine in engines:
        clear(engine)


def told(folder: Path) -> dict[str, Any]:
    """What a reader would compare of the outcomes of two runs."""
    outcome = outcome_of(folder)
    return {
        "status": outcome.status,
        "findings": [each.summary() for each in outcome.findings],
        "plan": outcome.plan and [str(action) for action in outcome.plan.actions],
        "done": outcome.applied and [each.action for each in outcome.applied.done],
    }


def outcome_of(folder: Path) -> runbook.Outcome:
    return runbook.Outcome.model_validate_json((folder / "outcome.json").read_text())


@on_debian_13
def test_the_daemon_restarts_in_between(engine: Engine, tmp_path: Path) -> None:
    """The engine has forgotten its events by the time the run goes on; what was found then still counts."""
    book = BOOKS["diagnose-exit-137"]
    book.make(engine, tmp_path)
    since = time.time()
    folder = cut_off(book, engine, tmp_path, "after action-done 1 runner")
    before = done(engine, since, book)
    engine.restart()
    assert in_process(_resume, str(folder)) == 0
    assert before + done(engine, since, book) == book.does
    outcome = outcome_of(folder)
    assert (outcome.status, outcome.findings[0].code) == ("fixed", "oom-of-pid-1")


@on_debian_13
def test_a_restart_that_is_under_way_is_not_asked_for_again(engine: Engine, tmp_path: Path) -> None:
    """Its run is killed while the engine waits for the process to end; who resumes it waits too, and it was restarted once."""
    stubborn = ["sh", "-c", "trap '' TERM; while :; do sleep 0.1; done"]
    engine.client.containers.run(
        "busybox:lab", stubborn, name="one", detach=True, labels=labels.ours(engine.id)
    )
    once = Counter({("container", "one", "restart"): 1})
    action = "runbook.restart(each, 'it has to', patience=60)"
    book = Book(lambda folder: acting(folder, "restart", ("one",), action), {}, lambda *_: None, dict(once))
    since = time.time()
    folder = cut_off(book, engine, tmp_path, "during action-started 1 runner")
    assert (folder / "killed").exists() and not done(engine, since, book), "killed in the middle"
    with ThreadPoolExecutor(1) as threads:
        resumed = threads.submit(in_process, _resume, str(folder))
        while not resumed.done() and len(applying(folder)) < 2:
            time.sleep(0.05)
        time.sleep(2)  # in which a run that does not wait asks for it again
        engine.client.api.kill("one")
        assert resumed.result() == 0
    assert done(engine, since, book) == once
    assert [entry.kind for entry in Journal.open(folder).entries() if entry.kind.startswith("action-")] == [
        "action-started",
        "action-skipped",
    ]


@on_debian_13
def test_whether_a_restart_came_about_is_told_by_the_engine(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It did when the process is a later one, also one that has ended; it did not when nothing was done; half is refused."""
    web = engine.client.containers.run("busybox:lab", ["sleep", "1000"], name="web", init=True, detach=True)
    action = runbook.restart(observe.container(engine, "web"), "it has to", patience=0)
    monkeypatch.setattr(restarts, "LONGEST", 0)
    monkeypatch.setattr(restarts, "TAKEN_UP", 0)
    since = engine_time(engine)
    assert not action.came_about(engine, since), "nothing was done to it"
    web.stop()
    with pytest.raises(Refused, match=r"cut off in the middle of: restart container web\n.*it is exited"):
        action.came_about(engine, since)
    web.start()
    assert action.came_about(engine, since)
    web.kill()
    assert action.came_about(engine, since), "it has ended since"
    assert not action.came_about(engine, engine_time(engine)), "all of that was before"
    web.remove(force=True)
    assert not action.came_about(engine, since), "it is gone"


@on_debian_13
def test_what_a_killed_run_left_is_cleared_away(
    engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The processes of its kernel's session and a container that worked for its action are ended; nothing else is.

    A process that another of the session starts while they are being ended is ended, too.  A container that goes between
    the list and its removal is in nobody's way.
    """
    every, signalled = ContainerCollection.list, Process.signal

    def listed(self: ContainerCollection, **options: Any) -> Any:
        found = every(self, **options)
        engine.client.api.remove_container("going")
        return found

    def late(self: Process, number: signal.Signals) -> bool:
        if not kernel.stdin.closed:  # all have been listed, and none has been ended yet
            kernel.stdin.close()
            kernel.stdout.readline()
        return signalled(self, number)

    for name, run in (("worker", tmp_path.name), ("going", tmp_path.name), ("of-another", "another-run")):
        made = {"name": name, "labels": {labels.RUN: run, **labels.ours(engine.id)}}
        engine.client.api.create_container("busybox:lab", ["sleep", "9"], **made)
    script = "sleep 1000 & read all; sleep 1000 & echo; wait"
    kernel = subprocess.Popen(["sh", "-c", script], stdin=PIPE, stdout=PIPE, start_new_session=True)
    stranger = subprocess.Popen(["sleep", "1000"], start_new_session=True)
    try:
        journal = Journal.create(tmp_path, {"kernel": "python3"})
        process = Process.of(kernel.pid)
        journal.write("step-started", cell=0, section="", kernel=[process.pid, process.started])
        journal.write("action-started", index=0)
        deadline = time.monotonic() + 60
        while len(session(kernel.pid)) < 2:
            assert time.monotonic() < deadline
        with monkeypatch.context() as patch:
            patch.setattr(ContainerCollection, "list", listed)
            patch.setattr(Process, "signal", late)
            clear_away(Order("x", "x.ipynb", "", {}, {"DOCKER_HOST": engine.url}), journal)
        assert kernel.wait(60) == -9 and session(kernel.pid) == []
        assert stranger.poll() is None
        assert [each.name for each in engine.client.containers.list(all=True)] == ["of-another"]
    finally:
        kernel.stdout.close()
        stranger.kill()
        stranger.wait()


def applying(folder: Path) -> list[Entry]:
    """How often a run has come to the cell that applies its plan."""
    return [
        e
        for e in Journal.open(folder).entries()
        if e.kind == "step-started" and e.facts["section"] == "Apply"
    ]


def session(leader: int) -> list[int]:
    """The living processes of a session."""
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        with suppress(ProcessLookupError):
            if os.getsid(int(path.name)) == leader and Process.of(int(path.name)).alive:
                found.append(int(path.name))
    return found


@on_debian_13
def test_two_runs_never_change_the_same_object(engine: Engine, tmp_path: Path) -> None:
    """While one run is at a container, another is refused, and told which run and which process has it."""
    faults.inject(engine, "exit-137")
    words = [sys.executable, "-m", "labkit", "run", "diagnose-exit-137", "--apply", "--out", str(tmp_path)]
    first = subprocess.Popen([*words, "-p", "watch=5m", "--json"], stdout=subprocess.PIPE, text=True)
    try:
        deadline = time.monotonic() + 60
        while observe.container(engine, "web").status != "running":
            assert first.poll() is None and time.monotonic() < deadline
            time.sleep(0.05)
        plan = runbook.Plan.of(runbook.raise_memory(observe.container(engine, "web")))
        with pytest.raises(Refused, match=f"another run is changing container web\n.*process {first.pid}"):
            plan.apply(engine)
    finally:
        first.kill()
        first.wait()
    assert plan.apply(engine).done, "the dead run blocks nobody"


@on_debian_13
def test_six_at_once_on_one_engine(engine: Engine, tmp_path: Path) -> None:
    """Six runs apply their plans to six containers at the same time, and none takes another's effects for its own."""
    names = [f"web{number}" for number in range(6)]
    for name in names:
        faults.inject(engine, "exit-137", container=name)
    words = [
        sys.executable,
        "-m",
        "labkit",
        "run",
        "diagnose-exit-137",
        "--apply",
        "--json",
        "--out",
        str(tmp_path),
    ]
    started = [
        subprocess.Popen(
            [*words, "-p", "watch=1s", "-p", f"container={name}"], stdout=subprocess.PIPE, text=True
        )
        for name in names
    ]
    outcomes = [json.loads(each.communicate(timeout=200)[0]) for each in started]
    assert [each["status"] for each in outcomes] == ["fixed"] * 6, "\n".join(
        (each["failure"] or {}).get("message", "") for each in outcomes
    )
    assert len({each["folder"] for each in outcomes}) == 6
