"""Whether something answers at an address: from a container's network, and at a published port."""

from __future__ import annotations

import re
import socket
from typing import Any

from labkit.errors import UsageError
from labkit.lab.conditions.base import SELDOM, Condition, Seen
from labkit.lab.conditions.facts import ANY, Facts, Found, NotReadable
from labkit.lab.conditions.wanted import number

__all__ = ["place", "reachable", "way"]

PATIENCE = 2
"""Seconds for an answer."""

OPEN = "an open port"

_TRY = """
[ -z "$0" ] || mount --bind "$0" /etc/resolv.conf
[ -z "$1" ] || mount --bind "$1" /etc/hosts
getent ahosts "$2" >/dev/null || { echo unknown; exit; }
timeout "$4" bash -c 'exec 3<>"/dev/tcp/$0/$1"' "$2" "$3" 2>/dev/null
case $? in 0) echo open ;; 124) echo silent ;; *) echo refused ;; esac
"""
"""Run in the container's network, with its own name service and hosts: what the container itself would find."""

_WORDS = {
    "open": OPEN,
    "unknown": "no such name there",
    "silent": f"no answer within {PATIENCE} s",
    "refused": "no open port",
}


def place(given: object) -> tuple[str, int]:
    """*given*, ``host:port``, as a host and a port.  Raises `UsageError`."""
    match = (
        re.fullmatch(r"([A-Za-z0-9][A-Za-z0-9_.-]*):([0-9]{1,5})", given) if isinstance(given, str) else None
    )
    if not match:
        raise UsageError("no such place", seen=repr(given), expected="host:port, such as db:5432")
    return match[1], number("port", int(match[2]), 1, 65535)


def way(facts: Facts, found: Found, host: str, port: int) -> Seen:
    """Try to reach *host* and *port* by TCP from the network of the container *found*."""
    if found["State"]["Status"] != "running":
        return Seen(f"none, it is {found['State']['Status']}", ok=False)
    if not facts.engine.host.available:
        raise NotReadable(facts.engine.host.reason)
    inside = ["nsenter", f"--target={found['State']['Pid']}", "--net", "unshare", "--mount", "sh", "-c", _TRY]
    inside += [found["ResolvConfPath"], found["HostsPath"], host, str(port), str(PATIENCE)]
    key = ("way", found["Id"], host, str(port))
    with facts.answering():
        said = str(facts.once(key, lambda: facts.engine.host.run(inside).stdout)).strip()
    return Seen(_WORDS[said], ok=said == "open")


def reachable(where: str, *, status: int | None = None) -> Condition:
    """At the published port *where* (``127.0.0.1:8080``) something answers; by HTTP with this *status*, if one is given.

    The address is meant as in ``docker run -p``: one of the engine's host.  Where that port of a private engine has another
    number on this machine, that one is asked.
    """
    host, port = place(where)
    if status is not None:
        number("HTTP status", status, 100, 599)
    expected = f"HTTP status {status}" if status else OPEN

    def see(facts: Facts) -> Seen:
        with facts.answering():
            local = [
                each for each in facts.engine.ports if each.engine_port == port and each.protocol == "tcp"
            ]
        if local and (why := facts.engine.cut_off):
            raise NotReadable(f"the engine is cut off: {why}")
        if not local or not local[0].local_port:
            return Seen("no container publishes it", ok=False)  # whoever answers there is somebody else
        at = ("127.0.0.1" if facts.engine.owned else host, local[0].local_port)
        answer = _answer(*at, http=status is not None)
        return Seen(answer, ok=answer == expected)

    return Condition(f"address {where}", expected, frozenset({("container", ANY)}), see, polled=SELDOM)


def _answer(host: str, port: int, *, http: bool) -> str:
    """What comes of one try: an open port, an HTTP status, or why not.  A forwarded port is open also where nothing listens,
    and then closed without a word."""
    try:
        if http:
            return _status(host, port)
        with socket.create_connection((host, port), PATIENCE) as connection:
            connection.settimeout(0.2)
            return OPEN if _stays(connection) else "no open port"
    except TimeoutError:
        return f"no answer within {PATIENCE} s"
    except OSError:
        return "no open port"


def _stays(connection: socket.socket) -> bool:
    try:
        return bool(connection.recv(1, socket.MSG_PEEK))
    except TimeoutError:
        return True


def _status(host: str, port: int) -> str:
    import http.client

    connection: Any = http.client.HTTPConnection(host, port, timeout=PATIENCE)
    try:
        connection.request("GET", "/", headers={"Host": f"{host}:{port}"})
        return f"HTTP status {connection.getresponse().status}"
    except http.client.HTTPException:
        return "no HTTP"
    finally:
        connection.close()
