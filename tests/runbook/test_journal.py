"""The journal: ahead of what is done, one chain, whoever writes, whatever crashes."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from labkit.errors import LabkitError, UsageError
from labkit.runbook.journal import FILE, Journal


@pytest.fixture
def journal(tmp_path: Path) -> Journal:
    """A journal of three entries."""
    made = Journal.create(tmp_path, {"runbook": "x", "parameters": {"watch": (1, "é\udc80")}})
    made.write("step-started", cell=0, section="Evidence")
    made.write("step-done", cell=0, kind="code")
    return made


def test_what_was_written_is_read(journal: Journal, tmp_path: Path) -> None:
    """Entries come back in order, numbered and dated, from a file that is its user's alone."""
    entries = Journal.open(tmp_path).verify()
    assert entries == journal.entries()
    assert [(each.n, each.kind) for each in entries] == [
        (1, "run-started"),
        (2, "step-started"),
        (3, "step-done"),
    ]
    assert entries[0].facts["parameters"] == {"watch": [1, "é\\udc80"]}  # no file holds a lone surrogate
    assert entries[0].when.utcoffset() is not None and entries[0].when <= entries[2].when
    assert stat.S_IMODE((tmp_path / FILE).stat().st_mode) == 0o600


def test_one_journal_a_folder(journal: Journal, tmp_path: Path) -> None:
    """A second journal in a folder is refused, and a folder without one says so."""
    with pytest.raises(UsageError, match="already"):
        Journal.create(tmp_path, {})
    with pytest.raises(UsageError, match="holds no journal"):
        Journal.open(tmp_path / "elsewhere")


def test_the_current_run(journal: Journal, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process finds the journal of its run by ``LABKIT_RUN_DIR``, and None where there is no run."""
    monkeypatch.delenv("LABKIT_RUN_DIR", raising=False)
    assert Journal.current() is None
    monkeypatch.setenv("LABKIT_RUN_DIR", str(tmp_path / "elsewhere"))
    assert Journal.current() is None
    monkeypatch.setenv("LABKIT_RUN_DIR", str(tmp_path))
    found = Journal.current()
    assert found and found.entries() == journal.entries()


def lines(path: Path, change: Callable[[list[bytes]], list[bytes]]) -> None:
    path.write_bytes(b"".join(change(path.read_bytes().splitlines(keepends=True))))


@pytest.mark.parametrize(
    ("change", "line"),
    [
        pytest.param(lambda ls: [ls[0], ls[1].replace(b"Evidence", b"Plan"), ls[2]], 2, id="changed"),
        pytest.param(lambda ls: [ls[0], ls[2]], 2, id="missing"),
        pytest.param(lambda ls: [ls[1], ls[2]], 1, id="the first missing"),
        pytest.param(lambda ls: [ls[0], ls[2], ls[1]], 2, id="moved"),
        pytest.param(lambda ls: [*ls, ls[2]], 4, id="repeated"),
        pytest.param(lambda ls: [*ls[:2], b"garbage\n", ls[2]], 3, id="inserted"),
        pytest.param(lambda ls: [*ls[:2], ls[2][:-9] + b"\n"], 3, id="cut short, but ended"),
        pytest.param(lambda ls: [*ls, b"{}\n"], 4, id="no entry"),
        pytest.param(lambda ls: [*ls, b'[{"n": 1}]\n'], 4, id="no object"),
        pytest.param(lambda ls: [*ls, b"\xff\n"], 4, id="no text"),
        pytest.param(lambda ls: [*ls, b"\n"], 4, id="an empty line"),
    ],
)
def test_tampering_shows(journal: Journal, change: Callable[[list[bytes]], list[bytes]], line: int) -> None:
    """A changed, missing, moved or inserted line is found, and the first broken one named."""
    lines(journal.path, change)
    with pytest.raises(LabkitError, match=rf"broken at line {line}\n"):
        journal.verify()


@given(data=st.data())
def test_any_changed_byte_shows(data: st.DataObject, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Whatever single byte of a whole journal is changed, the chain no longer holds."""
    journal = Journal.create(tmp_path_factory.mktemp("run"), {"runbook": "x", "size": 12.5})
    journal.write("step-started", cell=1)
    content = journal.path.read_bytes()
    at = data.draw(st.integers(0, len(content) - 2))
    byte = data.draw(st.integers(0, 255).filter(lambda value: value != content[at]))
    changed = content[:at] + bytes([byte]) + content[at + 1 :]
    if [_loaded(line) for line in changed.splitlines()] == [_loaded(line) for line in content.splitlines()]:
        return  # another way to write the same: an escape, a blank
    journal.path.write_bytes(changed)
    with pytest.raises(LabkitError, match="broken at line"):
        journal.verify()


def _loaded(line: bytes) -> object:
    try:
        return json.loads(line)
    except ValueError:
        return line


def test_a_crash_in_the_middle_of_a_line(journal: Journal) -> None:
    """Half a line at the end is told apart from tampering, cut off by the next writer, and noted."""
    whole = journal.path.read_bytes()
    last = whole.splitlines(keepends=True)[-1]
    for length in range(1, len(last)):
        journal.path.write_bytes(whole + last[:length])
        assert (len(journal.verify()), journal.torn) == (3, length)
        Journal(journal.path).write("run-resumed")
        assert [(each.kind, each.facts) for each in journal.verify()[3:]] == [
            ("torn", {"bytes": length}),
            ("run-resumed", {}),
        ]
        assert journal.torn == 0


def test_a_crash_in_the_first_line(journal: Journal) -> None:
    """A journal whose first line is torn has no entries; nothing was done yet."""
    journal.path.write_bytes(journal.path.read_bytes()[:20])
    assert (journal.verify(), journal.torn) == ([], 20)


def test_many_writers_one_chain(tmp_path: Path) -> None:
    """Processes and threads that write at the same time make one chain, without a lost line."""
    journal = Journal.create(tmp_path, {})
    code = (
        "from labkit.runbook.journal import Journal; journal = Journal.current();"
        "[journal.write('record', n=n) for n in range(30)]"
    )
    environ = {**os.environ, "LABKIT_RUN_DIR": str(tmp_path)}
    others = [subprocess.Popen([sys.executable, "-c", code], env=environ) for _ in range(3)]
    with ThreadPoolExecutor(4) as threads:
        list(threads.map(lambda n: journal.write("step-done", n=n), range(80)))
    assert [other.wait(60) for other in others] == [0, 0, 0]
    assert len(journal.verify()) == 1 + 3 * 30 + 80


def test_a_child_that_was_forked_writes_its_own(journal: Journal) -> None:
    """A forked kernel shares nothing with its parent that would break the chain or the lock."""
    child = os.fork()
    if child == 0:
        for _ in range(20):
            journal.write("record")
        os._exit(0)
    for _ in range(20):
        journal.write("record")
    assert os.waitpid(child, 0)[1] == 0
    assert len(journal.verify()) == 43


def test_what_cannot_be_journaled_is_not_done(journal: Journal, monkeypatch: pytest.MonkeyPatch) -> None:
    """A full disk is an error before the thing is done, and leaves a journal that can be carried on."""
    real = os.write
    monkeypatch.setattr(os, "write", lambda fd, data: real(fd, data[: len(data) // 2]))
    with pytest.raises(LabkitError, match="cannot be written"):
        journal.write("action-started")
    monkeypatch.undo()
    journal.write("run-interrupted")
    assert [each.kind for each in journal.verify()[3:]] == ["torn", "run-interrupted"]


def test_a_link_is_not_followed(journal: Journal, tmp_path: Path) -> None:
    """A symbolic link in the journal's place is not written through."""
    target = tmp_path / "precious"
    target.write_text("")
    journal.path.unlink()
    journal.path.symlink_to(target)
    with pytest.raises(LabkitError):
        journal.write("run-ended")
    assert target.read_text() == ""


def test_an_unknown_kind_is_a_mistake_of_ours(journal: Journal) -> None:
    """Only the documented kinds can be written."""
    with pytest.raises(ValueError, match="step-begun"):
        journal.write("step-begun")  # type: ignore[arg-type]


def test_what_tells_of_a_change_outlasts_a_power_cut(
    journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All that was written reaches the disk with it, the names of file and folder once; what only reads waits for no disk."""
    synced: list[tuple[str, int]] = []

    def noting(descriptor: int) -> None:
        path = Path(f"/proc/self/fd/{descriptor}").readlink()
        synced.append((path.name, path.stat().st_size if path.is_file() else 0))

    monkeypatch.setattr(os, "fdatasync", noting)
    monkeypatch.setattr(os, "fsync", noting)
    for kind in ("step-started", "record", "step-done", "run-interrupted", "run-resumed", "run-ended"):
        journal.write(kind)  # type: ignore[arg-type]
    assert synced == []
    folders = [(journal.path.parent.name, 0), (journal.path.parent.parent.name, 0)]
    for kind in ("approval", "action-started", "action-done", "action-skipped", "effects"):
        journal.write(kind)  # type: ignore[arg-type]
        assert synced == [(FILE, journal.path.stat().st_size), *folders], kind
        synced.clear()
        folders = []
