"""The fields of an object's inspect as a person reads them, and where two of them differ.

What differs from run to run although nobody changed it is left out (ids, times, process numbers, paths in the data-root,
addresses that the engine chose) or told by its class ("a time", "a free port"), so that the text is the same every time.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Mapping
from typing import Any

from labkit.observe import ByteSize, Duration
from labkit.observe.quantities import CPUs
from labkit.shapes import MASK, hide, looks_secret

__all__ = ["ID", "Names", "differences", "readable"]

Names = Mapping[str, str]
"""What an object is called, by its id."""

NOTHING = "-"
ID = re.compile(r"\b(?:sha256:)?[0-9a-f]{64}\b")
BYTES = re.compile(r"Memory|MemorySwap|MemoryReservation|KernelMemory|KernelMemoryTCP|ShmSize|Size")
NANOSECONDS = re.compile(r"Interval|Timeout|StartPeriod|StartInterval")
CLASSES = {
    "State.StartedAt": ("a time", "a later time"),
    "Image": ("an image", "another image"),
}
"""Told by class only: the words for the former and for the present value."""
STATE = ("Status", "ExitCode", "OOMKilled", "Error", "StartedAt")
"""The others of ``State`` say again what ``Status`` says (moby, container.State), or are numbers of processes and times."""
ENDPOINT = ("IPAMConfig", "Links", "DriverOpts")
"""What a user says of a container's end in a network; the engine chooses the rest (Engine API, EndpointSettings)."""
PASSING = {"ContainerIDFile", "ConsoleSize"}
"""What ``HostConfig`` takes over from the command line that made it."""


def differences(kind: str, before: Any, after: Any, names: Names) -> Iterator[tuple[str, str, str]]:
    """Dotted name, former and present value of each field that differs between two looks at one object.

    *before*, *after*: its inspect; *names*: what the objects are called whose ids may stand there.
    """
    if before == after:
        return
    old, new = _fields(kind, before), _fields(kind, after)
    for path in [*new, *(path for path in old if path not in new)]:
        was, is_ = old.get(path), new.get(path)
        if was != is_:
            yield from _told(path, was, is_, names)


def _told(path: tuple[str, ...], was: Any, is_: Any, names: Names) -> Iterator[tuple[str, str, str]]:
    name = ".".join(filter(None, path))
    if name in CLASSES:
        if was and is_:
            yield (name, *CLASSES[name])
        return
    former, present = _shown(path, was, names), _shown(path, is_, names)
    if former != present:
        yield name, former, present
    elif former != NOTHING:
        yield name, former, f"{present} (another)"


# -- what is looked at, by kind


def _fields(kind: str, raw: Mapping[str, Any]) -> dict[tuple[str, ...], Any]:
    chosen = {"container": _container, "image": _image, "volume": _volume, "network": _network}[kind](raw)
    return dict(_leaves(chosen))


def _leaves(thing: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    if isinstance(thing, Mapping):
        for key, value in thing.items():
            yield from _leaves(value, (*path, str(key)))
    else:
        yield path, thing


def _container(raw: Mapping[str, Any]) -> dict[str, Any]:
    state, config, host, net = (raw[key] for key in ("State", "Config", "HostConfig", "NetworkSettings"))
    started = state["StartedAt"]
    health = {"Health": {"Status": state["Health"]["Status"]}} if state.get("Health") else {}
    chosen = {key: value for key, value in config.items() if key not in ("Env", "Hostname")}
    # docker's command line gives them in any order
    chosen["Env"] = dict(sorted(pair.partition("=")[::2] for pair in config.get("Env") or []))
    if config.get("Hostname") != raw["Id"][:12]:
        chosen["Hostname"] = config.get("Hostname")
    return {
        "Name": raw["Name"].lstrip("/"),
        "State": {key: state.get(key) for key in STATE}
        | health
        | {"StartedAt": "" if started.startswith("0001") else started},
        **{key: raw.get(key) for key in ("RestartCount", "Image")},
        "Config": chosen,
        "HostConfig": {key: value for key, value in host.items() if key not in PASSING},
        "Mounts": {mount["Destination"]: _mount(mount) for mount in raw.get("Mounts") or []},
        "NetworkSettings": {
            "Ports": {port: _published(port, ends, host) for port, ends in (net.get("Ports") or {}).items()},
            "Networks": {name: _endpoint(end, raw) for name, end in (net.get("Networks") or {}).items()},
        },
    }


def _mount(mount: Mapping[str, Any]) -> str:
    if mount["Type"] == "volume":
        name = mount.get("Name", "")
        what = "an unnamed volume" if ID.fullmatch(name) else f"volume {name}"
    else:
        what = f"{mount['Type']} {mount.get('Source') or ''}".strip()
    return what if mount.get("RW", True) else f"{what}, read-only"


def _published(port: str, ends: list[Mapping[str, str]] | None, host: Mapping[str, Any]) -> str:
    """Where a port is published; a number that nobody asked for is told by class."""
    asked = {
        end.get("HostPort")
        for key, given in (host.get("PortBindings") or {}).items()
        if key == port
        for end in given or []
    }
    numbers = {end["HostPort"] for end in ends or []}
    return ", ".join(sorted({number if number in asked else "a free port" for number in numbers}))


def _endpoint(end: Mapping[str, Any], raw: Mapping[str, Any]) -> dict[str, Any]:
    own = [alias for alias in end.get("Aliases") or [] if alias != raw["Id"][:12]]
    return {"": "joined", "Aliases": own, **{key: end.get(key) for key in ENDPOINT}}


def _image(raw: Mapping[str, Any]) -> dict[str, Any]:
    chosen: dict[str, Any] = {"RepoTags": _real(raw.get("RepoTags")), "Labels": raw.get("Labels") or {}}
    chosen["RepoDigests"] = _real(raw.get("RepoDigests"))
    return chosen


def _real(names: list[str] | None) -> list[str]:
    return sorted(name for name in names or [] if not name.startswith("<none>"))


def _volume(raw: Mapping[str, Any]) -> dict[str, Any]:
    return {key: raw.get(key) for key in ("Driver", "Scope", "Labels", "Options")}


def _network(raw: Mapping[str, Any]) -> dict[str, Any]:
    left_out = ("Id", "Created", "IPAM", "Containers", "Peers", "ConfigFrom")
    return {key: value for key, value in raw.items() if key not in left_out}


# -- how a value is told


def _shown(path: tuple[str, ...], value: Any, names: Names) -> str:
    if value is None or value in ("", [], {}):
        return NOTHING
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return _number(path, value)
    if looks_secret(path[-1]) and isinstance(value, str):
        return MASK
    return readable(_listed(path, value) if isinstance(value, list) else str(value), names)


def _listed(path: tuple[str, ...], values: list[Any]) -> str:
    if path[-1] in ("Cmd", "Entrypoint"):
        return shlex.join(values)
    return ", ".join(_item(each) for each in values)


def _number(path: tuple[str, ...], value: int) -> str:
    name = path[-1]
    if BYTES.fullmatch(name):
        return "no limit" if value < 0 else str(ByteSize(value)) if value else NOTHING
    if name == "NanoCpus":
        return str(CPUs(value / 1e9)) if value else NOTHING
    if NANOSECONDS.fullmatch(name) and "Healthcheck" in path:
        return str(Duration(value / 1e9)) if value else NOTHING
    return str(value)


def _item(value: Any) -> str:
    """One of a list: a device, a mount, a limit."""
    if isinstance(value, dict):
        return " ".join(
            f"{key}={_item(each)}" for key, each in value.items() if each not in (None, "", 0, {})
        )
    return str(value)


def readable(text: str, names: Names) -> str:
    """*text* with ids as names (``‹id›`` where there is none), and without secrets."""
    return hide(ID.sub(lambda found: names.get(found[0], "‹id›"), text))
