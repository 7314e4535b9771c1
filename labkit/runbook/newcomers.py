"""Containers that come to an engine while a run is going on, told at once: some are gone before anybody lists them."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from labkit.engine import Engine

__all__ = ["Newcomers"]

PATIENCE = 2.0
"""Seconds."""


class Newcomers:
    """Calls *meet*, in a thread of its own, with the id of each container that is created from now on, until it is closed.

    Raises what docker-py raises when the engine does not answer.
    """

    def __init__(self, engine: Engine, meet: Callable[[str], None]) -> None:
        self._meet = meet
        self._stream = engine.client.api.events(filters={"type": "container", "event": "create"}, decode=True)
        self._thread = threading.Thread(target=self._hear, name="newcomers", daemon=True)
        self._thread.start()

    @property
    def alive(self) -> bool:
        """Whether the engine still tells."""
        return self._thread.is_alive()

    def close(self) -> None:
        """Listen no longer; whoever is being met is met to the end, if that takes no longer than `PATIENCE`."""
        with suppress(Exception):
            self._stream.close()
        self._thread.join(PATIENCE)

    def _hear(self) -> None:
        with suppress(
            Exception
        ):  # whatever an engine that goes away, or a stream that is closed, makes of it
            for told in self._stream:
                with suppress(Exception):  # one that could not be looked at; the next can
                    self._meet(told["Actor"]["ID"])
