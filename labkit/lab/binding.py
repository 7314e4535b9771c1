"""Functions of an engine as methods of a session: ``lab.state("ada")`` for ``state(engine, "ada")``.

Those that draw lie above this layer, in `labkit.widgets`, so here are their names, as in `labkit.lab.showing`.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from importlib import import_module
from typing import TYPE_CHECKING, Any, Concatenate, Generic, ParamSpec, Protocol, TypeVar

from labkit.engine.failures import translated

if TYPE_CHECKING:
    from labkit.engine import Engine

__all__ = ["Bound", "Drawn"]

P = ParamSpec("P")
R = TypeVar("R")


class HasEngine(Protocol):
    """What such a function can be bound to."""

    engine: Engine


class Bound(Generic[P, R]):
    """A *function* whose first argument is an engine; on an object that has one, without that argument."""

    def __init__(self, function: Callable[Concatenate[Engine, P], R]) -> None:
        self.function = function
        self.__doc__ = function.__doc__

    def __get__(self, owner: HasEngine, kind: type | None = None) -> Callable[P, R]:
        function = self.function

        @functools.wraps(function)
        def bound(*arguments: P.args, **options: P.kwargs) -> R:
            with translated():
                return function(owner.engine, *arguments, **options)

        signature = inspect.signature(function)
        bound.__signature__ = signature.replace(parameters=list(signature.parameters.values())[1:])  # type: ignore[attr-defined]  # what help() and a notebook's Shift-Tab show
        return bound


class Drawn:
    """What the function *name* of `labkit.widgets` makes of an engine; on an object that has one, of that."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __get__(self, owner: HasEngine | None, kind: type | None = None) -> Callable[..., Any]:
        function: Callable[..., Any] = getattr(import_module("labkit.widgets"), self.name)
        return function if owner is None else Bound(function).__get__(owner)
