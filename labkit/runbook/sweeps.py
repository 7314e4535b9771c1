"""Where secrets are learned: from what the containers and images of an engine carry, and from its clients' credentials.

For a run this happens in the background while its kernel starts; whatever is masked waits for it.  What a cell
creates is learned before anything is written that came after it (`look_again`); and a container as soon as the engine
tells that it was created, since one that is run with ``--rm`` may be gone by then.  Of one that is gone before it could be
looked at, and of an image that is made and removed by one cell, nothing is learned: there only shapes are masked.  Events name
no variables, so nobody can learn them later.
"""

from __future__ import annotations

import base64
import json
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from labkit.runbook.newcomers import Newcomers
from labkit.runbook.redaction import Secrets, known
from labkit.runbook.sharing import PATIENCE, VARIABLE, Shared

if TYPE_CHECKING:
    from labkit.engine import Engine

__all__ = ["Learning", "learn_credentials", "learning", "look_again", "sweep"]

_LOOK_SECONDS = 5.0
"""How long an engine may take to answer when it is looked at again: one that was stopped must not stop the run."""


class Learning:
    """What a run learns about the engine that it talks to.

    *url*, *context*: where it is, as for `labkit.open_engine`.  `found` tells what is there: its URL and version.
    """

    def __init__(self, shared: Shared, url: str | None, context: str | None) -> None:
        self._shared, self._seen = shared, set[str]()
        self._where = {"url": url, "context": None if url else context}
        self._engine: Engine | None = None
        self._newcomers: Newcomers | None = None
        self.found = ""
        shared.begin()
        self._thread = threading.Thread(target=self._look, name="secrets", daemon=True)
        self._thread.start()

    @property
    def busy(self) -> bool:
        """Whether it is looking at the engine now; whatever is masked waits for it."""
        return self._shared.busy

    def again(self) -> None:
        """Learn what has come to the engine since; for the end of a run, before its files are written."""
        self._thread.join(PATIENCE)
        if self._engine and not self._thread.is_alive():
            self._engine.client.api.timeout = _LOOK_SECONDS
            self._shared.begin()
            self._look()

    def close(self) -> None:
        """Let go of the engine.  What nothing has waited for is left to itself."""
        if self._newcomers:
            self._newcomers.close()
        if not (self._thread.is_alive() or (self._newcomers and self._newcomers.alive)):
            self._shared.close()
            if self._engine:
                self._engine.close()

    def _look(self) -> None:
        """Look at the engine, if there is one; whether there is, the notebook will find out, and say."""
        from labkit.engine import open_engine

        try:
            learn_credentials()
            with suppress(Exception):
                self._engine = self._engine or open_engine("attach", **self._where)
                self.found = f"{self._engine.url}, version {self._engine.client.version()['Version']}"
                if not (self._newcomers and self._newcomers.alive):
                    self._newcomers = Newcomers(self._engine, self._meet)
                sweep(self._engine, seen=self._seen)
        finally:
            self._shared.end()

    def _meet(self, id_: str) -> None:
        """Learn what a container carries that has just been created; what is masked meanwhile waits for it."""
        self._shared.begin()
        try:
            if self._engine and id_ not in self._seen:
                _learn_object(known, self._engine.client.api.inspect_container, id_)
        finally:
            self._shared.end()


_going_on: list[Learning] = []


@contextmanager
def learning(url: str | None = None, context: str | None = None) -> Iterator[Learning]:
    """Within this, all processes of a run know each other's secrets, and those of its engine.

    The engine is looked at in the background; whatever is masked meanwhile waits for it.  Within another of its kind
    it is the same one.
    """
    if _going_on:
        yield _going_on[-1]
        return
    before, shared = os.environ.get(VARIABLE), Shared.create()
    os.environ[VARIABLE] = shared.place
    learned = Learning(shared, url, context)
    _going_on.append(learned)
    try:
        yield learned
    finally:
        _going_on.remove(learned)
        learned.close()
        if before is None:
            os.environ.pop(VARIABLE, None)
        else:
            os.environ[VARIABLE] = before


def look_again() -> None:
    """Learn what has come to the engine of the run since; outside of `learning` there is none."""
    if _going_on:
        _going_on[-1].again()


def sweep(engine: Engine, secrets: Secrets = known, seen: set[str] | None = None) -> None:
    """Learn what the containers, images, volumes and networks of *engine* carry.

    *seen*: ids that need no second look; those looked at are added.
    """
    seen = set() if seen is None else seen
    api = engine.client.api
    things = [(row["Id"], api.inspect_container) for row in api.containers(all=True)]
    things += [(row["Id"], api.inspect_image) for row in api.images()]
    for id_, inspect in things:
        if id_ not in seen:
            _learn_object(secrets, inspect, id_)
            seen.add(id_)
    # of these, the lists tell everything
    for row in [*(api.volumes()["Volumes"] or []), *api.networks()]:
        secrets.add_named({**(row.get("Labels") or {}), "name": row["Name"]})
        secrets.add_named(row.get("Options") or {})  # the password of a share, in what it is mounted with


def _learn_object(secrets: Secrets, inspect: Any, id_: str) -> None:
    import docker.errors

    try:
        facts = inspect(id_)
    except docker.errors.APIError:
        return  # it went in between, with what it carried
    config = facts.get("Config") or {}
    variables = dict(pair.partition("=")[::2] for pair in config.get("Env") or [])
    secrets.add_named(
        {**(config.get("Labels") or {}), **variables, "name": str(facts.get("Name", "")).lstrip("/")}
    )
    secrets.add_named(((facts.get("HostConfig") or {}).get("LogConfig") or {}).get("Config") or {})
    health = (config.get("Healthcheck") or {}).get("Test")
    for words in (config.get("Cmd"), config.get("Entrypoint"), facts.get("Args"), health):
        secrets.add_shapes(" ".join(words or []))


def learn_credentials(secrets: Secrets = known) -> None:
    """Learn those of ``config.json`` of the docker command line: ``auth`` is base64 of ``user:password``."""
    folder = Path(os.environ.get("DOCKER_CONFIG") or Path.home() / ".docker")
    try:
        entries = json.loads((folder / "config.json").read_text(encoding="utf-8")).get("auths", {}).values()
    except (OSError, ValueError, AttributeError):
        return
    for entry in entries:
        pairs = {
            f"{key} token": value for key, value in entry.items() if isinstance(value, str) and key != "auth"
        }
        if auth := entry.get("auth"):
            decoded = base64.b64decode(auth + "==").decode(errors="replace")
            pairs |= {"auth": auth, "password": decoded.partition(":")[2]}
        secrets.add_named(pairs)
