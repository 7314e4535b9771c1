"""Read-only views of a live engine: typed facts that print the same in a terminal and in a notebook."""

from labkit.observe.containers import Container, container
from labkit.observe.copies import Copy, copy
from labkit.observe.disk import DiskUsage, Unused, disk_usage, large_files, unused
from labkit.observe.events import Event, EventLog, engine_time, events
from labkit.observe.kernel import KernelLog, OomKill, kernel_log
from labkit.observe.layers import Layer, LayerStack, layer_stack
from labkit.observe.listeners import Binding, Holders, port_holders, wanted_ports
from labkit.observe.memory import MemoryCounters, memory
from labkit.observe.networks import Endpoint, Network, NetworkMap, Pair, network_map
from labkit.observe.quantities import ByteSize, Duration
from labkit.observe.readings import Unreadable
from labkit.observe.stats import Recorder, Sample, Usage
from labkit.observe.tables import Table, Tabular
from labkit.observe.timelines import Cell, Moment, Timeline, timeline
from labkit.observe.volumes import Volume, volume
from labkit.observe.writable import Change, WritableLayer

__all__ = [
    "Binding",
    "ByteSize",
    "Cell",
    "Change",
    "Container",
    "Copy",
    "DiskUsage",
    "Duration",
    "Endpoint",
    "Event",
    "EventLog",
    "Holders",
    "KernelLog",
    "Layer",
    "LayerStack",
    "MemoryCounters",
    "Moment",
    "Network",
    "NetworkMap",
    "OomKill",
    "Pair",
    "Recorder",
    "Sample",
    "Table",
    "Tabular",
    "Timeline",
    "Unreadable",
    "Unused",
    "Usage",
    "Volume",
    "WritableLayer",
    "container",
    "copy",
    "disk_usage",
    "engine_time",
    "events",
    "kernel_log",
    "large_files",
    "layer_stack",
    "memory",
    "network_map",
    "port_holders",
    "timeline",
    "unused",
    "volume",
    "wanted_ports",
]
