"""Parameters that only an engine can check: what they name must be there, or the runbook does not start.

A value is the object's name, as text, with its full ``id``.  An id, also a short one, is taken as well and becomes the
name.  What a name may look like is left to the engine; what could be taken for another path of its API never reaches it.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, ClassVar, Self, cast

from labkit.engine.failures import translated
from labkit.engine.ports import own_name_of
from labkit.errors import EngineUnreachable, UsageError, nearest, no_such
from labkit.observe import quantities
from labkit.observe.quantities import ByteSize

if TYPE_CHECKING:
    from pydantic import GetCoreSchemaHandler, ValidationInfo
    from pydantic_core import CoreSchema

    from labkit.engine import Engine

__all__ = ["CPUs", "Container", "HostPath", "Image", "Live", "Memory", "Network", "NewHostPath", "Volume"]


class Live:
    """A value that only an engine can check."""

    @classmethod
    def _read(cls, given: Any, info: ValidationInfo) -> Self:
        """The value that was *given*; checked where the context has an ``engine``."""
        raise NotImplementedError

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        from pydantic_core import core_schema

        return core_schema.with_info_plain_validator_function(
            cls._read,
            serialization=core_schema.to_string_ser_schema(),
            json_schema_input_schema=core_schema.str_schema(),
        )


class _Named(Live, str):
    """The name of an object that must be on the engine; ``id`` is empty until it was looked up."""

    kind: ClassVar[str]
    id: str = ""

    @classmethod
    def look_up(cls, engine: Engine, name: str, parameter: str) -> Self:
        """The object called *name*.  Raises `UsageError`, with the nearest name for *parameter*, when there is none."""
        raise NotImplementedError

    @classmethod
    def spelled(cls, name: str) -> str:
        """*name* as it is meant.  Raises `ValueError` for one that nothing can have."""
        if not name:
            raise ValueError(f"the name of a {cls.kind}")
        return name

    @classmethod
    def _read(cls, given: Any, info: ValidationInfo) -> Self:
        if not isinstance(given, str):
            raise ValueError(f"the name of a {cls.kind}, in quotes")
        name = cls.spelled(given.strip())
        engine = (info.context or {}).get("engine")
        return cls.look_up(engine, name, str(info.field_name)) if engine else cls(name)

    @classmethod
    def _known(cls, name: str, id: str) -> Self:
        made = cls(name)
        made.id = id
        return made


class _Object(_Named):
    """What the engine's API inspects by name or id and lists."""

    _form: ClassVar[str] = r"[A-Za-z0-9][A-Za-z0-9_.-]*"

    @classmethod
    def _inspect(cls, api: Any, name: str) -> dict[str, Any]:
        raise NotImplementedError

    @classmethod
    def _names(cls, api: Any) -> Iterable[str]:
        raise NotImplementedError

    @classmethod
    def _identity(cls, facts: dict[str, Any], given: str) -> tuple[str, str]:
        """Its name and its id."""
        return facts["Name"].lstrip("/"), facts.get("Id") or facts["Name"]

    @classmethod
    def look_up(cls, engine: Engine, name: str, parameter: str) -> Self:
        import docker.errors
        import requests

        api = engine.client.api
        try:
            if re.fullmatch(cls._form, name):
                return cls._known(*cls._identity(cls._inspect(api, name), name))
            raise _no_such(cls.kind, name, cls._names(api), parameter)
        except docker.errors.NotFound:
            raise _no_such(cls.kind, name, cls._names(api), parameter) from None
        except docker.errors.APIError as error:
            near = nearest(name, cls._names(api))
            raise UsageError(
                f"the engine cannot tell which {cls.kind} {name!r} is",
                seen=str(error.explanation or error),
                try_=f"-p {parameter}={near}" if near else "",
            ) from None
        except requests.RequestException as error:
            raise EngineUnreachable(f"the engine at {engine.url} ended its answer", seen=str(error)) from None


class Container(_Object):
    """A container that exists, running or not."""

    kind = "container"

    @classmethod
    def spelled(cls, name: str) -> str:
        return super().spelled(name.removeprefix("/"))

    @classmethod
    def _inspect(cls, api: Any, name: str) -> dict[str, Any]:
        facts: dict[str, Any] = api.inspect_container(name)
        return facts

    @classmethod
    def _names(cls, api: Any) -> Iterable[str]:
        return [own_name_of(row) for row in api.containers(all=True)]


class Image(_Object):
    """An image that the engine holds: ``name:tag`` or an id; nothing is pulled."""

    kind = "image"
    _form = r"[A-Za-z0-9][A-Za-z0-9_.:/@-]*"

    @classmethod
    def _inspect(cls, api: Any, name: str) -> dict[str, Any]:
        facts: dict[str, Any] = api.inspect_image(name)
        return facts

    @classmethod
    def _identity(cls, facts: dict[str, Any], given: str) -> tuple[str, str]:
        tags = facts.get("RepoTags") or []
        meant = [tag for tag in (given, f"{given}:latest") if tag in tags]
        return (meant or tags or [facts["Id"]])[0], facts["Id"]

    @classmethod
    def _names(cls, api: Any) -> Iterable[str]:
        return [
            tag for row in api.images() for tag in row.get("RepoTags") or [] if not tag.startswith("<none>")
        ]


class Volume(_Object):
    """A volume that exists."""

    kind = "volume"

    @classmethod
    def _inspect(cls, api: Any, name: str) -> dict[str, Any]:
        facts: dict[str, Any] = api.inspect_volume(name)
        return facts

    @classmethod
    def _names(cls, api: Any) -> Iterable[str]:
        return [row["Name"] for row in api.volumes()["Volumes"] or []]


class Network(_Object):
    """A network that exists."""

    kind = "network"

    @classmethod
    def _inspect(cls, api: Any, name: str) -> dict[str, Any]:
        facts: dict[str, Any] = api.inspect_network(name)
        return facts

    @classmethod
    def _names(cls, api: Any) -> Iterable[str]:
        return [row["Name"] for row in api.networks()]


class HostPath(_Named):
    """An absolute path that exists on the engine's host; where that is out of reach, any absolute path."""

    kind = "path on the engine's host"

    @classmethod
    def spelled(cls, name: str) -> str:
        if not name.startswith("/") or "\0" in name:
            raise ValueError(f"an absolute {cls.kind}, such as /var/lib/docker")
        return posixpath.normpath(re.sub("^/+", "/", name))

    @classmethod
    def look_up(cls, engine: Engine, name: str, parameter: str) -> Self:
        host = engine.host
        if host.available and not host.run(["test", "-e", name], check=False).ok:
            folder, wanted = posixpath.split(name)
            listed = host.run(["ls", "-A", "--", folder], check=False)
            beside = [posixpath.join(folder, each) for each in listed.stdout.splitlines()]
            raise _no_such(cls.kind, posixpath.join(folder, wanted), beside, parameter)
        return cls._known(name, name)


class NewHostPath(HostPath):
    """An absolute path on the engine's host where nothing is yet, in a folder that exists."""

    kind = "new path on the engine's host"

    @classmethod
    def look_up(cls, engine: Engine, name: str, parameter: str) -> Self:
        host = engine.host
        if host.available and host.run(["test", "-e", name], check=False).ok:
            raise UsageError(f"{name} is there already on the engine's host", expected=f"a {cls.kind}")
        HostPath.look_up(engine, posixpath.dirname(name), parameter)
        return cls._known(name, name)


class _Amount(Live):
    """How much of something that the engine's host has; more of it is refused."""

    fact: ClassVar[str]
    """What tells how much there is, in ``docker info``."""
    called: ClassVar[str]

    @classmethod
    def _read(cls, given: Any, info: ValidationInfo) -> Self:
        value, engine = cls.parse(given), (info.context or {}).get("engine")  # type: ignore[attr-defined]
        if engine:
            with translated():
                there = engine.client.info()[cls.fact]
            if value > there:
                raise UsageError(
                    f"{info.field_name}={value} is more {cls.called} than the engine's host has",
                    seen=f"docker info: {cls.fact} {there}{cls._about(there)}",
                    expected=f"at most {there}",
                )
        return cast("Self", value)

    @classmethod
    def _about(cls, there: int) -> str:
        """What *there* is to a person, where that is shorter."""
        return ""


class Memory(_Amount, ByteSize):
    """An amount of memory that the engine's host has, as for a limit that is to limit something."""

    fact = "MemTotal"
    called = "memory"

    @classmethod
    def _about(cls, there: int) -> str:
        return f", about {ByteSize(there).rounded()}"


class CPUs(_Amount, quantities.CPUs):
    """A number of CPUs that the engine's host has; an engine refuses to create a container with more."""

    fact = "NCPU"
    called = "CPUs"


def _no_such(kind: str, name: str, there: Iterable[str], parameter: str) -> UsageError:
    return no_such(kind, name, sorted(set(there)), try_=f"-p {parameter}={{}}")
