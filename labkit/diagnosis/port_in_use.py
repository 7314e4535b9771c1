"""A container does not start because a port of the host is in use: by whom?

The engine says only that the port is taken.  Measured on engines 20.10 and 26.1: *port is already allocated* comes from the
engine's own table, so the holder is another of its containers; *address already in use* comes from the kernel, so the holder
is anything else: a process, a container of this engine that uses the host's network (and publishes nothing), or a container
of another engine.  The container stays ``created`` with exit code 128 and the refusal in ``State.Error``, and keeps it there
after the port has become free again, so that record alone is no evidence for the present.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from labkit import observe
from labkit.diagnosis.findings import Confidence, Finding
from labkit.observe.listeners import Binding, Holder, Holders
from labkit.observe.records import Evidence

if TYPE_CHECKING:
    from labkit.engine import Engine

__all__ = ["CODES", "Seen", "diagnose", "explain", "look"]

TITLES = {
    "container": "A container of this engine has published the port.",
    "host-network": "A container of this engine listens on it, on the host's own network.",
    "process": "A process on the host listens on it; it belongs to no container.",
    "other-engine": "A container of another engine on the same host holds it.",
    "unseen": "The port was refused, and who holds it cannot be seen from here.",
    "free-again": "The port was in use when it was last started. It is free now.",
    "other-trouble": "It is down, and no port that it asks for is in use.",
    "running": "It is running, with the ports that it asks for.",
    "no-ports": "It asks for no port of the host.",
}
CODES = tuple(TITLES)
HEALTHY = ("running", "no-ports", "other-trouble")
REFUSALS = ("port is already allocated", "address already in use")
_CODE_OF = {
    "container": "container",
    "host-network container": "host-network",
    "other engine's container": "other-engine",
    "process": "process",
}
_ADVICE = {
    "process": "End it by the means that started it, such as its service; killing a process that something keeps up is no cure.",
    "other-engine": "Stop it there: this engine does not know it.",
    "unseen": "Look on the host itself: ss -lntup",
}


@dataclass(frozen=True)
class Seen:
    """All that the diagnosis looks at: the container, the ports that it asks for, and who else holds them."""

    container: observe.Container
    wanted: tuple[Binding, ...]
    holders: Holders


def diagnose(engine: Engine, container: str) -> Finding:
    """Explain why the container called *container* cannot have its ports.  Raises `UsageError` when there is none."""
    return explain(look(engine, container))


def look(engine: Engine, container: str) -> Seen:
    """Read the container, its wishes, and the ports of the host."""
    facts = observe.container(engine, container)
    asked = observe.wanted_ports(engine, facts)
    return Seen(facts, tuple(asked), observe.port_holders(engine, asked, but=facts.id))


def explain(seen: Seen) -> Finding:
    """The finding that follows from what was *seen*."""
    if not seen.wanted:
        return _finding(seen, "no-ports")
    if seen.container.running:
        return _finding(seen, "running")
    if seen.holders.found:
        return _of_holder(seen, seen.holders.found[0])
    if not _refused(seen):
        return _finding(seen, "other-trouble", advice=_error(seen))
    if seen.holders.sockets is not None and "already allocated" not in seen.container.error:
        return _finding(
            seen, "unseen", confidence="undecided", candidates=("process", "host-network", "other-engine")
        )
    return _finding(seen, "free-again", remedy="start")


def _of_holder(seen: Seen, holder: Holder) -> Finding:
    code = _CODE_OF[holder.kind]
    remedy = "stop-holder" if code in ("container", "host-network") else ""
    confidence: Confidence = "certain" if _refused(seen) else "likely"
    advice = (
        _ADVICE.get(code, "")
        if _refused(seen)
        else "It has not been refused yet: the port would be taken at its next start."
    )
    return _finding(seen, code, confidence=confidence, remedy=remedy, advice=advice)


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
    for holder in seen.holders.found:
        source = "published ports" if holder.kind == "container" else "sockets of the host"
        detail = f"id {holder.id}, process {holder.pid}, {holder.command}"
        told.append(
            Evidence(source=source, fact=f"{holder.binding}: {holder.kind} {holder.name}", detail=detail)
        )
    if seen.holders.sockets is not None:
        told.append(
            Evidence(source="sockets of the host", fact=f"not readable: {seen.holders.sockets.reason}")
        )
    return told
