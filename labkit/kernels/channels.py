"""A client of a kernel that can speak while it listens: no answer is overlooked.

nbclient sends what an Output widget shows back to the kernel while it waits on the same socket for the cell's answer.
ZeroMQ says only once that something has come (zmq_getsockopt(3), ZMQ_FD: edge-triggered), and says it to whoever uses the
socket next.  jupyter_client sends past `zmq.asyncio`, so when that is the sender, who waits never hears of it: without a
time limit for ever, with one until it is over.
"""

from __future__ import annotations

from typing import Any

import zmq
from jupyter_client.asynchronous.client import AsyncKernelClient
from jupyter_client.channels import AsyncZMQSocketChannel
from traitlets import Type

__all__ = ["AttentiveChannel", "AttentiveClient"]


class AttentiveChannel(AsyncZMQSocketChannel):
    """A channel on which sending does not deafen who waits for an answer."""

    def send(self, msg: dict[str, Any]) -> None:
        """Send *msg*; and whoever waits looks again, since `zmq.asyncio` tells them when it is asked for the events."""
        super().send(msg)
        self.socket.get(zmq.EVENTS)


class AttentiveClient(AsyncKernelClient):
    """For an asynchronous kernel manager, whatever its kernel."""

    shell_channel_class = Type(AttentiveChannel)
    control_channel_class = Type(AttentiveChannel)
