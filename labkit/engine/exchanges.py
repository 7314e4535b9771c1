"""What two programs say to each other in HTTP/1.1, read beside a connection without touching it: requests and their answers.

A conversation is fed with the bytes of both directions as they come.  Where a connection becomes a raw stream (attach, exec,
BuildKit's sessions) its bytes are counted from there on.  Of headers nothing is kept but the type of a body, and of bodies
that carry credentials nothing but the size: what was never kept is never shown.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import h11

__all__ = ["KEPT", "Body", "Conversation", "Exchange"]

KEPT = 64 * 1024
"""Bytes that are kept of a body."""
LONGEST_HEAD = 1024 * 1024
"""Bytes of headers: ``X-Registry-Config`` holds the logins of every registry."""
_VERSION = re.compile(r"^/v\d+\.\d+(?=/)")
_CREDENTIALS = re.compile(r"/(?:auth|session|grpc|secrets|configs|swarm|plugins|nodes|services)\b")
"""Where bodies hold passwords, keys or join tokens (Engine API)."""
_RAW = re.compile(r"application/vnd\.docker\.(?:raw|multiplexed)-stream")


@dataclass
class Body:
    """A body: its content *type*, its *size* in bytes, and the first `KEPT` of them; *withheld*: none was kept."""

    type: str = ""
    size: int = 0
    head: bytes = b""
    withheld: bool = False

    @property
    def whole(self) -> bool:
        """Whether all of it was kept."""
        return self.size == len(self.head)

    def add(self, data: bytes) -> None:
        """Take note of *data*."""
        self.size += len(data)
        if not self.withheld and len(self.head) < KEPT:
            self.head += data[: KEPT - len(self.head)]


@dataclass
class Exchange:
    """One request and its answer.  *began*, *ended*: seconds of `time.perf_counter`; *ended* is None until the end.

    *status* is None until an answer has begun.  *raw*: bytes there and back once the connection was a raw stream, None
    where it never was.  *note*: why it was not read to its end.
    """

    method: str
    target: str
    began: float
    request: Body = field(default_factory=Body)
    answer: Body = field(default_factory=Body)
    status: int | None = None
    ended: float | None = None
    raw: tuple[int, int] | None = None
    note: str = ""

    @property
    def path(self) -> str:
        """The path without the version of the API, and without the query."""
        return _VERSION.sub("", self.target.partition("?")[0])

    @property
    def query(self) -> str:
        """What follows the question mark, as it was sent."""
        return self.target.partition("?")[2]

    @property
    def seconds(self) -> float | None:
        """From the first byte of the request to the last of the answer."""
        return None if self.ended is None else self.ended - self.began


class Conversation:
    """The exchanges on one connection, one after the other; each is given to *found* when its request begins."""

    def __init__(self, found: Callable[[Exchange], object]) -> None:
        self._found = found
        self._blind = False
        self._begin(b"")

    def _begin(self, rest: bytes) -> None:
        """Wait for the next request, of which *rest* has come already."""
        self._now: Exchange | None = None
        self._asked = self._answered = False
        self._requests = h11.Connection(h11.SERVER, max_incomplete_event_size=LONGEST_HEAD)
        self._answers = h11.Connection(h11.CLIENT, max_incomplete_event_size=LONGEST_HEAD)
        if rest:
            self._read_request(rest)

    def sent(self, data: bytes) -> None:
        """*data* went from the client to the server."""
        if self._now and self._now.raw:
            self._now.raw = (self._now.raw[0] + len(data), self._now.raw[1])
        else:
            self._safely(self._read_request, data)

    def received(self, data: bytes) -> None:
        """*data* came back."""
        if self._now and self._now.raw:
            self._now.raw = (self._now.raw[0], self._now.raw[1] + len(data))
        elif self._now:
            self._safely(self._read_answer, data)

    def left(self) -> None:
        """The client says no more; if it has not had its answer, and this is no stream, it does not wait for it."""
        if self._now and not self._now.ended and not self._now.raw:
            self._now.note = self._now.note or "the client did not wait for the end"

    def closed(self) -> None:
        """The connection is at its end."""
        if self._now and not self._now.ended:
            if self._now.status is not None and not self._now.raw:
                self._safely(self._read_answer, b"")  # an answer may last until the end
            self._end(self._now)

    def _safely(self, read: Callable[[bytes], None], data: bytes) -> None:
        if self._blind:
            return
        try:
            read(data)
        except (
            Exception
        ) as error:  # whatever it is, the bytes go on all the same, only nothing is read any more
            self._blind = True
            if self._now:
                self._now.note = self._now.note or f"not read to its end: {error}"
                self._end(self._now)

    def _read_request(self, data: bytes) -> None:
        self._requests.receive_data(data)
        while not self._asked:
            event = self._requests.next_event()
            if isinstance(event, h11.Request):
                self._open(event)
            elif isinstance(event, h11.Data) and self._now:
                self._now.request.add(bytes(event.data))
            elif isinstance(event, h11.EndOfMessage):
                self._asked = True
                self._next()
            else:
                return

    def _open(self, request: h11.Request) -> None:
        target = request.target.decode("ascii", "replace")
        now = self._now = Exchange(request.method.decode("ascii", "replace"), target, time.perf_counter())
        headers = dict(request.headers)
        now.request.type = headers.get(b"content-type", b"").decode("latin-1")
        now.request.withheld = now.answer.withheld = bool(_CREDENTIALS.match(now.path))
        self._found(now)
        # what an answer's framing depends on: the method, and whether another protocol was proposed
        kept = [
            (name, value) for name, value in request.headers if name in (b"host", b"connection", b"upgrade")
        ]
        about = h11.Request(method=request.method, target=request.target, headers=kept)
        self._answers.send(about)
        self._answers.send(h11.EndOfMessage())

    def _read_answer(self, data: bytes) -> None:
        now = self._now
        assert now
        self._answers.receive_data(data)
        while not self._answered and now.raw is None:
            event = self._answers.next_event()
            if isinstance(event, h11.Response) or (
                isinstance(event, h11.InformationalResponse) and event.status_code == 101
            ):
                self._answer(now, event)
            elif isinstance(event, h11.Data):
                now.answer.add(bytes(event.data))
            elif isinstance(event, h11.EndOfMessage):
                self._answered = True
                self._end(now)
                self._next()
            elif not isinstance(event, h11.InformationalResponse):
                return

    def _answer(self, now: Exchange, head: h11.Response | h11.InformationalResponse) -> None:
        now.status = head.status_code
        now.answer.type = dict(head.headers).get(b"content-type", b"").decode("latin-1")
        if head.status_code == 101 or (now.method == "POST" and _RAW.match(now.answer.type)):
            now.raw = (len(self._requests.trailing_data[0]), len(self._answers.trailing_data[0]))

    def _next(self) -> None:
        if self._asked and self._answered:
            self._begin(self._requests.trailing_data[0])

    def _end(self, exchange: Exchange) -> None:
        exchange.ended = exchange.ended or time.perf_counter()
