"""What keeps labkit's hands off a shared engine: a request passes only when all that it changes is labkit's, or approved.

It works on the HTTP requests themselves, so that every way through the SDK is covered, and it is an allow-list (`RULES`,
after the Engine API, v1.41 to v1.45): a request that changes something and is not on it is refused.
"""

from __future__ import annotations

import io
import json
import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, NoReturn
from urllib.parse import parse_qs, unquote, urlsplit

import docker
import requests

from labkit.engine.clients import Client
from labkit.engine.references import in_archive, is_tagged, reference, resolve
from labkit.errors import Refused
from labkit.labels import KIT, is_ours, ours

__all__ = ["RULES", "Call", "GuardedClient", "subjects"]

READING = ("GET", "HEAD", "OPTIONS")
_VERSION = re.compile(r"^/v[\d.]+/")
_NO = ("0", "false", "False")

Subject = tuple[str, str]
"""Kind (container, image, volume, network, build cache) and name of an object that a request changes."""


class Call:
    """One request to the Engine API, taken apart: *method*, *path* without the version, *query* and body."""

    def __init__(self, request: requests.PreparedRequest) -> None:
        url = urlsplit(str(request.url))
        self.request = request
        self.method = str(request.method)
        self.path = re.sub(r"/+", "/", unquote(_VERSION.sub("/", url.path))).strip("/")
        self._query = parse_qs(url.query)

    def all(self, key: str) -> list[str]:
        """Every value that the query has for *key*."""
        return self._query.get(key, [])

    def get(self, key: str, default: str = "") -> str:
        """The value that the query has for *key*."""
        return self._query.get(key, [default])[-1]

    @property
    def body(self) -> dict[str, Any]:
        """The request's JSON; empty where there is none.  Raises `Refused` for one that nobody can look at before it is sent."""
        text = self.request.body or "{}"
        try:
            found = json.loads(text) if isinstance(text, bytes | str) else ""  # a stream can be read but once
        except ValueError:
            found = ""
        if found is not None and not isinstance(found, dict):
            _refuse(self, "its body cannot be read as a JSON object", "send one as text")
        return found or {}

    def fields(self, name: str) -> list[Any]:
        """What the JSON has for *name* in whatever case: Go's encoding/json, which reads it there, minds none."""
        return [value for key, value in self.body.items() if key.lower() == name.lower()]


# -- what a request changes: one function a sort of request, with what the path's pattern has caught


def _nothing(api: docker.APIClient, call: Call, *caught: str) -> list[Subject]:
    return []


def _the(kind: str, api: docker.APIClient, call: Call, name: str, *_: str) -> list[Subject]:
    return [(kind, name)]


def _attached(api: docker.APIClient, call: Call, name: str) -> list[Subject]:
    """Who only listens changes nothing."""
    return [("container", name)] if call.get("stdin", "0") not in _NO else []


def _executed(api: docker.APIClient, call: Call, number: str, *_: str) -> list[Subject]:
    return [("container", str(api.exec_inspect(number)["ContainerID"]))]


def _connected(api: docker.APIClient, call: Call, *_: str) -> list[Subject]:
    """A container gains or loses an address: the one in the body."""
    return [("container", str(name)) for name in call.fields("Container")]


def _committed(api: docker.APIClient, call: Call) -> list[Subject]:
    """The container is paused meanwhile, unless that is declined."""
    paused = call.get("pause", "1") not in _NO
    return [
        *([("container", call.get("container"))] if paused else []),
        *([("image", reference(call.get("repo"), call.get("tag")))] if call.get("repo") else []),
    ]


def _built(api: docker.APIClient, call: Call) -> list[Subject]:
    if call.get("pull", "0") not in _NO:
        _refuse(call, "to pull the image that is built on could replace somebody's", "build without pull")
    return [("image", reference(name)) for name in call.all("t")]


def _pulled(api: docker.APIClient, call: Call) -> list[Subject]:
    """A pull or an import; by digest it moves no name, and without a tag it fetches all that there are."""
    repository, tag = call.get("fromImage") or call.get("repo"), call.get("tag")
    if not repository or "@" in repository or tag.startswith("sha256:"):
        return []
    if tag or is_tagged(repository) or call.get("fromSrc"):
        return [("image", reference(repository, tag))]
    there = [name for image in api.images(name=repository) for name in image.get("RepoTags") or []]
    return [("image", name) for name in there]


def _loaded(api: docker.APIClient, call: Call) -> list[Subject]:
    """The names in the archive that are not yet those of the same image."""
    try:
        body = call.request.body
        named = in_archive(io.BytesIO(body) if isinstance(body, bytes) else body)
    except (OSError, ValueError) as error:
        _refuse(
            call,
            f"the names in the archive cannot be read: {error}",
            "load from a file that docker save wrote",
        )
    return [("image", name) for name, id_ in named.items() if id_ != resolve(api, name)]


def _named(api: docker.APIClient, call: Call, source: str) -> list[Subject]:
    name = reference(call.get("repo"), call.get("tag"))
    return [("image", name)] if resolve(api, name) != resolve(api, source) else []


def _pruned(api: docker.APIClient, call: Call) -> list[Subject]:
    """Records of the build cache, if they are named one by one; whose they are nobody can say."""
    chosen = json.loads(call.get("filters") or "{}")
    if set(chosen) != {"id"}:
        _refuse(call, "it would remove what is not labkit's", "remove records by id")
    return [("build cache", str(record)) for record in chosen["id"]]


def _pushed(api: docker.APIClient, call: Call, name: str) -> list[Subject]:
    return [("image", reference(name, call.get("tag")))]


_CHANGES = "start|stop|restart|kill|update|rename|pause|unpause|resize|exec"
RULES: list[tuple[str, str, Callable[..., Iterable[Subject]]]] = [
    ("POST", r"auth", _nothing),
    ("POST", r"(containers|networks|volumes)/create", _nothing),
    ("POST", r"containers/([^/]+)/wait", _nothing),
    ("POST", r"containers/([^/]+)/attach", _attached),
    ("POST", rf"containers/([^/]+)/({_CHANGES})", partial(_the, "container")),
    ("PUT", r"containers/([^/]+)/archive", partial(_the, "container")),
    ("DELETE", r"containers/([^/]+)", partial(_the, "container")),
    ("POST", r"exec/([^/]+)/(start|resize)", _executed),
    ("POST", r"networks/([^/]+)/(connect|disconnect)", _connected),
    ("DELETE", r"networks/([^/]+)", partial(_the, "network")),
    ("PUT", r"volumes/([^/]+)", partial(_the, "volume")),
    ("DELETE", r"volumes/([^/]+)", partial(_the, "volume")),
    ("POST", r"commit", _committed),
    ("POST", r"build", _built),
    ("POST", r"build/prune", _pruned),
    ("POST", r"images/create", _pulled),
    ("POST", r"images/load", _loaded),
    ("POST", r"images/(.+)/tag", _named),
    ("POST", r"images/(.+)/push", _pushed),
    ("DELETE", r"images/(.+)", partial(_the, "image")),
]
"""Every request that may change something: method, path, and the function that says what it changes."""


def subjects(api: docker.APIClient, call: Call) -> list[Subject]:
    """What *call* changes of the objects that there are.  Raises `Refused` for a call that is not in `RULES`."""
    for method, pattern, of in RULES:
        if method == call.method and (match := re.fullmatch(pattern, call.path)):
            return list(of(api, call, *match.groups()))
    if call.path.endswith("prune"):
        _refuse(call, "it would remove what is not labkit's", "remove objects by name")
    return _refuse(call, "labkit does not know what it would change", "use a private engine")


def _refuse(call: Call, why: str, try_: str) -> NoReturn:
    raise Refused(f"{call.method} /{call.path} is refused on a shared engine", seen=why, try_=try_) from None


# -- the client


@dataclass(frozen=True)
class Known:
    """An object that is there: its *labels* and the *names* by which it is approved, each alone or *all* together."""

    shown: str
    labels: dict[str, str]
    names: set[str]
    all: set[str]


class GuardedClient(Client):
    """A docker SDK client for a shared engine.

    It labels the containers, volumes and networks that it creates (`labkit.labels`), and remembers the images that it
    made or named: containers inherit the labels of their image, so a label on an image would make them ours too.
    It refuses (`Refused`) to change any other object, unless that is named in `approving`.
    """

    def __init__(self, engine_id: str, **options: Any) -> None:
        super().__init__(**options)
        self.approved: set[Subject] = set()
        # the session of requests that the SDK's client is; its one way out is send(), but for websockets
        self._send, self.api.send = self.api.send, self._guarded_send
        self.api._create_websocket_connection = _no_websockets
        self._labels = ours(engine_id)

    @contextmanager
    def approving(self, kind: str, name: str) -> Iterator[None]:
        """While this lasts, the object *name* of *kind* (container, image, volume, network) may be changed."""
        approval = (kind, reference(name) if _is_name(kind, name) else name.lstrip("/"))
        fresh = approval not in self.approved
        self.approved.add(approval)
        try:
            yield
        finally:
            if fresh:
                self.approved.discard(approval)

    def _guarded_send(self, request: requests.PreparedRequest, **options: Any) -> requests.Response:
        call = Call(request)
        if call.method in READING and not call.path.endswith("attach/ws"):
            return self._answer(request, options)
        changed = subjects(self.api, call)
        for kind, name in changed:
            self._check(call, kind, name)
        if call.path in ("containers/create", "volumes/create", "networks/create"):
            theirs = {key: value for labels in call.fields("Labels") for key, value in (labels or {}).items()}
            body = {key: value for key, value in call.body.items() if key.lower() != "labels"}
            request.prepare_body(json.dumps({**body, "Labels": {**theirs, **self._labels}}), None)
        response = self._answer(request, options)
        if response.ok and call.method == "POST":
            self.approved.update(subject for subject in changed if subject[0] == "image")
        return response

    def _answer(self, request: requests.PreparedRequest, options: dict[str, Any]) -> requests.Response:
        response: requests.Response = self._send(request, **options)
        return response

    def _check(self, call: Call, kind: str, name: str) -> None:
        """Raise `Refused` when there is such an object and it is neither ours nor approved."""
        known = self._look(kind, name)
        if known is None or self._may_change(kind, known):
            return  # where there is none, the engine itself has the right error
        raise Refused(
            f"{call.method} /{call.path} is refused: the {kind} {known.shown} is not labkit's",
            seen=f"a shared engine; labels of the {kind}: {', '.join(sorted(known.labels)) or 'none'}",
            expected=f"what labkit made itself (label {KIT}), or an approval that names it",
            try_=f"with engine.approve({kind!r}, {known.shown!r}): …",
        )

    def _look(self, kind: str, name: str) -> Known | None:
        if kind == "build cache":
            return Known(name, {}, {name}, set())
        look = {
            "container": self.api.inspect_container,
            "image": self.api.inspect_image,
            "volume": self.api.inspect_volume,
            "network": self.api.inspect_network,
        }[kind]
        try:
            facts: dict[str, Any] = look(name)
        except (docker.errors.NotFound, docker.errors.NullResource):
            return None
        if kind == "image":
            return _known_image(name, facts)
        labels = facts.get("Labels") or (facts.get("Config") or {}).get("Labels") or {}
        names = {str(facts.get(key) or "").lstrip("/") for key in ("Name", "Id")} - {""}
        shown = str(facts.get("Name") or "").lstrip("/") or name
        return Known(shown, labels, names, set())

    def _may_change(self, kind: str, known: Known) -> bool:
        if kind != "image" and is_ours(known.labels):
            return True
        approved = {name for of, name in self.approved if of == kind}
        return bool(known.names & approved) or bool(known.all and known.all <= approved)


def _known_image(name: str, facts: dict[str, Any]) -> Known:
    """By its id an image is approved when every name of it is; by one of its names, that name alone."""
    id_, tags = str(facts["Id"]), {reference(tag) for tag in facts.get("RepoTags") or []}
    by_name = reference(name) in {*tags, *(facts.get("RepoDigests") or [])}
    labels = (facts.get("Config") or {}).get("Labels") or {}
    return Known(name, labels, {reference(name), id_}, set() if by_name else tags)


def _is_name(kind: str, name: str) -> bool:
    return kind == "image" and not re.fullmatch(r"(sha256:)?[0-9a-f]{64}", name)


def _no_websockets(url: str) -> NoReturn:
    raise Refused("a websocket is refused on a shared engine", seen=url, try_="attach without ws=True")
