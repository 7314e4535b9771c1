"""Text files are written whole or not at all, and several of them all or none."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from labkit import texts


def test_what_is_written_keeps_the_mode_and_the_link(tmp_path: Path) -> None:
    """A new file and two that were there, one of them by a link: only their text is new, and nothing lies beside them."""
    kept, target, link = tmp_path / "kept", tmp_path / "target", tmp_path / "link"
    for path in (kept, target):
        path.write_text("before")
        path.chmod(0o640)
    link.symlink_to(target)
    texts.write({kept: "é", link: "by the link", tmp_path / "new": "new"})
    assert [path.name for path in sorted(tmp_path.iterdir())] == ["kept", "link", "new", "target"]
    assert kept.read_text(encoding="utf-8") == "é" and link.is_symlink()
    assert target.read_text() == "by the link" and stat.S_IMODE(target.stat().st_mode) == 0o640


def test_a_device_is_not_replaced(tmp_path: Path) -> None:
    """What is no ordinary file, such as /dev/null, stays what it is, a link to it too."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    (tmp_path / "link").symlink_to(pipe)
    for path in (pipe, tmp_path / "link"):
        with pytest.raises(OSError, match="Not an ordinary file"):
            texts.write({path: "x"})
    assert stat.S_ISFIFO(pipe.stat().st_mode) and len(list(tmp_path.iterdir())) == 2


@pytest.mark.parametrize("bad", ["no/such/folder", "a folder", "a circle"])
def test_one_that_cannot_be_written_leaves_all_as_they_were(bad: str, tmp_path: Path) -> None:
    """Whatever is wrong with the last: the error names it, and the others are as before or not there."""
    there = tmp_path / "there"
    there.write_text("before")
    (tmp_path / "a folder").mkdir()
    (tmp_path / "a circle").symlink_to("a circle")
    with pytest.raises(OSError, match=bad):
        texts.write({there: "after", tmp_path / "new": "after", tmp_path / bad: "after"})
    assert sorted(tmp_path.iterdir()) == [tmp_path / "a circle", tmp_path / "a folder", there]
    assert there.read_text() == "before"
