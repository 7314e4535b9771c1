"""Forked kernels for everybody who starts kernels with jupyter_client: papermill, nbval, nbclient, JupyterLab.

The kernelspec ``labkit`` names this provisioner.  Where no zygote can be had, or one that is stuck, the kernel is an
ordinary ipykernel.
"""

from __future__ import annotations

import asyncio
import os
import pathlib
import signal
import socket
import sys
from contextlib import ExitStack, suppress
from subprocess import DEVNULL, STDOUT
from typing import Any

from jupyter_client.connect import port_names
from jupyter_client.provisioning.local_provisioner import LocalProvisioner

from labkit.engine.processes import Process
from labkit.errors import LabkitError
from labkit.kernels import client, ready, starting, wire

__all__ = ["ForkedProvisioner"]

START_SECONDS = 60.0
"""How long a kernel may wait for a zygote that does its imports."""


class Forked:
    """A kernel that was forked: what `subprocess.Popen` offers for one that was started."""

    stdin = stdout = stderr = None

    def __init__(self, connection: socket.socket, pid: int) -> None:
        self.pid = pid
        self.returncode: int | None = None
        self.connection = connection  # the kernel lives as long as we hold this
        connection.setblocking(False)
        self._seen = b""
        self._given_up = False

    def poll(self) -> int | None:
        """Its exit code, negative for a signal, or None while it lives."""
        while self.returncode is None:
            try:
                data = self.connection.recv(4096)
            except BlockingIOError:
                if not self._given_up or _alive(self.pid):
                    return None
                data = b""
            except OSError:
                data = b""
            self._seen += data
            if not data:
                status = wire.parsed(self._seen)
                self.returncode = os.waitstatus_to_exitcode(status["status"]) if status else -signal.SIGKILL
                with suppress(OSError):
                    self.connection.shutdown(socket.SHUT_RDWR)  # for whoever waits for it
                self.connection.close()
        return self.returncode

    def give_up(self) -> None:
        """From now on do not wait for the zygote, which may be stuck, to tell that the process has ended."""
        self._given_up = True

    def wait(self, timeout: float | None = None) -> int | None:
        """Its exit code, once it is known."""
        return self.poll()

    def send_signal(self, number: int) -> None:
        """Send it a signal, unless it has ended."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def terminate(self) -> None:
        """SIGTERM."""
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """SIGKILL."""
        self.send_signal(signal.SIGKILL)


class ForkedProvisioner(LocalProvisioner):
    """A local provisioner whose kernels are forks of the zygote."""

    _launched = False

    async def pre_launch(self, **kwargs: Any) -> dict[str, Any]:
        """As for a local kernel; ports are not reserved, since a forked kernel chooses them while it binds them."""
        if self.parent is not None:
            self.parent.cache_ports = False
        return await super().pre_launch(**kwargs)

    async def launch_kernel(self, cmd: list[str], **kwargs: Any) -> Any:
        """Fork a kernel, or start an ordinary one."""
        fresh, self._launched = not self._launched, True
        try:
            forked = await asyncio.get_running_loop().run_in_executor(None, _forked, cmd, kwargs, fresh)
        except (OSError, ValueError, LabkitError) as error:
            why = "; ".join(" ".join(line.split()) for line in str(error).splitlines())
            print(f"labkit: no forked kernel ({why}); this one starts the ordinary way", file=sys.stderr)
            forked = None
        if forked is None:
            return await super().launch_kernel(cmd, **kwargs)
        connection, reply = forked
        self.process = Forked(connection, reply["pid"])  # type: ignore[assignment]
        self.pid = self.pgid = reply["pid"]
        self.cwd = kwargs.get("cwd", pathlib.Path.cwd())
        self._learn(reply["ports"])
        self.parent.client_class = ready.CLIENTS.get(self.parent.client_class, self.parent.client_class)  # type: ignore[union-attr]
        return self.connection_info

    def _learn(self, ports: dict[str, int]) -> None:
        self.connection_info.update(ports)  # type: ignore[typeddict-item]
        for name, port in ports.items():
            setattr(self.parent, name, port)

    async def kill(self, restart: bool = False) -> None:
        """Kill the kernel; of a forked one the end is awaited, since who looks too early looks again 0.1 s later."""
        await super().kill(restart)
        if isinstance(self.process, Forked):
            try:
                await asyncio.wait_for(self._ended(self.process), 1)
            except TimeoutError:
                self.process.give_up()

    async def _ended(self, process: Forked) -> None:
        while process.poll() is None:
            await wire.readable(process.connection)

    async def wait(self) -> int | None:
        """Wait for the kernel's end, without polling where it was forked."""
        if isinstance(self.process, Forked):
            await self._ended(self.process)
            code, self.process = self.process.returncode, None
            return code
        return await super().wait()


def _forked(
    cmd: list[str], options: dict[str, Any], fresh: bool
) -> tuple[socket.socket, dict[str, Any]] | None:
    """A forked kernel, where forking is wanted; starts a zygote when there is none, or a stale one."""
    if not starting.wanted():
        return None
    for _ in range(2):
        connection = starting.connect()
        if connection is None:
            connection = starting.connect(START_SECONDS, starting.start())
        if connection is None:
            break
        try:
            if reply := _ask(connection, cmd, options, fresh):
                return connection, reply
        except ConnectionError:  # a stale one goes without a word
            pass
        except BaseException:
            connection.close()
            raise
        connection.close()
    raise OSError("the fork server did not answer")


def _ask(
    connection: socket.socket, cmd: list[str], options: dict[str, Any], fresh: bool
) -> dict[str, Any] | None:
    """Have a kernel forked; None when the zygote does not take us."""
    module = cmd.index("ipykernel_launcher")
    with ExitStack() as opened:
        null = os.open(os.devnull, os.O_RDWR)
        opened.callback(os.close, null)
        folder = os.open(options.get("cwd") or ".", os.O_PATH | os.O_DIRECTORY)
        opened.callback(os.close, folder)
        out = _file(options.get("stdout"), 1, {DEVNULL: null})
        error = _file(options.get("stderr"), 2, {DEVNULL: null, STDOUT: out})
        files = [null, out, error, folder]
        client.ask(
            connection,
            files,
            kind="kernel",
            argv=cmd[module:],
            # as jupyter_client does for the kernels that it starts itself
            environ={**(options.get("env") or os.environ), "JPY_PARENT_PID": str(os.getpid())},
            fresh=fresh,
            ports=list(port_names),
        )
    connection.settimeout(starting.PATIENCE)  # a kernel that is forked too late ends, since nobody is there
    if connection.recv(1) != b"+":
        return None
    connection.settimeout(START_SECONDS)
    reply = wire.receive(connection)
    return reply if reply and "ports" in reply else None


def _alive(pid: int) -> bool:
    with suppress(ProcessLookupError):
        return Process.of(pid).alive
    return False


def _file(chosen: Any, number: int, meant: dict[int, int]) -> int:
    """The descriptor for a stream of the kernel: that of what was *chosen* as for `subprocess.Popen`, or our own, *number*.

    *meant*: what stands for a descriptor there, and the one that it stands for.
    """
    with suppress(AttributeError, OSError, ValueError):
        return int(chosen.fileno())
    if isinstance(chosen, int):
        return chosen if chosen >= 0 else meant.get(chosen, number)
    return number
