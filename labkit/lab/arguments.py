"""What is given to a method that a learner calls, looked at before it begins: a mistake is one message with what can be given."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterable, Sequence
from reprlib import repr as short
from typing import Any, ParamSpec, TypeGuard, TypeVar

from labkit.engine import Engine
from labkit.errors import UsageError, no_such

__all__ = ["NoSuchMethod", "learner", "learners", "look_at", "made", "no_such_method", "without_first"]

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T", bound=type)
Known = Callable[[str], Iterable[str] | None]
"""What can be given for the parameter of this name; None where that cannot be listed."""


def _is_number(given: object) -> TypeGuard[int | float]:
    return isinstance(given, int | float) and not isinstance(given, bool)


KINDS: dict[str, tuple[str, Callable[[object], bool]]] = {
    "str": ("text", lambda given: isinstance(given, str)),
    "bool": ("True or False", lambda given: isinstance(given, bool)),
    "int": ("a whole number", lambda given: isinstance(given, int) and not isinstance(given, bool)),
    "float": ("a number of at most 1e9", lambda given: _is_number(given) and abs(given) <= 1e9),
    "Engine": ("an engine, such as lab.engine", lambda given: isinstance(given, Engine)),
    "Engine | Session": (
        "a lab, or an engine",
        lambda given: isinstance(given, Engine) or isinstance(getattr(given, "engine", None), Engine),
    ),
    "Sequence[object]": ("a list", lambda given: isinstance(given, Sequence) and not isinstance(given, str)),
}
"""Annotations as they are written, each in words and as a test; what is annotated otherwise, the method itself looks at."""


class NoSuchMethod(UsageError, AttributeError):
    """A session has no method of that name.  What asks with `hasattr` is told so."""


def learners(called: str) -> Callable[[T], T]:
    """Have all public methods of a class look at what they are given; *called*: what notebooks call such an object.

    Where an object has ``known``, messages list what it tells for a parameter.
    """

    def look(kind: T) -> T:
        for name, method in list(vars(kind).items()):
            if inspect.isfunction(method) and not name.startswith("_"):
                setattr(kind, name, _looking(method, f"{called}.{name}"))
        return kind

    return look


def learner(called: str) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Have a function look at what it is given; *called*: what notebooks call it."""

    def look(function: Callable[P, R]) -> Callable[P, R]:
        signature = inspect.signature(function)

        @functools.wraps(function)
        def looked(*given: P.args, **options: P.kwargs) -> R:
            look_at(called, signature, given, options)
            return function(*given, **options)

        return looked

    return look


def made(called: str) -> Callable[[T], T]:
    """Have a class look at what its objects are made of, before there is one; *called*: what notebooks call it."""

    def look(kind: T) -> T:
        signature = without_first(kind.__init__)  # type: ignore[misc]  # it is not called
        before: Any = kind.__new__

        def new(cls: T, *given: object, **options: object) -> object:
            look_at(called, signature, given, options)
            return before(cls) if before is object.__new__ else before(cls, *given, **options)

        kind.__new__ = new  # type: ignore[method-assign,assignment]
        return kind

    return look


def _looking(method: Callable[P, R], name: str) -> Callable[P, R]:
    signature = without_first(method)

    @functools.wraps(method)
    def looked(*given: P.args, **options: P.kwargs) -> R:
        owner, *arguments = given
        look_at(name, signature, arguments, options, getattr(owner, "known", None))
        return method(*given, **options)

    return looked


def without_first(function: Callable[..., object]) -> inspect.Signature:
    """What a caller gives to a *function* whose first parameter is given already."""
    signature = inspect.signature(function)
    return signature.replace(parameters=list(signature.parameters.values())[1:])


def look_at(
    name: str,
    signature: inspect.Signature,
    arguments: Sequence[object],
    options: dict[str, Any],
    known: Known | None = None,
) -> None:
    """Raise `UsageError` unless *name* can be called with these *arguments* and *options*."""
    try:
        bound = signature.bind(*arguments, **options)
    except TypeError as error:
        why = str(error)
    else:
        wrong = [
            each for each, given in bound.arguments.items() if not _fits(signature.parameters[each], given)
        ]
        if not wrong:
            return
        why = f"{wrong[0]} has to be {KINDS[_annotation(signature, wrong[0])][0]}"
    choices = {each: known(each) for each in signature.parameters} if known else {}
    raise UsageError(
        f"{name}() cannot be called like this: {why}",
        seen=f"{name}({_typed(arguments, options)})",
        expected="\n".join(
            [
                f"{name}({', '.join(map(_told, signature.parameters.values()))})",
                *(
                    f"{each}: {', '.join(found) or '(none)'}"
                    for each, found in choices.items()
                    if found is not None
                ),
            ]
        ),
        try_=f"help({name})",
    )


def _annotation(signature: inspect.Signature, parameter: str) -> str:
    return str(signature.parameters[parameter].annotation)


def _fits(parameter: inspect.Parameter, given: Any) -> bool:
    _, fits = KINDS.get(str(parameter.annotation), ("", lambda given: True))
    return all(map(fits, given)) if parameter.kind is parameter.VAR_POSITIONAL else fits(given)


def _typed(arguments: Iterable[object], options: dict[str, Any]) -> str:
    """The arguments as they were typed, but for their length."""
    told = [*map(_short, arguments), *(f"{name}={_short(given)}" for name, given in options.items())]
    return ", ".join(told)


def _short(given: object) -> str:
    return f"‹engine {given.name}›" if isinstance(given, Engine) else short(given)


def _told(parameter: inspect.Parameter) -> str:
    if parameter.kind is parameter.VAR_POSITIONAL:
        return f"{parameter.name}, …"
    return parameter.name if parameter.default is parameter.empty else f"{parameter.name}=…"


def no_such_method(called: str, kind: type, name: str) -> NoSuchMethod:
    """The error for a *name* that objects of this *kind* do not have, with the nearest that they have."""
    has = [each for each in dir(kind) if not each.startswith("_")]
    told = no_such("method of lab", name, has, try_=f"{called}.{{}}")
    return NoSuchMethod(told.what, seen=told.seen, try_=told.try_ or f"help({called})")
