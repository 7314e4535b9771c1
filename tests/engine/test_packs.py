"""Packs: one file out, the same thing in again; and broken files, full disks and interruptions that leave nothing."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest

import labkit
from labkit import paths, setup
from labkit.engine import archives, debian, images, leftovers, making, packs
from labkit.errors import LabkitError, PackBroken, Refused, UsageError


@pytest.fixture
def other_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A second labkit home, empty, with a space in its path: another machine, as far as packs are concerned."""
    folder = tmp_path / "other home"
    monkeypatch.setenv("LABKIT_HOME", str(folder))
    return folder


def quiet(_: str) -> None:
    pass


def small_pack(tmp_path: Path, **changes: object) -> Path:
    """A pack file with a payload of a few bytes."""
    payload = tmp_path / "payload"
    payload.write_bytes(b"x" * 100_000)
    file = tmp_path / "small.labkit"
    archives.write(file, {"kind": "images", "images": [], **changes}, payload)
    return file


def cut(data: bytes) -> bytes:
    return data[: len(data) // 2]


def flip(data: bytes) -> bytes:
    middle = len(data) // 2
    return data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :]


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (cut, "broken"),
        (flip, "SHA-256"),
        (lambda data: data.replace(b'"images": []', b'"images": {}'), "manifest"),
        (lambda _: b"", "broken"),
        (lambda _: b"not a pack\n" * 500, "broken"),
    ],
    ids=["cut short", "one bit flipped", "another manifest", "empty", "a text file"],
)
def test_broken_pack_is_refused(tmp_path: Path, damage, words: str) -> None:  # type: ignore[no-untyped-def]
    """A damaged pack file is one clear message, and nothing is unpacked from it."""
    file = small_pack(tmp_path)
    file.write_bytes(damage(file.read_bytes()))
    target = tmp_path / "out"
    with pytest.raises(PackBroken, match=words) as caught:
        archives.read(file, "images", target)
    assert str(file) in str(caught.value)
    assert not target.exists()


def test_a_pack_that_is_damaged_at_any_byte_is_refused_or_the_same(tmp_path: Path) -> None:
    """Wherever a byte is another one, in headers, manifest or payload, nothing that was not written is ever read."""
    file, target = small_pack(tmp_path), tmp_path / "out"
    good, expected = file.read_bytes(), archives.read(file, "images", target)
    refused = 0
    for at in [*range(0, 4096, 5), *range(4096, len(good), 1999)]:
        file.write_bytes(good[:at] + bytes([good[at] ^ 0x15]) + good[at + 1 :])
        target.unlink(missing_ok=True)
        try:
            assert expected.items() <= archives.read(file, "images", target).items(), at
            assert target.read_bytes() == b"x" * 100_000
        except PackBroken:
            refused += 1
            assert not target.exists()
    assert refused > 100


def test_a_pack_comes_through_a_pipe(tmp_path: Path) -> None:
    """What is read from front to back need not be a file on a disk: ``ssh there cat FILE | labkit … import /dev/stdin``."""
    data, pipe = small_pack(tmp_path).read_bytes(), tmp_path / "pipe"
    os.mkfifo(pipe)
    threading.Thread(target=pipe.write_bytes, args=(data,), daemon=True).start()
    assert archives.read(pipe, "images", tmp_path / "out")["kind"] == "images"
    assert (tmp_path / "out").read_bytes() == b"x" * 100_000


def test_a_pack_of_before_manifests_had_a_checksum_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file that an earlier version wrote is as good as before."""
    with monkeypatch.context() as patched:
        patched.setattr(archives, "_of", lambda _: None)
        file = small_pack(tmp_path)
    file.write_bytes(file.read_bytes().replace(b'"sha256": null', b'"before": null'))
    assert archives.read(file, "images", tmp_path / "out")["kind"] == "images"


def test_pack_of_another_kind_is_refused(tmp_path: Path) -> None:
    """An image pack is not taken for an engine pack."""
    with pytest.raises(PackBroken, match="engine"):
        archives.read(small_pack(tmp_path), "engine", tmp_path / "out")


ENGINE = {"name": "mine", "digest": "0", "versions": {}}
IMAGE = {"name": "busybox", "id": "sha256:0", "source": "build"}


@pytest.mark.parametrize(
    "says",
    [
        {"kind": "images", "images": None},
        {"kind": "images", "images": ["busybox"]},
        {"kind": "images", "images": [{"name": "busybox"}]},
        {"kind": "images", "images": [IMAGE]},
        {"kind": "images", "images": [{**IMAGE, "name": "bussybox"}]},
        {"kind": "engine"},
        {"kind": "engine", "facts": "mine"},
        {"kind": "engine", "facts": {**ENGINE, "versions": []}},
        {"kind": "engine", "facts": {"name": "mine"}},
        {"kind": "engine", "facts": {**ENGINE, "name": "../mine"}},
        {"kind": "engine", "facts": ENGINE},
    ],
    ids=str,
)
def test_nonsense_with_a_right_checksum_is_refused(
    says: dict[str, object], tmp_path: Path, other_home: Path
) -> None:
    """A file that somebody else's program made is one message, and nothing of it is taken."""
    file = small_pack(tmp_path, **says)
    take = images.import_pack if says["kind"] == "images" else making.import_pack
    with pytest.raises(LabkitError) as caught:
        take(file, quiet)
    assert not isinstance(caught.value, PackBroken) or str(file) in str(caught.value)
    kept = [path for path in other_home.rglob("*") if path.is_file() and not path.name.endswith(".lock")]
    assert kept == [other_home / ".labkit"]


def test_missing_pack_file_is_a_usage_error(tmp_path: Path) -> None:
    """A pack file that is not there, or is a folder, is said to be so."""
    for path in (tmp_path / "nothing", tmp_path):
        with pytest.raises(UsageError, match=str(path)):
            archives.read(path, "images", tmp_path / "out")


@pytest.mark.parametrize("name", ["pipe", "folder", "no/such/file"])
def test_a_pack_takes_no_place_but_a_files(name: str, tmp_path: Path) -> None:
    """A device, which root could replace, a folder, and a file in none are refused, and stay what they are."""
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "folder").mkdir()
    for export in (images.export_pack, lambda *args: making.export_pack("debian-13", *args)):
        with pytest.raises(UsageError, match="cannot write"):
            export(tmp_path / name)
    assert (tmp_path / "pipe").is_fifo() and len(list(tmp_path.iterdir())) == 2


def test_images_travel_in_one_file(tmp_path: Path, other_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Images exported here are the same images, by id, after an import on another machine."""
    monkeypatch.delenv("LABKIT_HOME")
    if home := os.environ.get("LABKIT_TEST_HOME"):
        monkeypatch.setenv("LABKIT_HOME", home)
    (before,) = images.get(["busybox"], quiet)
    file = tmp_path / "images of a room.labkit"
    with monkeypatch.context() as full, pytest.raises(LabkitError, match="not enough disk space"):
        full.setattr(paths, "free_bytes", lambda _: before.size - 1)
        images.export_pack(file, ["busybox"], quiet)
    images.export_pack(file, ["busybox"], quiet)
    monkeypatch.setenv("LABKIT_HOME", str(other_home))
    assert images.stored("busybox") is None
    assert images.import_pack(file, quiet) == [before]
    assert [path.name for path in (other_home / "images").iterdir() if path.name.startswith(".")] == [".lock"]


@pytest.mark.alone
def test_engine_pack_travels_in_one_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An engine pack exported here starts an engine after an import on another machine, without a network."""
    file = tmp_path / "engine.labkit"
    making.export_pack("debian-13", file, quiet)
    monkeypatch.setenv("LABKIT_HOME", str(tmp_path / "room 7"))
    assert packs.names() in ([], [packs.MACHINE])
    pack = making.import_pack(file, quiet)
    with labkit.open_engine(name="imported", pack=pack.name) as engine:
        assert engine.client.version()["Version"].startswith("26.1")
    packs.remove(pack.name)
    assert not list((tmp_path / "room 7/packs").glob("debian*"))


def on_small_disk(size: str, home: str, code: str) -> subprocess.CompletedProcess[str]:
    """Run Python *code* with a labkit home on a disk of *size*, in a mount namespace of its own."""
    mount = f'mkdir -p "$0" && mount -t tmpfs -o mode=0700,size={size} tmpfs "$0"'
    script = f'{mount} && "$1" -c "$2"; code=$?; ls -A "$0" "$0"/* >&2; exit $code'
    return subprocess.run(
        [
            "unshare",
            *(["--user", "--map-root-user"] if os.geteuid() else []),
            "--mount",
            "sh",
            "-c",
            script,
            home,
            sys.executable,
            code,
        ],
        env={**os.environ, "LABKIT_HOME": home},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def test_full_disk_while_a_pack_is_imported(tmp_path: Path) -> None:
    """A disk too small for a pack is told before anything is written, in one message."""
    file = small_pack(tmp_path)
    code = f"from labkit.cli import main; import sys; sys.argv = ['labkit', 'images', 'import', {str(file)!r}]; main()"
    done = on_small_disk("64k", str(tmp_path / "full"), code)
    assert done.returncode == 1
    assert "not enough disk space" in done.stderr
    assert "Traceback" not in done.stderr


def test_full_disk_while_a_pack_is_built(tmp_path: Path) -> None:
    """A disk too small for a pack is told before the build begins, and nothing half-made is left."""
    done = on_small_disk(
        "32m",
        str(tmp_path / "full"),
        "from labkit.cli import main; import sys; sys.argv = ['labkit', 'pack', 'build']; main()",
    )
    assert done.returncode == 1
    assert "not enough disk space to make the engine pack" in done.stderr
    assert ".making" not in done.stderr


def test_a_disk_that_fills_during_a_build_is_told_as_that() -> None:
    """What tar says of the disk counts, and not what mmdebstrap makes of it; else its own errors do."""
    tar = "tar: ./usr/bin/dockerd: Cannot write: No space left on device"
    told = debian._failed("trixie", ["I: extracting archives...", tar, "E: tar --extract failed: 512"])
    assert told.seen == tar and "free some space" in told.try_
    told = debian._failed("trixie", ["I: running apt-get update...", "E: apt-get update failed"])
    assert told.seen == "E: apt-get update failed" and "mirror" in told.try_


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_interrupted_build_leaves_nothing_running_and_the_next_try_works(
    tmp_path: Path, number: signal.Signals
) -> None:
    """Ctrl-C or kill -9 in the middle of a pack's build leaves no process and no mount; the next try starts over."""
    home = tmp_path / "home"
    environment = {**os.environ, "LABKIT_HOME": str(home)}
    command = [sys.executable, "-m", "labkit", "pack", "build"]
    build = subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True)
    assert build.stderr is not None
    for line in build.stderr:
        if "downloading" in line or "extracting" in line:
            break
    build.send_signal(number)
    build.wait(200)  # it deletes what it has unpacked
    end = time.monotonic() + 60
    while mentions(home) and time.monotonic() < end:
        time.sleep(0.1)
    assert mentions(home) == []
    assert str(home) not in Path("/proc/self/mountinfo").read_text()
    if number == signal.SIGINT:
        assert build.returncode == 130
        assert [path.name for path in (home / "packs").iterdir()] == [".debian-13.lock"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LABKIT_HOME", str(home))
        with pytest.raises(LabkitError, match="not on this machine yet"):
            packs.find("debian-13")
        with making._making("debian-13", quiet) as fresh:
            assert fresh is not None and list(fresh.iterdir()) == []
            (fresh / "pack.json").write_text(json.dumps({"digest": "", "versions": {}}))


def mentions(path: Path) -> list[str]:
    """Processes whose command line names *path*."""
    found = []
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            text = file.read_bytes()
        except OSError:
            continue
        if os.fsencode(path) in text:
            found.append(f"{file.parent.name} {text[:200]!r}")
    return found


def test_a_pack_is_outdated_when_its_recipe_has_changed() -> None:
    """One whose recipe nobody noted, and one that is no recipe's, are not."""
    pack = packs.find("debian-13")
    for recipe, outdated in (("", False), (packs.recipe("debian-13"), False), ("another", True)):
        made = replace(pack, recipe=recipe)
        assert made.outdated == outdated
        assert not replace(made, name="my-own").outdated


@pytest.mark.parametrize("name", ["", ".", "..", "debian-13/", "../packs/debian-13", "x/../debian-13"])
def test_a_pack_has_a_name_and_no_path(name: str) -> None:
    """Nothing stands for the default pack but no name at all; a path to one is none, so that `remove` takes nobody's folder."""
    with pytest.raises(UsageError, match="no such engine pack"):
        packs.find(name)


@pytest.fixture
def outdated(own_folders: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> packs.Pack:
    """The pack debian-13 as it was made by another recipe, in a folder of the test's own; what is made anew is as quick."""
    shared = packs.find("debian-13")
    rootfs = shared.rootfs.resolve()
    folder = own_folders[0] / "packs/debian-13"
    folder.unlink()
    folder.mkdir()
    (folder / "rootfs").symlink_to(rootfs)
    facts = {"name": "debian-13", "digest": "x", "versions": shared.versions, "recipe": "another"}
    (folder / "pack.json").write_text(json.dumps(facts))

    def fake(_suite: str, _packages: list[str], target: Path, _progress: object) -> None:
        target.symlink_to(rootfs)

    monkeypatch.setattr(making, "debootstrap", fake)
    return packs.find("debian-13")


def test_an_outdated_pack_is_made_anew_and_the_former_lives_as_long_as_engines_run_from_it(
    outdated: packs.Pack, own_folders: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The engine goes on and can be reset; a pack in use is not removed, also by those who see another runtime folder."""
    assert outdated.outdated
    told: list[str] = []
    with labkit.open_engine("sandbox", name="held") as engine:
        with pytest.raises(Refused, match="engines run from") as caught:
            packs.remove("debian-13")
        assert engine.id in str(caught.value)
        with monkeypatch.context() as patch, pytest.raises(Refused, match="another runtime folder"):
            patch.setenv("LABKIT_RUNTIME", str(own_folders[1] / "afar"))
            packs.remove("debian-13")
        made = making.build("debian-13", told.append)
        assert not made.outdated and "made anew" in told[0] and "labkit engine gc" in told[-1]
        leftovers.collect()
        (kept,) = outdated.folder.parent.glob(".*.former")
        assert engine.host.run(["docker", "--version"]).stdout
        engine.reset()
        assert f"{kept}: removed" in leftovers.collect() and engine.client.ping()
    assert making.build("debian-13", told.append) == made
    packs.remove("debian-13")


def test_where_a_pack_cannot_be_made_anew_the_former_goes_on(
    outdated: packs.Pack, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`labkit pack build` says why; set-up says that it is used as it is; nothing half-made is left."""
    told: list[str] = []

    def unreachable(*_: object) -> None:
        raise LabkitError("could not make a Debian trixie root filesystem")

    monkeypatch.setattr(making, "debootstrap", unreachable)
    with pytest.raises(LabkitError, match="could not make"):
        making.build("debian-13", told.append)
    setup._pack("debian-13", told.append, refresh=True)
    assert "not made anew, and used as it is" in told[-1]
    setup._pack("debian-13", told.append, refresh=False)
    assert "`labkit pack build debian-13` makes it anew" in told[-1]
    assert packs.find("debian-13") == outdated
    assert not [*outdated.folder.parent.glob(".*.making"), *outdated.folder.parent.glob(".*.former")]
