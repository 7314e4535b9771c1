"""Another registry in place of the one that the catalogue names: a classroom's mirror, in ``LABKIT_REGISTRY``.

It has the same images under the same paths, to the bit, as a pull-through cache has; the digests stay those of the catalogue.
Docker's rules hold for it, by what this machine's Docker is told of it: HTTPS, with the certificates in
``/etc/docker/certs.d``, and plain HTTP only on the loopback or where ``daemon.json`` calls it insecure.
Sources: distribution manual, "Registry as a pull through cache"; docker manual, "Verify repository client with certificates".
"""

from __future__ import annotations

import ipaddress
import json
import os
import re
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from labkit.errors import UsageError

if TYPE_CHECKING:
    from labkit.engine import Engine

__all__ = ["VARIABLE", "chosen", "config", "reference", "trust"]

VARIABLE = "LABKIT_REGISTRY"
MACHINE = "host.docker.internal"
"""The machine as an engine of ours sees it: there its loopback is."""
DOCKER = Path("/etc/docker")
_NAME = re.compile(r"(?P<host>[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)*)(?P<port>:\d+)?(/[a-z0-9]+([._-]+[a-z0-9]+)*)*")


def chosen(given: str | None) -> str:
    """The mirror to ask: the one *given*, else that of ``LABKIT_REGISTRY``; empty for none.

    Raises `UsageError` for what docker would not take for a registry.
    """
    mirror = os.environ.get(VARIABLE, "") if given is None else given
    match = _NAME.fullmatch(mirror)
    if mirror and not (match and (match["port"] or "." in match["host"] or match["host"] == "localhost")):
        raise UsageError(
            "this names no registry",
            seen=f"{mirror!r} ({'--registry' if given is not None else VARIABLE})",
            expected="HOST:PORT or HOST.DOMAIN, and a path where it keeps its images below one, without https://",
        )
    return mirror


def reference(pinned: str, mirror: str) -> str:
    """What *pinned*, a name of an image with its digest, is called by an engine of ours that asks *mirror* for it."""
    if not mirror:
        return pinned
    where, _, path = mirror.partition("/")
    host, *port = where.split(":")
    if _is_loopback(host):
        where = ":".join([MACHINE, *port])
    return "/".join(filter(None, [where, path, pinned.partition("/")[2]]))


def _is_loopback(host: str) -> bool:
    with suppress(ValueError):
        return ipaddress.ip_address(host).is_loopback
    return host == "localhost"


def config(mirror: str) -> dict[str, Any]:
    """What ``daemon.json`` of an engine says that is to ask *mirror*: insecure is what this machine's Docker is told is."""
    from labkit.engine.opening import DEFAULT_CONFIG

    name, told = "insecure-registries", {}
    if mirror:
        with suppress(OSError, ValueError):
            told = json.loads((DOCKER / "daemon.json").read_text(encoding="utf-8"))
    return {name: [*DEFAULT_CONFIG[name], *told.get(name, [])]}


def trust(engine: Engine, mirror: str) -> None:
    """Give the host of *engine* the certificate authorities that this machine's Docker trusts for *mirror*."""
    folder = DOCKER / "certs.d" / mirror.partition("/")[0]
    for file in sorted(folder.glob("*.crt")) if mirror else []:
        engine.host.run(["mkdir", "-p", str(folder)])
        engine.host.write(file, file.read_text(encoding="utf-8"))
