"""How a lab begins, or is taken up again: what was asked for looked at before anything starts, then its engine.

Under a notebook server a private engine belongs to the server and to the notebook: a kernel that is restarted finds it
again, with all that is on it; a copy of the notebook has one of its own; the server's end ends it.  Elsewhere (papermill,
nbval, IPython, VS Code) it belongs to this process.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from hashlib import sha256
from typing import TYPE_CHECKING

from labkit.engine import open_engine, packs, provider_wanted
from labkit.engine.catalogue import catalogue
from labkit.engine.images import prepared_with
from labkit.engine.processes import Process
from labkit.engine.references import resolve
from labkit.errors import UsageError
from labkit.lab.arguments import learner
from labkit.lab.commands import readable_commands
from labkit.lab.notebooks import book
from labkit.lab.notebooks.ran import record
from labkit.lab.progress import Progress
from labkit.lab.sessions import Session
from labkit.lab.tidying import check_name, inventory, reserve, resume

if TYPE_CHECKING:
    from labkit.engine import Engine

__all__ = ["open"]

IMAGE = re.compile(r"[A-Za-z0-9][\w.:/@-]*", re.ASCII)
"""What can be typed after ``docker run`` without meaning something else to a shell."""

_open: dict[str, Session] = {}
"""The session of each lab that this process has open."""


@learner("labkit.lab.open")
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
    if isinstance(images, str):
        raise UsageError("images is a list", seen=repr(images), expected=f"[{images!r}]")
    wanted = [*([] if image is None else [image]), *images]
    brought = list(dict.fromkeys(known for each in wanted if (known := _from_catalogue(each))))
    place = _place()
    engine = _engine(lab, brought, place)
    progress = Progress(found)
    try:
        _check_images(engine, wanted)
        there = _again(engine, name, place, progress)
    except BaseException:
        progress.close()
        if not engine.owned:
            engine.close()
        raise
    if (former := _open.pop(lab, None)) is not None:
        former.leave()
    readable_commands()
    record()
    session = Session(found, engine.use(), name, progress, images=wanted, ends_with=place.words, there=there)
    _open[lab] = session
    print(session)
    return session


@dataclass(frozen=True)
class Place:
    """Where a lab is open: what it has on an engine is found again under *key* as long as *process* lives.

    *words*: what that process is to a learner.
    """

    process: Process
    key: str
    words: str


def _place() -> Place:
    """The notebook server and the notebook, if this is a kernel that one has started on this machine; else this process."""
    # what a kernel starts has the same variables, and is none
    kernels = sys.modules.get("ipykernel.kernelapp")
    notebook = os.environ.get("JPY_SESSION_NAME")
    if notebook and kernels and kernels.IPKernelApp.initialized():
        with suppress(KeyError, ValueError, ProcessLookupError):
            return Place(Process.of(int(os.environ["JPY_PARENT_PID"])), notebook, "the notebook server")
    return Place(Process.current(), "", "this notebook")


def _engine(lab: str, images: list[str], place: Place) -> Engine:
    if provider_wanted() != "sandbox":
        return open_engine(name=lab, images=images)
    if images:  # once on a machine; with images to build it takes a minute
        prepared_with(images, packs.find(), print)
    name = re.sub(r"[^A-Za-z0-9]+", "-", lab)[:31].strip("-") or "lab"  # what a host can be called
    return open_engine(name=name, images=images, owner=place.process.pid, key=f"{lab} in {place.key}")


def _again(engine: Engine, name: str, place: Place, progress: Progress) -> dict[str, list[str]] | None:
    """What is on the engine already and the lab's, by kind, if it is taken up again.

    On a shared engine the names are the lab's that it has reserved from here.
    """
    if engine.owned:
        return inventory(engine) if engine.taken_up else None
    whose = f"{name} on {engine.client.info()['ID']} for {place.key} of {place.process}"
    mark = sha256(whose.encode()).hexdigest()
    since = progress.marked(mark)
    if since is None:
        progress.mark(mark, int(reserve(engine, name)))
        return None
    resume(engine, name, since)
    return inventory(engine, name)


def _from_catalogue(image: str) -> str:
    """The name of *image* in the catalogue; nothing when it is none of ours, which only a shared engine can have."""
    known = {each.tag: each.name for each in catalogue().values()}
    if isinstance(image, str) and image in known:
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
