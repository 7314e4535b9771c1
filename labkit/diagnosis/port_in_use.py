"""A container does not start because a port of the host is in use: by whom?

The engine says only that the port is taken.  Measured on engines 20.10 and 26.1: *port is already allocated* comes from the
engine's own table, so the holder is another of its containers; *address already in use* comes from the kernel, so the holder
is what that table does not show: a process, a container of this engine that uses the host's network (and publishes nothing) or
has published the port on one address while all are asked for, or a container of another engine.  The container stays
``created`` with exit code 128 and the refusal in ``State.Error``, and keeps it there after the port has become free again, so
that record alone is no evidence for the present.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from labkit import observe
from labkit.diagnosis.findings import Confidence, Finding
from labkit.observe.listeners import Binding, Holder, Holders, Rival, rivals
from labkit.observe.records import Evidence

if TYPE_CHECKING:
    from labkit.engine import Engine

__all__ = ["CODES", "Seen", "diagnose", "explain", "look"]

TITLES = {
    "container": "A container of this engine has published the port.",
    "host-network": "A container of this engine has it, on the host's own network.",
    "process": "A process on the host has it; it belongs to no container.",
    "other-engine": "A container of another engine on the same host holds it.",
    "lingering": "Nobody listens on it, and connections that have ended may hold it still.",
    "unseen": "The port was refused, and who holds it cannot be seen from here.",
    "free-again": "The port was in use when it was last started. It is free now.",
    "other-trouble": "It is down, and no port that it asks for is in use.",
    "running": "It is running, with the ports that it asks for.",
    "no-ports": "It asks for no port of the host.",
}
CODES = tuple(TITLES)
HEALTHY = ("running", "no-ports", "other-trouble")
REFUSALS = ("port is already allocated", "address already in use")
_REFUSED = re.compile(r"(?:Bind for|listen \w+) \S*:(\d+)(?: failed|: bind)")
"""The port that an engine was refused, in its words."""
STOPPABLE = ("container", "host-network")
_ON_THE_HOSTS = (
    "It is on the host's own network: on which ports it listens, its program knows alone. See docker logs."
)
_CODE_OF = {
    "container": "container",
    "host-network container": "host-network",
    "other engine's container": "other-engine",
    "process": "process",
    "nobody": "lingering",
}
_ADVICE = {
    "process": "End it by the means that started it, such as its service; killing a process that something keeps up is no cure.",
    "other-engine": "Stop it there: this engine does not know it.",
    "lingering": "They go by themselves, within a minute: start it then.",
    "unseen": "Look on the host itself: ss -lntup",
}


@dataclass(frozen=True)
class Seen:
    """All that the diagnosis looks at: the container, the ports that it asks for, and who else holds them."""

    container: observe.Container
    wanted: tuple[Binding, ...]
    holders: Holders
    rivals: tuple[Rival, ...] = ()


def diagnose(engine: Engine, container: str) -> Finding:
    """Explain why the container called *container* cannot have its ports.  Raises `UsageError` when there is none."""
    return explain(look(engine, container))


def look(engine: Engine, container: str) -> Seen:
    """Read the container, its wishes, and the ports of the host."""
    facts = observe.container(engine, container)
    asked = observe.wanted_ports(engine, facts)
    holders = observe.port_holders(engine, asked, but=facts.id)
    down = rivals(engine, asked, but=facts.id) if not holders.found and not facts.running else []
    return Seen(facts, tuple(asked), holders, tuple(down))


def explain(seen: Seen) -> Finding:
    """The finding that follows from what was *seen*."""
    if not seen.wanted:
        return _finding(
            seen, "no-ports", advice=_ON_THE_HOSTS if seen.container.network_mode == "host" else ""
        )
    if seen.container.running:
        return _finding(seen, "running")
    if holders := _blocking(seen):
        return _of_holder(seen, holders)
    if not _refused(seen):
        return _finding(seen, "other-trouble", advice=_error(seen))
    by_kernel = "already allocated" not in seen.container.error
    if seen.holders.sockets is not None and by_kernel:
        return _finding(
            seen, "unseen", confidence="undecided", candidates=("process", "host-network", "other-engine")
        )
    # a socket that is bound and neither listens nor is connected shows nowhere
    return _finding(seen, "free-again", confidence="likely" if by_kernel else "certain", remedy="start")


def _blocking(seen: Seen) -> list[Holder]:
    """Who stands in the way, of the refused port first; a socket on which nobody listens only where the kernel refused it."""
    refused = _REFUSED.search(seen.container.error)
    by_kernel = "address already in use" in seen.container.error
    found = [holder for holder in seen.holders.found if by_kernel or not holder.state]
    return sorted(found, key=lambda holder: refused is None or holder.binding.port != int(refused[1]))


def _of_holder(seen: Seen, holders: list[Holder]) -> Finding:
    holder = holders[0]
    code = _CODE_OF[holder.kind]
    others = [each for each in holders if _CODE_OF[each.kind] not in STOPPABLE]
    seen_to_be = (
        _refused(seen) and not holder.state and (holder.kind != "other engine's container" or holder.id)
    )
    advice = _ADVICE.get(code, "")
    if holder.name == "dockerd":
        advice = "It is an engine itself: for a service of its swarm (docker service ls), a container of it, or its own API."
    if code in STOPPABLE and others:
        advice = (
            f"Stopping it is not enough: {others[0].binding} is held by {others[0].kind} {others[0].name}."
        )
    if not _refused(seen):
        advice = "It has not been refused yet: the port would be taken at its next start."
    return _finding(
        seen,
        code,
        confidence="certain" if seen_to_be else "likely",
        remedy="stop-holder" if code in STOPPABLE and not others else "",
        advice=advice,
    )


def _refused(seen: Seen) -> bool:
    return any(words in seen.container.error for words in REFUSALS)


def _error(seen: Seen) -> str:
    return f"The engine's last error was: {seen.container.error}" if seen.container.error else ""


def _finding(
    seen: Seen,
    code: str,
    *,
    confidence: Confidence = "certain",
    candidates: tuple[str, ...] = (),
    remedy: str = "",
    advice: str = "",
) -> Finding:
    return Finding(
        diagnosis="port-in-use",
        object=seen.container.name,
        code=code,
        title=TITLES[code],
        confidence=confidence,
        incident=code not in HEALTHY,
        evidence=tuple(_evidence(seen)),
        candidates=candidates,
        remedy=remedy,
        advice=advice or _ADVICE.get(code, ""),
    )


def _evidence(seen: Seen) -> list[Evidence]:
    asked = ", ".join(map(str, seen.wanted)) or "none"
    state = f"status {seen.container.status}, asks for {asked}"
    told = [Evidence(source="docker inspect", fact=state, detail=f"id {seen.container.id}")]
    if (words := next((words for words in REFUSALS if words in seen.container.error), None)) is not None:
        told.append(Evidence(source="State.Error", fact=f"… {words}", detail=seen.container.error))
    for holder in _blocking(seen):
        source = "published ports" if holder.kind == "container" else "sockets of the host"
        detail = f"id {holder.id}, process {holder.pid}, {holder.command}"
        told.append(Evidence(source=source, fact=f"{holder.binding}: {_who(holder)}", detail=detail))
    for rival in seen.rivals:
        fact = f"{rival.binding}: asked for by {rival.name} too, which is {rival.status}"
        told.append(Evidence(source="docker inspect", fact=fact))
    if seen.holders.sockets is not None:
        told.append(
            Evidence(source="sockets of the host", fact=f"not readable: {seen.holders.sockets.reason}")
        )
    return told


def _who(holder: Holder) -> str:
    if holder.kind == "nobody":
        return f"a connection that has ended ({holder.state})"
    return f"{holder.kind} {holder.name}" + (f", a connection ({holder.state})" if holder.state else "")
