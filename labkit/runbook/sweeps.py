"""Where secrets are learned: from what the containers and images of an engine carry, and from its clients' credentials.

For a run this happens in the background while its kernel starts; whatever is masked waits for it.
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

from labkit.errors import LabkitError
from labkit.runbook.redaction import Secrets, known
from labkit.runbook.sharing import VARIABLE, Shared

if TYPE_CHECKING:
    from labkit.engine import Engine

__all__ = ["Learning", "learning", "sweep"]


class Learning:
    """What a run learns about the engine that it talks to.

    *url*, *context*: where it is, as for `labkit.open_engine`.  `engine` tells what was found there: its URL and version.
    """

    def __init__(self, shared: Shared, url: str | None, context: str | None) -> None:
        self._shared, self._seen = shared, set[str]()
        self._where = {"url": url, "context": None if url else context}
        self._thread = threading.Thread(target=self._look, name="secrets", daemon=True)
        self.engine = ""
        shared.begin()
        self._thread.start()

    def again(self) -> None:
        """Learn what has come to the engine since; for the end of a run, before its files are written."""
        self.wait()
        if self.engine:
            self._shared.begin()
            self._look()

    def wait(self) -> bool:
        """Wait until the first look is over; False when that takes too long."""
        self._thread.join(20)
        return not self._thread.is_alive()

    def _look(self) -> None:
        """Look at the engine, if there is one; whether there is, the notebook will find out, and say."""
        from labkit.engine import open_engine

        try:
            _learn_credentials(known)
            with suppress(LabkitError, OSError, ValueError), open_engine("attach", **self._where) as engine:
                sweep(engine, seen=self._seen)
                self.engine = f"{engine.url}, version {engine.client.version()['Version']}"
        finally:
            self._shared.end()


@contextmanager
def learning(url: str | None = None, context: str | None = None) -> Iterator[Learning]:
    """Within this, all processes of a run know each other's secrets, and those of its engine.

    The engine is looked at in the background; whatever is masked meanwhile waits for it.
    """
    before, shared = os.environ.get(VARIABLE), Shared.create()
    os.environ[VARIABLE] = shared.place
    learned = Learning(shared, url, context)
    try:
        yield learned
    finally:
        if before is None:
            os.environ.pop(VARIABLE, None)
        else:
            os.environ[VARIABLE] = before
        if learned.wait():
            shared.close()


def sweep(engine: Engine, secrets: Secrets = known, seen: set[str] | None = None) -> None:
    """Learn what the containers and images of *engine* carry, and the credentials that its clients use.

    *seen*: ids that need no second look; those looked at are added.
    """
    seen = set() if seen is None else seen
    _learn_credentials(secrets)
    api = engine.client.api
    things = [(row["Id"], api.inspect_container) for row in api.containers(all=True)]
    things += [(row["Id"], api.inspect_image) for row in api.images()]
    for id_, inspect in things:
        if id_ not in seen:
            _learn_object(secrets, inspect, id_)
            seen.add(id_)


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
    for words in (config.get("Cmd"), config.get("Entrypoint"), facts.get("Args")):
        secrets.add_shapes(" ".join(words or []))


def _learn_credentials(secrets: Secrets) -> None:
    """Those of ``config.json`` of the docker command line: ``auth`` is base64 of ``user:password``."""
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
