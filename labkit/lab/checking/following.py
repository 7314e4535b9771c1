"""The events of an engine, heard once for all who want to know: through a restart of its daemon, and after a reset."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from labkit.observe import Event, events

if TYPE_CHECKING:
    from labkit.engine import Engine

__all__ = ["Following", "Listener"]

TICK = 0.2
"""Seconds after which listeners are called though nothing happened, and it is seen that a daemon no longer listens."""

RETRY = 0.1
"""Seconds between tries to reach an engine that does not answer."""

PATIENCE = 60.0
"""Seconds without an answer after which the engine counts as gone."""

KEPT = 20_000
"""So many events are kept; the engine itself keeps 256."""

Listener = Callable[[Sequence[Event], bool], None]
"""Called with the events that have come, oldest first, and whether the engine was lost or found again since the last call."""


class Following:
    """Follows *engine* from the first `subscribe` until `stop`, or until the engine is gone.

    ``answers``: whether the engine lets itself be followed now.  Listeners are called one after the other in one thread, also
    when nothing has happened, every `TICK` seconds: who has to look at something without events does it then.
    """

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.answers = True
        self._listeners: list[Listener] = []
        self._log: dict[tuple[int, str, str, str], Event] = {}
        self._lock = threading.Lock()
        self._heard: queue.SimpleQueue[Event | None] = queue.SimpleQueue()
        self._stream: Any = None
        self._stopped: threading.Event | None = None

    def subscribe(self, listener: Listener) -> Callable[[], None]:
        """Call *listener* from now on; returns what ends that.  It is called once at the start, as if found again.

        An engine that was gone is looked for anew.
        """
        with self._lock:
            if listener not in self._listeners:
                self._listeners.append(listener)
            if self._stopped is None or self._stopped.is_set():
                self._begin()
        self._heard.put(None)
        return lambda: self._unsubscribe(listener)

    def _begin(self) -> None:
        self._stopped = threading.Event()
        for target in (self._listen, self._tell):
            threading.Thread(
                target=target, args=[self._stopped], name="labkit-following", daemon=True
            ).start()

    def _unsubscribe(self, listener: Listener) -> None:
        with self._lock, suppress(ValueError):
            self._listeners.remove(listener)

    @property
    def gone(self) -> bool:
        """Whether nothing is followed any more: it was stopped, or the engine has not answered for `PATIENCE` seconds."""
        return self._stopped is not None and self._stopped.is_set()

    def stop(self) -> None:
        """Let go of the engine; nobody is called any more."""
        if self._stopped is not None:
            self._stopped.set()
        self._close()

    def _close(self) -> None:
        """Let go of the stream; whoever listens to it is done."""
        stream, self._stream = self._stream, None  # what it holds is closed only when nobody holds it
        with suppress(Exception):
            stream.close()

    def events(self) -> list[Event]:
        """Every event so far, oldest first: those heard, and those that the engine has told of and that have not yet come."""
        for event in events(self.engine):
            if self._keep(event) and self._stopped and not self.gone:
                self._heard.put(event)  # the stream brings it too, but is not the first any more
        return self.heard()

    def heard(self) -> list[Event]:
        """The events heard so far, oldest first."""
        with self._lock:
            return [self._log[key] for key in sorted(self._log)]

    def _keep(self, event: Event) -> bool:
        """Take note of *event*; whether it is a new one, and something was done."""
        if not _counts(event):
            return False
        key = (event.nano, event.kind, event.id, event.action)
        with self._lock:
            if key in self._log:
                return False
            self._log[key] = event
            while len(self._log) > KEPT:
                del self._log[next(iter(self._log))]
            return True

    # -- one thread hears

    def _listen(self, stopped: threading.Event) -> None:
        lost = time.monotonic()
        while not stopped.is_set():
            with suppress(Exception):  # whatever a daemon that goes away makes of a stream
                for event in self._events(stopped):
                    self._heard.put(event)
            self._close()
            if self.answers:
                self.answers, lost = False, time.monotonic()
                self._heard.put(None)
            if time.monotonic() - lost > PATIENCE:
                stopped.set()
            stopped.wait(RETRY)

    def _events(self, stopped: threading.Event) -> Iterator[Event]:
        """What happens, from where we were; the stream stands when it is given, so that nothing is missed."""
        with self._lock:
            since = max(self._log, default=(10**9,))[0]
        moment = f"{since // 10**9}.{since % 10**9:09d}"
        stream = self._stream = self.engine.client.events(since=moment, decode=True)
        self.answers = True
        self._heard.put(None)
        for raw in () if stopped.is_set() else stream:
            event = Event.read(raw)
            if self._keep(event):
                yield event

    # -- one thread tells

    def _tell(self, stopped: threading.Event) -> None:
        socket = self.engine.url.partition("unix://")[2]
        while not stopped.is_set():
            batch, turned = self._batch()
            with self._lock:
                listeners = list(self._listeners)
            for listener in listeners:
                with suppress(Exception):  # one that fails does not silence the others
                    listener(batch, turned)
            # before it ends, a daemon waits five seconds for whoever still reads (measured on 26.1)
            if socket and self.answers and not Path(socket).exists():
                self._close()
        for listener in list(self._listeners):
            with suppress(Exception):
                listener([], True)

    def _batch(self) -> tuple[list[Event], bool]:
        """All that came, as soon as something came, or nothing after `TICK` seconds."""
        found: list[Event | None] = []
        with suppress(queue.Empty):
            found.append(self._heard.get(timeout=TICK))
            while True:
                found.append(self._heard.get_nowait())
        return [event for event in found if event is not None], None in found


def _counts(event: Event) -> bool:
    """Whether something was done: health checks run a command every few seconds, and reading a file is an event too."""
    return not event.action.startswith(("exec_", "archive-path", "top"))
