"""What goes wrong between us and an engine, as labkit's errors: one table for the SDK's and the connection's own."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from labkit.errors import EngineUnreachable, LabkitError, UsageError

__all__ = ["translated"]

_Made = Callable[[str], LabkitError]


def _unreachable(seen: str) -> LabkitError:
    return EngineUnreachable(
        "the engine does not answer (any more)",
        seen=seen,
        try_="in a lab with an engine of its own: lab.reset()\nlabkit engine list\ndocker info",
    )


def _without_image(seen: str) -> LabkitError:
    return UsageError("the engine does not have the image", seen=seen, try_="labkit images list")


def _not_there(seen: str) -> LabkitError:
    return UsageError("the engine does not have it", seen=seen, try_="docker ps --all")


def _failed(seen: str) -> LabkitError:
    return LabkitError("the engine could not do it", seen=seen)


TABLE: tuple[tuple[str, str, _Made], ...] = (
    ("docker.errors", "ImageNotFound", _without_image),
    ("docker.errors", "NotFound", _not_there),
    ("docker.errors", "APIError", _failed),
    ("docker.errors", "ContainerError", _failed),
    ("docker.errors", "BuildError", _failed),
    ("docker.errors", "ImageLoadError", _failed),
    ("docker.errors", "DockerException", _unreachable),
    ("requests.exceptions", "RequestException", _unreachable),
    ("urllib3.exceptions", "HTTPError", _unreachable),
)
"""Module, error and what it is to us; the first that fits.  By name: where the module is not loaded, it raised nothing."""


@contextmanager
def translated() -> Iterator[None]:
    """Inside, an error of the docker SDK, or of the connection to an engine, becomes a `LabkitError`."""
    try:
        yield
    except Exception as error:
        for module, name, made in TABLE:
            if module in sys.modules and isinstance(error, getattr(sys.modules[module], name)):
                raise made(_said(error)) from error
        raise


def _said(error: Exception) -> str:
    """The engine's own words, or the innermost of a chain of library errors."""
    if explanation := getattr(error, "explanation", None):
        return str(explanation)
    inner: BaseException = error
    while inner.__cause__ or inner.__context__:
        inner = inner.__cause__ or inner.__context__ or inner
    return f"{type(inner).__name__}: {inner}"
