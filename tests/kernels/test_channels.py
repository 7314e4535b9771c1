"""A client that speaks while it listens hears the answer."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import nbformat
import pytest
import zmq
import zmq.asyncio
from jupyter_client import AsyncKernelManager
from jupyter_client.asynchronous.client import AsyncKernelClient
from jupyter_client.channels import AsyncZMQSocketChannel
from jupyter_client.session import Session
from traitlets.utils.importstring import import_item

from labkit.kernels import ready
from labkit.kernels.channels import AttentiveChannel
from labkit.runbook.progress import Silent
from labkit.runbook.saving import Saving
from labkit.runbook.steps import Stepping


async def heard(kind: type[AsyncZMQSocketChannel]) -> bool:
    """Whether who waits on a channel gets an answer that came just before something was sent on it."""
    context, session = zmq.asyncio.Context(), Session(key=b"key")
    kernel, client = zmq.Socket(zmq.Context.shadow(context), zmq.ROUTER), context.socket(zmq.DEALER)
    channel = kind(client, session)
    try:
        kernel.bind("inproc://kernel")  # where what is sent has come at once
        client.connect("inproc://kernel")
        channel.send(session.msg("execute_request"))
        address = kernel.recv_multipart()[0]
        waiting = asyncio.ensure_future(channel.get_msg(timeout=None))
        await asyncio.sleep(0)
        session.send(kernel, "execute_reply", {}, ident=address)
        time.sleep(0.05)  # a send looks at what has come, if the last look was more than a millisecond ago
        channel.send(session.msg("comm_msg"))
        done, _ = await asyncio.wait([waiting], timeout=60 if kind is AttentiveChannel else 1)
        waiting.cancel()
        return bool(done)
    finally:
        channel.close()
        kernel.close(0)
        context.term()


@pytest.mark.parametrize(("kind", "hears"), [(AttentiveChannel, True), (AsyncZMQSocketChannel, False)])
def test_sending_does_not_deafen(kind: type[AsyncZMQSocketChannel], hears: bool) -> None:
    """The answer that came before a message was sent is heard; jupyter_client's own channel, which waits on, is why."""
    assert asyncio.run(heard(kind)) is hears


def test_a_run_listens_so_to_every_kernel() -> None:
    """A run's client hears answers while it sends, of an ordinary kernel and of a forked one; a client that was chosen stays."""
    saving = Saving(nbformat.v4.new_notebook(), output_path=None, progress_bar=False, log_output=False)
    stepping = Stepping(saving, None, limits=(None, None), progress=Silent(), kernel_name="python3")
    manager = stepping.create_kernel_manager()
    chosen = str(manager.client_class)
    for client in (manager.client_factory, import_item(ready.CLIENTS[chosen])):
        assert client.shell_channel_class.klass is AttentiveChannel
    stepping.kernel_manager_class = "tests.kernels.test_channels.Own"
    assert stepping.create_kernel_manager().client_class == Own.CLIENT


class Own(AsyncKernelManager):
    """A kernel manager with a client that somebody has chosen."""

    CLIENT = f"{__name__}.Chosen"

    def __init__(self, **options: Any) -> None:
        super().__init__(client_class=self.CLIENT, **options)


class Chosen(AsyncKernelClient):
    """That client."""
