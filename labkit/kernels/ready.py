"""Clients of a forked kernel, which need not guess when it is ready.

jupyter_client waits until nothing has come from a new kernel for 0.2 s, since it cannot know what is still to come.
A forked kernel tells its ports only once they are bound, and says when it has done what was asked: that is the last.
"""

from __future__ import annotations

import time
from queue import Empty
from typing import Any

from jupyter_client.blocking.client import BlockingKernelClient
from jupyter_core.utils import run_sync

from labkit.kernels.channels import AttentiveClient

__all__ = ["CLIENTS"]

PATIENCE = 0.02
"""Seconds: what was published before the subscription had reached the kernel will not come, so it is asked again."""


async def _ready(client: Any, timeout: float | None = None) -> None:
    """Wait until the kernel has answered on both channels.  Raises `RuntimeError` after *timeout* seconds."""
    end = None if timeout is None else time.monotonic() + timeout
    while end is None or time.monotonic() < end:
        request = client.kernel_info()
        if await _answered(client, request) and await _idle(client, request):
            return
        if not await client._async_is_alive():
            raise RuntimeError("Kernel died before replying to kernel_info")
    raise RuntimeError(f"Kernel didn't respond in {timeout} seconds")


async def _answered(client: Any, request: str) -> bool:
    try:
        while True:
            message = await client._async_get_shell_msg(timeout=1)
            if message["parent_header"].get("msg_id") == request:
                client._handle_kernel_info_reply(message)
                return True
    except Empty:
        return False


async def _idle(client: Any, request: str) -> bool:
    try:
        while True:
            message = await client._async_get_iopub_msg(timeout=PATIENCE)
            ours = message["parent_header"].get("msg_id") == request
            if ours and message["content"].get("execution_state") == "idle":
                return True
    except Empty:
        return False


class ReadyClient(BlockingKernelClient):
    """For a kernel manager that blocks: that of nbval, and of whoever starts kernels in a script."""

    wait_for_ready = run_sync(_ready)


class AsyncReadyClient(AttentiveClient):
    """For an asynchronous kernel manager: that of nbclient and papermill."""

    wait_for_ready = _ready


CLIENTS = {
    "jupyter_client.blocking.BlockingKernelClient": f"{__name__}.ReadyClient",
    "jupyter_client.asynchronous.AsyncKernelClient": f"{__name__}.AsyncReadyClient",
    f"{AttentiveClient.__module__}.{AttentiveClient.__name__}": f"{__name__}.AsyncReadyClient",
}
"""What kernel managers make by themselves, and what takes its place; one that somebody has chosen stays."""
