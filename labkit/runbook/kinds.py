"""The types that a parameter may have: read from the notebook's text without evaluating it, and told to people.

``list[…]``, ``Literal[…]``, ``… | None`` and ``Annotated[…, Between(1, 9)]`` (or ``Ge``, ``Gt``, ``Le``, ``Lt``) build on the
types by name in `KINDS`.
"""

from __future__ import annotations

import ast
import ipaddress
import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import reduce
from operator import or_
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self, get_args, get_origin

from pydantic import AfterValidator, BeforeValidator, TypeAdapter

from labkit.errors import nearest
from labkit.observe.quantities import ByteSize, Duration
from labkit.runbook.live import Container, CPUs, HostPath, Image, Memory, Network, NewHostPath, Volume
from labkit.runbook.secret import Secret

if TYPE_CHECKING:
    from pydantic import GetCoreSchemaHandler
    from pydantic_core import CoreSchema

__all__ = [
    "CIDR",
    "KINDS",
    "Between",
    "choices",
    "describe",
    "is_optional",
    "lenient",
    "read_type",
    "written",
]


class CIDR(str):
    """A range of addresses, ``10.0.0.0/24`` or ``fd00::/64``, in its shortest form; ``network`` has its parts."""

    @property
    def network(self) -> ipaddress.IPv4Network | ipaddress.IPv6Network:
        """The range as Python's `ipaddress` knows it."""
        return ipaddress.ip_network(str(self))

    @classmethod
    def parse(cls, given: object) -> Self:
        """Read *given*.  Raises `ValueError` for what is no range, and for an address inside of one."""
        try:
            address = ipaddress.ip_interface(str(given).strip())
        except ValueError:
            raise ValueError("a range of addresses such as 10.0.0.0/24 or fd00::/64") from None
        if "/" not in str(given):
            raise ValueError(f"a range with its length, such as {address.network}")
        if address.ip != address.network.network_address:
            raise ValueError(f"the beginning of a range: {address.network}")
        return cls(address.network)

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        from pydantic_core import core_schema

        return core_schema.no_info_plain_validator_function(
            cls.parse,
            serialization=core_schema.to_string_ser_schema(),
            json_schema_input_schema=core_schema.str_schema(),
        )


@dataclass(frozen=True)
class Between:
    """A bound in ``Annotated[int, Between(1, 100)]``: from *least* to *most*, both included; None leaves a side open."""

    least: Any = None
    most: Any = None
    above: Any = None
    below: Any = None

    def __str__(self) -> str:
        if self.least is not None and self.most is not None:
            return f"{self.least} to {self.most}"
        words = {"at least": self.least, "at most": self.most, "above": self.above, "below": self.below}
        return ", ".join(f"{word} {bound}" for word, bound in words.items() if bound is not None)

    def check(self, value: Any) -> Any:
        """*value*, or `ValueError` saying what would fit."""
        if (
            (self.least is not None and value < self.least)
            or (self.most is not None and value > self.most)
            or (self.above is not None and value <= self.above)
            or (self.below is not None and value >= self.below)
        ):
            raise ValueError(str(self))
        return value


KINDS: dict[str, tuple[Any, str]] = {
    "str": (str, "text"),
    "int": (int, "whole number"),
    "float": (float, "number"),
    "bool": (bool, "true or false"),
    "Path": (Path, "path on this machine"),
    "ByteSize": (ByteSize, "size, such as 512m"),
    "Memory": (Memory, "amount of memory that the engine's host has, such as 512m"),
    "Duration": (Duration, "time, such as 5s or 1m30s"),
    "CPUs": (CPUs, "number of CPUs that the engine's host has, such as 1.5"),
    "CIDR": (CIDR, "range of addresses, such as 10.0.0.0/24"),
    "Container": (Container, "container on the engine"),
    "Image": (Image, "image on the engine"),
    "Volume": (Volume, "volume on the engine"),
    "Network": (Network, "network on the engine"),
    "HostPath": (HostPath, "path on the engine's host"),
    "NewHostPath": (NewHostPath, "path on the engine's host that is still free"),
    "Secret": (Secret, "secret: env:NAME, file:PATH or ask"),
}
"""A type's name in a notebook, the type, and what it is called in help.  A new type is one line here."""

_TOLD: dict[Any, str] = dict(KINDS.values())
_ORDERED = (int, float, ByteSize, Memory, Duration, CPUs)
_BOUNDS = {"ge": "least", "le": "most", "gt": "above", "lt": "below", "least": "least", "most": "most"}


# -- from the notebook's text


def read_type(node: ast.expr) -> Any:
    """The type that an annotation means.  Raises `ValueError` saying what cannot be read."""
    if isinstance(node, ast.Constant) and node.value is None:
        return None
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return read_type(ast.parse(node.value, mode="eval").body)
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.BitOr):
        return _union([read_type(node.left), read_type(node.right)])
    if isinstance(node, ast.Subscript):
        return _subscripted(_name(node.value), node.slice)
    name = _name(node)
    if name not in KINDS:
        near = nearest(name, KINDS)
        hint = f"; did you mean {near}?" if near else ""
        raise ValueError(f"there is no type {name}{hint} (types: {', '.join(KINDS)})")
    return KINDS[name][0]


def _name(node: ast.expr) -> str:
    """``ByteSize`` of ``ByteSize`` and of ``runbook.ByteSize``."""
    if isinstance(node, ast.Attribute):
        return node.attr
    return node.id if isinstance(node, ast.Name) else ast.unparse(node)


def _subscripted(name: str, inner: ast.expr) -> Any:
    parts = inner.elts if isinstance(inner, ast.Tuple) else [inner]
    if name == "Literal":
        return Literal[tuple(ast.literal_eval(part) for part in parts)]
    if name == "Annotated":
        return _annotated(read_type(parts[0]), parts[1:])
    if name == "Union":
        return _union([read_type(part) for part in parts])
    if name in ("list", "List", "Optional") and len(parts) == 1:
        kind = read_type(parts[0])
        return _union([kind, None]) if name == "Optional" else list[kind]  # type: ignore[valid-type]
    raise ValueError(
        f"there is no type {name}[…]: list[…], Literal[…], Optional[…] and Annotated[…] may have brackets"
    )


def _union(kinds: list[Any]) -> Any:
    return reduce(or_, kinds)


def _annotated(kind: Any, calls: list[ast.expr]) -> Any:
    """*kind* with its bounds, each read as *kind* itself is: ``Annotated[ByteSize, Ge("4m")]``."""
    if kind not in _ORDERED:
        raise ValueError("only numbers, sizes, times and CPUs have bounds")
    bounds: dict[str, Any] = {}
    for call in calls:
        for place, node in _bounds(call):
            bound = ast.literal_eval(node)
            bounds[place] = None if bound is None else TypeAdapter(kind).validate_python(bound)
    return Annotated[kind, Between(**bounds)]


def _bounds(call: ast.expr) -> list[tuple[str, ast.expr]]:
    """The bounds that ``Between(1, 9)``, ``Ge(1)`` or ``Field(le=9)`` give, by the names that `Between` has for them."""
    name = _name(call.func).lower() if isinstance(call, ast.Call) else ""
    places = {"between": ["least", "most"], "interval": [], "field": []}.get(name, [name])
    if isinstance(call, ast.Call) and len(call.args) <= len(places):
        found = [
            *zip(places, call.args, strict=False),
            *((str(word.arg), word.value) for word in call.keywords),
        ]
        if found and all(place in _BOUNDS for place, _ in found):
            return [(_BOUNDS[place], node) for place, node in found]
    raise ValueError(f"a bound is Between(…), Ge(…), Gt(…), Le(…) or Lt(…), not {ast.unparse(call)}")


# -- to values


def lenient(kind: Any) -> Any:
    """*kind* for pydantic, also from a command line's text: ``none``, and ``a,b`` or ``["a", "b"]`` for a list."""
    origin, parts = get_origin(kind), get_args(kind)
    if origin is list:
        return Annotated[list[lenient(parts[0])], BeforeValidator(_as_list)]  # type: ignore[misc]
    if origin is Literal:
        return Annotated[kind, BeforeValidator(_as_member(parts))]
    if origin is Annotated:
        return Annotated[lenient(parts[0]), AfterValidator(parts[1].check)]
    if not parts:
        return kind
    union = _union([lenient(part) for part in parts])
    return Annotated[union, BeforeValidator(_as_none)] if is_optional(kind) and str not in parts else union


def _as_none(given: Any) -> Any:
    return None if isinstance(given, str) and given.lower() in ("", "none", "null") else given


def _as_list(given: Any) -> Any:
    if not isinstance(given, str):
        return list(given) if isinstance(given, tuple) else given
    if not given.lstrip().startswith("["):
        return [word.strip() for word in given.split(",") if word.strip()]
    try:
        return json.loads(given)
    except ValueError:
        raise ValueError('a list such as a,b or ["a", "b"]') from None


def _as_member(members: tuple[Any, ...]) -> Callable[[Any], Any]:
    """Text as the member of a Literal that is written so: ``3`` for 3, ``none`` for None."""

    def read(given: Any) -> Any:
        meant = (each for each in members if given in (str(each), written(each)))
        return given if given in members else next(meant, given)

    return read


# -- to people


def is_optional(kind: Any) -> bool:
    """Whether None is a value of *kind*."""
    return type(None) in get_args(kind)


def choices(kind: Any) -> tuple[Any, ...]:
    """The values of a Literal, also of one that may be None; nothing for every other type."""
    if get_origin(kind) is Literal:
        return get_args(kind)
    return next((get_args(part) for part in get_args(kind) if get_origin(part) is Literal), ())


def describe(kind: Any) -> str:
    """What a value of *kind* looks like, in a few words."""
    origin, parts = get_origin(kind), get_args(kind)
    if origin is Literal:
        return " or ".join(map(str, parts))
    if origin is list:
        return f"list, a,b or JSON, of: {describe(parts[0])}"
    if origin is Annotated:
        return f"{describe(parts[0])}; {parts[1]}"
    if parts:
        told = [describe(part) for part in parts if part is not type(None)]
        return " or ".join([*told, "none"] if is_optional(kind) else told)
    return _TOLD[kind]


def written(value: Any) -> str:
    """*value* as a command line gives it, after ``-p name=``; a shell may want quotes around it."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list):
        words = [written(each) for each in value]
        plain = all(word and word == word.strip() and not set(word) & set(",[") for word in words)
        return ",".join(words) if words and plain and not _nested(value) else json.dumps(_as_json(value))
    return "none" if value is None else str(value)


def _nested(members: list[Any]) -> bool:
    """Whether one of them would look like another's among words: a list like its only member, none like a text."""
    return any(each is None or isinstance(each, list) for each in members)


def _as_json(value: Any) -> Any:
    if isinstance(value, list):
        return [_as_json(each) for each in value]
    return value if type(value) in (bool, int, float, type(None)) else str(value)
