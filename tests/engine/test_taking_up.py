"""An engine that bears a key is found again by who has the same owner: with all that is on it, whatever became of its daemon."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator

import pytest

from labkit.engine import records
from labkit.engine.sandbox import Sandbox, open_sandbox


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

    sandbox._by_name.pop(engine.name)
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
