"""A runbook's parameters: read as syntax, checked before a kernel starts and again inside it.

The cell tagged ``parameters`` is the one source of truth: ``name: type = default  # help``, one a line.
Types are ``str``, ``int``, ``float``, ``bool``, `ByteSize`, `Duration`, ``Literal[…]``, ``list[…]`` and ``…
| None``.
"""

from __future__ import annotations

import ast
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Annotated, Any, Literal, get_args, get_origin

import nbformat
from pydantic import BaseModel, BeforeValidator, ConfigDict, ValidationError, create_model

from labkit.errors import UsageError
from labkit.observe.quantities import ByteSize, Duration

__all__ = ["Parameter", "Parameters", "assignments", "check", "read", "validate"]

_TYPES: dict[str, Any] = {
    "str": str,
    "int": int,
    "float": float,
    "bool": bool,
    "ByteSize": ByteSize,
    "Duration": Duration,
}
_INJECTED = "# Parameters"
"""How papermill's injected cell begins."""


@dataclass(frozen=True)
class Parameter:
    """One parameter: its *type* as Python sees it and its *annotation* as the notebook writes it."""

    name: str
    type: Any
    annotation: str
    default: Any
    help: str = ""


class Parameters(BaseModel):
    """The base of every runbook's parameters: fixed names, fixed values."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True)

    def __repr__(self) -> str:
        return "\n".join(f"{name} = {value}" for name, value in self)

    def plain(self) -> dict[str, Any]:
        """The values as a notebook's ``parameters`` cell may hold them: text, numbers, lists."""
        return self.model_dump(mode="json")


# -- before a kernel starts: from the notebook's text


def read(notebook: nbformat.NotebookNode) -> list[Parameter]:
    """The parameters that *notebook* declares.  Raises `UsageError` naming the line that cannot be read."""
    tagged = [cell for cell in notebook.cells if "parameters" in cell.metadata.get("tags", [])]
    if not tagged:
        return []
    source: str = tagged[0].source
    lines = source.splitlines()
    return [
        _parameter(node, lines[node.lineno - 1])
        for node in ast.parse(source).body
        if isinstance(node, ast.AnnAssign)
    ]


def _parameter(node: ast.AnnAssign, line: str) -> Parameter:
    help_text = line[node.end_col_offset or 0 :].partition("#")[2].strip()
    try:
        assert isinstance(node.target, ast.Name)
        assert node.value is not None
        default = ast.literal_eval(node.value)
        return Parameter(
            node.target.id, _resolve(node.annotation), ast.unparse(node.annotation), default, help_text
        )
    except (AssertionError, ValueError, KeyError):
        raise UsageError(
            "a line of the runbook's parameters cell cannot be read",
            seen=line.strip(),
            expected="name: type = default  # help, with a type of " + ", ".join(_TYPES),
        ) from None


def _resolve(node: ast.expr) -> Any:
    """The type that an annotation names.  Nothing is evaluated; an unknown name raises `KeyError`."""
    if isinstance(node, ast.Name):
        return _TYPES[node.id]
    if isinstance(node, ast.Constant) and node.value is None:
        return None
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.BitOr):
        return _resolve(node.left) | _resolve(node.right)
    if isinstance(node, ast.Subscript) and isinstance(node.value, ast.Name):
        if node.value.id == "list":
            return list[_resolve(node.slice)]  # type: ignore[misc]  # known only when the notebook is read
        if node.value.id == "Literal":
            return Literal[ast.literal_eval(node.slice)]
    raise KeyError(ast.unparse(node))


def assignments(words: Iterable[str]) -> dict[str, str]:
    """``name=value`` words of a command line as a mapping; the last of several wins.

    Raises `UsageError` for a word without a name or without ``=``.
    """
    pairs = [(word, *word.partition("=")) for word in words]
    for word, name, equals, _ in pairs:
        if not equals or not name.strip():
            raise UsageError("a parameter is given as name=value", seen=repr(word))
    return {name.strip(): value for _, name, _, value in pairs}


def validate(parameters: list[Parameter], given: Mapping[str, Any]) -> Parameters:
    """*given* values (text from a command line, or typed) as a checked model.

    Raises `UsageError` for an unknown name, with the nearest valid one, and for a value that does not fit.
    """
    fields = {parameter.name: (parameter.type, parameter.default) for parameter in parameters}
    return _fill(fields, given)


# -- inside the kernel: from the namespace


def check(namespace: Mapping[str, Any]) -> Parameters:
    """The parameters of the notebook in whose cell this is called: ``p = runbook.check(globals())``.

    Plain papermill only warns about an unknown name and checks no value, so the notebook checks both
    itself.  Raises `UsageError` as `validate` does.
    """
    declared: dict[str, Any] = namespace.get("__annotations__", {})
    given = {name: namespace[name] for name in declared if name in namespace}
    for name in _injected(namespace.get("In", [])):
        given.setdefault(name, namespace.get(name))
    return _fill({name: (kind, ...) for name, kind in declared.items()}, given)


def _injected(cells: list[str]) -> list[str]:
    """The names that papermill set in the cell it adds, from the cells *run so far* (IPython's ``In``)."""
    source = next((cell for cell in reversed(cells) if cell.startswith(_INJECTED)), "")
    targets = [node.targets[0] for node in ast.parse(source).body if isinstance(node, ast.Assign)]
    return [target.id for target in targets if isinstance(target, ast.Name)]


# -- both


def _fill(fields: Mapping[str, tuple[Any, Any]], given: Mapping[str, Any]) -> Parameters:
    for name in given:
        if name not in fields:
            near = get_close_matches(name, fields, n=1)
            raise UsageError(
                f"the runbook has no parameter {name!r}",
                expected=", ".join(fields) or "(it has none)",
                try_=f"-p {near[0]}=…" if near else "",
            )
    lenient: dict[str, Any] = {name: (_lenient(kind), default) for name, (kind, default) in fields.items()}
    model = create_model("Parameters", __base__=Parameters, **lenient)
    try:
        return model(**given)
    except ValidationError as error:
        raise _wrong(error, fields) from None


def _lenient(kind: Any) -> Any:
    """*kind*, also from a command line's text: ``none``, and ``a,b`` or ``["a", "b"]`` for a list."""
    members = get_args(kind)
    if get_origin(kind) is list:
        return Annotated[kind, BeforeValidator(_as_list)]
    if type(None) in members and str not in members:
        return Annotated[kind, BeforeValidator(_as_none)]
    return kind


def _as_none(given: Any) -> Any:
    return None if isinstance(given, str) and given.lower() in ("", "none", "null") else given


def _as_list(given: Any) -> Any:
    if not isinstance(given, str):
        return given
    return json.loads(given) if given.lstrip().startswith("[") else [x.strip() for x in given.split(",") if x]


def _wrong(error: ValidationError, fields: Mapping[str, tuple[Any, Any]]) -> UsageError:
    first = error.errors()[0]
    name = str(first["loc"][0])
    wanted = first["msg"].removeprefix("Value error, ").removeprefix("Input should be ")
    quote = ""
    if fields[name][0] is str:
        quote = f"plain papermill reads {name}=7 as a number: use -r {name} 7"
    return UsageError(
        f"the parameter {name} has a value that does not fit",
        seen=repr(first["input"]),
        expected=wanted,
        try_=quote,
    )
