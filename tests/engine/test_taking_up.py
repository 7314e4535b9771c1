"""An engine that bears a key is found again by who has the same owner: with all that is on it, whatever became of its daemon."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from hashlib import sha256

import pytest

from labkit import paths
from labkit.engine import cgroups, records
from labkit.engine.opening import open_sandbox
from labkit.engine.processes import Process
from labkit.engine.sandbox import Sandbox
from labkit.errors import EngineUnreachable


@pytest.fixture
def owner() -> Iterator[subprocess.Popen[bytes]]:
    """A process that owns engines until the end of the test."""
    process = subprocess.Popen(["sleep", "1000"])
    yield process
    process.kill()
    process.wait()


def taken_up(owner: subprocess.Popen[bytes], key: str = "a.ipynb", **options: object) -> Sandbox:
    return open_sandbox("taken", owner=owner.pid, key=key, **options)  # type: ignore[arg-type]


def forget(engine: Sandbox) -> None:
    """As when this process ended without a word: another one knows only what is written down."""
    from labkit.engine import sandbox

    sandbox.by_name.pop(engine.name)
    engine._disconnect()


def test_found_by_name_key_and_owner(owner: subprocess.Popen[bytes]) -> None:
    """The same engine, its containers and its state; missing images are added, and a reset has them too."""
    first = taken_up(owner)
    assert not first.taken_up
    first.client.volumes.create("letters")
    forget(first)
    again = taken_up(owner, images=["busybox"])
    assert (again.id, again.taken_up) == (first.id, True)
    assert [volume.name for volume in again.client.volumes.list()] == ["letters"]
    assert again.host.run(["hostname"]).stdout.strip() == "taken"
    again.reset()
    assert again.client.images.get("busybox:lab") and not again.client.volumes.list()
    forget(again)
    other = taken_up(owner, key="copy of a.ipynb")
    assert other.id != first.id and not other.taken_up
    forget(other)
    assert taken_up(owner).id == first.id


RESETS = """
import sys
from labkit.engine.opening import open_sandbox
engine = open_sandbox("taken", owner=int(sys.argv[1]), key="a.ipynb", images=["busybox"])
for _ in range(2):
    engine.reset()
print("done", flush=True)
sys.stdin.read()  # until the other has done it too
print(engine.id, engine.host.run(["hostname"]).stdout.strip(), engine.client.images.list())
"""


def test_two_that_reset_it_at_once_have_it_both(owner: subprocess.Popen[bytes]) -> None:
    """Each waits for the other; afterwards both have the one engine, and who has had it before too, until it is closed.

    Once its keeper was killed, a reset and the end leave nothing either.
    """
    first = taken_up(owner, images=["busybox"])
    command = [sys.executable, "-c", RESETS, str(owner.pid)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    others = [subprocess.Popen(command, text=True, **pipes) for _ in range(2)]
    assert [other.stdout.readline() for other in others if other.stdout] == ["done\n"] * 2
    said = [other.communicate()[0] for other in others]
    assert said == [f"{first.id} taken [<Image: 'busybox:lab'>]\n"] * 2
    assert first.host.run(["hostname"]).stdout == "taken\n" and first.client.images.get("busybox:lab")
    os.kill(records.find(first.id).facts["keeper"]["pid"], signal.SIGKILL)
    first.reset()
    assert first.client.images.get("busybox:lab")
    first.close()
    assert not [parent for parent in cgroups.parents() if (parent / first.id).exists()]
    assert not [record for record in records.listed() if record.id == first.id]
    whose = f"taken a.ipynb {Process.of(owner.pid)}"  # other tests take turns too
    assert not list(paths.runtime().glob(f"turn-{sha256(whose.encode()).hexdigest()[:16]}*"))
    for ask in (first.reset, lambda: first.client, lambda: first.host, first.stop, lambda: first.save("x")):
        with pytest.raises(EngineUnreachable, match="the engine 'taken' was closed"):
            ask()


def test_a_daemon_that_was_stopped_or_killed_runs_again(owner: subprocess.Popen[bytes]) -> None:
    """With what was on it; an engine that has ended is another one."""
    first = taken_up(owner)
    first.client.volumes.create("letters")
    for end in (first.stop, first.kill):
        end()
        forget(first)
        again = taken_up(owner)
        assert again.id == first.id and again.client.volumes.get("letters")
        first = again
    records.find(first.id).stop()
    forget(first)
    new = taken_up(owner)
    assert new.id != first.id and not new.taken_up
    assert new.client.volumes.list() == []


def test_an_engine_that_ends_just_now_is_not_taken_up(
    owner: subprocess.Popen[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its host is gone, and its keeper has not cleared it away yet: who opens it gets another one, and no error."""
    first = taken_up(owner)
    record = records.find(first.id)
    keeper = record.facts["keeper"]["pid"]
    start = Sandbox.start

    def started(self: Sandbox) -> None:
        try:
            start(self)
        finally:
            os.kill(keeper, signal.SIGCONT)

    monkeypatch.setattr(Sandbox, "start", started)
    os.kill(keeper, signal.SIGSTOP)
    assert record.init
    record.init.signal(signal.SIGKILL)
    while record.init.alive:
        time.sleep(0.01)
    forget(first)
    second = taken_up(owner)
    assert second.id != first.id and not second.taken_up and second.client.ping()
    assert [each.id for each in records.listed() if each.id == first.id] == []


def test_who_ends_takes_the_engine_along(owner: subprocess.Popen[bytes]) -> None:
    """Another owner, such as the next notebook server, gets another engine; nothing of the former's is left."""
    first = taken_up(owner)
    forget(first)
    owner.kill()
    owner.wait()
    with subprocess.Popen(["sleep", "1000"]) as next_owner:
        try:
            second = taken_up(next_owner)
            assert second.id != first.id and not second.taken_up
            second.close()
        finally:
            next_owner.kill()
    assert not [record for record in records.listed() if record.id == second.id]
