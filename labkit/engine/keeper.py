"""The keeper of one private engine: a small process that starts it, watches its owner, and clears everything away.

It runs beside the owner, in a session of its own, so that the owner may be killed with SIGKILL and the engine still
ends without a trace.  Should the keeper itself be killed, the kernel ends the engine (``PR_SET_PDEATHSIG``), and
`labkit.engine.records.collect` removes the folders that are left.

It is started before the engine's folders are made.  It speaks to its owner through standard input, ``go`` once the
folders are written, and standard output: one line, ``ready`` or ``failed REASON``.
Only the standard library is used here: the keeper's start is part of the engine's.
"""

from __future__ import annotations

import json
import os
import select
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

from labkit.engine import cgroups, daemon, locks, loops
from labkit.engine.processes import Process

__all__ = ["GO", "clear", "main"]

DIES_WITH_ME = ["setpriv", "--pdeathsig", "KILL"]
GO = b"go\n"
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
START_TIMEOUT = 180.0
"""Seconds that a daemon may take to answer; on a machine that is very busy, one was seen to take more than 60."""


class Keeper:
    """One engine from its start to its end; *record* is what the owner wrote down for it in ``engine.json``."""

    def __init__(self, record: dict[str, Any]) -> None:
        self.record = record
        self.folder = Path(record["folder"])
        self.log = (self.folder / "keeper.log").open("ab", buffering=0)
        # without an owner, only a signal ends it
        self.watched = [Process(**record["owner"]).open()] if record["owner"] else []
        self.boot: subprocess.Popen[bytes] | None = None
        self.slirp: subprocess.Popen[bytes] | None = None
        self.wake, wakeup = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        os.set_blocking(wakeup, False)
        signal.set_wakeup_fd(wakeup)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, lambda *_: None)

    # -- start

    def start(self) -> None:
        """Boot the engine's host and daemon; return when the daemon answers."""
        self.record["keeper"] = vars(Process.current())
        self.save()  # from here on it can be asked to end
        made = cgroups.create(self.record["id"]) if self.record["own_cgroups"] else []
        self.record["cgroups"] = [str(path) for path in made]
        self.save()
        command = ["sh", self.record["boot"], "outside"]
        scoped = self.record["own_cgroups"] and not made and cgroups.scoped()
        if scoped:
            command = cgroups.in_scope(self.record["id"], command)
        self.boot = self.spawn(command, env=self.boot_environment(own_cgroups=bool(made or scoped)))
        init = self.find_init()
        if scoped:
            self.record["cgroups"] = [str(cgroups.of(init).parent)]
        self.record["init"] = vars(Process.of(init))
        self.save()
        ready = self.start_network(init)
        self.await_daemon(init)
        if ready is not None:
            self.await_network(ready, init)
        self.record["devices"] = loops.filesystems(init)
        self.record["state"] = "ready"
        self.save()

    def boot_environment(self, *, own_cgroups: bool) -> dict[str, str]:
        groups = self.record["cgroups"]
        unified = own_cgroups and any(h.unified for h in cgroups.hierarchies())
        links = (
            {p.name: str(p.readlink()) for p in Path("/sys/fs/cgroup").iterdir() if p.is_symlink()}
            if groups
            else {}
        )
        return {
            "PATH": PATH,
            "RUN": str(self.folder),
            "CGROUPS": " ".join(groups),
            "CGROUP_LINKS": " ".join(f"{name}={target}" for name, target in links.items()),
            "UNIFIED": "1" if unified else "",
            "ROOTLESS": "1" if self.record["rootless"] else "",
            "SKELETON": f"{self.record['data']}/upper" if self.record["on_tmpfs"] else "",
            "SUBMOUNTS": " ".join(self.record["submounts"]),
            "HOSTNAME": self.record["hostname"],
        }

    def spawn(self, command: list[str], **options: Any) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [*DIES_WITH_ME, *command], stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log, **options
        )

    def find_init(self) -> int:
        """The process number, seen from here, of the first process of the engine's pid namespace."""
        assert self.boot is not None
        children = Path(f"/proc/{self.boot.pid}/task/{self.boot.pid}/children")
        ours = Path("/proc/self/ns/pid").readlink()
        for _ in self.patiently("the namespaces were not made"):
            for pid in children.read_text(encoding="utf-8").split():
                # newuidmap runs as a child too, but in our own pid namespace
                with suppress(OSError):
                    if Path(f"/proc/{pid}/ns/pid").readlink() != ours:
                        return int(pid)
        raise AssertionError

    def start_network(self, init: int) -> int | None:
        """Start slirp4netns on the engine's network; return the descriptor on which it says that it is ready."""
        if not self.record["slirp"]:
            return None
        ready, theirs = os.pipe()
        self.slirp = self.spawn(
            [
                *self.record["slirp"],
                "--configure",
                "--mtu=65520",
                f"--ready-fd={theirs}",
                f"--api-socket={self.folder}/slirp.sock",
                str(init),
                "tap0",
            ],
            pass_fds=(theirs,),
        )
        os.close(theirs)
        return ready

    def await_network(self, ready: int, init: int) -> None:
        for _ in self.patiently("slirp4netns did not start"):
            if select.select([ready], [], [], 0.01)[0]:
                if os.read(ready, 1) != b"1":
                    raise RuntimeError(f"slirp4netns did not start\n{self.log_tail('keeper.log')}")
                break
        os.close(ready)
        # a port published on 127.0.0.1 of the engine's host is reached through tap0 as well (kernel ip-sysctl)
        user = ["--user", "--preserve-credentials"] if self.record["rootless"] else []
        knob = "/proc/sys/net/ipv4/conf/tap0/route_localnet"
        self.spawn(
            ["nsenter", f"--target={init}", *user, "--net", "--mount", "sh", "-c", f"echo 1 >{knob}"]
        ).wait()

    def await_daemon(self, init: int) -> None:
        api = self.folder / "run/docker.sock"
        for _ in self.patiently("the daemon did not answer"):
            if daemon.answers(api):
                return
            if daemon.has_ended(init):
                raise RuntimeError(f"the daemon ended at its start\n{self.log_tail('run/dockerd.log')}")

    def patiently(self, complaint: str) -> Any:
        """Yield every few milliseconds until the deadline; raise when time is up or a process that is needed has ended."""
        end = time.monotonic() + START_TIMEOUT
        while time.monotonic() < end:
            yield
            if self.ended([*self.watched, self.wake]):
                raise RuntimeError("the owner ended, or asked for the end, during the start")
            for process in (self.boot, self.slirp):
                if process is not None and process.poll() is not None:
                    raise RuntimeError(
                        f"{complaint}\n{self.log_tail('keeper.log')}{self.log_tail('run/dockerd.log')}"
                    )
            time.sleep(0.002)
        raise RuntimeError(f"{complaint} within {START_TIMEOUT:.0f} s\n{self.log_tail('run/dockerd.log')}")

    def log_tail(self, name: str) -> str:
        with suppress(OSError):
            return (self.folder / name).read_text(errors="replace", encoding="utf-8")[-1500:]
        return ""

    def save(self) -> None:
        """Write ``engine.json``, whole or not at all."""
        fresh = self.folder / "engine.json.new"
        fresh.write_text(json.dumps(self.record), encoding="utf-8")
        fresh.replace(self.folder / "engine.json")

    # -- watch and end

    def watch(self) -> None:
        """Wait for the end: the owner's, the engine's own, or the one that a signal asks for."""
        assert self.boot is not None
        ends = [*self.watched, os.pidfd_open(self.boot.pid), self.wake]
        if self.slirp is not None:
            self.forward_ports(self.slirp, ends)
        self.ended(ends, None)

    def forward_ports(self, slirp: subprocess.Popen[bytes], ends: list[int]) -> None:
        """Forward published ports until one of the *ends*; where *slirp* ends before them, write that down and return."""
        from labkit.engine.ports import Forwarder

        forwarder = Forwarder(
            self.folder / "slirp.sock", self.folder / "run/docker.sock", self.folder / "ports.json"
        )
        threading.Thread(target=forwarder.follow, daemon=True).start()
        self.ended([*ends, os.pidfd_open(slirp.pid)], None)
        if not self.ended(ends):
            code = slirp.wait()
            how = f"ended with exit code {code}" if code >= 0 else f"was ended by signal {-code}"
            self.record["cut_off"] = f"slirp4netns {how}"
            self.save()
            forwarder.cut_off = self.record["cut_off"]  # who finds a port cut off finds why the engine is

    @staticmethod
    def ended(descriptors: list[int], timeout: float | None = 0) -> bool:
        poll = select.poll()
        for descriptor in descriptors:
            poll.register(descriptor, select.POLLIN)
        return bool(poll.poll(timeout))

    def end(self) -> None:
        """End the engine at once, with all that runs in it, and remove what it leaves."""
        devices: list[int] = self.record.get("devices", [])
        if "init" in self.record:
            devices = loops.filesystems(self.record["init"]["pid"]) or devices
            Process(**self.record["init"]).signal(signal.SIGKILL)
            cgroups.thaw([Path(path) for path in self.record["cgroups"]])
        for process in (self.boot, self.slirp):
            if process is not None:
                if process is self.slirp or "init" not in self.record:
                    process.kill()
                process.wait()
        clear(self.record, devices)


def clear(record: dict[str, Any], devices: Sequence[int] = ()) -> list[str]:
    """Remove what an engine that has ended leaves: its loop devices, cgroup folders, data and runtime folder.

    *devices*: numbers of the file systems that only it had.  Returns what could not be removed.
    """
    loops.detach(devices, Path(record["data"]))
    left = [path for path in record.get("cgroups", []) if not cgroups.remove(Path(path))]
    for path in (record["data"], record["folder"]):
        if path and not erase(Path(path), rootless=record["rootless"]):
            left.append(path)
    return left


def erase(folder: Path, *, rootless: bool) -> bool:
    """Delete a folder whatever it holds: files of a rootless engine's other users, files made immutable.

    Of a link, only the link.
    """
    prefix = ["unshare", "--user", "--map-root-user", "--map-auto"] if rootless else []
    with suppress(OSError):
        if folder.is_symlink() or folder.is_file():
            folder.unlink()
        else:
            shutil.rmtree(folder)
    if folder.exists():
        subprocess.run([*prefix, "rm", "-rf", "--", folder], stderr=subprocess.DEVNULL, check=False)
    if folder.exists() and shutil.which("chattr"):
        subprocess.run(
            [*prefix, "chattr", "-R", "-f", "-i", "-a", folder], stderr=subprocess.DEVNULL, check=False
        )
        subprocess.run([*prefix, "rm", "-rf", "--", folder], stderr=subprocess.DEVNULL, check=False)
    return not folder.exists()


def main(folder: str, data: str) -> int:
    """Keep the engine whose record will be in *folder*, and whose files in *data*; return when nothing of it is left."""
    if sys.stdin.buffer.read() != GO:
        abandon([Path(folder), Path(data)])
        return 1
    record = json.loads((Path(folder) / "engine.json").read_text(encoding="utf-8"))
    with locks.using(Path(data)):  # the owner, who used it until now, lets go when we answer
        return keep(record)


def keep(record: dict[str, Any]) -> int:
    """Start the engine, keep it to its end, and clear it away; return the exit code."""
    try:
        keeper = Keeper(record)
    except ProcessLookupError:
        clear(record)
        answer("failed the process that it belongs to has ended: a notebook server, for example")
        return 1
    failure = ""
    held = ExitStack()
    try:
        if record["pack_folder"]:
            held.enter_context(locks.using(Path(record["pack_folder"])))
        keeper.start()
        if not answer("ready\n") and not keeper.watched:
            raise RuntimeError("who asked for it has ended, so nobody would know of it")
        os.dup2(keeper.log.fileno(), 1)  # lets the owner see the end of our answer
        os.dup2(keeper.log.fileno(), 2)
        keeper.watch()
    except Exception as error:
        failure = f"failed {error}"
    finally:
        keeper.end()
        held.close()
    answer(failure)
    return 1 if failure else 0


def answer(text: str) -> bool:
    """Tell who asked for the engine; false if that process has ended."""
    with suppress(BrokenPipeError):
        os.write(1, text.encode())
        return True
    return False


def abandon(folders: list[Path], deadline: float = 10) -> None:
    """Delete what an owner left that ended while it wrote *folders*; its copying may go on for a moment."""
    end = time.monotonic() + deadline
    while not all(erase(folder, rootless=os.geteuid() != 0) for folder in folders) and time.monotonic() < end:
        time.sleep(0.02)
