"""Pictures of a lab's engine as methods of its session: ``lab.layers("ada")``.

They lie above this layer, in `labkit.widgets`, so here are their names, as in `labkit.lab.showing`.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any

from labkit.lab.binding import Bound, HasEngine

__all__ = ["Drawn"]


class Drawn:
    """What the function *name* of `labkit.widgets` makes of an engine; on an object that has one, of that."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __get__(self, owner: HasEngine | None, kind: type | None = None) -> Callable[..., Any]:
        function: Callable[..., Any] = getattr(import_module("labkit.widgets"), self.name)
        return function if owner is None else Bound(function).__get__(owner)
