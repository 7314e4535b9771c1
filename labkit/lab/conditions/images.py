"""What can be wanted of an image: that it is there, its layers, its files, what it is made to do."""

from __future__ import annotations

import posixpath
from collections.abc import Callable
from typing import Any

from labkit.engine.references import reference
from labkit.errors import UsageError
from labkit.lab.conditions.base import Condition, Seen, kept
from labkit.lab.conditions.contents import Contents
from labkit.lab.conditions.facts import Facts, Found
from labkit.lab.conditions.wanted import name_of, number, quantity, text
from labkit.observe.quantities import ByteSize

__all__ = ["Image", "image"]


def image(name: str) -> Image:
    """The image with this reference, such as ``shop:2``.  Raises `UsageError` for what is none."""
    return Image(name_of("image", name))


class Image(Contents):
    """An image by its reference.  Each method makes a condition."""

    def layers(self, count: int | None = None, *, at_most: int | None = None) -> Condition:
        """It has so many layers (*count*), or *at_most* so many.  Empty ones, of metadata alone, do not count."""
        if (count is None) == (at_most is None):
            raise UsageError("how many layers?", expected="a number, or at_most, and not both")
        wanted = number("number of layers", at_most if count is None else count, 1, 127)

        def see(facts: Facts, found: Found) -> Seen:
            has = len(found["RootFS"].get("Layers") or [])
            return Seen(str(has), ok=has == wanted or (at_most is not None and has < wanted))

        return self._that("layers", f"{wanted} at most" if count is None else str(wanted), see)

    def built_on(self, other: str) -> Condition:
        """Its lowest layers are all those of the image *other*, and it has more."""
        name_of("image", other)

        def see(facts: Facts, found: Found) -> Seen:
            has, base = _layers(found), _layers(facts.meant(other))
            shared = next(
                (n for n, pair in enumerate(zip(has, base, strict=False)) if pair[0] != pair[1]), None
            )
            shared = min(len(has), len(base)) if shared is None else shared
            told = f"{shared} of the {len(base)} layers of {other}"
            return Seen(
                told if len(has) > shared else f"{told}, and none of its own",
                ok=shared == len(base) < len(has),
            )

        return self._that("built on", f"all layers of {other}, and its own", see, also=[("image", other)])

    def adds(self, at_most: str, *, to: str) -> Condition:
        """Its layers together are at most so many bytes (``1m``) larger than those of the image *to*."""
        limit = quantity("size", at_most, ByteSize.parse)
        name_of("image", to)

        def see(facts: Facts, found: Found) -> Seen:
            more = ByteSize(found["Size"] - facts.meant(to)["Size"])
            told = f"{ByteSize(-more).rounded()} less" if more < 0 else more.rounded()
            return Seen(told, ok=more <= limit)

        return self._that(f"size added to {to}", f"{limit} at most", see, also=[("image", to)])

    def same_as(self, other: str) -> Condition:
        """It is the very image that *other* names too."""
        name_of("image", other)

        def see(facts: Facts, found: Found) -> Seen:
            same = facts.image(other)["Id"] == found["Id"]
            return Seen("the same image" if same else "another image", ok=same)

        return self._that(f"compared with {other}", "the same image", see, also=[("image", other)])

    def digest_of(self, other: str) -> Condition:
        """A registry knows it by the same manifest's digest as *other*: both were pushed to or pulled from one."""
        name_of("image", other)

        def see(facts: Facts, found: Found) -> Seen:
            own, others = _digests(found), _digests(facts.image(other))
            if not own or not others:
                return Seen(f"{self.name if not own else other} has no digest", ok=False)
            return Seen("the same" if own & others else "another", ok=bool(own & others))

        return self._that(f"digest compared with {other}", "the same", see, also=[("image", other)])

    def pushed(self) -> Condition:
        """A registry has it by this name: it was pushed there, or pulled from there."""
        repository = reference(self.name).rpartition(":")[0]

        def see(facts: Facts, found: Found) -> Seen:
            there = any(each.startswith(f"{repository}@") for each in found.get("RepoDigests") or [])
            return Seen("there" if there else "never sent there", ok=there)

        return self._that("in its registry", "there", see)

    def photographed(self, container: str) -> Condition:
        """It was made by ``docker commit`` from the container of this name, as it is now; or it was built on what was."""
        name_of("container", container)

        def see(facts: Facts, found: Found) -> Seen:
            copy = facts.container(container)
            acts = [each for each in facts.happened(copy) if each.action == "commit"]
            taken = [str(each.attributes.get("imageID")) for each in acts]
            if found["Id"] in taken or not taken:
                return Seen("this image" if taken else "no commit of it", ok=bool(taken))
            piles = [_layers(facts.image(each)) for each in taken if facts.has("image", each)]
            sheets = len(
                _layers(facts.image(copy["Image"]))
            )  # an unchanged copy adds none, and proves nothing
            on = any(len(pile) > sheets and _layers(found)[: len(pile)] == pile for pile in piles)
            return Seen("an image built on it" if on else "another image", ok=on)

        return self._that(f"made of {container}", "this image", see, also=[("container", container)])

    def label(self, name: str, value: str) -> Condition:
        """It has this label with this value."""
        text("name of a label", name)

        def see(facts: Facts, found: Found) -> Seen:
            has = (_config(found).get("Labels") or {}).get(name)
            return Seen("not set" if has is None else repr(kept(name, has, value)), ok=has == value)

        return self._that(f"label {name}", repr(kept(name, value)), see)

    def configured(
        self,
        *,
        cmd: list[str] | None = None,
        entrypoint: list[str] | None = None,
        starts: list[str] | None = None,
        user: str | None = None,
        workdir: str | None = None,
        environment: dict[str, str] | None = None,
        exposes: str | None = None,
        stop_signal: str | None = None,
        healthcheck: bool | None = None,
    ) -> Condition:
        """What its containers are given: *cmd*, *entrypoint*, or *starts*, both in a row, as lists of words; *exposes* as 80/tcp.

        [] and "" stand for none.  The program of *starts* may be given with the folder in which the system keeps its programs.
        """
        given: dict[str, Any] = {
            "cmd": cmd,
            "entrypoint": entrypoint,
            "starts": starts,
            "user": user,
            "workdir": workdir,
            "exposes": exposes,
        }
        given |= {"environment": environment, "stop_signal": stop_signal, "healthcheck": healthcheck}
        wanted = {key: value for key, value in given.items() if value is not None}
        if not wanted or not all(_fits(value, _TYPES[key]) for key, value in wanted.items()):
            raise UsageError(
                "configured how?", seen=repr(wanted), expected="cmd=['sh'], user='web', exposes='80/tcp', …"
            )

        def see(facts: Facts, found: Found) -> Seen:
            has = {key: _SETTINGS[key](_config(found)) for key in wanted}
            if environment is not None:
                has["environment"] = {key: has["environment"].get(key) for key in environment}
            if exposes is not None and exposes in has["exposes"]:
                has["exposes"] = exposes
            fits = {**has, "starts": _by_name(has["starts"], starts)} if starts else has
            return Seen(_told(has), ok=fits == wanted)

        return self._that("configuration", _told(wanted), see)


_TYPES: dict[str, type] = {
    **{"cmd": list, "entrypoint": list, "starts": list, "environment": dict, "healthcheck": bool},
    **dict.fromkeys(("user", "workdir", "exposes", "stop_signal"), str),
}

_SETTINGS: dict[str, Callable[[dict[str, Any]], Any]] = {
    "cmd": lambda config: config.get("Cmd") or [],
    "entrypoint": lambda config: config.get("Entrypoint") or [],
    "starts": lambda config: (config.get("Entrypoint") or []) + (config.get("Cmd") or []),
    "user": lambda config: config.get("User") or "",
    "workdir": lambda config: config.get("WorkingDir") or "",
    "environment": lambda config: dict(line.partition("=")[::2] for line in config.get("Env") or []),
    "exposes": lambda config: ", ".join(sorted(config.get("ExposedPorts") or {})),
    "stop_signal": lambda config: config.get("StopSignal") or "",
    "healthcheck": lambda config: (config.get("Healthcheck") or {}).get("Test") not in (None, [], ["NONE"]),
}
"""By name: where an image's configuration has it (Docker Image Specification v1.2)."""

FOLDERS = ("/bin", "/usr/bin", "/usr/local/bin", "/sbin", "/usr/sbin", "/usr/local/sbin")
"""Where a system keeps its programs (hier(7))."""


def _fits(value: object, kind: type) -> bool:
    """Whether *value* is of this kind; what it holds, if it holds something, is text."""
    held = value if isinstance(value, list) else list(value.values()) if isinstance(value, dict) else []
    return isinstance(value, kind) and all(isinstance(each, str) for each in held)


def _by_name(words: list[str], wanted: list[str]) -> list[str]:
    """*words* with the program by its name alone, where it is *wanted* so and comes from a folder of the system's."""
    folder, name = posixpath.split(words[0]) if words else ("", "")
    return [name, *words[1:]] if name == wanted[0] and folder in FOLDERS else words


def _config(found: Found) -> dict[str, Any]:
    return dict(found.get("Config") or {})


def _told(settings: dict[str, Any]) -> str:
    return ", ".join(f"{key} {value!r}" for key, value in settings.items())


def _layers(found: Found) -> list[str]:
    return list(found["RootFS"].get("Layers") or [])


def _digests(found: Found) -> set[str]:
    return {name.partition("@")[2] for name in found.get("RepoDigests") or []}
