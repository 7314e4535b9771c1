"""Archives: what is in them, how one that was cut short or tampered with shows, and what must not be unpacked."""

from __future__ import annotations

import io
import random
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from labkit import observe
from labkit.errors import Refused, UsageError
from labkit.observe import contents
from labkit.observe.contents import ContentsBroken


def member(
    name: str, data: bytes = b"", kind: bytes = tarfile.REGTYPE, to: str = ""
) -> tuple[tarfile.TarInfo, bytes]:
    made = tarfile.TarInfo(name)
    made.type, made.linkname, made.size = kind, to, len(data)
    return made, data


def archive(path: Path, *members: tuple[tarfile.TarInfo, bytes]) -> Path:
    with tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as tar:
        for made, data in members:
            tar.addfile(made, io.BytesIO(data))
    return path


@pytest.fixture
def good(tmp_path: Path) -> Path:
    """A folder, two files, one of them of zeros as a database's log is, and links of both kinds."""
    return archive(
        tmp_path / "good.tar",
        member(".", kind=tarfile.DIRTYPE),
        member("./logs", kind=tarfile.DIRTYPE),
        member("./logs/zeros", bytes(5000)),
        member("./orders", b"two apples"),
        member("./same", kind=tarfile.LNKTYPE, to="orders"),
        member("./elsewhere", kind=tarfile.SYMTYPE, to="/etc/passwd"),
    )


def test_what_is_in_an_archive(good: Path) -> None:
    """Files are counted, links are not; a link may point anywhere as long as nothing goes through it."""
    found = contents.of_file(good)
    assert (found.files, found.bytes, found.empty, found.dangers()) == (2, 5010, False, [])
    assert contents.of_file(archive(good.with_name("e.tar"), member(".", kind=tarfile.DIRTYPE))).empty


LEFT: dict[str, tuple[Callable[[dict[str, bytes | None]], object], list[str]]] = {
    "nothing": (lambda left: left.clear(), []),
    "all of it": (lambda left: None, []),
    "up to the middle": (lambda left: left.pop("two"), []),
    "the beginning of a file": (lambda left: left.update(one=b"app"), []),
    "a file that is empty yet": (lambda left: left.update(one=b""), []),
    "another file": (lambda left: left.update(more=b"apples"), ["more"]),
    "another folder": (lambda left: left.update(more=None), ["more"]),
    "a folder in place of a file": (lambda left: left.update(one=None), ["one"]),
    "a file of the same size": (lambda left: left.update(one=b"apple!"), ["one"]),
    "a longer file": (lambda left: left.update(one=b"apples and pears"), ["one"]),
    "two files that are shorter": (lambda left: left.update(one=b"app", two=b"pe"), ["one", "two"]),
}


@pytest.mark.parametrize("what", LEFT)
def test_what_unpacking_has_left_is_told_from_what_somebody_did(what: str, tmp_path: Path) -> None:
    """Owners and modes may still be others, and one file may be shorter; nothing else."""

    def packed(name: str, files: dict[str, bytes | None], mode: int) -> contents.Contents:
        members = [
            member(each, data or b"", tarfile.REGTYPE if data is not None else tarfile.DIRTYPE)
            for each, data in files.items()
        ]
        for made, _ in members:
            made.mode = mode
        return contents.of_file(archive(tmp_path / name, *members))

    files: dict[str, bytes | None] = {"folder": None, "one": b"apples", "two": b"pears"}
    change, strange = LEFT[what]
    left = dict(files)
    change(left)
    assert packed("left", left, 0o600).not_left_by(packed("whole", files, 0o755)) == strange


def test_an_archive_that_is_cut_short_is_broken_wherever_it_was_cut(good: Path, tmp_path: Path) -> None:
    """At each block, also between two members and inside of zeros, and at any byte."""
    whole = good.read_bytes()
    end = max(place for place in range(0, len(whole), 512) if whole[place : place + 512].strip(b"\0")) + 512
    cut = tmp_path / "cut.tar"
    anywhere = random.Random(1).sample(range(end), 20)
    for size in [*range(0, end + 1024, 512), *anywhere]:
        cut.write_bytes(whole[:size])
        with pytest.raises(ContentsBroken):
            contents.of_file(cut)
    cut.write_bytes(whole[: end + 1024])
    assert contents.of_file(cut) == contents.of_file(good)


@pytest.mark.parametrize("junk", [b"", b"hello\n" * 500, bytes(300), b"\x1f\x8b" + bytes(2000)])
def test_what_is_no_archive_is_broken(junk: bytes, tmp_path: Path) -> None:
    """Nothing, text, zeros, something packed."""
    file = tmp_path / "x.tar"
    file.write_bytes(junk)
    with pytest.raises(ContentsBroken):
        contents.of_file(file)


DANGEROUS = {
    "absolute": [member("/etc/passwd", b"x")],
    "above": [member("./a/../../x", b"x")],
    "block device": [member("disk", kind=tarfile.BLKTYPE)],
    "character device": [member("null", kind=tarfile.CHRTYPE)],
    "through a link": [member("out", kind=tarfile.SYMTYPE, to="/etc"), member("out/passwd", b"x")],
    "hard link outside": [member("same", kind=tarfile.LNKTYPE, to="../../etc/shadow")],
    "twice": [member("a", b"1"), member("./a", b"2")],
}


@pytest.mark.parametrize("name", DANGEROUS)
def test_what_would_reach_out_of_a_volume_is_refused(name: str, tmp_path: Path) -> None:
    """Whatever its checksum says: absolute names, ``..``, devices, ways through links, a name that comes twice."""
    file = archive(tmp_path / "x.tar", *DANGEROUS[name])
    assert len(contents.of_file(file).dangers()) == 1
    with pytest.raises(Refused, match="not used"):
        observe.copy(file, observe.copy(file).sha256).trusted()


CHANGES: dict[str, Callable[[tarfile.TarInfo], object]] = {
    "mode": lambda info: setattr(info, "mode", 0o600),
    "owner": lambda info: setattr(info, "uid", 7),
    "group": lambda info: setattr(info, "gid", 7),
    "kind": lambda info: setattr(info, "type", tarfile.DIRTYPE),
}


@pytest.mark.parametrize("what", CHANGES)
def test_a_difference_is_seen(what: str, tmp_path: Path) -> None:
    """Mode, owner, group and kind count as the bytes do."""
    one = archive(tmp_path / "1.tar", member("a/b", b""))
    info, data = member("a/b", b"")
    CHANGES[what](info)
    two = archive(tmp_path / "2.tar", (info, data))
    assert contents.of_file(one).differences(contents.of_file(two)) == ["a/b"]
    assert contents.of_file(one).differences(contents.of_file(one)) == []


def test_bytes_and_missing_members_are_differences_and_unnamed_folders_are_not(tmp_path: Path) -> None:
    """An archive that names only files is the same as one with their folders; an empty folder is not nothing."""
    files = [member("a/b", b"1"), member("c", b"2")]
    bare = contents.of_file(archive(tmp_path / "1.tar", *files))
    folders = [member(".", kind=tarfile.DIRTYPE), member("a", kind=tarfile.DIRTYPE)]
    full = contents.of_file(archive(tmp_path / "2.tar", *folders, *files))
    more = contents.of_file(archive(tmp_path / "3.tar", *files, member("d", kind=tarfile.DIRTYPE)))
    other = contents.of_file(archive(tmp_path / "4.tar", member("a/b", b"9"), files[1]))
    assert bare.differences(full) == full.differences(bare) == []
    assert bare.differences(more) == more.differences(bare) == ["d"]
    assert bare.differences(other) == ["a/b"]


# -- the checksum beside it


def test_a_copy_is_trusted_by_its_checksum(good: Path) -> None:
    """From the note beside it or from a parameter, which wins; any other, and none, is an error that says what to do."""
    note = good.with_name("good.tar.sha256")
    sha256 = observe.copy(good).sha256
    with pytest.raises(UsageError, match=r"nothing says.*\n.*good\.tar\.sha256\n.*sha256="):
        observe.copy(good).trusted()
    note.write_text(f"{sha256}  good.tar\n")
    assert observe.copy(good).trusted().files == 2
    assert "as good.tar.sha256 says" in repr(observe.copy(good))
    with pytest.raises(Refused, match=r"another one\n.*\n.*the parameter sha256"):
        observe.copy(good, "0" * 64).trusted()
    note.write_text("hello")
    with pytest.raises(UsageError, match="holds no sha256"):
        observe.copy(good)
    assert observe.copy(good, sha256.upper()).trusted().files == 2


def test_one_changed_byte_is_found(good: Path) -> None:
    """Also where tar itself has no checksum: in the middle of a file."""
    sha256, data = observe.copy(good).sha256, bytearray(good.read_bytes())
    data[data.index(b"apples")] = ord("A")
    good.write_bytes(data)
    with pytest.raises(Refused, match="its sha256 is another one"):
        observe.copy(good, sha256).trusted()


def test_files_that_cannot_be_read_are_usage_errors(tmp_path: Path) -> None:
    """A folder; nothing at all is shown as such, and not trusted."""
    with pytest.raises(UsageError, match="is a folder"):
        observe.copy(tmp_path)
    missing = observe.copy(tmp_path / "x.tar")
    assert "no such file" in repr(missing)
    with pytest.raises(UsageError, match="no file"):
        missing.trusted()
