"""Checks that follow a live engine: the mark turns by itself, and no more is asked of the engine than is needed."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

import labkit.lab
from labkit.engine import Engine
from labkit.errors import UsageError
from labkit.lab import container, nothing_else, until_says, volume
from labkit.lab.checking import following
from labkit.lab.checking.checks import Check, Checks
from labkit.lab.checking.rounds import concerns
from labkit.lab.conditions import Condition, Facts
from labkit.lab.conditions.facts import ANY
from labkit.lab.notebooks.exercises import Exercise, Recorded
from labkit.observe import Event, events

LOOP = ["sh", "-c", "trap 'exit 143' TERM; echo awake; while :; do sleep 0.05; done"]
WRONG = {"name": "a", "source": "a", "says": "a"}
RECORDED = Recorded.model_validate(
    {
        "exercise": "ending",
        "hints": [
            "Ask **kindly**.",
            {"when": "exit code: 137", "hint": "Who sent what?"},
            {"when": "is running", "hint": "It runs."},
        ],
        "solution": "!docker stop ada",
        "because": "It is asked <first>.",
        "wrong": [{**WRONG, "name": name} for name in "abc"],
    }
)


class Notes:
    """What a learner's progress would be told."""

    def __init__(self) -> None:
        self.told: list[tuple[Any, ...]] = []

    def checked(self, exercise: str, passed: bool) -> None:
        self.told.append(("checked", exercise, passed))

    def hinted(self, exercise: str, number: int) -> None:
        self.told.append(("hinted", exercise, number))

    def gave_solution(self, exercise: str) -> None:
        self.told.append(("solution", exercise))


class Watcher:
    """Follows a check and waits for what it says."""

    def __init__(self, check: Check) -> None:
        self.check, self._turned = check, threading.Condition()
        check.follow(self._changed)

    def _changed(self) -> None:
        with self._turned:
            self._turned.notify_all()

    def until(self, said: Callable[[Check], bool], seconds: float = 60) -> None:
        began = time.monotonic()
        with self._turned:
            assert self._turned.wait_for(lambda: said(self.check), seconds), repr(self.check)
            assert time.monotonic() < began + seconds, "what it says is another, and nobody was told"


@pytest.fixture
def notes() -> Notes:
    return Notes()


@pytest.fixture
def checks(engine: Engine, notes: Notes) -> Iterator[Checks]:
    exercise = Exercise(RECORDED, "", "", ())
    names = ["ending", "other", *(f"check {number}" for number in range(20))]
    made = Checks(engine, lambda: dict.fromkeys(names, exercise), notes)
    yield made
    made.close()


def create(engine: Engine, name: str, command: list[str] = LOOP, **options: Any) -> None:
    engine.client.containers.create("busybox:lab", command, name=name, **options)


def start(engine: Engine, name: str = "ada") -> None:
    """Start it, and wait until it acts on SIGTERM: before that the signal would be lost."""
    engine.client.api.start(name)
    until_says(engine, name, "awake")


def ending(name: str = "ada") -> list[Condition]:
    return [container(name).exited(143), container(name).received("SIGTERM")]


def test_the_mark_turns_when_the_engine_is_in_the_wanted_state_and_back(
    engine: Engine, checks: Checks, notes: Notes
) -> None:
    """Nothing is called between what is done on the engine and the mark; a cell that runs all the while is no hindrance."""
    check = checks.check("ending", *ending())
    watcher = Watcher(check)
    busy = threading.Thread(target=lambda: sum(n * n for n in range(30_000_000)), daemon=True)
    busy.start()
    create(engine, "ada")
    start(engine)
    watcher.until(lambda check: "is running" in repr(check))
    engine.client.api.kill("ada", "SIGTERM")
    watcher.until(lambda check: check.done)
    engine.client.api.start("ada")
    watcher.until(lambda check: not check.done)
    engine.client.api.remove_container("ada", force=True)
    watcher.until(lambda check: "no such container" in repr(check))
    turns = [told[2] for told in notes.told if told[0] == "checked"]
    assert turns == [False, True, False]


def test_what_a_check_says(engine: Engine, checks: Checks) -> None:
    """First whether it is done, then a line a condition with its mark; where a hint is to be had, as long as it is not done."""
    create(engine, "ada")
    assert repr(checks.check("ending", *ending(), container("ada").exists())).splitlines() == [
        "ending: not yet",
        "✗ container ada, exit code: none, it is created, expected 143",
        "✗ container ada, signals: none, it was never started, expected SIGTERM",
        "✓ container ada, state: created",
        'hint: lab.hint("ending")',
    ]
    assert (
        repr(checks.check("other", container("ada").exists()))
        == "other: done\n✓ container ada, state: created"
    )


def test_each_object_is_asked_for_once_a_round(
    engine: Engine, checks: Checks, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Twenty checks of one container: a round is one look at it; what happens to other containers is no work at all."""
    for name in ("ada", "bob"):
        create(engine, name)
    asked: Counter[str] = Counter()
    inspect = engine.client.api.inspect_container

    def counted(name: str) -> Any:
        asked[name] += 1
        return inspect(name)

    watchers = [Watcher(checks.check(f"check {n}", container("ada").is_state("running"))) for n in range(20)]
    settled(checks)
    monkeypatch.setattr(engine.client.api, "inspect_container", counted)
    before = checks.rounds.looks
    engine.client.api.start("bob")
    engine.client.api.kill("bob", "SIGKILL")
    settled(checks)
    assert (checks.rounds.looks, asked) == (before, Counter())
    engine.client.api.start("ada")
    for watcher in watchers:
        watcher.until(lambda check: check.done)
    settled(checks)
    assert set(asked) == {"ada"} and asked["ada"] == checks.rounds.looks - before <= 4


def settled(checks: Checks) -> None:
    """Wait until all events so far were heard, and what had to be looked at again afterwards was."""
    newest = max((event.nano for event in checks.following.events()), default=0)
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        heard = [event.nano for event in checks.following.heard()]
        if max(heard, default=0) >= newest and not checks.rounds.waiting:
            return
        time.sleep(0.02)
    raise AssertionError("it did not settle")


def test_what_has_no_event_is_looked_at_only_while_somebody_wants_it(engine: Engine, checks: Checks) -> None:
    """A file that is written and a port that opens are seen without an event; when nobody follows, nothing is asked."""
    create(engine, "ada", ["sh", "-c", "while [ ! -e /go ]; do sleep 0.05; done; echo now >/note; httpd -f"])
    engine.client.api.start("ada")
    conditions = [container("ada").file("/note", equals="now"), container("ada").reaches("localhost:80")]
    check = checks.check("ending", *conditions)
    watcher = Watcher(check)
    assert not check.done
    made = engine.client.api.exec_create("ada", ["touch", "/go"])
    engine.client.api.exec_start(made)
    watcher.until(lambda check: check.done)
    check.stop()
    reads = [event for event in events(engine) if event.action == "archive-path"]
    looks = checks.rounds.looks
    threading.Event().wait(0.8)
    assert checks.rounds.looks == looks
    assert 1 <= len(reads) <= 3
    hidden = "touch -r /note /then; echo new >/note; touch -r /then /note"  # of the same size and time
    engine.client.api.exec_start(engine.client.api.exec_create("ada", ["sh", "-c", hidden]))
    assert not check.look()


def test_a_stored_file_is_seen_too(engine: Engine, checks: Checks) -> None:
    """What is in a volume is looked at without an event as well."""
    engine.client.volumes.create("pg")
    watcher = Watcher(checks.check("ending", volume("pg").file("note")))
    engine.client.containers.run(
        "busybox:lab", ["touch", "/data/note"], volumes={"pg": {"bind": "/data"}}, remove=True
    )
    watcher.until(lambda check: check.done)


def test_another_container_of_the_same_name_is_another(engine: Engine, checks: Checks) -> None:
    """Removed and made again, or named so afterwards, it has not received what the former one did."""
    create(engine, "ada")
    start(engine)
    watcher = Watcher(checks.check("ending", *ending()))
    engine.client.api.kill("ada", "SIGTERM")
    watcher.until(lambda check: check.done)
    engine.client.api.remove_container("ada")
    watcher.until(lambda check: not check.done)
    create(engine, "bob", labels={"name": "ada"})
    engine.client.api.rename("bob", "ada")
    watcher.until(lambda check: "never started" in repr(check))
    engine.client.api.rename("ada", "carl")
    watcher.until(lambda check: "no such container" in repr(check))


def test_a_label_does_not_hide_what_happens(engine: Engine, checks: Checks) -> None:
    """The events of a container whose label takes the place of its name still turn its mark."""
    create(engine, "ada", labels={"name": "bob"})
    watcher = Watcher(checks.check("ending", container("ada").is_state("running")))
    engine.client.api.start("ada")
    watcher.until(lambda check: check.done)


def test_an_engine_that_does_not_answer_is_told_and_found_again(engine: Engine, checks: Checks) -> None:
    """A daemon that is down: the mark says so; up again, what happened before its end is still known."""
    create(engine, "ada")
    start(engine)
    watcher = Watcher(checks.check("ending", *ending()))
    engine.client.api.kill("ada", "SIGTERM")
    watcher.until(lambda check: check.done)

    def quickly() -> bool:
        engine.start()
        watcher.until(lambda check: check.done)
        began = time.monotonic()
        engine.stop()
        return time.monotonic() - began < 5

    assert any(quickly() for _ in range(5)), "a daemon waits for five seconds for whoever still listens"
    watcher.until(lambda check: repr(check).splitlines()[0] == "ending: the engine does not answer")
    engine.start()
    watcher.until(lambda check: check.done)


def test_a_check_made_while_nobody_answers_begins_when_somebody_does(engine: Engine, checks: Checks) -> None:
    """It says that the engine does not answer, and what it sees as soon as it sees something."""
    create(engine, "ada")
    engine.kill()
    check = checks.check("ending", container("ada").exists())
    assert repr(check) == 'ending: the engine does not answer\nhint: lab.hint("ending")'
    watcher = Watcher(check)
    engine.start()
    watcher.until(lambda check: check.done)


@pytest.mark.parametrize("module_engine", ["debian-13"], indirect=True)
def test_a_reset_engine_is_another_engine(module_engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """After a reset the empty engine is seen; after its end that is told, and the threads end.  Run again, it follows."""
    checks = Checks(module_engine)
    create(module_engine, "ada")
    watcher = Watcher(checks.check("ending", container("ada").exists(), nothing_else(containers=["ada"])))
    assert watcher.check.done
    module_engine.reset()
    watcher.until(lambda check: "no such container" in repr(check))
    monkeypatch.setattr(following, "PATIENCE", 0.5)
    module_engine.stop()
    watcher.until(lambda check: "the engine is gone" in repr(check))
    until_ended()
    module_engine.start()
    again = Watcher(checks.check("ending", container("ada").exists()))
    create(module_engine, "ada")
    again.until(lambda check: check.done)
    checks.close()
    until_ended()
    module_engine.client.api.remove_container("ada")


def following_threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name == "labkit-following"]


@pytest.mark.parametrize(
    ("name", "conditions"),
    [
        ("ending", []),
        ("ending", [True]),
        ("ending", [container("ada")]),
        ("ending", [container("ada").exists]),
        ("", [container("ada").exists()]),
        (7, [container("ada").exists()]),
    ],
    ids=range(6),
)
def test_a_check_that_could_not_fail_is_refused(name: Any, conditions: list[Any]) -> None:
    """Without a condition, or with something else in its place, there is no check: before any engine is asked."""
    with pytest.raises(UsageError):
        Checks(cast("Engine", SimpleNamespace(owned=True))).check(name, *conditions)


@pytest.mark.parametrize(
    ("event", "key", "known", "expected"),
    [
        (("container", "start", "1"), ("container", "ada"), "1", True),
        (("container", "start", "2"), ("container", "ada"), "1", False),
        (("container", "start", "2"), ("container", "ada"), None, False),
        (("container", "create", "2"), ("container", "ada"), None, True),
        (("container", "rename", "2"), ("container", "ada"), None, True),
        (("network", "connect", "9"), ("container", "ada"), "1", True),
        (("network", "connect", "9"), ("container", "ada"), "2", False),
        (("network", "connect", "9"), ("network", "near"), "9", True),
        (("volume", "create", "pg"), ("volume", "pg"), None, True),
        (("volume", "create", "pg2"), ("volume", "pg"), None, False),
        (("image", "tag", "sha256:1"), ("image", "web"), None, True),
        (("image", "tag", "sha256:1"), ("container", "web"), None, False),
        (("container", "create", "2"), ("container", ANY), None, True),
    ],
)
def test_which_events_concern_which_object(
    event: tuple[str, str, str], key: tuple[str, str], known: str | None, expected: bool
) -> None:
    """By the full id, and by name only where the name is the id; who is missing may be made, or be named so."""
    kind, action, id_ = event
    told = Event(1, kind, action, id_, {"name": "ada", "container": "1"})
    assert concerns(told, key, known) is expected


def test_hints_come_one_after_the_other_and_follow_what_the_check_sees(
    engine: Engine, checks: Checks, notes: Notes
) -> None:
    """The general one first, then the one for what is the case now; each is noted, and the solution too."""
    create(engine, "ada")
    assert repr(checks.hint("ending")) == "ending: Ask **kindly**."
    checks.check("ending", *ending())
    assert checks.hint("ending").number == 0, "created: nothing fits"
    engine.client.api.start("ada")
    assert repr(checks.hint("ending")) == "ending: It runs."
    engine.client.api.kill("ada", "SIGKILL")
    assert repr(checks.hint("ending")) == "ending: Who sent what?"
    assert checks.hint("ending").text.endswith(
        'what the check sees now; one solution: lab.solution("ending")'
    )
    solution = checks.solution("ending")
    assert "!docker stop ada" in repr(solution) and "&lt;first&gt;" in solution._static()
    assert [told for told in notes.told if told[0] != "checked"] == [
        ("hinted", "ending", 1),
        ("hinted", "ending", 3),
        ("hinted", "ending", 2),
        ("solution", "ending"),
    ]


def test_help_for_an_exercise_that_there_is_not(checks: Checks) -> None:
    """The nearest one is named."""
    for ask in (checks.hint, checks.solution, lambda name: checks.check(name, container("ada").exists())):
        with pytest.raises(UsageError, match="no exercise called 'endng'") as caught:
            ask("endng")
        assert caught.value.try_ == "'ending'"
    for ask in (checks.hint, checks.solution):
        with pytest.raises(UsageError, match="no exercise called"):
            ask(["ending"])  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="a check has a name"):
        checks.check(["ending"], container("ada").exists())  # type: ignore[arg-type]


def test_an_exported_page_has_the_general_hints_folded_and_no_solution(
    engine: Engine, checks: Checks
) -> None:
    """What is shown where nothing runs says the same as the text; hints are to be unfolded, until it is done."""
    page = checks.check("ending", container("ada").exists())._static()
    assert "ending: not yet" in page and "<strong>kindly</strong>" in page and "<details>" in page
    assert "docker stop" not in page and "Who sent" not in page
    create(engine, "ada")
    assert "<details>" not in checks.check("ending", container("ada").exists())._static()


@pytest.mark.parametrize("module_engine", ["debian-13"], indirect=True)
def test_on_a_shared_engine_what_was_there_before_is_nobodys_fault(engine: Engine) -> None:
    """Somebody's container, volume and network do not count; what comes later does.  The marks follow as on a private one."""
    create(engine, "prod")
    engine.client.volumes.create("orders")
    engine.client.networks.create("backend")
    with labkit.open_engine("attach", url=engine.url) as shared:
        checks = Checks(shared)
        others = nothing_else(containers=[], volumes=[], networks=[], images=[])
        watcher = Watcher(checks.check("ending", others, container("prod").file("/bin/sh")))
        assert watcher.check.done
        create(engine, "ada")
        watcher.until(lambda check: "other objects: container ada, expected nothing else" in repr(check))
        checks.close()


def test_what_a_look_has_found_is_shown(engine: Engine, checks: Checks) -> None:
    """Who asks for a hint looks, maybe before the event has come; the live view shows what was seen then."""
    check, shown = checks.check("ending", container("ada").exists()), list[bool]()
    check.follow(lambda: shown.append(check.done))
    with checks.rounds._lock:  # so the thread that follows comes second
        create(engine, "ada")
        assert check.look()
    settled(checks)
    assert shown[-1]


def test_a_repeated_check_takes_over(engine: Engine, checks: Checks) -> None:
    """The check that was made before, of the same exercise, stays as it was."""
    first = checks.check("ending", container("ada").exists())
    first.follow()
    second = Watcher(checks.check("ending", container("ada").exists()))
    create(engine, "ada")
    second.until(lambda check: check.done)
    assert not first.done and repr(first).startswith("ending: checked again later")


def test_an_answer_of_another_form_is_a_failed_reading() -> None:
    """What no engine that we know answers is told in the reading; a check never ends in an exception."""
    api = SimpleNamespace(
        inspect_container=lambda name: {"Name": "/ada", "Id": "1", "State": {"Status": "exited"}}
    )
    facts = Facts(cast("Engine", SimpleNamespace(client=SimpleNamespace(api=api))))
    reading = container("ada").exited(0).read(facts)
    assert str(reading) == "container ada, exit code: not readable (KeyError: 'Error'), expected 0"


def test_a_linked_container_is_called_by_its_own_name() -> None:
    """Of the names that an engine tells, the first may be the one that a link gave it."""
    row = {"Id": "1", "Names": ["/proxy/db", "/x-db"], "Mounts": [{"Name": "pg"}]}
    api = SimpleNamespace(inspect_volume=lambda name: {"Name": name}, containers=lambda **_: [row])
    facts = Facts(cast("Engine", SimpleNamespace(client=SimpleNamespace(api=api))))
    assert str(volume("pg").unused().read(facts)) == "volume pg, containers that have it: x-db, expected none"


def test_what_is_not_an_event_of_ours_is_kept_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """Health checks and the reading of files do not fill what is remembered."""
    raw = [
        {"timeNano": n, "Type": "container", "Action": action, "Actor": {"ID": "1", "Attributes": {}}}
        for n, action in enumerate(["exec_create: true", "archive-path", "top", "start"])
    ]
    engine = SimpleNamespace(client=SimpleNamespace(events=lambda **_: iter(raw)), url="tcp://nowhere")
    followed = following.Following(cast("Engine", engine))
    assert [event.action for event in followed._events(threading.Event())] == ["start"]


def test_an_event_that_a_check_has_asked_for_is_told_to_the_others() -> None:
    """Who looks just now may learn of an event before the stream brings it; everybody hears it, and once."""
    raw = {"timeNano": 7, "Type": "container", "Action": "die", "Actor": {"ID": "1", "Attributes": {}}}
    late, heard, over, told = threading.Event(), threading.Event(), threading.Event(), list[str]()

    def stream(**_: object) -> Iterator[dict[str, Any]]:
        late.wait(60)
        yield {**raw}
        yield {**raw, "timeNano": 8, "Action": "start"}
        over.wait(60)

    def listen(batch: Sequence[Event], turned: bool) -> None:
        told.extend(event.action for event in batch)
        if "start" in told:
            heard.set()

    client = SimpleNamespace(
        events=stream,
        info=lambda: {"SystemTime": "2001-01-01T00:00:00Z"},
        api=SimpleNamespace(events=lambda **_: [{**raw}]),
    )
    followed = following.Following(cast("Engine", SimpleNamespace(client=client, url="tcp://nowhere")))
    followed.subscribe(listen)
    assert [event.action for event in followed.events()] == ["die"]
    late.set()
    assert heard.wait(60) and told == ["die", "start"]
    followed.stop()
    over.set()
    until_ended()


def test_a_stream_that_comes_after_the_end_is_closed() -> None:
    """Who stops following while the engine is still being asked leaves no connection open."""
    late, closed = threading.Event(), threading.Event()

    def events(**_: object) -> SimpleNamespace:
        late.wait(60)
        return SimpleNamespace(close=closed.set)

    client = SimpleNamespace(events=events)
    followed = following.Following(cast("Engine", SimpleNamespace(client=client, url="tcp://nowhere")))
    followed.subscribe(lambda batch, turned: None)
    followed.stop()
    late.set()
    assert closed.wait(60)
    until_ended()


def test_a_session_counts_what_is_done_with_its_checks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Check, hint, solution and prediction of a lab that is open are in its progress, and its end ends the following."""
    monkeypatch.setenv("LABKIT_PROGRESS", str(tmp_path / "progress.sqlite"))
    opened = labkit.lab.open("30-container-states", name="ada", image="busybox:lab")
    try:
        create(opened.engine, "ada-x1")
        watcher = Watcher(opened.check("ending", container("ada-x1").is_state("running")))
        assert repr(watcher.check).endswith('hint: lab.hint("ending")')
        assert opened.hint("ending").number == 1 and opened.solution("ending").source
        opened.predict("which state?", "running").saw("running")
        opened.engine.client.api.start("ada-x1")
        # what a check says is another a moment before that is noted, and then told to who watches it
        watcher.until(lambda check: check.done and opened.progress.tally.checks_passed > 0)
        tally = opened.progress.tally
        assert (tally.predictions_right, tally.checks_passed, tally.hints, tally.solutions) == (1, 1, 1, 1)
    finally:
        opened.close()
    assert "engine: 30-container-states" in capsys.readouterr().out
    until_ended()


def until_ended() -> None:
    deadline = time.monotonic() + 60
    while following_threads() and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not following_threads()
