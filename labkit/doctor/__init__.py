"""What labkit needs of a machine: what is there, what that costs where it is not, and the remedy (``labkit doctor``)."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable

from labkit.doctor import kernel, privileges, supplies
from labkit.doctor.findings import DEGRADED, MISSING, OK, Finding, remedies
from labkit.doctor.privileges import free_ids
from labkit.engine import debian, packs
from labkit.errors import EngineUnreachable

__all__ = [
    "DEGRADED",
    "MISSING",
    "OK",
    "Finding",
    "examine",
    "free_ids",
    "lacking",
    "remedies",
    "require_sandbox",
    "sandbox_findings",
    "verdict",
]


def examine() -> list[Finding]:
    """Every need of labkit, looked at now."""
    checks: list[Callable[[], Finding]] = [
        kernel.kernel,
        kernel.overlay,
        privileges.namespaces,
        privileges.tools,
        kernel.tun,
        kernel.iptables,
        privileges.cgroups,
        kernel.seccomp,
        kernel.apparmor,
        supplies.pack,
        supplies.mmdebstrap,
        supplies.disk,
        supplies.memory,
        kernel.watches,
        supplies.running_engine,
    ]
    return [check() for check in checks]


def sandbox_findings() -> list[Finding]:
    """Only what a private engine cannot do without, and cheap to look at (a few milliseconds)."""
    checks = (kernel.kernel, kernel.overlay, privileges.namespaces, privileges.tools, kernel.tun)
    return [check() for check in checks]


def require_sandbox() -> None:
    """Raise `EngineUnreachable` with every reason for which this machine cannot run a private engine."""
    problems = [finding for finding in sandbox_findings() if finding.status == MISSING]
    if problems:
        raise EngineUnreachable(
            "no private engine can be started on this machine",
            seen="\n".join(f"{finding.name}: {finding.found}" for finding in problems),
            try_="\n".join(
                [
                    *remedies(problems, lacking([] if packs.names() else ["mmdebstrap"])),
                    "or use an engine that runs already: LABKIT_PROVIDER=attach",
                ]
            ),
        )


def lacking(packages: Iterable[str]) -> list[str]:
    """Those of the Debian *packages*, each called as its program, that are not there."""
    return [name for name in packages if not shutil.which(name)]


def verdict(findings: list[Finding]) -> str:
    """One sentence: which ways to an engine are open here."""
    missing = [f.name for f in findings if f.status == MISSING and f.name != "running engine"]
    kind = "rootless " if debian.rootless() else ""
    running = any(f.name == "running engine" and f.status == OK for f in findings)
    attach = (
        "an engine that runs here can be used (LABKIT_PROVIDER=attach)"
        if running
        else "no engine runs here to attach to"
    )
    if missing:
        return f"No private engine can be started here (missing: {', '.join(missing)}); {attach}."
    return f"A private {kind}engine can be started here; {attach}."
