"""A request to the Engine API, taken apart, and what a call of docker-py is made of."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any
from urllib.parse import parse_qs, unquote

from labkit.engine.exchanges import Exchange
from labkit.shapes import hide

__all__ = ["Asked", "Call", "Given", "NoCall", "said"]


@dataclass(frozen=True)
class Given:
    """An argument that stands in the code as *code*, such as the name of a variable, and whose value is *value*."""

    value: Any
    code: str

    def __repr__(self) -> str:
        return self.code


class NoCall(Exception):
    """docker-py has no call for a request; the message is the reason."""


def _code(value: Any) -> str:
    """*value* as Python, with the quotes that people use."""
    if isinstance(value, str) and value.isprintable():
        return json.dumps(value, ensure_ascii=False)
    if isinstance(value, dict):
        return "{" + ", ".join(f"{_code(key)}: {_code(each)}" for key, each in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_code, value)) + "]"
    return repr(value)


@dataclass(frozen=True)
class Call:
    """``api.METHOD(…)`` of docker-py; *result*: the variable that keeps the new object's id."""

    method: str
    arguments: tuple[Any, ...] = ()
    options: Mapping[str, Any] = field(default_factory=dict)
    result: str = ""

    @property
    def code(self) -> str:
        """As it is typed, without secrets."""
        told = [_code(each) for each in self.arguments]
        told += [f"{name}={_code(value)}" for name, value in self.options.items()]
        call = f"api.{self.method}({', '.join(told)})"
        return hide(f'{self.result} = {call}["Id"]' if self.result else call)


class Asked:
    """A request, taken apart: what the pattern of its path has caught, its query and its JSON.

    *made*: by id, the variables that hold what the requests before have made; *names*: what is called by an id.
    """

    def __init__(
        self, exchange: Exchange, caught: tuple[str, ...], made: Mapping[str, str], names: Mapping[str, str]
    ) -> None:
        self.exchange, self.caught = exchange, tuple(map(unquote, caught))
        self._made, self._names = made, names
        self._query = parse_qs(exchange.query)

    def the(self, number: str = "") -> Given:
        """What the request is about, the first that the path names, or *number*."""
        id_ = number or self.caught[0]
        return Given(id_, self._made.get(id_) or _code(self._names.get(id_, id_)))

    def text(self, key: str) -> str | None:
        """A value of the query; None for an empty one."""
        return self._query.get(key, [""])[-1] or None

    def on(self, key: str) -> bool | None:
        """Whether a switch of the query is on; None when it is off."""
        return True if self.text(key) in ("1", "true", "True") else None

    def number(self, key: str) -> float | None:
        """A number of the query; None for none, whole where it is."""
        found = self.text(key)
        if found is None:
            return None
        return int(float(found)) if float(found).is_integer() else float(found)

    @property
    def filters(self) -> dict[str, list[str]] | None:
        """The filters, as docker-py takes them."""
        told = json.loads(self.text("filters") or "{}")
        return {key: list(values) for key, values in told.items()} or None

    @cached_property
    def body(self) -> dict[str, Any]:
        """The request's JSON, without what says nothing."""
        if not self.exchange.request.whole:
            raise NoCall("its body was not kept")
        return said(json.loads(self.exchange.request.head or b"{}") or {})

    def only(self, known: Mapping[str, str]) -> dict[str, Any]:
        """The body's fields as options, by *known*; raises `NoCall` for one that docker-py has no word for."""
        unknown = sorted(set(self.body) - set(known))
        if unknown:
            raise NoCall(f"docker-py cannot say {', '.join(unknown)}")
        return {known[key]: value for key, value in self.body.items()}


AS_THEY_ARE = {
    "Annotations",
    "DriverOpts",
    "ExposedPorts",
    "Labels",
    "Options",
    "StorageOpt",
    "Sysctls",
    "Tmpfs",
    "Volumes",
}
"""Fields whose keys are the user's own, with values that may be empty."""
DEFAULTS: dict[str, Any] = {
    "ConsoleSize": [0, 0],
    "IPAM": {"Driver": "default"},
    "MemorySwappiness": -1,
    "NetworkMode": "default",
    "RestartPolicy": {"Name": "no"},
}
"""What the command line sends where nothing was said (docker/cli, 20.10 to 26.1), beside nulls, zeros and empty texts."""
ZERO_COUNTS = {"MemorySwappiness", "StopTimeout"}
"""Fields in which zero says something."""


def said(body: Mapping[str, Any]) -> dict[str, Any]:
    """*body* without what says nothing: as short as a person would have written it."""
    found = {}
    for key, given in body.items():
        value = _said(key, given)
        telling = value not in (None, "", 0, [], {}) or (key in ZERO_COUNTS and value == 0)
        if telling and value != DEFAULTS.get(key):
            found[key] = value
    return found


def _said(key: str, value: Any) -> Any:
    if key in AS_THEY_ARE or not isinstance(value, dict | list):
        return value
    if isinstance(value, list):
        return [said(each) if isinstance(each, dict) else each for each in value]
    if key == "EndpointsConfig":
        ends = {name: said(end or {}) for name, end in value.items()}
        return {name: end for name, end in ends.items() if end or name != "default"}
    return said(value)
