"""How a lab begins: its parameters looked at before anything starts, then its engine, with image and name ready."""

from __future__ import annotations

import re
from contextlib import suppress
from typing import TYPE_CHECKING

from labkit.engine import open_engine, provider_wanted
from labkit.engine.images import catalogue
from labkit.engine.references import resolve
from labkit.errors import UsageError
from labkit.lab.tidying import check_name, reserve

if TYPE_CHECKING:
    from labkit.engine import Engine

__all__ = ["begin"]

IMAGE = re.compile(r"[A-Za-z0-9][\w.:/@-]*", re.ASCII)
"""What can be typed after ``docker run`` without meaning something else to a shell."""

_engines: dict[str, Engine] = {}
"""The engine that each lab of this kernel has begun with, by the lab's title."""


def begin(title: str, *, name: str, image: str) -> Engine:
    """The engine of the lab *title*, to which ``!docker`` goes from now on, and in words where it comes from.

    *name*: what the lab's containers are called; nothing on the engine may be called so yet (see `reserve`).  *image*: one of
    ``labkit images list``, which is brought along, or on a shared engine any that it has; nothing is pulled.  Begun again,
    the lab gets a new private engine; that the former ends with all that is on it is said.

    Raises `UsageError` for a name or an image that cannot be, before anything has started or ended, and `Refused` for a
    name that is taken.
    """
    check_name(name)
    brought = _from_catalogue(image)
    if (former := _engines.pop(title, None)) is not None:
        _end(former)
    engine = open_engine(name=title, images=brought)
    try:
        if not brought and resolve(engine.client.api, image) is None:
            raise UsageError(
                "no such image", seen=repr(image), expected=f"one that the engine at {engine.url} has"
            )
        reserve(engine, name)
    except BaseException:
        engine.close()
        raise
    _engines[title] = engine.use()
    kind = "private: it ends with this notebook" if engine.owned else f"shared, reached at {engine.url}"
    print(f"engine: {engine.name}, provider {engine.provider} ({kind})")
    return engine


def _from_catalogue(image: str) -> list[str]:
    """The name of *image* in the catalogue; nothing when it is none of ours, which only a shared engine can have."""
    known = {each.tag: each.name for each in catalogue().values()}
    if image in known:
        return [known[image]]
    if provider_wanted() == "sandbox" or not isinstance(image, str) or not IMAGE.fullmatch(image):
        raise UsageError(
            "no such image", seen=repr(image), expected=", ".join(known), try_="labkit images list"
        )
    return []


def _end(former: Engine) -> None:
    """End the engine that the lab had before, and say so if something goes with it."""
    with suppress(Exception):  # it may have ended, or been ended, before
        if former.owned:
            lost = sorted(
                found.name for found in former.client.containers.list(all=True, ignore_removed=True)
            )
            print(f"the former engine ends, with its containers: {', '.join(lost) or 'none'}")
    former.close()
