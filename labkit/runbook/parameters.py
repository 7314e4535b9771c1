"""A runbook's parameters: read as syntax, checked before a kernel starts and again inside it.

The cell tagged ``parameters`` is the one source of truth: ``name: type = default  # help``.  The types are those of
`labkit.runbook.kinds`.  The cell is parsed, never executed, here and in the kernel (where it is found among the cells that ran,
since from Python 3.14 on a notebook's namespace no longer keeps annotations: PEP 649).
"""

from __future__ import annotations

import ast
import io
import linecache
import tokenize
from collections.abc import Iterator, Mapping, MutableMapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Self, TypeVar

import nbformat
from pydantic import BaseModel, ConfigDict, PrivateAttr, ValidationError, create_model

from labkit.errors import LabkitError, UsageError, no_such
from labkit.runbook import views
from labkit.runbook.kinds import describe, lenient, read_type
from labkit.runbook.live import Live
from labkit.runbook.secret import Secret, is_reference

if TYPE_CHECKING:
    from labkit.engine import Engine

__all__ = [
    "PARAMETERS",
    "Parameter",
    "Parameters",
    "answered",
    "check",
    "found_once",
    "prepare",
    "read",
    "validate",
]

P = TypeVar("P", bound="Parameters")
PARAMETERS = "application/vnd.labkit.parameters+json"
"""The media type under which a notebook's output carries its parameters."""
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

    @property
    def takes(self) -> str:
        """What a value looks like, in a few words."""
        return describe(self.type)


class Parameters(BaseModel):
    """The base of every runbook's parameters: fixed names, fixed values."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, validate_default=True, allow_inf_nan=False, protected_namespaces=()
    )
    declared: ClassVar[tuple[Parameter, ...]] = ()
    _notebook: MutableMapping[str, Any] | None = PrivateAttr(None)

    def __repr__(self) -> str:
        return "\n".join(f"{name} = {value}" for name, value in self)

    def _repr_mimebundle_(self, **_: object) -> tuple[dict[str, Any], dict[str, Any]]:
        return {PARAMETERS: {}, **views.bundle("parameters", self)}, {PARAMETERS: self.plain()}

    @property
    def notebook(self) -> MutableMapping[str, Any] | None:
        """The variables of the notebook that they were read from, if they were."""
        return self._notebook

    def belong_to(self, notebook: MutableMapping[str, Any]) -> Self:
        """Remember the variables of the notebook that they are for."""
        self._notebook = notebook
        return self

    def plain(self) -> dict[str, Any]:
        """The values as a notebook's ``parameters`` cell may hold them: text, numbers, lists; no secret."""
        return self.model_dump(mode="json")

    def settled(self, engine: Engine | None = None, **where: str) -> Self:
        """These, with what only an engine or a person can tell: live objects looked up, secrets asked for.

        *engine*: where to look; without it, the one that *where* names (as for `open_engine`) or that ``docker`` would
        talk to.  Raises `UsageError` for what is not
        there, `EngineUnreachable` when there is no engine to ask.
        """
        leaves = list(_leaves(list(dict(self).values())))
        if engine is None and any(isinstance(leaf, Live) for leaf in leaves):
            from labkit.engine import open_engine

            with open_engine("attach", **where) as found:
                return self.settled(found)
        if not any(isinstance(leaf, Live) or (isinstance(leaf, Secret) and leaf.pending) for leaf in leaves):
            return self
        return _filled(type(self), dict(self), {"engine": engine, "settle": True})


def _leaves(value: Any) -> Iterator[Any]:
    if isinstance(value, list):
        for each in value:
            yield from _leaves(each)
    else:
        yield value


# -- the cell


def read(notebook: nbformat.NotebookNode) -> list[Parameter]:
    """The parameters that *notebook* declares.  Raises `UsageError` naming the line that cannot be read."""
    tagged = [cell for cell in notebook.cells if "parameters" in cell.metadata.get("tags", [])]
    return _read(tagged[0].source) if tagged else []


def _read(source: str) -> list[Parameter]:
    try:
        body = ast.parse(source).body
    except SyntaxError as error:
        raise _unreadable(source, error.lineno or 1, error.msg) from None
    comments = _comments(source)
    found: dict[str, Parameter] = {}
    for node in body:
        if _is_aside(node):
            continue
        try:
            parameter = _parameter(node, comments.get(node.end_lineno or 0, ""))
            if parameter.name in found:
                raise ValueError(f"{parameter.name} is declared twice")
        except (ValueError, SyntaxError) as error:
            raise _unreadable(source, node.lineno, str(error)) from None
        found[parameter.name] = parameter
    return list(found.values())


def _is_aside(node: ast.stmt) -> bool:
    """Whether the cell may hold it although it declares nothing: an import, or a text."""
    is_text = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    return is_text or isinstance(node, ast.Import | ast.ImportFrom | ast.Pass)


def _parameter(node: ast.stmt, comment: str) -> Parameter:
    if not isinstance(node, ast.AnnAssign):
        raise ValueError("name: type = default  # help")
    if not isinstance(node.target, ast.Name) or node.value is None:
        raise ValueError("a name, its type and a default: name: type = default  # help")
    name = node.target.id
    if name.startswith("_") or hasattr(Parameters, name):
        raise ValueError(f"another name: {name!r} is taken")
    kind = read_type(node.annotation)
    try:
        default = ast.literal_eval(node.value)
    except ValueError:
        raise ValueError(
            "a default that is written out: text, a number, True, False, None or a list of them"
        ) from None
    if "Secret" in ast.unparse(node.annotation) and not (default in (None, []) or is_reference(default)):
        raise ValueError("no secret in a notebook: env:NAME, file:PATH, ask, or None with `Secret | None`")
    return Parameter(name, kind, ast.unparse(node.annotation), default, comment)


def _comments(source: str) -> dict[int, str]:
    """The comments by line; a ``#`` in text is none."""
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    return {
        each.start[0]: each.string.lstrip("# ").strip() for each in tokens if each.type == tokenize.COMMENT
    }


def _unreadable(source: str, line: int, expected: str) -> UsageError:
    lines = source.splitlines()
    return UsageError(
        f"line {line} of the runbook's parameters cell cannot be read",
        seen=lines[min(line, len(lines)) - 1].strip() if lines else "nothing",
        expected=expected,
    )


# -- before a kernel starts


def validate(
    parameters: Sequence[Parameter], given: Mapping[str, Any], *, in_notebook: bool = False
) -> Parameters:
    """*given* values (text from a command line, or typed) as a checked model, without asking an engine or a person.

    *in_notebook*: they are written there, so none may be a secret.  Raises `UsageError` for an unknown name, with the
    nearest valid one, and for a value that does not fit.
    """
    names = [parameter.name for parameter in parameters]
    for name in given:
        if name not in names:
            raise no_such("parameter of the runbook", name, names, otherwise="it has none", try_="-p {}=…")
    fields: dict[str, Any] = {each.name: (lenient(each.type), each.default) for each in parameters}
    model = create_model("Parameters", __base__=Parameters, **fields)
    model.declared = tuple(parameters)
    return _filled(model, given, {"in_notebook": in_notebook})


def prepare(
    parameters: Sequence[Parameter], given: Mapping[str, Any], environ: Mapping[str, str] | None = None
) -> Parameters:
    """`validate`, and then `Parameters.settled`: all that can be known before a kernel starts.

    *environ*: more variables of that kernel; they may name the engine.
    """
    return validate(parameters, given).settled(None, **_engine_named_in(environ or {}))


def answered(
    parameters: Sequence[Parameter], given: Mapping[str, Any], environ: Mapping[str, str]
) -> dict[str, Any]:
    """*given*, with every secret that a person has to be asked for; the terminal is still ours to ask on.

    Raises as `prepare` does, and before it asks.
    """
    values = validate(parameters, given)
    given = {**given, **found_once(values)}
    if not any(isinstance(leaf, Secret) and leaf.pending for leaf in _leaves(list(dict(values).values()))):
        return dict(given)
    settled = values.settled(None, **_engine_named_in(environ))
    return {**given, **{name: value for name, value in settled if isinstance(value, Secret)}}


def found_once(values: Parameters) -> dict[str, Any]:
    """The secrets among *values* that nobody finds a second time, such as those that came through a pipe."""
    return {name: value for name, value in values if isinstance(value, Secret) and not value.reference}


def _engine_named_in(environ: Mapping[str, str]) -> dict[str, str]:
    told = [("url", environ.get("DOCKER_HOST")), ("context", environ.get("DOCKER_CONTEXT"))]
    return dict([(way, value) for way, value in told if value][:1])


# -- inside the kernel


def check(namespace: MutableMapping[str, Any], engine: Engine | None = None) -> Parameters:
    """The parameters of the notebook in whose cell this is called: ``p = runbook.check(globals())``.

    Plain papermill only warns about an unknown name and checks no value, so the notebook checks both itself, with the same
    messages.  *engine*: where live objects are looked up; without it, the one that ``docker`` would talk to.  Raises
    `UsageError` as `validate` does and, outside a notebook, `LabkitError`.
    """
    if "In" not in namespace:
        raise LabkitError(
            "runbook.check(globals()) is for a cell of a notebook", seen="no history of cells (In)"
        )
    cells = _cells(namespace["In"])
    injected = next((n for n in reversed(range(len(cells))) if cells[n].startswith(_INJECTED)), len(cells))
    declaring = next((cell for cell in reversed(cells[:injected]) if _declares(cell)), "")
    parameters = _read(declaring)
    names = [each.name for each in parameters] + (_assigned(cells[injected]) if injected < len(cells) else [])
    given = {name: namespace[name] for name in names if name in namespace}
    return validate(parameters, given, in_notebook=True).settled(engine).belong_to(namespace)


def _cells(history: Sequence[str]) -> list[str]:
    """The cells that this kernel ran: IPython's ``In``, or, for a client that stores no history (nbval), those that it
    keeps for tracebacks.
    """
    if any(_declares(cell) for cell in history):
        return list(history)
    kept = [entry for entry in linecache.cache.values() if len(entry) == 4 and entry[1] is None]
    return ["".join(lines) for _, _, lines, _ in kept]


def _declares(cell: str) -> bool:
    """Whether *cell* has the shape of a parameters cell; its tag is not known to the kernel."""
    try:
        body = ast.parse(cell).body
    except SyntaxError:
        return False
    declaring = [node for node in body if not _is_aside(node)]
    return bool(declaring) and all(isinstance(node, ast.AnnAssign) for node in declaring)


def _assigned(cell: str) -> list[str]:
    """The names that papermill set in the cell it added."""
    targets = [node.targets[0] for node in ast.parse(cell).body if isinstance(node, ast.Assign)]
    return [target.id for target in targets if isinstance(target, ast.Name)]


# -- both


def _filled(model: type[P], given: Mapping[str, Any], context: dict[str, Any]) -> P:
    try:
        return model.model_validate(dict(given), context=context)
    except ValidationError as error:
        raise _wrong(error, {each.name: each for each in model.declared}) from None


def _wrong(error: ValidationError, declared: Mapping[str, Parameter]) -> UsageError:
    errors = [each for each in error.errors() if each["type"] != "none_required"] or error.errors()
    first = errors[0]
    parameter = declared[str(first["loc"][0])]
    expected = (
        first["msg"].removeprefix("Value error, ").removeprefix("Input should be ").partition(", unable")[0]
    )
    hint = ""
    if first["type"] == "string_type":
        hint = f"put it in quotes; plain papermill reads {parameter.name}=7 as a number: use -r {parameter.name} 7"
    secret = "Secret" in parameter.annotation
    return UsageError(
        f"the parameter {parameter.name} has a value that does not fit",
        seen=_named(first["input"]) if secret else repr(first["input"]),
        expected=expected if len(errors) == 1 else parameter.takes,
        try_=hint,
    )


def _named(given: Any) -> str:
    """What may be told of what was given as a secret: where it was looked for."""
    return repr(given) if is_reference(given) else "(a secret)"
