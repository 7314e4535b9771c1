"""What keeps labkit's hands off a shared engine: destructive calls pass only for its own or for approved objects.

It works on the HTTP requests themselves (the Engine API, v1.41 to v1.45), so that every way through the SDK is covered.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import docker
import requests

from labkit.errors import Refused
from labkit.labels import KIT, is_ours, ours

__all__ = ["GuardedClient"]

KINDS = {"containers": "container", "images": "image", "volumes": "volume", "networks": "network"}
HARMLESS_POSTS = {"create", "load", "wait", "attach", "resize", "exec", "json", "tag", "push", "copy"}
"""Last words of POST requests that change no existing object."""

_VERSION = re.compile(r"^/v[\d.]+")


class GuardedClient(docker.DockerClient):  # type: ignore[misc]  # docker publishes no types
    """A docker SDK client for a shared engine.

    It labels what it creates (`labkit.labels`).  It refuses (`Refused`) to stop, change or remove an object that labkit did
    not label, and to prune, unless the object is named in `approving`.
    """

    def __init__(self, engine_id: str, **options: Any) -> None:
        super().__init__(**options)
        self.approved: set[tuple[str, str]] = set()
        # the session of requests that the SDK's client is; its one way out is send()
        self._send, self.api.send = self.api.send, self._guarded_send
        self._labels = ours(engine_id)

    @contextmanager
    def approving(self, kind: str, name: str) -> Iterator[None]:
        """While this lasts, the object *name* of *kind* (container, image, volume, network) may be changed."""
        approval = (kind, name.lstrip("/"))
        self.approved.add(approval)
        try:
            yield
        finally:
            self.approved.discard(approval)

    def _guarded_send(self, request: requests.PreparedRequest, **options: Any) -> requests.Response:
        url = urlsplit(str(request.url))
        parts = _VERSION.sub("", unquote(url.path)).strip("/").split("/")
        if (
            request.method == "POST"
            and parts[-1] == "create"
            and parts[0] in ("containers", "volumes", "networks")
        ):
            self._add_labels(request)
        elif request.method in ("POST", "DELETE", "PUT"):
            self._check(str(request.method), parts, parse_qs(url.query))
        response: requests.Response = self._send(request, **options)
        return response

    def _add_labels(self, request: requests.PreparedRequest) -> None:
        body = json.loads(request.body if isinstance(request.body, bytes | str) else b"{}")
        body["Labels"] = {**(body.get("Labels") or {}), **self._labels}
        request.prepare_body(json.dumps(body), None)

    def _check(self, method: str, parts: list[str], query: dict[str, list[str]]) -> None:
        """Raise `Refused` unless the request changes nothing, or something that is ours or approved."""
        collection, last = parts[0], parts[-1]
        if last == "prune":
            raise Refused(
                f"pruning {' '.join(parts[:-1])} is refused: it would remove what is not labkit's",
                seen="a shared engine",
                try_="remove objects by name",
            )
        if collection in ("swarm", "plugins", "nodes", "services", "secrets", "configs"):
            raise Refused(
                f"{method} /{'/'.join(parts)} is refused on a shared engine", try_="use a private engine"
            )
        if collection not in KINDS or len(parts) < 2 or (method == "POST" and last in HARMLESS_POSTS):
            return
        kind = KINDS[collection]
        name = "/".join(parts[1:] if method == "DELETE" or collection == "images" else parts[1:2])
        facts = self._inspect(kind, name)
        if facts is not None and not self._may_change(kind, name, facts):
            known = str(facts.get("Name") or "").lstrip("/") or name
            raise Refused(
                f"{'remove' if method == 'DELETE' else last} is refused: the {kind} {known} is not labkit's",
                seen=f"a shared engine; labels of the {kind}: {', '.join(sorted(_labels(facts))) or 'none'}",
                expected=f"what labkit made itself (label {KIT}), or an approval that names it",
                try_=f"with engine.approve({kind!r}, {known!r}): …",
            )

    def _inspect(self, kind: str, name: str) -> dict[str, Any] | None:
        look = {
            "container": self.api.inspect_container,
            "image": self.api.inspect_image,
            "volume": self.api.inspect_volume,
            "network": self.api.inspect_network,
        }[kind]
        try:
            facts: dict[str, Any] = look(name)
        except docker.errors.NotFound:
            return None  # the engine itself has the right error for it
        return facts

    def _may_change(self, kind: str, name: str, facts: dict[str, Any]) -> bool:
        names = {
            name,
            str(facts.get("Name", "")).lstrip("/"),
            str(facts.get("Id", "")),
            *(facts.get("RepoTags") or []),
        }
        return is_ours(_labels(facts)) or any((kind, known) in self.approved for known in names)


def _labels(facts: dict[str, Any]) -> dict[str, str]:
    return facts.get("Labels") or (facts.get("Config") or {}).get("Labels") or {}
