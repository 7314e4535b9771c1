"""Functions of an engine as methods of a session: ``lab.state("ada")`` for ``state(engine, "ada")``.

Those that draw lie above this layer, in `labkit.widgets`, so here are their names, as in `labkit.lab.showing`.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from importlib import import_module
from typing import TYPE_CHECKING, Any, Concatenate, Generic, ParamSpec, Protocol, TypeVar

from labkit.engine.failures import translated
from labkit.lab.arguments import look_at, without_first

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

    def __init__(self, function: Callable[Concatenate[Engine, P], R], name: str = "") -> None:
        self.function, self.name = function, name or function.__name__
        self.__doc__ = function.__doc__

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    def __get__(self, owner: HasEngine, kind: type | None = None) -> Callable[P, R]:
        function, signature = self.function, without_first(self.function)

        @functools.wraps(function)
        def bound(*arguments: P.args, **options: P.kwargs) -> R:
            look_at(f"lab.{self.name}", signature, arguments, options, getattr(owner, "known", None))
            with translated():
                return function(owner.engine, *arguments, **options)

        bound.__signature__ = signature  # type: ignore[attr-defined]  # what help() and a notebook's Shift-Tab show
        return bound


class Drawn:
    """What the function *name* of `labkit.widgets` makes of an engine; on an object that has one, of that."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __get__(self, owner: HasEngine | None, kind: type | None = None) -> Callable[..., Any]:
        function: Callable[..., Any] = getattr(import_module("labkit.widgets"), self.name)
        return function if owner is None else Bound(function, self.name).__get__(owner)
