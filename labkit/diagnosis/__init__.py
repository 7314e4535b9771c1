"""Diagnoses: read-only, each names one cause from evidence and shows it.  One file is one diagnosis.

A diagnosis is a module with ``diagnose(engine, container) -> Finding``; its file's stem is its name
(``exit_137.py`` is ``exit-137``) and the first line of its docstring its title.
"""

from __future__ import annotations

import pkgutil
from importlib import import_module
from typing import TYPE_CHECKING, Protocol, cast

from labkit.diagnosis.findings import Finding
from labkit.errors import no_such
from labkit.observe.records import Evidence

if TYPE_CHECKING:
    from labkit.engine import Engine

__all__ = ["Diagnosis", "Evidence", "Finding", "get", "names"]

_NOT_DIAGNOSES = {"evidence", "findings", "victims"}


class Diagnosis(Protocol):
    """What a module in this folder offers."""

    CODES: tuple[str, ...]
    """Every code that its findings can have."""

    def diagnose(self, engine: Engine, container: str) -> Finding:
        """Look at the container and explain what happened.  Changes nothing."""


def names() -> list[str]:
    """The names of all diagnoses."""
    stems = {module.name for module in pkgutil.iter_modules(__path__)} - _NOT_DIAGNOSES
    return sorted(stem.replace("_", "-") for stem in stems)


def get(name: str) -> Diagnosis:
    """The diagnosis called *name*.  Raises `UsageError`, with the nearest name, when there is none."""
    if name not in names():
        raise no_such("diagnosis", name, names())
    return cast(Diagnosis, import_module(f"{__name__}.{name.replace('-', '_')}"))
