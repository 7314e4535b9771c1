"""Runs one docker command so that it can be seen in three views: as typed, as HTTP requests, and as calls of docker-py.

`labkit.engine.relay` takes note of the requests, `labkit.lab.tracing.sdk` translates them, and `labkit.lab.tracing.repeating`
executes the calls, so that their times are measured.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterable, Mapping
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, unquote

from labkit.engine.exchanges import Body, Exchange
from labkit.engine.relay import Relay
from labkit.lab.changes import Aside
from labkit.lab.changes.snapshots import look
from labkit.lab.commands import without_ids
from labkit.lab.tracing import typed
from labkit.lab.tracing.asked import NoCall, said
from labkit.lab.tracing.repeating import Performed, Twins, joined
from labkit.lab.tracing.sdk import translate
from labkit.lab.tracing.traces import Command, Step, Trace
from labkit.shapes import MASK, hide, values

if TYPE_CHECKING:
    from labkit.engine import Engine

__all__ = ["trace"]

SECONDS = 60.0
LONGEST = 20_000
"""Characters that are kept of an output, or of a body."""
SHORTEST = 6
"""Characters: a shorter secret would be found in any text."""
ID = re.compile(r"\b[0-9a-f]{64}\b")
PASSWORD = re.compile(r"(?<=\s)(?:-p|--password)[=\s]*(\S+)")


def trace(engine: Engine, line: str, *, seconds: float = SECONDS) -> Trace:
    """Run the docker command *line*, as it would be typed, on *engine*, and show the same act in three views.

    A command that goes on for longer than *seconds* is ended as Ctrl-C would.  The calls of docker-py are executed for real
    where that can be done twice; see `labkit.lab.tracing.repeating`.  Raises `UsageError` for anything but one docker command,
    before anything is run, and `LabkitError` where there is no ``docker`` program.
    """
    words = typed.words(line)
    before = look(engine)
    with Relay(engine) as relay:
        ran = typed.run(words, relay.environ, seconds)
        cut_off = [exchange for exchange in relay.exchanges if ran.ended]
    for exchange in cut_off:
        if exchange.raw or not exchange.status:
            exchange.note = "ended with the command"
    names = {id_: name for id_, name in before.names.items() if ID.fullmatch(id_)}
    made = dict[str, str]()
    began = time.time_ns()
    with Twins(engine, before) as twins:
        started = [_started(twins, exchange, made, names) for exchange in relay.exchanges]
        done = joined(future for _, future in started)
    aside = Aside(frozenset(twins.made), began, time.time_ns())
    plain = _Plain({**made, **names, **_created(relay.exchanges)}, _secrets(line, relay.exchanges))
    steps = [
        _step(exchange, code, performed, plain)
        for exchange, (code, _), performed in zip(relay.exchanges, started, done, strict=True)
    ]
    output = "(bytes)" if "\0" in ran.output else plain(without_ids(_cut(ran.output)))
    command = Command(plain(line.strip()), ran.code, output, ran.seconds, seconds if ran.ended else None)
    return Trace(command, tuple(steps), aside)


def _started(
    twins: Twins, exchange: Exchange, made: dict[str, str], names: Mapping[str, str]
) -> tuple[str, Future[Performed]]:
    """The code of the call for *exchange*, empty where there is none, and how it goes when it is executed."""
    try:
        endpoint, call = translate(exchange, made, names)
    except NoCall as reason:
        done = Future[Performed]()
        done.set_result(Performed(why=str(reason)))
        return "", done
    id_ = _answer(exchange).get("Id", "")
    if call.result and id_:
        variable = call.result
        taken = sum(name.rstrip("_0123456789") == variable for name in made.values())
        made[id_] = variable if not taken else f"{variable}_{taken + 1}"
        call = type(call)(call.method, call.arguments, call.options, made[id_])
    return call.code, twins.perform(endpoint, call, exchange)


def _answer(exchange: Exchange) -> dict[str, Any]:
    """The JSON object of an answer; empty for anything else."""
    if not exchange.answer.whole:
        return {}
    try:
        found = json.loads(exchange.answer.head or b"{}")
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _created(exchanges: Iterable[Exchange]) -> dict[str, str]:
    """The names that were given to what was made."""
    found = {}
    for exchange in exchanges:
        if exchange.path.endswith("/create") and (id_ := _answer(exchange).get("Id")):
            name = parse_qs(exchange.query).get("name", [""])[0] or _body(exchange.request).get("Name")
            if name:
                found[id_] = name
    return found


def _body(body: Body) -> dict[str, Any]:
    try:
        found = json.loads(body.head or b"{}") if body.whole else {}
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


# -- what is told


class _Plain:
    """Makes text that may be shown: names for ids, nothing for secrets."""

    def __init__(self, names: Mapping[str, str], secrets: Iterable[str]) -> None:
        self._names, self._secrets = names, sorted(secrets, key=len, reverse=True)

    def __call__(self, text: str) -> str:
        for secret in self._secrets:
            text = text.replace(secret, MASK)
        return hide(
            ID.sub(
                lambda found: f"‹{self._names.get(found[0], 'id')}›".replace("‹‹", "‹").replace("››", "›"),
                text,
            )
        )


def _secrets(line: str, exchanges: Iterable[Exchange]) -> set[str]:
    """The values that look secret where they are given, wherever else they appear."""
    texts = [line, *(exchange.request.head.decode("utf-8", "replace") for exchange in exchanges)]
    found = {value for text in texts for value in values(text)}
    if "login" in line.split():
        found |= set(PASSWORD.findall(line))
    return {value for value in found if len(value) >= SHORTEST}


def _step(exchange: Exchange, code: str, performed: Performed, plain: _Plain) -> Step:
    why = plain(performed.why)
    return Step(
        method=exchange.method,
        target=plain(unquote(exchange.target)),
        status=exchange.status,
        seconds=exchange.seconds,
        sent=plain(_told(exchange.request, short=True)),
        answered="" if exchange.raw or exchange.note else plain(_told(exchange.answer)),
        stream=exchange.raw is not None,
        note=exchange.note,
        code=plain(code),
        performed=Performed(performed.seconds, performed.raised, why),
    )


def _told(body: Body, *, short: bool = False) -> str:
    """A body in words; JSON as it is, or *short*, without what says nothing."""
    if not body.size:
        return ""
    if body.withheld:
        return "(not kept: it may hold credentials)"
    kind = body.type.partition(";")[0]
    if not kind.startswith(("application/json", "text/")):
        return f"({kind or 'bytes'})"
    text = body.head.decode("utf-8", "replace").strip()
    if short and body.whole and kind == "application/json":
        found = _body(body)
        text = json.dumps(said(found), ensure_ascii=False) if found and said(found) else ""
    return _cut(text)


def _cut(text: str) -> str:
    """As much of *text* as is shown, and how much is not."""
    left = len(text) - LONGEST
    return text if left <= 0 else f"{text[:LONGEST]}\n… and {left} more characters"
