"""One docker command in three views: as typed, as HTTP requests, and as calls of docker-py."""

from labkit.lab.tracing.recording import SECONDS, trace
from labkit.lab.tracing.traces import Command, Step, Trace

__all__ = ["SECONDS", "Command", "Step", "Trace", "trace"]
