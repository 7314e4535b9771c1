"""What one container uses of memory and CPU over time, against its limits.

Readings are the engine's (``GET /containers/ID/stats?one-shot=1``, API 1.41; version 20.10 gives one a second), which
are the kernel's counters of the container's control group.  Memory is what the limit counts, the page cache too (kernel,
cgroup-v1/memory).  A period is the stretch of time, 0.1 s unless said otherwise, in which a CPU limit is given out; who
has used it up waits for the next one, and is *throttled* (kernel, scheduler/sched-bwc).
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Self

from labkit.errors import UsageError
from labkit.observe.containers import container
from labkit.observe.quantities import ByteSize, CPUs
from labkit.observe.readings import Unreadable
from labkit.observe.tables import Table, Tabular

if TYPE_CHECKING:
    from labkit.engine import Engine

__all__ = ["Recorder", "Sample", "Usage"]

EVERY = 0.25
"""Seconds between readings, of a recording of up to `MOST` of them."""
MOST = 400
PATIENCE = 60.0
"""Seconds without an answer after which the engine counts as gone, and the recording is over."""
REACHED = 0.98
"""The share of a limit from which on it counts as reached."""
NO_GROUP = "the engine keeps no such counter for its containers: they have no control group"


@dataclass(frozen=True)
class Sample:
    """One reading, *at* so many seconds after the first.

    *memory* in bytes; *cpus*: how many were used on average since the reading before; None: not to be had, or there was
    none before.  *throttled*: the share of the periods since then in which it had to wait.  A limit of None: there is none.
    """

    at: float
    memory: int | None
    cpus: float | None
    throttled: float = 0
    memory_limit: int | None = None
    cpu_limit: float | None = None


@dataclass(frozen=True, repr=False)
class Usage(Tabular):
    """The *samples* of a container, in their order, and how it *ended*, if it did while they were taken.

    *waited*: the share of all periods in which it was throttled.  *hit*: whether its memory limit was reached, also between
    two readings.
    """

    container: str
    samples: tuple[Sample, ...]
    ended: str = ""
    waited: float = 0
    hit: bool = False
    unread: tuple[Unreadable, ...] = ()

    @property
    def peak(self) -> int | None:
        """The most memory that was seen, in bytes."""
        return max((each.memory for each in self.samples if each.memory is not None), default=None)

    @property
    def busiest(self) -> float | None:
        """The most CPUs that were seen in use."""
        return max((each.cpus for each in self.samples if each.cpus is not None), default=None)

    @property
    def seconds(self) -> float:
        """From the first reading to the last."""
        return self.samples[-1].at if self.samples else 0

    def words(self) -> dict[str, str]:
        """What can be said of memory and CPU that is the same when it is recorded again."""
        if not self.samples:
            return {"readings": f"none: {self.ended}" if self.ended else "none yet"}
        last = self.samples[-1]
        return {
            "memory": f"{_limit(last.memory_limit, lambda n: str(ByteSize(n)))}, {self._memory_words(last)}",
            "CPU": f"{_limit(last.cpu_limit, lambda n: str(CPUs(n)))}, {self._cpu_words()}",
            **({"ended": self.ended} if self.ended else {}),
        }

    def _memory_words(self, last: Sample) -> str:
        if self.peak is None:
            return "not readable"
        if last.memory_limit is None:
            return "in use"
        share = self.peak / last.memory_limit
        return (
            "reached it" if self.hit or share >= REACHED else f"stayed below {'half of ' * (share < 0.5)}it"
        )

    def _cpu_words(self) -> str:
        if self.busiest is None:
            return "not readable"
        return (
            "throttled most of the time"
            if self.waited >= 0.5
            else "throttled at times"
            if self.waited >= 0.05
            else "not throttled"
        )

    def table(self) -> Table:
        return Table(["usage", "of " + self.container], self.words().items())

    def details(self) -> Table:
        peak = "-" if self.peak is None else ByteSize(self.peak).rounded()
        busiest = "-" if self.busiest is None else f"{self.busiest:.2f}"
        rows = [
            ("readings", f"{len(self.samples)} in {self.seconds:.1f} s"),
            ("most memory", peak),
            ("most CPUs", busiest),
            ("periods throttled", f"{self.waited:.0%}"),
        ]
        return Table(["usage", "of " + self.container], [*self.words().items(), *rows])


def _limit(limit: Any, told: Callable[[Any], str]) -> str:
    return "no limit" if limit is None else f"limit {told(limit)}"


class Recorder:
    """Takes readings of the container *name* in a thread of its own, for so many *seconds* or until `stop`.

    *heard* is called with no lock held whenever there is another reading, and at the end.  Raises `UsageError` where there
    is no such container.
    """

    def __init__(
        self, engine: Engine, name: str, seconds: float, heard: Callable[[], None] = lambda: None
    ) -> None:
        if not seconds > 0:
            raise UsageError("a recording takes some time", seen=f"{seconds} s", expected="seconds above 0")
        self.name, self._seconds, self._heard = container(engine, name).name, seconds, heard
        self._engine = engine
        self._every = max(EVERY, seconds / MOST)
        self._samples: list[Sample] = []
        self._ended = ""
        self._first = 0.0
        self._before: dict[str, Any] = {}
        self._counts = [0, 0, 0]  # periods, throttled ones, times at the memory limit
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._record, name=f"labkit-usage-{name}", daemon=True)
        self._thread.start()

    @property
    def recording(self) -> bool:
        """Whether it goes on."""
        return self._thread.is_alive()

    def stop(self) -> Self:
        """End the recording, with a last reading."""
        self._done.set()
        return self.wait()

    def wait(self) -> Self:
        """Return when the recording has ended."""
        if threading.current_thread() is not self._thread:
            self._thread.join()
        return self

    @property
    def usage(self) -> Usage:
        """What was recorded so far."""
        samples = tuple(self._samples)
        periods, throttled, hit = self._counts
        waited = throttled / periods if periods else 0.0
        return Usage(
            self.name, samples, self._ended, waited, hit > 0 or "memory" in self._ended, _lacking(samples)
        )

    def _record(self) -> None:
        until = time.monotonic() + self._seconds
        last, answered = False, time.monotonic()
        while not last:
            last = self._done.is_set() or time.monotonic() >= until
            # whatever a daemon that goes away, or is restarted, makes of a request: then there is a gap
            with suppress(Exception):
                last = self._read() or last
                answered = time.monotonic()
            if time.monotonic() - answered > PATIENCE:
                self._ended, last = self._ended or "the engine is gone", True
            self._heard()
            if not last:
                self._done.wait(min(self._every, max(0.0, until - time.monotonic())))

    def _read(self) -> bool:
        """Take one reading; return whether it was the last that there can be."""
        import docker.errors

        try:
            found = self._engine.client.api.inspect_container(self.name)
            now = self._engine.client.api.stats(self.name, stream=False, one_shot=True)
        except docker.errors.NotFound:
            self._ended = self._ended or "removed"
            return True
        state = found["State"]
        if not state["Running"]:
            if not self._samples:
                self._ended = "it was not running"
            elif state["Status"] != "restarting":
                killed = ", a process was killed for memory" if state["OOMKilled"] else ""
                self._ended = f"exit code {state['ExitCode']}{killed}"
            self._before = {}
            return False
        self._ended = ""
        if now["read"].startswith("0001"):  # nothing could be read
            now = {**now, "read": datetime.now(UTC).isoformat()}
        self._first = self._first or _moment(now)
        before = self._before or now
        self._samples.append(sample(now, before, found["HostConfig"], self._first))
        for index, more in enumerate(_counted(now, before)):
            self._counts[index] += more
        self._before = now
        return False


def sample(now: dict[str, Any], before: dict[str, Any], host: dict[str, Any], first: float) -> Sample:
    """What the engine's stats of *now* tell, compared with those of *before*, and the limits in *host* (``HostConfig``).

    *first*: the moment of the first reading, in seconds since 1970.
    """
    at, cpu = _moment(now), now["cpu_stats"]
    passed, used = at - _moment(before), _usage(cpu) - _usage(before["cpu_stats"])
    periods, throttled, _ = _counted(now, before)
    quota = host.get("CpuQuota") or 0
    cpus = (host.get("NanoCpus") or 0) / 1e9 or max(0, quota) / (host.get("CpuPeriod") or 100_000)
    return Sample(
        at=round(at - first, 3),
        memory=(now.get("memory_stats") or {}).get("usage"),
        cpus=used / 1e9 / passed if passed > 0 and used >= 0 and _usage(cpu) else None,
        throttled=throttled / periods if periods else 0.0,
        memory_limit=host.get("Memory") or None,
        cpu_limit=cpus or None,
    )


def _counted(now: dict[str, Any], before: dict[str, Any]) -> tuple[int, int, int]:
    """Since *before*: periods, those in which it was throttled, and how often the memory limit was in the way."""

    def more(group: str, key: str) -> int:
        return max(0, _counter(now, group, key) - _counter(before, group, key))

    return (
        more("cpu_stats", "periods"),
        more("cpu_stats", "throttled_periods"),
        more("memory_stats", "failcnt"),
    )


def _counter(reading: dict[str, Any], group: str, key: str) -> int:
    values = reading.get(group) or {}
    return int((values.get("throttling_data") or values).get(key) or 0)


def _usage(cpu: dict[str, Any]) -> int:
    return int((cpu.get("cpu_usage") or {}).get("total_usage") or 0)


def _moment(reading: dict[str, Any]) -> float:
    return datetime.fromisoformat(reading["read"]).timestamp()


def _lacking(samples: Sequence[Sample]) -> tuple[Unreadable, ...]:
    """What no reading had, and why."""
    values: dict[str, list[Any]] = {
        "memory": [each.memory for each in samples],
        "CPU": [each.cpus for each in samples[1:]],
    }
    return tuple(
        Unreadable(source, NO_GROUP)
        for source, found in values.items()
        if found and all(value is None for value in found)
    )
