"""What can be wanted of volumes and networks."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from labkit.engine.ports import own_name_of
from labkit.lab.conditions.base import OFTEN, Condition, Object, Seen
from labkit.lab.conditions.facts import ANY, Facts, Found
from labkit.lab.conditions.files import Wanted, in_volume
from labkit.lab.conditions.wanted import name_of, path

__all__ = ["Network", "Volume", "network", "volume"]


def volume(name: str) -> Volume:
    """The volume called *name*, which need not exist.  Raises `UsageError` for what none can be called."""
    return Volume(name_of("volume", name))


def network(name: str) -> Network:
    """The network called *name*, which need not exist.  Raises `UsageError` for what none can be called."""
    return Network(name_of("network", name))


class Volume(Object):
    """A volume by its name.  Each method makes a condition."""

    kind = "volume"

    def file(
        self, at: str, *, contains: str | None = None, equals: str | None = None, absent: bool = False
    ) -> Condition:
        """The file *at* this path below its top is there, or holds a text, or is one (but for a last line end), or not there."""
        place, wanted = (
            path(f"/{at.lstrip('/')}" if isinstance(at, str) else at),
            Wanted.checked(contains, equals, absent),
        )
        needs_text = contains is not None or equals is not None

        def see(facts: Facts, found: Found) -> Seen:
            return wanted.seen(lambda: in_volume(facts, found, place, text=needs_text))

        return self._that(f"file {place}", str(wanted), see, polled=OFTEN)

    def unused(self) -> Condition:
        """It is there, and no container has it, running or not."""
        return self._that(
            "containers that have it", "none", self._users(wanted=False), also=[("container", ANY)]
        )

    def used(self) -> Condition:
        """A container has it, running or not."""
        return self._that(
            "containers that have it", "some", self._users(wanted=True), also=[("container", ANY)]
        )

    def _users(self, *, wanted: bool) -> Callable[[Facts, Found], Seen]:
        def see(facts: Facts, found: Found) -> Seen:
            rows = facts.listed("containers", all=True)
            names = sorted(
                own_name_of(row) if row["Names"] else "one without a name"
                for row in rows
                if any(mount.get("Name") == self.name for mount in row["Mounts"])
            )
            return Seen(", ".join(names) or "none", ok=bool(names) is wanted)

        return see


class Network(Object):
    """A network by its name.  Each method makes a condition."""

    kind = "network"

    def connects(self, *containers: str) -> Condition:
        """These containers run, and are all connected to it."""
        names = _at_least_two(containers)

        def see(facts: Facts, found: Found) -> Seen:
            there = {each["Name"] for each in (found.get("Containers") or {}).values()}
            ids = set(found.get("Containers") or {})
            joined = [name for name in names if facts.container(name)["Id"] in ids]
            lost = sorted(there - set(joined)) if not joined else []
            return Seen(
                ", ".join(joined) or (f"only {', '.join(lost)}" if lost else "none"), ok=joined == names
            )

        return self._that("containers", ", ".join(names), see, also=[("container", name) for name in names])

    def separates(self, *containers: str) -> Condition:
        """These containers run, one of them is connected to it, and no two of them have any network in common."""
        names = _at_least_two(containers)

        def see(facts: Facts, found: Found) -> Seen:
            found_all = [facts.container(name) for name in names]
            if stopped := [
                n for n, each in zip(names, found_all, strict=True) if not each["State"]["Running"]
            ]:
                return Seen(f"{', '.join(stopped)} not running", ok=False)
            joined = [_networks(facts, each) for each in found_all]
            common = sorted({net for n, one in enumerate(joined) for two in joined[:n] for net in one & two})
            if not any(self.name in each for each in joined):
                return Seen("none of them is connected", ok=False)
            return Seen(f"in common: {', '.join(common) or 'none'}", ok=not common)

        return self._that(
            f"networks of {', '.join(names)}",
            f"{self.name}, and none in common",
            see,
            also=[("container", name) for name in names],
        )

    def internal(self) -> Condition:
        """It leads nowhere outside (``--internal``)."""

        def see(facts: Facts, found: Found) -> Seen:
            return Seen("internal" if found["Internal"] else "with a way outside", ok=bool(found["Internal"]))

        return self._that("kind", "internal", see)


def _networks(facts: Facts, found: Found) -> set[str]:
    """The networks of a container; of one that lives in another's (``--network container:…``), those of that one."""
    mode, _, other = str(found["HostConfig"].get("NetworkMode") or "").partition(":")
    if mode == "container":
        found = facts.once(("owner of a network", other), lambda: facts.ask("inspect_container", other))
    return set(found["NetworkSettings"]["Networks"] or {})


def _at_least_two(names: Iterable[str]) -> list[str]:
    from labkit.errors import UsageError

    checked = [name_of("container", name) for name in names]
    if len(set(checked)) < 2:
        raise UsageError("which containers?", seen=repr(checked), expected="the names of two or more")
    return checked
