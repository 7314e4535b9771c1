"""The two folders: labkit takes only what is its own, and changes the mode of nothing that was there."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from labkit import paths
from labkit.errors import UsageError
from tests.notebooks import ROOT

FOLDERS = {"LABKIT_HOME": paths.home, "LABKIT_RUNTIME": paths.runtime}


@pytest.fixture(params=FOLDERS)
def variable(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def folder(tmp_path_factory: pytest.TempPathFactory, variable: str, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that is not there yet, and that the variable names; its path is short enough for sockets."""
    # another worker counts its folders as this one does
    path = Path("/tmp") / f"lk-{os.getpid()}-{tmp_path_factory.mktemp('x').name}-{variable[7:]}"
    monkeypatch.setenv(variable, str(path))
    yield path  # type: ignore[misc]
    for entry in [*path.rglob("*"), path] if path.is_dir() else []:
        entry.unlink() if not entry.is_dir() else None
    for entry in sorted(path.rglob("*"), reverse=True):
        entry.rmdir()
    if path.is_dir():
        path.rmdir()


def test_a_new_folder_is_private_and_marked(folder: Path, variable: str) -> None:
    """A folder that labkit makes is its user's alone and says whose it is; it is taken again at the next call."""
    assert FOLDERS[variable]() == folder
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert (folder / paths.MARKER).is_file()
    (folder / "anything else").mkdir()
    assert FOLDERS[variable]() == folder


def test_an_empty_private_folder_may_be_taken(folder: Path, variable: str) -> None:
    """An empty folder of the user's, closed to others, becomes labkit's."""
    folder.mkdir(mode=0o700)
    assert FOLDERS[variable]() == folder


def test_a_folder_of_nobody_is_one_message(variable: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a variable names and nobody can find is a usage error that names both."""
    monkeypatch.setenv(variable, "~no-such-user/labkit")
    with pytest.raises(UsageError, match=f"{variable} leads nowhere\n.*~no-such-user"):
        FOLDERS[variable]()


@pytest.mark.parametrize("name", ["12:30", "a;b"])
def test_a_home_in_which_no_pack_could_run_is_not_made(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What separates folders for the loader of libraries is told before anything is put there."""
    monkeypatch.setenv("LABKIT_HOME", str(tmp_path / name))
    with pytest.raises(UsageError, match="without colons and semicolons"):
        paths.home()
    assert list(tmp_path.iterdir()) == []


def with_mode(mode: int) -> Callable[[Path], None]:
    def make(folder: Path) -> None:
        folder.mkdir()
        folder.chmod(mode)

    return make


def with_entry(name: str) -> Callable[[Path], None]:
    def make(folder: Path) -> None:
        folder.mkdir(mode=0o700)
        (folder / name).mkdir()

    return make


@pytest.mark.parametrize(
    "make",
    [with_mode(0o755), with_mode(0o1777), with_entry("letters"), with_entry("images"), with_entry(".ssh")],
    ids=["readable by others", "like /tmp", "with letters", "with images", "with .ssh"],
)
def test_a_folder_with_other_uses_is_refused_untouched(
    folder: Path, variable: str, make: Callable[[Path], None]
) -> None:
    """A folder that holds what labkit did not make, or that others can open, is one message, and stays as it was."""
    make(folder)
    before = (folder.stat().st_mode, sorted(folder.iterdir()))
    with pytest.raises(UsageError, match=variable) as caught:
        FOLDERS[variable]()
    assert str(folder) in str(caught.value)
    assert (folder.stat().st_mode, sorted(folder.iterdir())) == before


def test_a_folder_that_others_can_open_is_closed_by_the_advice(folder: Path, variable: str) -> None:
    """What the message of a folder of mode 755 advises is all that is needed; of one that is another's, nothing like it."""
    with_mode(0o755)(folder)
    with pytest.raises(UsageError, match=f"chmod 700 {folder}"):
        FOLDERS[variable]()
    folder.chmod(0o700)
    assert FOLDERS[variable]() == folder
    folder.chmod(0o755)
    with pytest.raises(UsageError, match="chmod 700"):
        FOLDERS[variable]()
    (folder / paths.MARKER).unlink()
    (folder / "letters").mkdir()
    with pytest.raises(UsageError, match="not labkit's") as caught:
        FOLDERS[variable]()
    assert "chmod" not in str(caught.value)


def test_folders_of_before_the_marker_are_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A home and a runtime folder that hold only what labkit makes go on being used."""
    home, runtime = tmp_path / "home", Path("/tmp") / f"lk-{os.getpid()}-{tmp_path.name[-20:]}"
    for path in (home / "packs", home / "images", home / "engines/lab-0a1b2c", runtime / "lab-0a1b2c"):
        path.mkdir(parents=True)
    try:
        for variable, folder in (("LABKIT_HOME", home), ("LABKIT_RUNTIME", runtime)):
            folder.chmod(0o700)
            monkeypatch.setenv(variable, str(folder))
            assert FOLDERS[variable]() == folder
            assert (folder / paths.MARKER).is_file()
    finally:
        (runtime / paths.MARKER).unlink(missing_ok=True)
        (runtime / "lab-0a1b2c").rmdir()
        runtime.rmdir()


def test_uninstall_knows_every_folder_that_labkit_makes() -> None:
    """Whatever the code makes in home has a name that uninstall knows as labkit's own."""
    text = "".join(module.read_text() for module in (ROOT / "labkit").rglob("*.py"))
    named = set(re.findall(r"paths\.home\(\) / \"([^\"/]+)", text))
    assert {"packs", "engines", "images", "runs", "jupyter", "layers", "prepared"} <= named
    for name in named:
        assert paths._OURS["LABKIT_HOME"].fullmatch(name), name
    begun = set(re.findall(r"paths\.runtime\(\) / f\"([^{]+)\{", text))
    assert begun == {"lab-", "trace-", "turn-", "zygote-"}
    hashes = [
        f"{digits}.{end}" for digits in ("0a1b2c3d", "0a1b2c3d" * 2) for end in ("json", "sock", "lock")
    ]
    for name in begun:
        assert any(paths._OURS["LABKIT_RUNTIME"].fullmatch(name + each) for each in hashes), name
