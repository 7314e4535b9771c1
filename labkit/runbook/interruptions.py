"""Signals that end a run cleanly: SIGINT, SIGTERM and SIGHUP stop the notebook, and then the report is written."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

__all__ = ["SIGNALS", "Interruptions"]

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Interruptions:
    """Within `handled`, a signal raises `KeyboardInterrupt` once, in `allowed`; elsewhere it waits for that.

    So it never comes between the end of the notebook and the end of the report.  ``received`` names the
    first one.  Python drops an exception that comes while it runs a destructor or a callback, so `check` raises it again
    where nothing can.  In a thread other than the main one, signals are left as they are: they go to the main one.
    """

    def __init__(self) -> None:
        self.received = ""
        self._allowed = False

    @contextmanager
    def handled(self) -> Iterator[Interruptions]:
        """While this lasts, the signals are ours; one that is ignored, as under nohup(1), stays ignored."""
        if threading.current_thread() is not threading.main_thread():
            yield self
            return
        before = {each: signal.getsignal(each) for each in SIGNALS}
        for each, handler in before.items():
            if handler is not signal.SIG_IGN:
                signal.signal(each, self._handle)
        try:
            yield self
        finally:
            for each, handler in before.items():
                signal.signal(each, handler)

    @contextmanager
    def allowed(self) -> Iterator[None]:
        """While this lasts, the first signal raises `KeyboardInterrupt`; so does one that came before."""
        self.check()
        self._allowed = True
        try:
            yield
            self.check()
        finally:
            self._allowed = False

    def check(self) -> None:
        """Raise `KeyboardInterrupt` if a signal has come."""
        if self.received:
            raise KeyboardInterrupt

    def _handle(self, number: int, _: FrameType | None) -> None:
        self.received = self.received or signal.Signals(number).name
        if self._allowed:
            self._allowed = False
            raise KeyboardInterrupt
