"""A live Docker engine, wherever it comes from.

``open_engine()`` gives an `Engine`; the *provider* says where it comes from: ``sandbox`` (our own daemon, in new
namespaces, gone without a trace) or ``attach`` (one that runs already).  See ``sandbox.py`` and ``attach.py``.
"""

from __future__ import annotations

import html
import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from inspect import signature
from typing import TYPE_CHECKING, Any, ClassVar, Self

from labkit.errors import MissingCapability, UsageError

if TYPE_CHECKING:
    import docker

    from labkit.engine.capabilities import Capabilities
    from labkit.engine.host import Host
    from labkit.engine.ports import PublishedPort

__all__ = ["PROVIDERS", "Engine", "open_engine", "provider_wanted"]

PROVIDERS = {"sandbox": "labkit.engine.opening:open_sandbox", "attach": "labkit.engine.attach:open_attached"}
"""Provider name to the function that opens its engines.  A new provider is one module and one line here."""


def provider_wanted(provider: str | None = None) -> str:
    """The *provider* that `open_engine` would use.  Raises `UsageError` for one that there is not."""
    chosen = provider or os.environ.get("LABKIT_PROVIDER") or "sandbox"
    if chosen not in PROVIDERS:
        raise UsageError(
            "no such engine provider",
            seen=repr(chosen) + ("" if provider else " (from LABKIT_PROVIDER)"),
            expected=" or ".join(PROVIDERS),
        )
    return chosen


def open_engine(provider: str | None = None, **options: Any) -> Engine:
    """Open a live engine and return a handle that is also a context manager.

    *provider*: ``"sandbox"`` or ``"attach"``; without one, the environment variable ``LABKIT_PROVIDER``, else
    ``"sandbox"``.  *options* are the provider's own: see `labkit.engine.opening.open_sandbox` and
    `labkit.engine.attach.open_attached`.

    Raises `UsageError` for an unknown provider or option, `EngineUnreachable` when there is no engine to be had.
    """
    chosen = provider_wanted(provider)
    module, _, function = PROVIDERS[chosen].partition(":")
    opener: Callable[..., Engine] = getattr(import_module(module), function)
    try:
        signature(opener).bind(**options)
    except TypeError as error:
        raise UsageError(f"provider {chosen} has no such option", seen=str(error)) from None
    return opener(**options)


class Engine(ABC):
    """A live Docker daemon and how to reach it.

    ``id``: unique on this machine; ``name``: what a person calls it; ``owned``: whether it is *private* (ours,
    disposable).  An engine that is not owned is *shared*: what labkit did not create there is not destroyed unless it
    is named and approved (`approve`).
    """

    provider: ClassVar[str]
    id: str
    name: str
    owned: bool
    taken_up = False
    """Whether a private engine ran already when it was opened the last time; it has all that was on it."""

    def __init__(self) -> None:
        self._client: docker.DockerClient | None = None
        self._capabilities: Capabilities | None = None
        self._environ_before: dict[str, str | None] | None = None

    # -- reaching it

    @property
    @abstractmethod
    def url(self) -> str:
        """Where the API answers, as in ``DOCKER_HOST``: ``unix:///…`` or ``tcp://host:port``."""

    @property
    @abstractmethod
    def host(self) -> Host:
        """The machine that the daemon sees as its own: run commands and read files there."""

    @property
    @abstractmethod
    def environ(self) -> dict[str, str]:
        """Environment variables with which a ``docker`` command line reaches this engine."""

    @property
    def client(self) -> docker.DockerClient:
        """A docker SDK client.  On a shared engine it labels what it creates and guards what it did not."""
        if self._client is None:
            self._client = self._connect()
        return self._client

    @abstractmethod
    def _connect(self) -> docker.DockerClient: ...

    def ping(self) -> bool:
        """Whether the daemon answers now."""
        try:
            return bool(self.client.ping())
        except Exception:
            return False

    @property
    def capabilities(self) -> Capabilities:
        """What this engine and its host can do, and the reason for what they cannot (a mapping by name)."""
        if self._capabilities is None:
            from labkit.engine.capabilities import probe

            self._capabilities = probe(self)
        return self._capabilities

    @property
    @abstractmethod
    def ports(self) -> list[PublishedPort]:
        """Published ports of running containers and where each is reached from this machine."""

    @property
    def cut_off(self) -> str:
        """Why the network of a private engine is joined to this machine no more; empty while it is."""
        return ""

    @contextmanager
    def approve(self, kind: str, name: str) -> Iterator[None]:
        """While this lasts, labkit may change the object *name* of *kind* (``container``, ``image``, ``volume``, ``network``).

        On a private engine everything is labkit's, and this has no effect.
        """
        yield

    def use(self) -> Self:
        """Point this process at the engine (``os.environ``), so that ``!docker …`` in a notebook reaches it.

        Undone by `close`.
        """
        self.unuse()
        environ = self.environ
        self._environ_before = {key: os.environ.get(key) for key in environ}
        os.environ.update(environ)
        return self

    def unuse(self) -> None:
        """Undo `use`."""
        for key, value in (self._environ_before or {}).items():
            if value is None:
                os.environ.pop(key, None)
            else:
                os.environ[key] = value
        self._environ_before = None

    # -- ending it

    def close(self) -> None:
        """End a private engine with all that runs on it; let go of a shared one.  Safe to call twice."""
        self.unuse()
        self._disconnect()

    def _disconnect(self) -> None:
        if self._client is not None:
            self._client.close()
            self._client = None
        self._capabilities = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # -- the daemon itself; only a provider that owns its daemon has these

    def _not_ours(self, operation: str) -> MissingCapability:
        return MissingCapability(
            f"cannot {operation} the engine {self.name!r}: its daemon is not labkit's",
            seen=f"provider {self.provider} ({self.url})",
            try_="use a private engine: labkit.open_engine('sandbox')",
        )

    def start(self) -> None:
        """Start the daemon again after `stop` or `kill`."""
        raise self._not_ours("start")

    def stop(self) -> None:
        """Stop the daemon as a service manager would (SIGTERM); its host stays."""
        raise self._not_ours("stop")

    def kill(self) -> None:
        """Kill the daemon with SIGKILL, as a crash would; its host stays."""
        raise self._not_ours("kill")

    def restart(self, config: dict[str, Any] | None = None) -> None:
        """Stop and start the daemon; *config* is merged into ``daemon.json`` first (a value of None removes a key)."""
        raise self._not_ours("restart")

    def reload(self, config: dict[str, Any] | None = None) -> None:
        """Merge *config* into ``daemon.json`` and have the daemon read it again (SIGHUP)."""
        raise self._not_ours("reload")

    def reset(self) -> None:
        """Back to the state in which the engine was opened, in well under a second."""
        raise self._not_ours("reset")

    def save(self, name: str) -> None:
        """Keep the data-root as the prepared state *name*, from which `reset` and ``open_engine`` can start."""
        raise self._not_ours("save the state of")

    def logs(self, tail: int | None = None) -> str:
        """The daemon's own log, the last *tail* lines of it or all."""
        raise self._not_ours("read the log of")

    # -- how it looks

    def _facts(self) -> dict[str, str]:
        """A few lines about the engine, for both representations."""
        facts = {
            "engine": f"{self.name} ({'private' if self.owned else 'shared'}, {self.provider})",
            "reached at": self.url,
        }
        if self.cut_off:
            facts["network"] = f"cut off from this machine: {self.cut_off}"
        try:
            version = self.client.version()
            info = self.client.info()
        except Exception as error:
            return {**facts, "state": f"does not answer ({type(error).__name__})"}
        return {
            **facts,
            "version": f"{version['Version']} (API {version['ApiVersion']})",
            "storage": info["Driver"],
            "cgroups": f"v{info.get('CgroupVersion', '1')}, driver {info['CgroupDriver']}",
            "containers": f"{info['ContainersRunning']} running of {info['Containers']}",
            "images": str(info["Images"]),
        }

    def __repr__(self) -> str:
        facts = self._facts()
        width = max(map(len, facts))
        return "\n".join(f"{key:<{width}}  {value}" for key, value in facts.items())

    def _repr_html_(self) -> str:
        rows = "".join(
            f"<tr><th style='text-align:left'>{html.escape(key)}</th>"
            f"<td style='text-align:left'>{html.escape(value)}</td></tr>"
            for key, value in self._facts().items()
        )
        return f"<table>{rows}</table>"
