"""How a lab begins, or is taken up again: what was asked for looked at before anything starts, then its engine.

Under a notebook server a private engine belongs to the server and to the notebook: a kernel that is restarted finds it
again, with all that is on it; a copy of the notebook has one of its own; the server's end ends it.  Elsewhere (papermill,
nbval, IPython, VS Code) it belongs to this process.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from labkit.engine import open_engine, provider_wanted
from labkit.engine.images import catalogue
from labkit.engine.processes import Process
from labkit.engine.references import resolve
from labkit.errors import UsageError
from labkit.lab import book
from labkit.lab.commands import readable_commands
from labkit.lab.sessions import Session
from labkit.lab.tidying import check_name, reserve

if TYPE_CHECKING:
    from labkit.engine import Engine

__all__ = ["open"]

IMAGE = re.compile(r"[A-Za-z0-9][\w.:/@-]*", re.ASCII)
"""What can be typed after ``docker run`` without meaning something else to a shell."""

_open: dict[str, Session] = {}
"""The session of each lab that this process has open."""


def open(lab: str, *, name: str, image: str | None = None, images: Sequence[str] = ()) -> Session:
    """Open the *lab* (its notebook's stem), or take it up again, and say in words where its engine comes from.

    *name*: what the lab's containers are called; on a shared engine nothing may be called so yet (see `reserve`).  *image*,
    *images*: from ``labkit images list``, as ``NAME:lab``; they are brought along.  On a shared engine any will do that it
    has; nothing is pulled.  From now on ``!docker`` goes to the engine.

    Raises `UsageError` for a lab, a name or an image that there cannot be, before anything has started, and `Refused` for a
    name that is taken.
    """
    found = book.find(lab)
    check_name(name)
    wanted = [*([] if image is None else [image]), *images]
    brought = [known for each in wanted if (known := _from_catalogue(each))]
    engine, ends_with = _engine(lab, list(dict.fromkeys(brought)))
    try:
        _check_images(engine, wanted)
        if not engine.owned:
            reserve(engine, name)
    except BaseException:
        if not engine.owned:
            engine.close()
        raise
    if (former := _open.pop(lab, None)) is not None:
        former.leave()
    readable_commands()
    session = _open[lab] = Session(found, engine.use(), name, ends_with=ends_with)
    print(session)
    return session


def _engine(lab: str, images: list[str]) -> tuple[Engine, str]:
    """The engine of *lab*, and with what it ends."""
    if provider_wanted() != "sandbox":
        return open_engine(name=lab, images=images), ""
    options: dict[str, Any] = {"name": lab[:31].rstrip("-"), "images": images}
    notebook, server = os.environ.get("JPY_SESSION_NAME"), _server()
    if notebook and server:
        return open_engine(**options, owner=server, key=notebook), "the notebook server"
    return open_engine(**options, key="this process"), "this notebook"


def _server() -> int | None:
    """The notebook server that has started this kernel; None where none has, or it is not on this machine."""
    told = os.environ.get("JPY_PARENT_PID", "")
    try:
        return Process.of(int(told)).pid
    except (ValueError, ProcessLookupError):
        return None


def _from_catalogue(image: str) -> str:
    """The name of *image* in the catalogue; nothing when it is none of ours, which only a shared engine can have."""
    known = {each.tag: each.name for each in catalogue().values()}
    if image in known:
        return known[image]
    if provider_wanted() == "sandbox" or not isinstance(image, str) or not IMAGE.fullmatch(image):
        raise UsageError(
            "no such image", seen=repr(image), expected=", ".join(known), try_="labkit images list"
        )
    return ""


def _check_images(engine: Engine, images: Sequence[str]) -> None:
    for image in images:
        if resolve(engine.client.api, image) is None:
            raise UsageError(
                "no such image", seen=repr(image), expected=f"one that the engine at {engine.url} has"
            )
