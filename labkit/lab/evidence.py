"""Evidence of what an engine did to a container: in its event log, and on its host."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from labkit.errors import LabkitError, MissingCapability
from labkit.lab.needs import able
from labkit.lab.waiting import inspected
from labkit.observe import Event, cgroups, events

if TYPE_CHECKING:
    from labkit.engine import Engine

__all__ = ["freezer", "happened", "seconds", "signals", "undeletable", "writable_layer", "written"]


def _life(engine: Engine, container: str) -> list[Event]:
    """The events of *container* (its name) since it was created the last time."""
    mine = [e for e in events(engine) if e.kind == "container" and e.attributes.get("name") == container]
    births = [number for number, event in enumerate(mine) if event.action == "create"]
    return mine[births[-1] :] if births else mine


def signals(engine: Engine, container: str) -> list[str]:
    """The names of the signals that the engine sent to *container*, in order."""
    return [_label(event) for event in _life(engine, container) if event.signal]


def happened(engine: Engine, container: str) -> list[str]:
    """What the engine reports for *container* since it was created: the names of its events, in order.

    Without the reading of its files, which a check may do at any time.
    """
    return [event.action for event in _life(engine, container) if event.action != "archive-path"]


def _label(event: Event) -> str:
    return event.signal_name or event.action


def seconds(engine: Engine, container: str, first: str, last: str) -> float:
    """Seconds between two events of *container*, by the engine's clock: the latest *last*, the latest *first* before it.

    Both are an event's name, such as ``die``, or the name of the signal that was sent, such as ``SIGTERM``.  Raises
    `LabkitError` when they did not happen.
    """
    life = [(event.nano, _label(event)) for event in _life(engine, container)]
    ends = [nano for nano, label in life if label == last]
    starts = [nano for nano, label in life if label == first and ends and nano <= ends[-1]]
    if not starts:
        seen = ", ".join(label for _, label in life) or "no events"
        raise LabkitError(f"no {first} before a {last} among the events of {container}", seen=seen)
    return (ends[-1] - starts[-1]) / 1e9


def freezer(engine: Engine, container: str) -> str:
    """``frozen`` or ``thawed``: what the kernel says of the control group of *container*; else why it says nothing.

    Read on the engine's host: ``freezer.state`` in version 1 (kernel, cgroup-v1/freezer-subsystem), the key ``frozen``
    of ``cgroup.events`` in version 2 (kernel, cgroup-v2).
    """
    pid = inspected(engine, container, alive=True)["State"]["Pid"]
    try:
        found = cgroups.of(engine.host, pid, "freezer")
    except MissingCapability as missing:
        return f"nothing ({missing.what})"
    if found.path == "/":
        return "nothing (this engine gives its containers no control group)"
    if found.version == 1:
        frozen = engine.host.read(f"{found.folder}/freezer.state").strip() == "FROZEN"
    else:
        frozen = "frozen 1" in engine.host.read(f"{found.folder}/cgroup.events").splitlines()
    return "frozen" if frozen else "thawed"


def writable_layer(engine: Engine, container: str) -> str:
    """The folder on the engine's host that holds what *container* wrote itself (overlay2's upper directory)."""
    return str(inspected(engine, container)["GraphDriver"]["Data"]["UpperDir"])


def written(engine: Engine, container: str) -> int:
    """Bytes in the writable layer of *container*, as the engine counts them (``docker ps --size``)."""
    found = inspected(engine, container)
    (listed,) = engine.client.api.containers(all=True, size=True, filters={"id": found["Id"]})
    return int(listed.get("SizeRw") or 0)  # an empty layer's size is left out


@contextmanager
def undeletable(engine: Engine, container: str) -> Iterator[None]:
    """While the block runs, nobody can delete the writable layer of *container*, root neither: its removal fails.

    On the engine's host a new file in the layer, ``keep``, becomes immutable (chattr(1), ``+i``); after the block it can be
    deleted again.  Where that cannot be it prints why, and the removal succeeds: it takes the host's own root, and a
    file system that knows immutable files.
    """
    if not able(engine, "host"):
        yield
        return
    keep = f"{writable_layer(engine, container)}/keep"
    engine.host.write(keep, "")
    done = engine.host.run(["chattr", "+i", keep], check=False)
    if not done.ok:
        reason = done.stderr.strip().rpartition(": ")[2].partition(" while ")[0]
        print(f"Skipped: no immutable files on this engine's host ({reason}).")
    try:
        yield
    finally:
        if done.ok:
            engine.host.run(["chattr", "-i", keep])
