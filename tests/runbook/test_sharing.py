"""What one process of a run knows, the others know; and it lies in memory alone."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time

import pytest

from labkit.runbook import redaction, sharing
from labkit.runbook.sharing import VARIABLE, Shared


def test_what_one_adds_the_others_find_once() -> None:
    """Each reader sees each value once, whoever added it."""
    first = Shared.create()
    second = Shared.open(first.place)
    assert second is not None
    first.add("one", "two\nlines")
    assert second.new() == ["one", "two\nlines"]
    second.add("three")
    assert (second.new(), first.new()) == (["three"], ["one", "two\nlines", "three"])
    first.close()
    second.close()


def test_readers_wait_for_what_is_to_come(monkeypatch: pytest.MonkeyPatch) -> None:
    """While a sweep goes on, whoever asks waits; and not for ever."""
    monkeypatch.setattr(sharing, "PATIENCE", 1000)
    shared = Shared.create()
    assert not shared.busy
    shared.begin()
    shared.add("early")
    assert shared.busy
    monkeypatch.setattr(sharing, "PATIENCE", 0)
    assert not shared.busy
    shared.begin()
    shared.end()
    shared.end()
    assert not shared.busy and shared.new() == ["early"]
    shared.close()


def test_masking_waits_for_what_is_being_learned(monkeypatch: pytest.MonkeyPatch) -> None:
    """Text that is masked while a sweep goes on is masked with what the sweep finds; and the sweep is not held up by that."""
    shared = Shared.create()
    monkeypatch.setenv(VARIABLE, shared.place)
    monkeypatch.setattr(sharing, "PATIENCE", 1000)
    shared.begin()

    def learn() -> None:
        time.sleep(0.3)
        redaction.known.add("learned-in-the-background")
        shared.end()

    threading.Thread(target=learn).start()
    assert redaction.mask("learned-in-the-background") == redaction.MASK
    shared.close()


@pytest.mark.parametrize("slow", ["json.loads", "Shared.open", "Secrets.add"])
def test_no_thread_overtakes_one_that_learns(slow: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """While one thread takes in what another process has told, however long each step of it takes, the others wait."""
    owner, name = {
        "json.loads": (sharing.json, "loads"),
        "Shared.open": (Shared, "open"),
        "Secrets.add": (redaction.Secrets, "add"),
    }[slow]
    shared, known, begun, honest = (
        Shared.create(),
        redaction._Known(),
        threading.Event(),
        getattr(owner, name),
    )
    monkeypatch.setenv(VARIABLE, shared.place)
    if slow != "Shared.open":
        known.mask("opens it")
    shared.add("told-by-another")

    def slowly(*given: object) -> object:
        begun.set()
        time.sleep(0.2)
        return honest(*given)

    monkeypatch.setattr(owner, name, slowly)
    first = threading.Thread(target=known.mask, args=("x",))
    first.start()
    assert begun.wait(60)
    assert known.mask("told-by-another") == redaction.MASK
    first.join()
    shared.close()


def test_nothing_is_shared_with_whatever_else_is_there_by_now(tmp_path) -> None:  # type: ignore[no-untyped-def]
    """A place that is gone, or is another file now, is left alone."""
    (tmp_path / "other").write_text("")
    descriptor = os.open(tmp_path / "other", os.O_RDWR)
    assert Shared.open(f"/proc/{os.getpid()}/fd/{descriptor}") is None
    assert Shared.open("/proc/1/fd/987654") is None
    os.close(descriptor)


def test_a_child_masks_what_its_parent_learns_later(monkeypatch: pytest.MonkeyPatch) -> None:
    """Both ways, between processes: the kernel masks what the runner knows, and the runner what the kernel knows."""
    shared = Shared.create()
    monkeypatch.setenv(VARIABLE, shared.place)
    code = "from labkit.runbook.redaction import known, mask; known.add('of-the-child'); print('.', flush=True); input();"
    child = subprocess.Popen(
        [sys.executable, "-c", code + "print(mask('of-the-parent'))"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert child.stdout and child.stdout.readline() == ".\n"
    redaction.known.add("of-the-parent")
    assert child.communicate("\n", timeout=60)[0] == redaction.MASK + "\n"
    assert redaction.mask("of-the-child") == redaction.MASK
    shared.close()


def test_the_next_run_of_a_process_has_a_list_of_its_own() -> None:
    """Though it gets the same descriptor, nobody takes it for the one before."""
    first = Shared.create()
    reader = Shared.open(first.place)
    first.close()
    second = Shared.create()
    assert first.place != second.place and Shared.open(first.place) is None
    assert reader is not None
    second.close()
    reader.close()


def test_it_is_gone_with_its_processes() -> None:
    """A runner that was killed leaves nothing behind that could be read."""
    code = "from labkit.runbook.sharing import Shared; s = Shared.create(); s.add('x' * 9); print(s.place, flush=True); input()"
    child = subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert child.stdout
    place = child.stdout.readline().strip()
    other = Shared.open(place)
    assert other is not None and other.new() == ["x" * 9]
    child.kill()
    child.wait()
    time.sleep(0.05)
    assert Shared.open(place) is None
    other.close()
