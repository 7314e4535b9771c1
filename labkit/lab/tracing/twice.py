"""What is not done a second time, and why: what the engine would refuse, and what would reach beyond a twin."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from labkit.engine.exchanges import Exchange
from labkit.lab.tracing.asked import said
from labkit.lab.tracing.sdk import READ, Endpoint

__all__ = ["NotTwice", "check", "why_not_twice"]

NETWORKS = ("", "default", "bridge", "none")
"""Networks on which a second container disturbs nobody."""


class NotTwice(Exception):
    """A call is not executed a second time; the message is the reason."""


def why_not_twice(config: Mapping[str, Any]) -> str:
    """What a second container with this configuration would reach beyond itself; empty if nothing."""
    host = said(config.get("HostConfig") or {})
    for target in _written(host):
        return f"it would write to {target} a second time"
    for ends in (host.get("PortBindings") or {}).values():
        for end in ends or []:
            if end.get("HostPort"):
                return f"port {end['HostPort']} can be published only once"
    if host.get("NetworkMode", "") not in NETWORKS:
        return f"a second one would be on the network {host['NetworkMode'].partition(':')[0]}"
    for key in ("Privileged", "Devices", "DeviceRequests", "VolumesFrom", "Links", "PidMode", "CapAdd"):
        if host.get(key):
            return f"it reaches beyond itself ({key})"
    return (
        "it reaches beyond itself (IpcMode)"
        if ":" in host.get("IpcMode", "") or host.get("IpcMode") == "host"
        else ""
    )


def _written(host: Mapping[str, Any]) -> Iterable[str]:
    """The volumes and folders that a container may write to."""
    for bind in host.get("Binds") or []:
        source, _, rest = bind.partition(":")
        if "ro" not in rest.rpartition(":")[2].split(","):
            yield source
    for mount in host.get("Mounts") or []:
        if mount.get("Type") != "tmpfs" and not mount.get("ReadOnly"):
            yield mount.get("Source", "a volume")


def check(endpoint: Endpoint, exchange: Exchange, *, owned: bool) -> None:
    """Raise `NotTwice` for what is not done a second time, whatever it is about; *owned*: whether the engine is private."""
    if endpoint.kind == "never":
        raise NotTwice(endpoint.why)
    if exchange.note or exchange.status is None:
        raise NotTwice("the command did not wait for the answer")
    if endpoint.kind != READ and not owned:
        raise NotTwice("a shared engine: nothing is done there twice")
    # a start that failed fails a second time, or whoever waits for the twin's end waits for ever
    if endpoint.kind != READ and exchange.status >= 400 and not exchange.path.endswith("/start"):
        raise NotTwice("the engine refused it")
