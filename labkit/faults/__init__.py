"""Faults: each makes a real incident in a private engine, proves that it is there, and undoes it.

One file is one fault; its stem is its name (``exit_137.py`` is ``exit-137``).  A fault is a module with

- ``VARIANTS``: the ways in which it can be made, by name;
- ``inject(engine, variant, container)``: makes it, and returns when it is there;
- ``oracle(engine, container)``: the variant that is present, or None, from sources that no diagnosis shares;
- ``undo(engine, container)``: leaves nothing of it.

What it makes on the engine bears the label ``labels.FAULT`` with the fault's name.

No diagnosis and no runbook may import a fault.
"""

from __future__ import annotations

import pkgutil
import re
from collections.abc import Mapping
from importlib import import_module
from typing import TYPE_CHECKING, Protocol, cast

from labkit import labels
from labkit.errors import Refused, UsageError, no_such
from labkit.faults.variants import Variant

if TYPE_CHECKING:
    from labkit.engine import Engine

__all__ = ["Fault", "Variant", "get", "inject", "left", "names", "undo"]

_NOT_FAULTS = {"variants", "volumes", "wire"}
_CONTAINER = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]+")


class Fault(Protocol):
    """What a module in this folder offers."""

    VARIANTS: Mapping[str, Variant]

    def inject(self, engine: Engine, variant: str, container: str = "web") -> None:
        """Make the incident, in a new container called *container*."""

    def oracle(self, engine: Engine, container: str = "web") -> str | None:
        """The variant that is present now, or None."""

    def undo(self, engine: Engine, container: str = "web") -> None:
        """Remove everything that `inject` made.  Safe to call twice."""


def names() -> list[str]:
    """The names of all faults."""
    stems = {module.name for module in pkgutil.iter_modules(__path__)} - _NOT_FAULTS
    return sorted(stem.replace("_", "-") for stem in stems)


def get(name: str) -> Fault:
    """The fault called *name*.  Raises `UsageError`, with the nearest name, when there is none."""
    if name not in names():
        raise no_such("fault", name, names())
    return cast(Fault, import_module(f"{__name__}.{name.replace('-', '_')}"))


def inject(engine: Engine, name: str, variant: str | None = None, container: str = "web") -> str:
    """Make the fault *name* in a private engine, in its first variant or in *variant*; returns the variant.

    Raises `Refused` on a shared engine, `UsageError` for a variant that the fault, or a name that a container, cannot have.
    """
    fault = get(name)
    chosen = next(iter(fault.VARIANTS)) if variant is None else variant
    if not engine.owned:
        raise Refused(
            f"the fault {name} is not made on a shared engine",
            seen=f"engine {engine.name!r} ({engine.url})",
            try_="use a private engine: labkit.open_engine('sandbox')",
        )
    if chosen not in fault.VARIANTS:
        raise UsageError(
            f"the fault {name} has no such variant", seen=repr(chosen), expected=" or ".join(fault.VARIANTS)
        )
    if not _CONTAINER.fullmatch(container):  # to an empty name the engine gives one of its own
        raise UsageError(
            "a container cannot have this name",
            seen=repr(container),
            expected="a letter or a digit, then letters, digits and _ . -",
        )
    fault.inject(engine, chosen, container)
    return chosen


def left(engine: Engine, name: str) -> list[str]:
    """What bears the label of the fault *name* on *engine*: kind and name of each container, image, volume and network."""
    api, filters = engine.client.api, {"label": f"{labels.FAULT}={name}"}
    found = [
        f"container {each['Names'][0].lstrip('/')}" for each in api.containers(all=True, filters=filters)
    ]
    found += [f"volume {each['Name']}" for each in api.volumes(filters=filters)["Volumes"] or []]
    found += [f"image {(each['RepoTags'] or [each['Id']])[0]}" for each in api.images(filters=filters)]
    found += [f"network {each['Name']}" for each in api.networks(filters=filters)]
    return sorted(found)


def undo(engine: Engine, name: str, container: str = "web") -> list[str]:
    """Remove what the fault *name* made for *container*; returns what is gone, as `left` calls it."""
    before = left(engine, name)
    get(name).undo(engine, container)
    after = left(engine, name)
    return [each for each in before if each not in after]
