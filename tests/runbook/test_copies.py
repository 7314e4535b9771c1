"""A volume is copied and brought back, with a real database at work on it; nothing that fails leaves it stopped."""

from __future__ import annotations

import re
import resource
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from labkit import faults, observe
from labkit.diagnosis import restore_volume
from labkit.engine import Engine, images
from labkit.errors import ApplyUnverified, LabkitError, Refused, UsageError
from labkit.observe import Duration, contents
from labkit.runbook import actions
from labkit.runbook.actions import files
from labkit.runbook.copies import is_copied, is_restored, plan_backup, plan_restore
from labkit.runbook.plans import Plan
from tests.containers import said
from tests.faults.test_proof import objects, play

DATA = "/var/lib/postgresql/data"
PASSWORD = {"PGPASSWORD": "secret"}
WRITER = """
psql -U postgres -qc 'create table rows (n bigint primary key, text text)'
while n=$((n + 1)); psql -U postgres -qc "insert into rows values ($n, md5('$n'))"; do echo $n >>/tmp/committed; done
"""
"""Notes each row once the server has said that it is committed."""
PATIENCE = Duration(120)

on_one_engine = pytest.mark.parametrize("module_engine", ["debian-13"], indirect=True)


@pytest.fixture(autouse=True)
def a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The present folder of each test."""
    monkeypatch.chdir(tmp_path)


def database(engine: Engine, name: str, volume: str) -> Any:
    """A PostgreSQL that answers, on *volume*."""
    images.ensure(engine, ["postgres"])
    server = engine.client.containers.run(
        "postgres:lab",
        name=name,
        detach=True,
        environment={"POSTGRES_PASSWORD": "secret"},
        volumes={volume: {"bind": DATA, "mode": "rw"}},
        network_mode="none",
    )
    answers(server)
    return server


def answers(server: Any) -> None:
    deadline = time.monotonic() + 60
    while server.exec_run(["pg_isready"]).exit_code:
        assert time.monotonic() < deadline, server.logs().decode()
        time.sleep(0.1)


def ask(server: Any, question: str) -> str:
    return said(server, ["psql", "-U", "postgres", "-Atc", question], environment=PASSWORD).strip()


def write(server: Any) -> None:
    """Rows come in, until the server ends."""
    api = server.client.api
    writer = api.exec_create(server.id, ["bash", "-c", WRITER], environment=PASSWORD)
    api.exec_start(writer["Id"], detach=True)
    deadline = time.monotonic() + 60
    while committed(server) < 20:
        assert time.monotonic() < deadline
        time.sleep(0.1)


def committed(server: Any) -> int:
    noted = said(server, ["sh", "-c", "tail -n 1 /tmp/committed || true"]).strip()
    return int(noted) if noted.isdigit() else 0


def state_of(engine: Engine, volume: str) -> str:
    """What PostgreSQL's own tool says of the files in *volume*, with no server on them."""
    told = engine.client.containers.run(
        "postgres:lab",
        ["pg_controldata", DATA],
        volumes=[f"{volume}:{DATA}:ro"],
        remove=True,
        network_mode="none",
    ).decode()
    return re.search(r"Database cluster state: +(.*)", told)[1]  # type: ignore[index]


SUM = "select count(*), max(n), md5(string_agg(n || text, ',' order by n)) from rows"


@on_one_engine
def test_a_database_at_work_is_copied_and_brought_back(engine: Engine) -> None:
    """Stopped under load: every row that was committed is in the copy, which starts as after any stop."""
    server, file = database(engine, "db", "pgdata"), Path("pgdata.tar")
    write(server)
    before = committed(server)
    applied = plan_backup(engine, "pgdata", file, consistent="stop", patience=PATIENCE).apply(engine)
    verified = is_copied(engine, applied, file)
    assert verified.ok, verified
    assert re.search(r"db: ended by itself, exit code 0; down for \d+\.\d s", repr(verified))
    assert re.search(r"\d+ files, each with the same bytes, mode and owner", repr(verified))
    assert re.search(r"whole to the end, \d+ bytes, sha256 [0-9a-f]{64}", repr(verified))

    restored = plan_restore(engine, "pgdata-2", file).apply(engine)
    assert is_restored(engine, restored, "pgdata-2").ok
    assert state_of(engine, "pgdata-2") == "shut down"
    other = database(engine, "db-2", "pgdata-2")
    answers(server)
    after = committed(server)
    assert after >= before >= 20
    count, last, _ = ask(other, SUM).split("|")
    # a row can be committed whose writer was cut off before it could note that
    assert count == last and 0 <= int(last) - after <= 1
    assert ask(other, SUM) == ask(server, SUM), "nobody has written since the stop"
    log = other.logs().decode()
    assert "database system was shut down at" in log and "not properly shut down" not in log
    assert len(engine.client.volumes.list()) == 2, "no volume that the image declares was left"


@on_one_engine
def test_a_copy_of_a_database_at_work_is_not_called_clean(engine: Engine) -> None:
    """Nobody is stopped: the verification says that it was not compared, and PostgreSQL that it was not shut down."""
    server, file = database(engine, "db", "pgdata"), Path("pgdata.tar")
    write(server)
    started = observe.container(engine, "db").started_at
    plan = plan_backup(engine, "pgdata", file, consistent="none", patience=PATIENCE)
    assert [each.verb for each in plan.actions] == ["copy out"]
    verified = is_copied(engine, plan.apply(engine), file)
    assert verified.ok and "not a copy of one moment" in repr(verified)
    assert observe.container(engine, "db").started_at == started
    plan_restore(engine, "pgdata-2", file).apply(engine)
    assert state_of(engine, "pgdata-2") == "in production"


# -- with a volume of a few files


ODD = r"""cd /v; echo 1 >plain; ln plain hard; mkfifo pipe; ln -s /nowhere dangling; mkdir -m 1777 deep; mkdir -m 000 closed
ln -s ../../../common deep/out; chown -h 7:8 deep/out; ln -s plain inside
echo 2 >"$(printf 'no\351text')"; echo 3 >"$(printf 'two\nlines')"; echo 5 >-rf; echo 6 >' '; echo 7 >.wh.gone; mkdir -p ü/日本
n=$(printf 'n%.0s' $(seq 255)); mkdir $n; echo 4 >$n/$n
dd if=/dev/zero of=hole bs=1 count=0 seek=3M; chown 9:9 hole; chmod 4711 hole; chown 5:6 .; chmod 2750 ."""


@contextmanager
def no_space(size: int) -> Iterator[None]:
    """A file cannot grow beyond *size* bytes: the kernel's own refusal, as of a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def backup(engine: Engine, file: Path = Path("web-data.tar"), consistent: Any = "stop") -> Plan:
    return plan_backup(engine, "web-data", file, consistent=consistent, patience=PATIENCE)


def test_a_copy_that_fails_leaves_no_file_and_starts_again_who_was_stopped(engine: Engine) -> None:
    """No space in the middle of the copy: the error says so, and what was done before and after it.

    It is more than an engine has sent by then, which has to hear that nobody reads on, or it keeps the container.
    """
    faults.inject(engine, "backup-volume")
    said(engine.client.containers.get("web"), ["dd", "if=/dev/zero", "of=/data/large", "bs=1M", "count=8"])
    plan = backup(engine)
    with (
        no_space(4096),
        pytest.raises(LabkitError, match=r"(?s)cannot be written.*done before it: stop.*after it: start"),
    ):
        plan.apply(engine)
    assert list(Path().iterdir()) == []
    assert [each.name for each in engine.client.containers.list(all=True)] == ["web"]
    assert observe.container(engine, "web").status == "running"
    assert backup(engine).apply(engine).done, "and it can be tried again"


def test_who_comes_up_during_the_copy_spoils_it(engine: Engine) -> None:
    """A copy that is to be quiet is refused when somebody may write to the volume, and nothing is left."""
    faults.inject(engine, "backup-volume")
    engine.client.api.stop("web")
    plan = backup(engine)
    assert [each.verb for each in plan.actions] == ["copy out", "compare"]
    engine.client.api.start("web")
    with pytest.raises(Refused, match="web is running"):
        plan.apply(engine)
    assert list(Path().iterdir()) == []


def test_who_only_reads_is_not_stopped(engine: Engine) -> None:
    """A container that has the volume read-only does no harm."""
    faults.inject(engine, "backup-volume")
    engine.client.containers.run(
        "busybox:lab",
        ["sleep", "1000"],
        name="reader",
        detach=True,
        volumes=["web-data:/data:ro"],
        network_mode="none",
    )
    assert [str(each) for each in backup(engine).actions if each.kind == "container"] == [
        "stop container web",
        "start container web",
    ]


def test_who_would_be_gone_is_not_stopped(engine: Engine) -> None:
    """A container that was run with ``--rm`` cannot be started again."""
    faults.inject(engine, "backup-volume")
    engine.client.containers.run(
        "busybox:lab", ["sleep", "1000"], name="passing", detach=True, remove=True, volumes=["web-data:/d"]
    )
    with pytest.raises(Refused, match="--rm"):
        backup(engine)
    assert len(backup(engine, consistent="none").actions) == 1


@pytest.mark.parametrize(
    ("status", "options", "told"),
    [
        ("paused", {}, "it is paused"),
        ("running", {"type": "tmpfs", "device": "tmpfs"}, "its content would be gone"),
    ],
)
@on_one_engine
def test_who_cannot_be_stopped_without_harm_is_not(
    status: str, options: dict[str, str], told: str, engine: Engine
) -> None:
    """One that is paused would be killed, and run afterwards; a volume in memory ends with who has it."""
    engine.client.volumes.create("web-data", driver_opts=options)
    web = engine.client.containers.run(
        "busybox:lab", ["sleep", "1000"], detach=True, volumes=["web-data:/d"], network_mode="none"
    )
    if status == "paused":
        web.pause()
    with pytest.raises(Refused, match=told):
        backup(engine)
    assert backup(engine, consistent="none").apply(engine).done


@on_one_engine
def test_whatever_a_volume_may_hold_comes_back(engine: Engine) -> None:
    """Odd but legal: links that lead out, names that are no text or too long for old tars, special files, modes, holes."""
    engine.client.containers.run(
        "busybox:lab", ["sh", "-c", ODD], volumes=["web-data:/v"], network_mode="none", remove=True
    )
    backup(engine).apply(engine)
    plan_restore(engine, "again", Path("web-data.tar")).apply(engine)
    inside = contents.of_volume(engine, "again").members
    assert inside["deep/out"].target == "../../../common" and inside["deep/out"].user == 7
    assert not [name for name in inside if "labkit" in name]
    engine.client.containers.run(
        "busybox:lab", ["sh", "-c", 'echo >>"$(printf "/v/no\\351text")"'], volumes=["again:/v"], remove=True
    )
    finding = restore_volume.diagnose(engine, volume="again", file=Path("web-data.tar"))
    assert finding.code == "occupied" and r"no\udce9text" in finding.evidence[-1].detail
    assert finding.model_dump_json().encode(), "what cannot be written down would break the report"


@pytest.mark.parametrize("name", ["web-data.tar", "web-data.tar.sha256"])
@on_one_engine
def test_nothing_is_written_over(name: str, engine: Engine) -> None:
    """Neither a file nor a note; not when planned, and not when it came in between."""
    faults.inject(engine, "backup-volume")
    plan = backup(engine)
    Path(name).write_text("mine")
    with pytest.raises(UsageError, match="exists already"):
        backup(engine)
    if name.endswith(".tar"):
        with pytest.raises(LabkitError, match="left alone"):
            plan.apply(engine)
        assert [path.read_text() for path in Path().iterdir()] == ["mine"]
        assert observe.container(engine, "web").status == "running"


def test_a_copy_that_is_not_the_volume_is_found(engine: Engine) -> None:
    """The comparison names the files that differ, and fails the run."""
    faults.inject(engine, "backup-volume", "outdated")
    compare = actions.compare_volume(
        engine, "web-data", Path("web-data.tar"), image="busybox:lab", reason="to be sure"
    )
    with pytest.raises(ApplyUnverified, match=r"1 differ: orders/3"):
        Plan.of(compare).apply(engine)


def test_a_file_that_was_changed_after_the_copy_is_not_verified(engine: Engine) -> None:
    """What counts is what lies there now."""
    faults.inject(engine, "backup-volume")
    applied, file = backup(engine).apply(engine), Path("web-data.tar")
    assert is_copied(engine, applied, file).ok
    file.write_bytes(file.read_bytes()[:-1024])
    assert is_copied(engine, applied, file).ok is False
    engine.client.api.stop("web")
    assert "web is exited, and was up before" in repr(is_copied(engine, applied, file))


SPOILT = {
    "cut short": (lambda data: data[:-1500], Refused),
    "one byte": (lambda data: data.replace(b"a pear", b"A pear"), Refused),
    "empty": (lambda data: b"", Refused),
}


@pytest.mark.parametrize("how", SPOILT)
@on_one_engine
def test_a_spoilt_copy_is_refused_before_anything_is_touched(
    how: str, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The runbook ends with exit code 6, and the engine is as it was."""
    faults.inject(engine, "restore-volume")
    before, file = objects(engine), Path("web-data.tar")
    spoil, error = SPOILT[how]
    file.write_bytes(spoil(file.read_bytes()))
    with pytest.raises(error, match="damaged"):
        play("restore-volume", engine, monkeypatch, apply=True)
    assert objects(engine) == before


@on_one_engine
def test_a_copy_without_a_checksum_is_a_usage_error(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Exit code 2, with what to give; given it, the copy is used."""
    faults.inject(engine, "restore-volume")
    sha256 = observe.copy(Path("web-data.tar")).sha256
    Path("web-data.tar.sha256").unlink()
    with pytest.raises(UsageError, match="sha256=…"):
        play("restore-volume", engine, monkeypatch, apply=True)
    assert play("restore-volume", engine, monkeypatch, apply=True, sha256=sha256).status == "fixed"


@on_one_engine
def test_on_a_shared_engine_who_is_stopped_has_to_be_named(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The volume's name alone is no leave to stop somebody's container."""
    engine.client.volumes.create("web-data")
    engine.client.containers.run(
        "busybox:lab",
        ["sleep", "1000"],
        name="web",
        detach=True,
        volumes=["web-data:/data"],
        network_mode="none",
    )
    with pytest.raises(Refused, match="container web"):
        play("backup-volume", engine, monkeypatch, apply=True, patience="1s")
    assert list(Path().iterdir()) == []
    named = play("backup-volume", engine, monkeypatch, apply=True, patience="1s", may_stop=["web"])
    assert named.status == "fixed"
    assert named.verification and "killed, so as after a power cut" in repr(named.verification)


@on_one_engine
def test_names_that_no_volume_can_have_are_usage_errors(engine: Engine) -> None:
    """They never reach the engine's API as a path."""
    for name in ("", "a", "a/b", "../x", "-x"):
        with pytest.raises(UsageError, match="no name for a volume"):
            observe.volume(engine, name)
    assert not observe.volume(engine, "not-there").exists


def test_names_that_no_file_can_have_are_usage_errors() -> None:
    """A name that is too long is told like any other mistake."""
    for look in (observe.copy, files.need_new):
        with pytest.raises(UsageError, match="File name too long"):
            look(Path("v" * 254 + ".tar"))
