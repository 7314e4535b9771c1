"""Read-only views of a live engine: typed facts that print the same in a terminal and in a notebook."""

from labkit.observe.containers import Container, container
from labkit.observe.events import Event, EventLog, engine_time, events
from labkit.observe.kernel import KernelLog, OomKill, kernel_log
from labkit.observe.memory import MemoryCounters, memory
from labkit.observe.quantities import ByteSize, Duration
from labkit.observe.readings import Unreadable
from labkit.observe.tables import Table, Tabular

__all__ = [
    "ByteSize",
    "Container",
    "Duration",
    "Event",
    "EventLog",
    "KernelLog",
    "MemoryCounters",
    "OomKill",
    "Table",
    "Tabular",
    "Unreadable",
    "container",
    "engine_time",
    "events",
    "kernel_log",
    "memory",
]
