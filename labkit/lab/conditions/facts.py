"""What one round of looking at an engine has found: each object is asked for once, however many conditions need it.

An engine takes the beginning of an id for a name (moby, ``GetContainer``), so what it answers is believed only when it bears
the very name that was asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from labkit.engine.host import CommandFailed
from labkit.engine.references import reference
from labkit.errors import EngineUnreachable
from labkit.observe import Event, engine_time, events
from labkit.observe.lives import Life, lives

if TYPE_CHECKING:
    from labkit.engine import Engine

__all__ = ["ANY", "Facts", "Found", "Key", "Missing", "NotReadable", "Unanswered"]

Key = tuple[str, str]
"""Kind and name of an object: ``("container", "ada-x1")``."""

ANY = "*"
"""In place of a name: every object of the kind."""

Found = Mapping[str, Any]
"""An object as the engine's API shows it."""

UNSETTLED = ("restarting", "removing", "dead")
"""States that a container enters or leaves without an event."""

LINES = 2000
"""How many lines of a log are read, from its end."""


class Missing(Exception):
    """There is no such object; *key* says which one, where the message does not."""

    def __init__(self, what: str, key: Key | None = None) -> None:
        super().__init__(what)
        self.key = key

    def told(self, looked_at: str) -> str:
        """The message, with the object's name where it is not the one that stands first in what was *looked at*."""
        if self.key is None or looked_at.partition(",")[0] == " ".join(self.key):
            return str(self)
        return f"{self} {self.key[1]}"


class NotReadable(Exception):
    """It could not be looked at, and why."""


class Unanswered(Exception):
    """The engine does not answer."""


class Facts:
    """Looks at *engine*.  *history*: gives all events that are known; without it, the engine's own memory is asked.
    *standing*: kind and id of what somebody else has there.  *originals*: the id that an image had at the lab's start.

    ``asked``: somebody has asked, and wants to be told what is there now, whatever it costs.
    After the round ``ids`` has the full id of each container and network that was asked for (None: it is not there), and
    ``unsettled`` the keys of those that may change without an event.
    """

    def __init__(
        self,
        engine: Engine,
        history: Callable[[], Iterable[Event]] | None = None,
        standing: frozenset[Key] = frozenset(),
        originals: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        self.engine, self.standing, self.originals = engine, standing, originals
        self.asked = history is None
        self.ids: dict[Key, str | None] = {}
        self.unsettled: set[Key] = set()
        self._history = history or (lambda: events(engine))
        self._events: list[Event] | None = None
        self._known: dict[tuple[str, ...], Any] = {}

    # -- objects

    def container(self, name: str) -> Found:
        """The container called *name*.  Raises `Missing`, as all of these do."""
        found = self._object("container", name, lambda: self._named_container(name))
        if found["State"]["Status"] in UNSETTLED:
            self.unsettled.add(("container", name))
        return found

    def _named_container(self, name: str) -> Found | None:
        found = self.ask("inspect_container", name)
        return found if found["Name"] == f"/{name}" else None

    def network(self, name: str) -> Found:
        """The network called *name*."""
        return self._object("network", name, lambda: self._named_network(name))

    def _named_network(self, name: str) -> Found | None:
        found = self.ask("inspect_network", name)
        return found if found["Name"] == name else None

    def volume(self, name: str) -> Found:
        """The volume called *name*."""
        return self._object("volume", name, lambda: self.ask("inspect_volume", name))

    def image(self, name: str) -> Found:
        """The image with the reference *name* (or this full id, ``sha256:…``)."""
        return self._object("image", name, lambda: self._named_image(name))

    def _named_image(self, name: str) -> Found | None:
        found = self.ask("inspect_image", name)
        names = [*(found.get("RepoTags") or []), *(found.get("RepoDigests") or []), found["Id"]]
        return found if reference(name) in names or name in names else None

    def meant(self, name: str) -> Found:
        """The image that *name* meant at the start of the lab, wherever the name was moved since; else what it names now."""
        original = self.originals.get(reference(name), name)
        return self.image(original if self.has("image", original) else name)

    def has(self, kind: str, name: str) -> bool:
        """Whether there is an object of this *kind* and *name*."""
        try:
            getattr(self, kind)(name)
        except Missing:
            return False
        return True

    def _object(self, kind: str, name: str, look: Callable[[], Found | None]) -> Found:
        found = self.once((kind, name), lambda: _or_none(look))
        self.ids[kind, name] = found["Id"] if found is not None and kind in ("container", "network") else None
        if found is None:
            raise Missing(f"no such {kind}", (kind, name))
        known: Found = found
        return known

    def listed(self, method: str, **options: Any) -> Any:
        """All objects of a kind, as this *method* of the API lists them."""
        return self.once((method,), lambda: self.ask(method, **options))

    # -- what happened

    def happened(self, found: Found) -> list[Event]:
        """The events of the container *found* since it was created, as far as they are known.

        Without its labels, which take the place of the engine's own attributes: what they hide is not known.
        """
        if self._events is None:
            with self.answering():
                self._events = list(self._history())
        labels = set(found["Config"].get("Labels") or {})
        return [
            replace(event, attributes={k: v for k, v in event.attributes.items() if k not in labels})
            for event in self._events
            if event.kind == "container" and event.id == found["Id"]
        ]

    def present_life(self, found: Found) -> Life | None:
        """The events of the container *found* since it was started last; None where it never was, or they are forgotten."""
        known = lives(self.happened(found))
        return known[-1] if known else None

    def said(self, found: Found) -> list[str]:
        """The last lines that the container *found* wrote to its log since it was started last."""
        from labkit.lab.waiting import began

        record = found["State"]
        if record["StartedAt"].startswith("0001"):
            return []
        given = {"since": began(record, self.happened(found)), "tail": LINES}
        written = self.once(("log", found["Id"]), lambda: self.ask("logs", found["Id"], **given))
        return bytes(written).decode(errors="replace").splitlines()

    def now(self) -> float:
        """The engine's clock, in seconds since 1970."""
        return float(self.once(("clock",), self._clock))

    def _clock(self) -> str:
        with self.answering():
            return engine_time(self.engine)

    # -- asking

    def once(self, key: tuple[str, ...], look: Callable[[], Any]) -> Any:
        """What *look* gives, looked at once a round."""
        if key not in self._known:
            self._known[key] = look()
        return self._known[key]

    def ask(self, method: str, *arguments: Any, **named: Any) -> Any:
        """Ask the engine's API.  Raises `Missing`, `NotReadable` with the engine's words, or `Unanswered`."""
        with self.answering():
            return getattr(self.engine.client.api, method)(*arguments, **named)

    @contextmanager
    def answering(self) -> Iterator[None]:
        """Inside, errors of the SDK, of the connection and of the engine's host become those of this module."""
        import docker.errors
        import requests
        import urllib3

        try:
            yield
        except docker.errors.NotFound:
            raise Missing("it is not there") from None
        except docker.errors.APIError as error:
            raise NotReadable(str(error.explanation or error)) from None
        except (
            docker.errors.DockerException,
            requests.RequestException,
            urllib3.exceptions.HTTPError,
        ) as error:
            raise Unanswered(type(error).__name__) from None
        except (EngineUnreachable, OSError) as error:
            raise Unanswered(str(error).partition("\n")[0]) from None
        except CommandFailed as error:
            raise NotReadable(error.seen.strip().rpartition("\n")[2]) from None


def _or_none(look: Callable[[], Found | None]) -> Found | None:
    try:
        return look()
    except Missing:
        return None
