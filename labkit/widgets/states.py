"""The state machine of one container: live, or as a still of this moment."""

from __future__ import annotations

import threading
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any, ClassVar

from labkit.lab.arguments import learner, made
from labkit.observe import Event
from labkit.widgets.histories import History
from labkit.widgets.live import Live
from labkit.widgets.pictures import Picture

if TYPE_CHECKING:
    from labkit.engine import Engine

__all__ = ["StateMachine", "picture", "state_machine"]

LOOK_EVERY = 0.25
"""Seconds between looks at the container; needed for what the engine tells no event of (``removing``, ``dead``)."""

PATIENCE = 60.0
"""Seconds of looks in vain after which the engine counts as gone: to be reset, it takes several on a busy machine."""


@learner("picture")
def picture(engine: Engine, container: str) -> Picture:
    """The state machine of *container* (its name) now, with the way it walked as far as the engine's log tells it."""
    history = History(engine, container)
    return Picture(history.svg, history.text)


@learner("state_machine")
def state_machine(engine: Engine, container: str) -> StateMachine:
    """The state machine of *container* (its name; it need not exist yet), live."""
    return StateMachine(engine, container)


@made("StateMachine")
class StateMachine(Live):
    """The state machine of *container* (its name; it need not exist yet), live: the present state is lit.

    Follows the engine until `stop` or `close`, or until the engine is gone.  Printed, it says the same in words.  A new one for
    the same container takes over from the former.
    """

    _live: ClassVar[dict[tuple[str, str], StateMachine]] = {}

    def __init__(self, engine: Engine, container: str) -> None:
        self._lock = threading.Lock()
        self._done = threading.Event()
        self._wake = threading.Event()
        self._stream: Any = None
        self._history = History(engine, container)  # may raise; what `close` needs is there
        super().__init__(svg=self._history.svg, text=self._history.text, more=self._history.refusals)
        former = self._live.pop((engine.id, container), None)
        if former is not None:
            former.stop()
        self._live[engine.id, container] = self
        for target in (self._follow, self._listen):
            threading.Thread(target=target, name=f"labkit-states-{container}", daemon=True).start()

    @property
    def state(self) -> str:
        """The present state."""
        self._refresh()
        return self._history.present

    @property
    def following(self) -> bool:
        """Whether it still follows the engine."""
        return not self._done.is_set()

    def picture(self) -> Picture:
        """A still of this moment."""
        if self.following:
            self._refresh()
        return super().picture()

    def close(self) -> None:
        """Stop following, and take the live picture away."""
        self.stop()
        super().close()

    def stop(self) -> None:
        """Stop following; the picture stays as it is."""
        self._done.set()
        self._wake.set()
        self._let_go()

    def _let_go(self) -> None:
        """Let go of the stream; whoever listens to it is done."""
        stream, self._stream = self._stream, None  # what it holds is closed only when nobody holds it
        with suppress(Exception):
            stream.close()

    def _refresh(self) -> None:
        with self._lock:
            self._history.refresh()
            self._show()

    def _show(self) -> None:
        self.show(self._history.svg, self._history.text, self._history.refusals)

    def _follow(self) -> None:
        """Show what has changed when an event came, or a look says so; give up when the engine is gone."""
        answered = time.monotonic()
        while not self._done.is_set():
            woken = self._wake.wait(LOOK_EVERY)
            self._wake.clear()
            try:
                with self._lock:
                    if not self._done.is_set() and (self._history.look() or woken):
                        self._show()
                answered = time.monotonic()
            except Exception:  # whatever a daemon that goes away, or is restarted, makes of a request
                if time.monotonic() - answered > PATIENCE:
                    self.stop()

    def _listen(self) -> None:
        """Hear every event of the container, those of before first, and wake the follower."""
        while not self._done.is_set():
            with suppress(Exception):
                filters = {"type": "container", "container": self._history.name}
                stream = self._history.engine.client.events(since="1", filters=filters, decode=True)
                self._stream = stream
                for raw in () if self._done.is_set() else stream:  # stopped before there was one
                    actor = raw["Actor"]
                    with self._lock:
                        self._history.hear(
                            Event(
                                raw["timeNano"], raw["Type"], raw["Action"], actor["ID"], actor["Attributes"]
                            )
                        )
                    self._wake.set()
            self._let_go()
            self._done.wait(LOOK_EVERY)
