"""Calls of docker-py executed for real, a second time: what reads, as it is; what changes, on a *twin* that is removed again.

A twin is made like the object that the first time was about, in the state that it was in, under another name.  What would reach
beyond the twin (a volume, a fixed port, a network of others, the host) is not done twice, and the reason is told.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as TooLate
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

from labkit.engine.exchanges import Exchange
from labkit.engine.relay import Relay
from labkit.lab.changes.snapshots import Snapshot
from labkit.lab.tracing.asked import Call, Given
from labkit.lab.tracing.sdk import MAKE, READ, Endpoint
from labkit.lab.tracing.twice import NotTwice, check, why_not_twice

if TYPE_CHECKING:
    from labkit.engine import Engine

__all__ = ["Performed", "Twins"]

LONGEST = 20
"""Seconds that a call may take the second time."""


@dataclass(frozen=True)
class Performed:
    """How a call went: its *seconds*, and what it *raised*; or *why* it was not executed."""

    seconds: float | None = None
    raised: str = ""
    why: str = ""


class Twins:
    """A context manager that executes calls on *engine*, through a relay that takes note; *before*: what there was before.

    `stand_ins` has the twins, by the id or name of what they stand for; `made` the ids of all that was made, to be removed at
    the end.
    """

    def __init__(self, engine: Engine, before: Snapshot) -> None:
        self._engine, self._before = engine, before
        self._stack = ExitStack()
        self.stand_ins: dict[str, str] = {}
        self.made: set[str] = set()

    def __enter__(self) -> Self:
        from labkit.engine.clients import Api

        self._own = self._engine.client.api
        # entered first and left last: when the relay has gone nobody waits for an answer any more
        self._pool = self._stack.enter_context(ThreadPoolExecutor(8, thread_name_prefix="labkit-trace"))
        self.relay = self._stack.enter_context(Relay(self._engine))
        self._api = Api(base_url=self.relay.url, version="auto", timeout=LONGEST)
        self._stack.callback(self._api.close)
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()  # removes the twins, and then cuts off whoever waits all the same

    def perform(self, endpoint: Endpoint, call: Call, exchange: Exchange) -> Future[Performed]:
        """Execute *call*, which is what *exchange* was; done, or going on where it waits for what is still to come."""
        done = Future[Performed]()
        try:
            check(endpoint, exchange, owned=self._engine.owned)
            arguments, options = self._adapted(endpoint, call)
        except NotTwice as reason:
            done.set_result(Performed(why=str(reason)))
            return done
        except Exception as error:
            done.set_result(Performed(why=f"no twin could be made: {_said(error)}"))
            return done
        act = getattr(self._api, call.method)

        def perform() -> Performed:
            return self._timed(lambda: act(*arguments, **options), endpoint, exchange, arguments)

        if endpoint.waits:
            return self._beside(perform)
        done.set_result(perform())
        return done

    def _beside(self, perform: Callable[[], Performed]) -> Future[Performed]:
        """Start what waits in a thread, and go on once the engine has begun to answer it."""
        before = len(self.relay.exchanges)
        future = self._pool.submit(perform)
        deadline = time.monotonic() + 2
        while time.monotonic() < deadline and not future.done():
            if len(self.relay.exchanges) > before and self.relay.exchanges[before].status:
                break
            time.sleep(0.002)
        return future

    def _timed(
        self, act: Callable[[], Any], endpoint: Endpoint, exchange: Exchange, arguments: list[Any]
    ) -> Performed:
        import docker.errors
        import requests

        began = time.perf_counter()
        try:
            result = _drained(act())
            seconds = time.perf_counter() - began
        except (docker.errors.DockerException, requests.exceptions.RequestException) as error:
            if exchange.status and exchange.status >= 400:  # as the first time
                return Performed(time.perf_counter() - began, raised=type(error).__name__)
            return Performed(why=f"the second time it failed: {_said(error)}")
        self._remember(endpoint, exchange, result, arguments)
        return Performed(seconds)

    def _remember(self, endpoint: Endpoint, exchange: Exchange, result: Any, arguments: list[Any]) -> None:
        """What was made stands for what was made the first time, and is removed at the end."""
        if not isinstance(result, dict) or exchange.method != "POST":
            return
        first = json.loads(exchange.answer.head or b"{}")
        for key in ("Id", "Name"):
            if key in first and key in result:
                self.stand_ins[first[key]] = result[key]
        if endpoint.kind == MAKE:
            kind = exchange.path.split("/")[1]
            self._afterwards(kind, result.get("Id") or result["Name"])

    # -- what a call is about the second time

    def _adapted(self, endpoint: Endpoint, call: Call) -> tuple[list[Any], dict[str, Any]]:
        """The arguments of *call*, with twins for what it would change."""
        arguments, options = list(call.arguments), dict(call.options)
        if endpoint.kind != READ and (adapt := getattr(self, f"_{call.method}", None)):
            adapt(arguments, options)
        elif endpoint.kind not in (READ, MAKE):
            arguments[0] = self._container(arguments[0].value)
        return [self._value(each) for each in arguments], options

    def _value(self, given: Any) -> Any:
        if not isinstance(given, Given):
            return given
        return self.stand_ins.get(given.value, given.value) if isinstance(given.value, str) else given.value

    def _container(self, name: str) -> str:
        """The twin of the container *name* (or id): made now, in the state in which that was before."""
        if name in self.stand_ins:
            return self.stand_ins[name]
        thing = next(
            (t for t in self._before.things.values() if t.kind == "container" and _is(t.raw, name)), None
        )
        if thing is None:
            raise NotTwice("it was not there before")
        config = {**thing.raw["Config"], "HostConfig": {**thing.raw["HostConfig"], "AutoRemove": False}}
        if reason := why_not_twice(config):
            raise NotTwice(reason)
        if config.get("Hostname") == thing.id[:12]:
            del config["Hostname"]
        twin = str(self._own.create_container_from_config(config, name=f"{thing.name}-twin")["Id"])
        self._afterwards("containers", twin)
        self._bring(twin, thing.raw["State"]["Status"])
        self.stand_ins[thing.id] = self.stand_ins[thing.name] = self.stand_ins[name] = twin
        return twin

    def _bring(self, twin: str, state: str) -> None:
        """Bring a new container to *state*."""
        if state not in ("created", "running", "paused", "exited"):
            raise NotTwice(f"a twin cannot be brought to the state {state!r}")
        if state != "created":
            self._own.start(twin)
        if state == "paused":
            self._own.pause(twin)
        if state == "exited":
            with suppress(Exception):  # it may have ended by itself
                self._own.kill(twin)
            self._own.wait(twin, timeout=LONGEST)

    def _afterwards(self, kind: str, name: str) -> None:
        """Remove the object at the end."""
        self.made.add(name)
        if kind == "containers":  # its volumes without a name go with it
            self.made |= {each.get("Name", "") for each in self._own.inspect_container(name)["Mounts"]}
        remove = {
            "containers": lambda: self._own.remove_container(name, force=True, v=True),
            "volumes": lambda: self._own.remove_volume(name, force=True),
            "networks": lambda: self._own.remove_network(name),
            "images": lambda: self._own.remove_image(name, force=True),
        }[kind]
        self._stack.callback(_quietly, remove)

    # by the method of docker-py

    def _create_container(self, arguments: list[Any], options: dict[str, Any]) -> None:
        _rename(options)

    _create_container_from_config = _create_volume = _create_container

    def _create_network(self, arguments: list[Any], options: dict[str, Any]) -> None:
        arguments[0] += "-twin"

    def _rename(self, arguments: list[Any], options: dict[str, Any]) -> None:
        arguments[:] = [self._container(arguments[0].value), f"{arguments[1]}-twin"]

    def _exec_start(self, arguments: list[Any], options: dict[str, Any]) -> None:
        if arguments[0].value not in self.stand_ins:
            raise NotTwice("the execution was not made a second time")

    def _start(self, arguments: list[Any], options: dict[str, Any]) -> None:
        twin = self._container(arguments[0].value)
        config = self._own.inspect_container(twin)
        if reason := why_not_twice(config):
            raise NotTwice(reason)
        arguments[0] = twin

    def _attach(self, arguments: list[Any], options: dict[str, Any]) -> None:
        self._start(arguments, options)
        if self._own.inspect_container(arguments[0])["Config"]["OpenStdin"]:
            raise NotTwice("it may wait for input, and nobody types a second time")

    _wait = _attach

    def _tag(self, arguments: list[Any], options: dict[str, Any]) -> None:
        options["tag"] = f"{options.get('tag') or 'latest'}-twin"
        self._afterwards("images", f"{arguments[1]}:{options['tag']}")

    def _commit(self, arguments: list[Any], options: dict[str, Any]) -> None:
        arguments[0] = self._container(arguments[0].value)
        options["repository"] = options.get("repository") or "twin"
        options["tag"] = f"{options.get('tag') or 'latest'}-twin"
        self._afterwards("images", f"{options['repository']}:{options['tag']}")

    def _remove_image(self, arguments: list[Any], options: dict[str, Any]) -> None:
        name = arguments[0].value
        image = next((t for t in self._before.things.values() if name in (t.raw.get("RepoTags") or [])), None)
        if image is None:
            raise NotTwice("it was not there under this name")
        repository, _, tag = name.rpartition(":")
        try:
            self._own.tag(image.id, repository, tag=f"{tag}-twin")
        except Exception:
            raise NotTwice("the image itself is gone") from None
        self._afterwards("images", f"{name}-twin")
        arguments[0] = f"{name}-twin"

    def _remove_volume(self, arguments: list[Any], options: dict[str, Any]) -> None:
        arguments[0] = self._own.create_volume(f"{arguments[0].value}-twin")["Name"]
        self._afterwards("volumes", arguments[0])
        self.stand_ins[arguments[0]] = arguments[0]

    def _remove_network(self, arguments: list[Any], options: dict[str, Any]) -> None:
        arguments[0] = self._own.create_network(f"{arguments[0].value}-twin")["Id"]
        self._afterwards("networks", arguments[0])
        self.stand_ins[arguments[0]] = arguments[0]

    def _disconnect_container_from_network(self, arguments: list[Any], options: dict[str, Any]) -> None:
        twin = arguments[0] = self._container(arguments[0].value)
        self._own.connect_container_to_network(twin, arguments[1].value)


def _is(raw: Mapping[str, Any], name: str) -> bool:
    """Whether a container has this name, or an id that begins so."""
    return raw["Name"].lstrip("/") == name or (len(name) >= 4 and raw["Id"].startswith(name))


def _rename(options: dict[str, Any]) -> None:
    if options.get("name"):
        options["name"] += "-twin"


def _drained(result: Any) -> Any:
    """*result*; of a stream, once it has come to its end."""
    stream = result[0] if isinstance(result, tuple) else result
    if hasattr(stream, "__next__"):
        for _ in stream:
            pass
    return result


def _quietly(remove: Callable[[], object]) -> None:
    with suppress(Exception):  # it may be gone already, and what cannot be removed is told by the engine
        remove()


def _said(error: Exception) -> str:
    return str(getattr(error, "explanation", None) or error)


def joined(futures: Iterable[Future[Performed]]) -> list[Performed]:
    """What came of each; one that does not end in time is given up."""
    deadline = time.monotonic() + LONGEST
    found = []
    for future in futures:
        try:
            found.append(future.result(max(0, deadline - time.monotonic())))
        except TooLate:
            found.append(Performed(why=f"it did not end within {LONGEST} s"))
    return found
