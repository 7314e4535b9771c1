"""A Docker daemon of one's own, in new namespaces: ready in a fraction of a second, gone without a trace.

The owner (this process) writes a record and a mount table, and starts a *keeper* (``keeper.py``), which boots the
engine's host (``boot.sh``), watches the owner, and clears everything away at the end.
"""

from __future__ import annotations

import json
import secrets
import subprocess
import time
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from labkit import paths
from labkit.engine import (
    Engine,
    commandline,
    daemon,
    debian,
    keeping,
    layouts,
    locks,
    packs,
    prepared,
    records,
)
from labkit.engine.host import CommandFailed, Host
from labkit.engine.keeper import START_TIMEOUT, erase
from labkit.engine.ports import PublishedPort, read_ports
from labkit.engine.processes import Process
from labkit.engine.records import Record
from labkit.engine.turns import turn
from labkit.errors import EngineFailed, EngineUnreachable

if TYPE_CHECKING:
    import docker

__all__ = ["Sandbox", "by_name"]

NEEDED_BYTES = 256 * 2**20
CONFIG_FILE = "/etc/docker/daemon.json"

by_name: weakref.WeakValueDictionary[str, Sandbox] = weakref.WeakValueDictionary()
"""The engines of this process that are open."""


class Sandbox(Engine):
    """A private engine (provider ``sandbox``).  Made by `labkit.engine.opening.open_sandbox`."""

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
                    layers = prepared.fill(self.data, self.state, docker)
                    self._bound = (
                        self._bound if docker else layers
                    )  # a data-root that goes on has those that it had
                    layouts.write(self, self._owner, self._bound)
                keeping.await_answer(keeper, f"{self.name!r} ({self.pack.name})")
        except BaseException:
            self._end()
            raise
        self._host = records.find(self.id).host
        if self._owner in (None, Process.current()):  # one with another owner outlives this process
            self._finalizer = weakref.finalize(self, keeping.end, keeper)

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
        self._check_open()
        from labkit.engine.clients import Client

        return Client(base_url=self.url, version="auto", timeout=60)

    @property
    def ports(self) -> list[PublishedPort]:
        return read_ports(self.folder / "ports.json")

    @property
    def cut_off(self) -> str:
        record = records.ready(self.id)
        return record.cut_off if record else ""

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
        settings = daemon.settings(config)
        self._service("stop")
        with self._configured(settings):
            self.start()

    def reload(self, config: dict[str, Any] | None = None) -> None:
        with self._configured(daemon.settings(config)):
            log = self.folder / "run/dockerd.log"
            offset, began = log.stat().st_size, time.time()
            self._service("reload")
            if said := daemon.complaint(self.client, log, began, offset):
                raise EngineFailed(f"the daemon of {self.name!r} refuses its new configuration", seen=said)

    @contextmanager
    def _configured(self, config: dict[str, Any]) -> Iterator[None]:
        """Merge *config* into ``daemon.json`` on the host (a value of None removes a key) for what is done with it.

        Where that fails, the former file is put back, and the daemon runs with it.
        """
        before = self.host.read(CONFIG_FILE)
        merged = {**json.loads(before), **config}
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
        by_name.pop(self.name, None)

    def close(self) -> None:
        super().close()
        with turn(self.name, self.key, self._owner):
            self._end()
        self._closed = True
        if by_name.get(self.name) is self:
            del by_name[self.name]

    def __repr__(self) -> str:
        return super().__repr__() if self._keeper is not None else f"engine  {self.name} (closed)"

    def _repr_html_(self) -> str:
        return super()._repr_html_() if self._keeper is not None else f"<p>engine {self.name} (closed)</p>"
