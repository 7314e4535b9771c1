"""Where secrets are learned: from what the containers and images of an engine carry, and from its clients' credentials.

For a run this happens in the background while its kernel starts; whatever is masked waits for it.
"""

from __future__ import annotations

import base64
import json
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from labkit.errors import LabkitError
from labkit.runbook.redaction import Secrets, known
from labkit.runbook.sharing import VARIABLE, Shared

if TYPE_CHECKING:
    from labkit.engine import Engine

__all__ = ["learning", "sweep"]


@contextmanager
def learning() -> Iterator[Callable[[], None]]:
    """Within this, all processes of a run know each other's secrets, and those of the engine that ``docker`` would talk to.

    Gives a function that learns what has come to the engine since; for the end of a run, before its files are written.
    """
    before, shared, seen = os.environ.get(VARIABLE), Shared.create(), set[str]()
    os.environ[VARIABLE] = shared.place
    background = threading.Thread(target=_sweep, args=(shared, seen), name="secrets", daemon=True)

    def again() -> None:
        background.join()
        shared.begin()
        _sweep(shared, seen)

    try:
        shared.begin()
        background.start()
        yield again
        background.join()
    finally:
        if before is None:
            os.environ.pop(VARIABLE, None)
        else:
            os.environ[VARIABLE] = before
        if not background.is_alive():
            shared.close()


def _sweep(shared: Shared, seen: set[str]) -> None:
    """Look at the engine, if there is one; whether there is, the notebook will find out, and say."""
    from labkit.engine import open_engine

    try:
        _learn_credentials(known)
        with suppress(LabkitError, OSError), open_engine("attach") as engine:
            sweep(engine, seen=seen)
    finally:
        shared.end()


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
