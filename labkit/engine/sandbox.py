"""A Docker daemon of one's own, in new namespaces: ready in a fraction of a second, gone without a trace.

The owner (this process) writes a record and a mount table, and starts a *keeper* (``keeper.py``), which boots the
engine's host (``boot.sh``), watches the owner, and clears everything away at the end.
"""

from __future__ import annotations

import json
import os
import secrets
import subprocess
import time
import weakref
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from labkit import paths
from labkit.engine import (
    Engine,
    cgroups,
    commandline,
    daemon,
    debian,
    keeping,
    locks,
    packs,
    prepared,
    records,
    rootfs,
)
from labkit.engine.host import CommandFailed, Host
from labkit.engine.keeper import START_TIMEOUT, erase
from labkit.engine.ports import PublishedPort, read_ports
from labkit.engine.processes import Process
from labkit.engine.records import Record
from labkit.engine.turns import turn
from labkit.errors import EngineFailed, EngineUnreachable, UsageError

if TYPE_CHECKING:
    import docker

__all__ = ["DETACHED", "Sandbox", "open_sandbox"]

HERE = Path(__file__).parent
NEEDED_BYTES = 256 * 2**20
DETACHED = 0
CONFIG_FILE = "/etc/docker/daemon.json"
DEFAULT_CONFIG = {
    # 10.0.2.2 is this machine as the engine sees it (slirp4netns(1)): a registry here needs no certificate
    "insecure-registries": ["10.0.2.2/32"],
}

_by_name: weakref.WeakValueDictionary[str, Sandbox] = weakref.WeakValueDictionary()


def open_sandbox(
    name: str = "engine",
    *,
    pack: str | None = None,
    images: Sequence[str] = (),
    state: str | None = None,
    config: dict[str, Any] | None = None,
    owner: int | None = None,
    key: str = "",
) -> Sandbox:
    """Start a private engine and return it when it answers.

    *name*: letters, digits and dashes; opening the same name again in one process ends the former engine first.
    *pack*: the engine pack to start from, or ``"machine"`` for the dockerd installed here (default: ``LABKIT_PACK``,
    else ``debian-13``).  *images*: names from the catalogue (`labkit.engine.images`) that shall be ready.
    *state*: a prepared state (`Engine.save`) to start from instead.  *config*: merged into ``daemon.json``.
    *owner*: the process with whose end the engine ends (default: this one; 0: none, see `labkit.engine.detached`).
    *key*: an engine of this name, key and owner that runs already is taken up again, with all that is on it.

    Raises `UsageError` for a bad argument, `LabkitError` when the pack or an image is missing, `EngineUnreachable` when
    this machine cannot run one, `EngineFailed` (with the end of the log) when the daemon does not start.
    """
    from labkit import doctor

    records.check_name(name)
    doctor.require_sandbox()
    found = packs.find(pack)
    if images and state:
        raise UsageError(
            "an engine starts from images or from a state", seen=f"images={list(images)}, state={state!r}"
        )
    if images:
        from labkit.engine.images import prepared_with

        state = prepared_with(images, found)
    try:
        process = None if owner == DETACHED else Process.of(owner or os.getpid())
    except ProcessLookupError as error:
        raise UsageError("the owner of an engine has to be a running process", seen=str(error)) from None
    with turn(name, key, process):
        if (
            key
            and (record := records.running(name, key, process))
            and (again := _again(record, images, state))
        ):
            return again
        former = _by_name.pop(name, None)
        if former is not None:
            former.close()
        engine = Sandbox(name, found, state, {**DEFAULT_CONFIG, **(config or {})}, process, key)
        _by_name[name] = engine
        return engine


def _again(record: Record, images: Sequence[str], state: str | None) -> Sandbox | None:
    """The engine that runs already, with *images*; None if its daemon has ended and does not start any more."""
    engine = _by_name.get(record.facts["name"])
    if engine is None or engine.id != record.id:
        engine = _by_name[record.facts["name"]] = Sandbox.__new__(Sandbox)
        engine.take_up(record)
    try:
        if not daemon.answers(record.folder / "run/docker.sock"):
            engine.start()
    except EngineFailed:
        return None  # whoever opens the name again ends it
    from labkit.engine.images import ensure

    ensure(engine, images)
    engine.state, engine.taken_up = state or engine.state, True
    return engine


class Sandbox(Engine):
    """A private engine (provider ``sandbox``).  Made by `open_sandbox`."""

    provider = "sandbox"
    owned = True
    _closed = False

    def __init__(
        self,
        name: str,
        pack: packs.Pack,
        state: str | None,
        config: dict[str, Any],
        owner: Process | None,
        key: str = "",
    ) -> None:
        super().__init__()
        self.name, self.pack, self.state, self.config, self.key = name, pack, state, config, key
        self.id = f"{name}-{secrets.token_hex(3)}"
        self.folder = paths.runtime() / self.id
        self.data = paths.home() / "engines" / self.id
        self._owner = owner
        self._bound: list[str] = []  # image layers from the store
        self._keeper: subprocess.Popen[bytes] | Record | None = None
        self._boot()

    def take_up(self, record: Record) -> None:
        """Become the handle of an engine that runs already."""
        super().__init__()
        facts = record.facts
        self.name, self.pack, self.key = facts["name"], packs.find(facts["pack"]), facts["key"]
        self.state, self.config, self._bound = facts["prepared"], facts["config"], facts["bound"]
        self.id, self.folder, self.data = record.id, record.folder, Path(facts["data"])
        self._owner = Process(**facts["owner"]) if facts["owner"] else None
        self._keeper, self._host = record, record.host

    # -- from nothing to a daemon that answers

    def _boot(self, docker: Path | None = None) -> None:
        """*docker*: a data-root to go on with (it is moved), in place of a copy of the prepared state."""
        if docker is None:
            paths.need_space(paths.home(), NEEDED_BYTES, "start an engine")
        try:
            self._keeper = keeper = keeping.start(self.folder, self.data)
            self.data.mkdir(parents=True)
            with locks.using(self.data):
                with locks.working():
                    self._write_folders(docker)
                keeping.await_answer(keeper, f"{self.name!r} ({self.pack.name})")
        except BaseException:
            self._end()
            raise
        self._host = records.find(self.id).host
        if self._owner in (None, Process.current()):  # one with another owner outlives this process
            self._finalizer = weakref.finalize(self, keeping.end, keeper)

    def _write_folders(self, docker: Path | None) -> None:
        for name in ("", "run", "host", "lower", "data", "upper"):
            (self.folder / name).mkdir(mode=0o700)
        layers = prepared.fill(self.data, self.state, docker)
        self._bound = self._bound if docker else layers  # a data-root that goes on has those that it had
        rootless, machine = debian.rootless(), self.pack.is_machine
        groups = cgroups.available()
        # dockerd's own rootless mode uses control groups through systemd only, and there is none on the host; with groups
        # of its own it runs as in any container that has a user namespace
        without_limits = rootless and not groups
        rootfs.write_skeleton(
            self.data / "upper", self.name, self.config, self._bound, rootless=without_limits
        )
        store = prepared.store() if self._bound else None
        table = rootfs.mount_table(
            self.folder,
            self.pack.rootfs,
            self.data,
            store,
            rootless=rootless,
            on_tmpfs=machine,
            cgroups=groups,
        )
        (self.folder / "fstab").write_text(table, encoding="utf-8")
        commandline.write(self.folder, self.pack)
        record = {
            "id": self.id,
            "name": self.name,
            "hostname": self.name,
            "owner": vars(self._owner) if self._owner else None,
            "created": time.time(),
            "state": "starting",
            "pack": self.pack.name,
            "pack_folder": "" if machine else str(self.pack.folder),
            "key": self.key,
            "prepared": self.state,
            "config": self.config,
            "bound": self._bound,
            "folder": str(self.folder),
            "data": str(self.data),
            "rootless": rootless,
            "on_tmpfs": machine,
            "submounts": rootfs.submounts() if machine else [],
            "own_cgroups": groups,
            "boot": str(HERE / "boot.sh"),
            "slirp": self.pack.program("usr/bin/slirp4netns"),
        }
        note = {"bound": self._bound, "prepared": self.state, "runtime": str(paths.runtime())}
        (self.data / records.NOTE).write_text(json.dumps(note), encoding="utf-8")
        (self.folder / "engine.json").write_text(json.dumps(record), encoding="utf-8")

    # -- reaching it

    @property
    def url(self) -> str:
        return f"unix://{self.folder}/run/docker.sock"

    @property
    def host(self) -> Host:
        self._check_open()
        if not self._host.process.alive and (
            record := records.ready(self.id)
        ):  # another process has reset it
            self._keeper, self._host = record, record.host
        return self._host

    def _check_open(self) -> None:
        if self._closed:
            raise EngineUnreachable(
                f"the engine {self.name!r} was closed",
                try_="open another one; in a lab: run the cell with labkit.lab.open again",
            )

    @property
    def environ(self) -> dict[str, str]:
        return commandline.environ(self.folder)

    def _connect(self) -> docker.DockerClient:
        import docker

        self._check_open()

        return docker.DockerClient(base_url=self.url, version="auto", timeout=60)

    @property
    def ports(self) -> list[PublishedPort]:
        return read_ports(self.folder / "ports.json")

    # -- the daemon

    def _service(self, verb: str) -> None:
        self._disconnect()
        try:
            self.host.run(["engine-service", verb])
        except CommandFailed as error:
            raise self._failed(f"did not {verb}", error.seen) from None

    def _failed(self, how: str, seen: str = "") -> EngineFailed:
        return EngineFailed(f"the daemon of {self.name!r} {how}", seen=f"{seen}\n{self.logs(tail=6)}".strip())

    def start(self) -> None:
        self._service("start")
        end = time.monotonic() + START_TIMEOUT
        while not daemon.answers(self.folder / "run/docker.sock"):
            if daemon.has_ended(self._host.pid):
                raise self._failed("ended at its start")
            if time.monotonic() > end:
                raise self._failed(f"does not answer within {START_TIMEOUT:.0f} s of its start")
            time.sleep(0.005)

    def stop(self) -> None:
        self._service("stop")

    def kill(self) -> None:
        self._service("kill")

    def restart(self, config: dict[str, Any] | None = None) -> None:
        self._service("stop")
        with self._configured(config):
            self.start()

    def reload(self, config: dict[str, Any] | None = None) -> None:
        with self._configured(config):
            log = self.folder / "run/dockerd.log"
            offset, began = log.stat().st_size, time.time()
            self._service("reload")
            if said := daemon.complaint(self.client, log, began, offset):
                raise EngineFailed(f"the daemon of {self.name!r} refuses its new configuration", seen=said)

    @contextmanager
    def _configured(self, config: dict[str, Any] | None) -> Iterator[None]:
        """Merge *config* into ``daemon.json`` on the host (a value of None removes a key) for what is done with it.

        Where that fails, the former file is put back, and the daemon runs with it.
        """
        before = self.host.read(CONFIG_FILE)
        merged = {**json.loads(before), **(config or {})}
        kept = {key: value for key, value in merged.items() if value is not None}
        if config:
            self.host.write(CONFIG_FILE, json.dumps(kept, indent=2) + "\n")
        try:
            yield
        except EngineFailed:
            self.host.write(CONFIG_FILE, before)
            self.start()
            raise

    def logs(self, tail: int | None = None) -> str:
        lines = (self.folder / "run/dockerd.log").read_text(errors="replace", encoding="utf-8").splitlines()
        return "\n".join(lines[-tail:] if tail else lines)

    # -- its state as a whole

    @contextmanager
    def _anew(self) -> Iterator[None]:
        """The daemon becomes another one, and nobody else does the same meanwhile; who uses it does so afterwards."""
        self._check_open()
        in_use = self._environ_before is not None
        with turn(self.name, self.key, self._owner):
            yield
        if in_use:
            self.use()

    def reset(self) -> None:
        with self._anew():
            self._end()
            self._boot()

    @locks.working()
    def save(self, name: str) -> None:
        with self._anew():
            self._save(name)

    def _save(self, name: str) -> None:
        prepared.find(name)  # refuses a bad name before anything is stopped
        needed = NEEDED_BYTES + prepared.size(self.data / "docker")  # the engine goes on with a copy
        paths.need_space(paths.home(), needed, f"save the state of the engine {self.name}")
        self._service("stop")
        aside = paths.home() / f".{self.id}.saved"
        (self.data / "docker").rename(aside)
        self._end()
        try:
            prepared.keep(name, aside, self._bound)
        except BaseException:
            self._boot(aside)
            raise
        self.state = name
        self._boot()

    # -- the end

    def _end(self) -> None:
        self._disconnect()
        if getattr(self, "_finalizer", None) is not None:
            self._finalizer.detach()
        keeping.end(self._keeper)
        self._keeper = None
        if record := records.ready(self.id):  # another process has reset it, or its keeper was killed
            record.stop()
            record.clear_away()
        for folder in (self.folder, self.data):
            if folder.exists():
                erase(folder, rootless=debian.rootless())

    def let_go(self) -> None:
        """Leave the engine running; this handle ends."""
        super().close()
        self._finalizer.detach()
        if isinstance(self._keeper, subprocess.Popen):
            self._keeper.returncode = 0  # nobody waits for it
        self._keeper = None
        _by_name.pop(self.name, None)

    def close(self) -> None:
        super().close()
        with turn(self.name, self.key, self._owner):
            self._end()
        self._closed = True
        if _by_name.get(self.name) is self:
            del _by_name[self.name]

    def __repr__(self) -> str:
        return super().__repr__() if self._keeper is not None else f"engine  {self.name} (closed)"

    def _repr_html_(self) -> str:
        return super()._repr_html_() if self._keeper is not None else f"<p>engine {self.name} (closed)</p>"
