"""The states and the legal ways between them: the data agree with themselves, and with the live engine."""

from __future__ import annotations

import subprocess
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import docker.errors
import pytest

from labkit.engine import Engine
from labkit.errors import UsageError
from labkit.lifecycle import COMMANDS, REFUSALS, STATES, TRANSITIONS, Answer, answer, possible

IMAGE = "busybox:lab"


def test_every_pair_has_one_answer() -> None:
    """No pair of state and command both moves and is refused, and each has an answer."""
    for state in STATES:
        for command in COMMANDS:
            moves = [t for t in TRANSITIONS if (t.source, t.cause) == (state, command)]
            assert len(moves) + ((state, command) in REFUSALS) <= 1
            assert answer(state, command).kind in ("moves", "stays", "refused")


def test_unknown_names_are_errors() -> None:
    """A state or a command that does not exist is not answered."""
    with pytest.raises(UsageError, match="'frozen'"):
        answer("frozen", "start")
    with pytest.raises(UsageError, match="'run'"):
        answer("created", "run")


def test_every_state_can_be_reached_and_left() -> None:
    """Each state is the target and the source of some transition."""
    assert {t.target for t in TRANSITIONS} == {t.source for t in TRANSITIONS} == set(STATES)


def test_possible_lists_what_leads_on() -> None:
    """From paused, five commands lead on, and start is not one of them."""
    assert [a.command for a in possible("paused")] == ["stop", "kill", "unpause", "restart", "rm -f"]


def test_words_differ_by_version() -> None:
    """A refusal has the words of the engine that says it."""
    refused = answer("running", "rm").refused
    assert refused is not None
    assert refused.said_by("20.10.24").startswith("You cannot remove")
    assert refused.said_by("26.1.5").startswith("cannot remove")


# -- the live engine: every command in every state, for real

RUN: dict[str, Callable[[Any, str], object]] = {
    "create": lambda api, name: api.create_container(IMAGE, ["true"], name=name),
    "start": lambda api, name: api.start(name),
    "stop": lambda api, name: api.stop(name, timeout=2),
    "kill": lambda api, name: api.kill(name),
    "pause": lambda api, name: api.pause(name),
    "unpause": lambda api, name: api.unpause(name),
    "restart": lambda api, name: api.restart(name, timeout=2),
    "exec": lambda api, name: api.exec_start(api.exec_create(name, ["true"])),
    "rm": lambda api, name: api.remove_container(name),
    "rm -f": lambda api, name: api.remove_container(name, force=True),
}
MANY_FOLDERS = "mkdir /d; cd /d; seq 1 {} | xargs mkdir"
NOT_COUNTED = ("exec_create", "exec_start", "exec_die")


def state_of(engine: Engine, name: str) -> str:
    try:
        return str(engine.client.api.inspect_container(name)["State"]["Status"])
    except docker.errors.NotFound:
        return "removed"


def create(engine: Engine, name: str, *command: str, **options: Any) -> Any:
    return engine.client.containers.create(
        IMAGE, list(command or ("sleep", "1000")), name=name, init=True, **options
    )


def wait_until(holds: Callable[[], bool], seconds: float = 60, what: Callable[[], object] = str) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, f"waited in vain {what()}"
        time.sleep(0.01)


def reach_restarting(engine: Engine, name: str) -> None:
    """A container that fails at once and is in a long pause (3.2 s and more) before its next try."""
    create(engine, name, "false", restart_policy={"Name": "always"}).start()
    await_pause(engine, name)


def await_pause(engine: Engine, name: str) -> None:
    """Wait until a container that restarts for ever is in the first third of a long pause; each is twice the one before."""

    def waits() -> bool:
        found = engine.client.api.inspect_container(name)
        since = datetime.now(UTC) - datetime.fromisoformat(found["State"]["FinishedAt"])
        count = found["RestartCount"]
        third = timedelta(seconds=0.1 * 2**count / 3)
        return bool(found["State"]["Status"] == "restarting" and count >= 5 and since < third)

    wait_until(waits, 150)


def immutable(engine: Engine, name: str) -> str:
    """A file in the container's writable layer that nobody can delete; returns its path on the engine's host."""
    upper = engine.client.api.inspect_container(name)["GraphDriver"]["Data"]["UpperDir"]
    engine.host.write(f"{upper}/keep", "")
    if not engine.host.run(["chattr", "+i", f"{upper}/keep"], check=False).ok:
        pytest.skip("the file system of this engine's data-root knows no immutable files")
    return f"{upper}/keep"


def reach_dead(engine: Engine, name: str, kept: list[str]) -> None:
    container = create(engine, name)
    kept.append(immutable(engine, name))
    with pytest.raises(docker.errors.APIError, match="operation not permitted"):
        container.remove()


def reach(engine: Engine, state: str, name: str, kept: list[str]) -> None:
    if state == "restarting":
        reach_restarting(engine, name)
        return  # on a busy machine it may be over already; `compare` sees that
    if state == "dead":
        reach_dead(engine, name, kept)
    elif state != "removed":
        container = create(engine, name)
        if state != "created":
            container.start()
        if state == "paused":
            container.pause()
        if state == "exited":
            container.kill()
    assert state_of(engine, name) == state


class Log:
    """All that happens on the engine from now on; the engine itself keeps only 256 events."""

    def __init__(self, engine: Engine) -> None:
        self._stream = engine.client.events(decode=True, filters={"type": "container"})
        self._seen: dict[str, list[str]] = defaultdict(list)
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        for event in self._stream:
            action = event["Action"].partition(":")[0]
            if action not in NOT_COUNTED:
                self._seen[event["Actor"]["ID"]].append(action)

    def of(self, id_: str, skip: int = 0) -> list[str]:
        return self._seen[id_][skip:]

    def close(self) -> None:
        self._stream.close()


@pytest.fixture
def log(engine: Engine) -> Iterator[Log]:
    log = Log(engine)
    yield log
    log.close()


def compare(engine: Engine, log: Log, state: str, command: str, name: str) -> None:
    """Try *command* on the container *name*, which is in *state*, and hold what happens against the data."""
    told, api = answer(state, command), engine.client.api
    id_ = api.inspect_container(name)["Id"] if state != "removed" else ""
    before, error = len(log.of(id_)), ""
    if state == "restarting":
        await_pause(engine, name)
    pause = pause_of(engine, name, state)
    try:
        RUN[command](api, name)
    except docker.errors.APIError as refused:
        error = refused.explanation
    seen = state_of(engine, name)
    if told.refused:
        if pause and (pause[0] != state or pause_of(engine, name, state) != pause):
            # it has ended in between; the next one is twice as long
            compare(engine, log, state, command, name)
            return
        version = engine.client.version()["Version"]
        assert error == told.refused.said_by(version).format(id=id_, name=name), (state, command)
        assert seen == state, (state, command)
        return
    check_accepted(seen, told, error)
    id_ = id_ or api.inspect_container(name)["Id"]
    expected = [
        *told.events,
        *(["destroy"] if told.target == "removing" and state not in ("removing", "dead") else []),
    ]
    wait_until(
        lambda: happened(log.of(id_, before), expected, state), 60, lambda: (state, command, log.of(id_))
    )


def pause_of(engine: Engine, name: str, state: str) -> tuple[str, ...]:
    """In which of its pauses a container in `restarting` is; of one in another state nothing."""
    if state != "restarting":
        return ()
    found = engine.client.api.inspect_container(name)["State"]
    return found["Status"], found["StartedAt"], found["FinishedAt"]


def check_accepted(seen: str, told: Answer, error: str) -> None:
    pair = (told.source, told.command, error)
    if told.kind == "moves" and told.target == "removing":
        ended = "dead" if told.source == "dead" else "removed"
        assert seen == ended, pair
        assert ("operation not permitted" in error) == (ended == "dead"), pair
    elif told.source == "restarting" and told.target == "running":
        assert seen in ("running", "restarting"), pair  # it fails again at once
    else:
        assert seen == told.target and not error, pair


def happened(seen: list[str], expected: list[str], state: str) -> bool:
    """Whether these events came; a crashing container has more of its own, and a second signal may be needed."""
    return set(expected) <= set(seen) if state == "restarting" else set(seen) == set(expected)


LAST_EVENT = {"created": "create", "running": "start", "paused": "pause", "exited": "die", "dead": "create"}


def try_commands(engine: Engine, log: Log, state: str, commands: list[str], kept: list[str]) -> None:
    """Bring one container into *state* and try *commands* on it; all but the last leave it there."""
    name = f"{state}-{commands[0].replace(' ', '')}"
    reach(engine, state, name, kept)
    if state in LAST_EVENT:
        id_ = engine.client.api.inspect_container(name)["Id"]
        wait_until(lambda: log.of(id_)[-1:] == [LAST_EVENT[state]])
    for command in commands:
        compare(engine, log, state, command, name)


def rounds(state: str) -> list[list[str]]:
    """All commands on as few containers as will do: those that change nothing together, each other by itself."""
    moving = [a.command for a in possible(state)]
    return [[command for command in COMMANDS if command not in moving], *([command] for command in moving)]


def test_data_agree_with_the_engine(engine: Engine, log: Log) -> None:
    """Every command, tried in every state that stays, moves, stays or is refused as the data say, word for word."""
    kept: list[str] = []
    states = sorted(set(STATES) - {"removing"}, key="restarting".__ne__)  # the slow one first
    tries = [(state, commands) for state in states for commands in rounds(state)]
    try:
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda one: try_commands(engine, log, *one, kept), tries))
    finally:
        for path in kept:
            engine.host.run(["chattr", "-i", path], check=False)


def try_during_removal(engine: Engine, log: Log, folders: int) -> bool:
    """Try every command while so many *folders* are deleted; false when they were gone too early for that."""
    name = f"many-{folders}"
    container = create(engine, name, "sh", "-c", MANY_FOLDERS.format(folders))
    container.start()
    container.wait()
    removal = subprocess.Popen(["docker", "rm", name], env=engine.environ, stdout=subprocess.DEVNULL)
    wait_until(lambda: state_of(engine, name) != "exited")
    try:
        for command in COMMANDS:
            if command != "restart":  # it waits for the end of the removal before it answers
                compare(engine, log, "removing", command, name)
        in_time = state_of(engine, name) == "removing"
    except AssertionError:
        if state_of(engine, name) == "removing":
            raise
        in_time = False
    assert removal.wait(120) == 0
    assert not in_time or state_of(engine, name) == "removed"
    return in_time


def test_data_agree_while_it_is_being_removed(engine: Engine, log: Log) -> None:
    """While thousands of folders are deleted the container is in `removing`, and answers as the data say."""
    assert any(try_during_removal(engine, log, folders) for folders in (8_000, 32_000, 128_000))


def test_dead_is_undone(engine: Engine) -> None:
    """A dead container can be removed when what stood in the way is gone."""
    kept: list[str] = []
    reach_dead(engine, "stuck", kept)
    assert state_of(engine, "stuck") == "dead"
    engine.host.run(["chattr", "-i", *kept])
    engine.client.api.remove_container("stuck")
    assert state_of(engine, "stuck") == "removed"
