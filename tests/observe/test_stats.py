"""What a container uses, against the kernel's own counters."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from labkit.engine import Engine
from labkit.errors import UsageError
from labkit.observe import Recorder, Sample, Usage, cgroups, stats
from labkit.observe.stats import _lacking, sample

BUSY = "x=$(head -c 200000 /dev/zero | tr '\\0' a); while :; do :; done"
MEGABYTE = 2**20


IN_USE = {1: "memory.usage_in_bytes", 2: "memory.current"}
"""By cgroup version."""


def counters(engine: Engine, name: str) -> tuple[int, dict[str, str]]:
    """The memory in use, in bytes, and ``cpu.stat``, from the files of the container's control groups."""
    pid = engine.client.api.inspect_container(name)["State"]["Pid"]
    memory, cpu = (cgroups.of(engine.host, pid, controller) for controller in ("memory", "cpu"))
    in_use = engine.host.read(f"{memory.folder}/{IN_USE[memory.version]}")
    return int(in_use), dict(line.split() for line in engine.host.read(f"{cpu.folder}/cpu.stat").splitlines())


def test_readings_are_the_kernels_counters(engine: Engine) -> None:
    """Memory, CPU time and throttling of a busy container are those of its control group's files; its limits are there."""
    engine.capabilities.require("host", "memory-limit", "cpu-limit")
    engine.client.containers.run(
        "busybox:lab", ["sh", "-c", BUSY], name="ada", detach=True, mem_limit="64m", nano_cpus=20_000_000
    )
    recorder = Recorder(engine, "ada", 60)
    while len((now := recorder.usage).samples) < 3 or now.waited < 0.3 or not now.busiest:
        recorder._done.wait(0.05)
    found = recorder.stop().usage
    last = found.samples[-1]
    in_use, cpu = counters(engine, "ada")
    assert last.memory is not None and abs(last.memory - in_use) < 4 * MEGABYTE
    assert (last.memory_limit, last.cpu_limit) == (64 * MEGABYTE, 0.02)
    waited = int(cpu["nr_throttled"]) / int(cpu["nr_periods"])
    assert found.waited == pytest.approx(waited, abs=0.4)
    assert found.busiest is not None and 0 < found.busiest < 0.3
    assert not recorder.recording and not found.unread


def test_a_recording_does_not_outlive_its_engine_for_long(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When no reading can be had any more, it is over, whatever time it had, and says why."""

    def gone(_: Recorder) -> bool:
        raise ConnectionError

    monkeypatch.setattr(stats, "PATIENCE", 0.2)
    monkeypatch.setattr(Recorder, "_read", gone)
    engine.client.containers.create("busybox:lab", name="left")
    assert Recorder(engine, "left", 3600).wait().usage.words() == {"readings": "none: the engine is gone"}


def test_what_ended_and_what_is_not_there(engine: Engine) -> None:
    """A container that never ran has no readings; one that is removed ends the recording; of one that is not there, an error."""
    engine.client.containers.create("busybox:lab", name="idle")
    looked = threading.Event()
    recorder = Recorder(engine, "idle", 60, looked.set)
    assert looked.wait(120)
    engine.client.api.remove_container("idle")
    assert recorder.wait().usage.words() == {"readings": "none: it was not running"}
    with pytest.raises(UsageError, match="no-such"):
        Recorder(engine, "no-such", 1)
    with pytest.raises(UsageError, match="seconds above 0"):
        Recorder(engine, "idle", 0)


@pytest.mark.parametrize(
    ("memory", "told"),
    [
        (10, "limit 100b, stayed below half of it"),
        (60, "limit 100b, stayed below it"),
        (99, "limit 100b, reached it"),
    ],
)
def test_words_are_as_coarse_as_repeats(memory: int, told: str) -> None:
    """How near memory came to its limit, in three steps."""
    assert Usage("web", (Sample(0, memory, 0.1, 0, 100, 0.5),)).words()["memory"] == told


@pytest.mark.parametrize(
    ("waited", "told"),
    [(0.01, "not throttled"), (0.2, "throttled at times"), (0.8, "throttled most of the time")],
)
def test_words_of_the_cpu(waited: float, told: str) -> None:
    """How often it had to wait, in three steps; without a limit that is said."""
    assert (
        Usage("web", (Sample(0, 1, 0.1, 0, None, 0.5),), waited=waited).words()["CPU"] == f"limit 0.5, {told}"
    )
    assert Usage("web", (Sample(0, 1, 0.1),)).words() == {
        "memory": "no limit, in use",
        "CPU": "no limit, not throttled",
    }


def test_a_limit_that_was_hit_between_two_readings_counts() -> None:
    """The kernel counts each time; the readings need not have seen it."""
    assert "reached it" in Usage("web", (Sample(0, 1, None, 0, 100),), hit=True).words()["memory"]


def told(second: int, **counters: int) -> dict[str, Any]:
    """An answer of the engine's, so many seconds after the first; without *counters* as where there is no control group."""
    throttling = {key: counters.get(key, 0) for key in ("periods", "throttled_periods")}
    return {
        "read": f"2026-01-01T00:00:0{second}Z",
        "cpu_stats": {"cpu_usage": {"total_usage": counters.get("cpu", 0)}, "throttling_data": throttling},
        "memory_stats": {"usage": counters["memory"]} if "memory" in counters else {},
    }


def test_a_reading_is_the_difference_to_the_one_before() -> None:
    """CPU time by the time between them, throttled periods by all; a quota is a limit too; -1 is none."""
    before, now = (
        told(1, cpu=10**9, periods=5, memory=7),
        told(3, cpu=2 * 10**9, periods=15, throttled_periods=5, memory=9),
    )
    found = sample(now, before, {"CpuQuota": 50_000, "CpuPeriod": 100_000, "Memory": 100}, 1767225600.0)
    assert found == Sample(3, 9, 0.5, 0.5, 100, 0.5)
    assert sample(now, before, {"CpuQuota": -1}, 0).cpu_limit is None
    assert sample(told(2, cpu=5), now, {}, 0).cpus is None, "the container was restarted between them"


def test_without_a_control_group_the_reason_is_told() -> None:
    """An engine that keeps no counters (rootless, without delegated groups) has none to show: no zeros, but why."""
    samples = [sample(told(second), told(second - 1), {}, 0) for second in (1, 2)]
    assert [(each.memory, each.cpus) for each in samples] == [(None, None)] * 2
    assert [each.source for each in _lacking(samples)] == ["memory", "CPU"]
    assert Usage("web", tuple(samples)).words() == {
        "memory": "no limit, not readable",
        "CPU": "no limit, not readable",
    }
