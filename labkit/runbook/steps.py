"""Executing a notebook step by step: each code cell journaled ahead, its messages masked, its time limited."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import partial
from typing import TYPE_CHECKING, Any

from nbclient.exceptions import CellExecutionError
from nbformat import NotebookNode
from nbformat.v4 import new_output
from papermill.clientwrap import PapermillNotebookClient
from papermill.exceptions import PapermillException
from papermill.log import logger

from labkit.engine.processes import Process
from labkit.runbook.journal import Journal
from labkit.runbook.progress import Progress, Silent
from labkit.runbook.redaction import mask
from labkit.runbook.saving import Saving
from labkit.runbook.sweeps import look_again

if TYPE_CHECKING:
    from labkit.kernels.lane import Lane

__all__ = ["Stepping", "execute"]

_PR_SET_PDEATHSIG = 1  # prctl(2)
_STARTS = 3
"""How often a kernel is started that dies before anything was executed."""
_BETWEEN_LOOKS = 0.1
"""Seconds: not more often is the engine looked at for the sake of outputs that are logged."""
_RECORDS = "application/vnd.labkit."


def execute(
    saving: Saving,
    kernel_name: str,
    *,
    log_output: bool = False,
    start_timeout: float = 60,
    execution_timeout: float | None = None,
    input_path: str | None = None,
    limit: float | None = None,
    step_limit: float | None = None,
    progress: Progress | None = None,
    environ: Mapping[str, str] | None = None,
    journal: Journal | None = None,
    lane: Lane | None = None,
    check: Callable[[], None] | None = None,
    **options: Any,
) -> None:
    """Execute the notebook that *saving* holds, on the kernel *kernel_name*.

    *limit*, *step_limit*: seconds.  *environ*: the kernel's environment (default: ours).  *journal*: where
    the steps are written (default: that of the run this process belongs to, if any).  *lane*: runs the cells in
    place of a kernel.  *check*: called before each step; it may raise.  All other options are papermill's, for nbclient.

    Raises `CellTimeoutError` when a limit is reached, and `DeadKernelError`.
    """
    del input_path  # papermill gives it to every engine
    options = {
        # a graceful end stalls for seconds, now and then
        "shutdown_kernel": "immediate",
        **options,
        "timeout": execution_timeout or options.get("timeout"),
        "startup_timeout": start_timeout,
        "kernel_name": kernel_name,
        "log": logger,
        "log_output": log_output,
    }
    kind: Any = Stepping
    if lane is not None:
        from labkit.runbook.lanes import LaneStepping

        kind = partial(LaneStepping, lane)
    stepping = kind(
        saving,
        journal or Journal.current(),
        limits=(limit, step_limit),
        progress=progress or Silent(),
        check=check,
        **options,
    )
    stepping.execute(**({"env": dict(environ)} if environ is not None else {}))
    _refuse_early_exit(saving.nb)


def _refuse_early_exit(notebook: NotebookNode) -> None:
    """A runbook that was left with ``sys.exit()`` did not run to its end; papermill would call it a success."""
    if "labkit" not in notebook.metadata:
        return
    for index, cell in enumerate(notebook.cells):
        for output in cell.get("outputs", []):
            if output.output_type == "error" and output.ename == "SystemExit":
                raise PapermillException(
                    f"cell {index} called sys.exit(): the runbook did not run to its end"
                )


class Stepping(PapermillNotebookClient):  # type: ignore[misc]  # papermill publishes no types
    """papermill's client, with a journal.

    *limits*: seconds for the whole notebook and for each cell, either of them None.
    """

    def __init__(
        self,
        saving: Saving,
        journal: Journal | None,
        *,
        limits: tuple[float | None, float | None],
        progress: Progress,
        check: Callable[[], None] | None = None,
        **options: Any,
    ) -> None:
        self._check = check or (lambda: None)
        self._limit, self._step_limit = limits
        self._began = time.monotonic()
        self._progress = progress
        self._journal = journal
        self._lines: dict[str, str] = {}
        self._held: list[NotebookNode] = []
        self._next_look = 0.0
        if (self._limit or self._step_limit) and not options.get("timeout_func"):
            options["timeout_func"] = self._seconds_left
        super().__init__(saving, **options)

    def create_kernel_manager(self) -> Any:
        """nbclient's kernel manager, with clients that overlook no answer; one that somebody has chosen stays."""
        manager = super().create_kernel_manager()
        if manager.client_class == "jupyter_client.asynchronous.AsyncKernelClient":
            manager.client_class = "labkit.kernels.channels.AttentiveClient"
        return manager

    def start_new_kernel(self, **options: Any) -> None:
        """Start the kernel so that it ends with this process, however this process ends."""
        assert self.km is not None
        ours: dict[str, Any] = {}
        provisioner = (self.km.kernel_spec.metadata or {}).get("kernel_provisioner", {})
        if provisioner.get("provisioner_name", "labkit") == "labkit":  # others may know nothing of processes
            words = _masked()
            ours = {"preexec_fn": _end_with_parent(), "stdout": words, "stderr": words}
        self._start_options = options
        try:
            super().start_new_kernel(**options, **ours)
        finally:
            if ours:
                os.close(ours["stdout"])

    def start_new_kernel_client(self, **options: Any) -> Any:
        """Connect to the kernel; one that died before it was there is started again.

        Its five ports were free when they were chosen, but when many runs start at once another may take one.
        """
        for left in reversed(range(_STARTS)):
            try:
                return super().start_new_kernel_client(**options)
            except RuntimeError as error:
                if not left or not self.owns_km or "died" not in str(error):
                    raise
            self.km = self.create_kernel_manager()
            self.start_new_kernel(**self._start_options)
        raise AssertionError("unreachable")

    def papermill_execute_cells(self) -> None:
        """Execute each cell, as papermill does, and stop at the first that fails."""
        section = ""
        self._progress.begin(sum(map(_has_code, self.nb.cells)))
        for index, cell in enumerate(self.nb.cells):
            section = _heading(cell) or section
            try:
                self.nb_man.cell_start(cell, index)
                with self._step(index, section) if _has_code(cell) else _nothing():
                    self.execute_cell(cell, index)
            except CellExecutionError as error:
                self.nb_man.cell_exception(self.nb.cells[index], cell_index=index, exception=error)
                break
            except BaseException as error:  # a limit, a kernel that died, an interruption
                self.nb_man.cell_exception(self.nb.cells[index], cell_index=index, exception=error)
                raise
            finally:
                self._log_the_rest()
                self.nb_man.cell_complete(self.nb.cells[index], cell_index=index)

    def process_message(self, msg: dict[str, Any], cell: NotebookNode, cell_index: int) -> Any:
        """Take in one message of the kernel, without the secrets in it; records are journaled."""
        output = super().process_message({**msg, "content": mask(msg["content"])}, cell, cell_index)
        if output and self._journal:
            for media_type, record in output.get("metadata", {}).items():
                if media_type.startswith(_RECORDS):
                    self._journal.write("record", cell=cell_index, type=media_type, record=record)
        return output

    def log_output_message(self, output: NotebookNode) -> None:
        """Log an output as papermill does, and write it to its files; streams by lines, since a secret can come in pieces.

        It is logged after another look at the engine: what the cell shows may be of something that it has just made.
        """
        self._held.append(output)
        if time.monotonic() > self._next_look:
            self._log_held()

    def _log_held(self) -> None:
        """Look at the engine, and log what came before, but for lines that have no end yet."""
        if not self._held:
            return
        began = time.monotonic()
        look_again()
        self._next_look = time.monotonic() + max(_BETWEEN_LOOKS, 5 * (time.monotonic() - began))
        held, self._held = self._held, []
        for output in held:
            if output.output_type != "stream":
                super().log_output_message(mask(output))
                continue
            begun = self._lines.pop(output.name, "") + output.text
            whole, end, self._lines[output.name] = begun.rpartition("\n")
            self._log_stream(output.name, whole + end)

    def _log_the_rest(self) -> None:
        self._log_held()
        for name in list(self._lines):
            self._log_stream(name, self._lines.pop(name))

    def _log_stream(self, name: str, text: str) -> None:
        if text:
            super().log_output_message(new_output("stream", name=name, text=mask(text)))  # type: ignore[no-untyped-call]

    @contextmanager
    def _step(self, index: int, section: str) -> Iterator[None]:
        self._check()
        self._progress.step(section)
        began = time.monotonic()
        self._write("step-started", cell=index, section=section, kernel=self._kernel())
        try:
            yield
        except BaseException as error:
            told = {"error": getattr(error, "ename", type(error).__name__), "seconds": _since(began)}
            self._write("step-failed", cell=index, section=section, **told)
            raise
        self._write("step-done", cell=index, section=section, seconds=_since(began))

    def _write(self, kind: Any, **facts: Any) -> None:
        if self._journal:
            self._journal.write(kind, **facts)

    def _kernel(self) -> list[int] | None:
        """The kernel's process, so that what is left of it can be told from others later."""
        pid = self._kernel_pid()
        try:
            process = Process.of(pid) if pid else None
        except ProcessLookupError:
            return None
        return [process.pid, process.started] if process else None

    def _kernel_pid(self) -> int | None:
        return getattr(getattr(self.km, "provisioner", None), "pid", None)

    def _seconds_left(self, _: NotebookNode) -> float | None:
        limits = [self._step_limit] if self._step_limit else []
        if self.timeout:
            limits.append(self.timeout)
        if self._limit:
            limits.append(max(0.01, self._limit - (time.monotonic() - self._began)))
        return min(limits, default=None)


@contextmanager
def _nothing() -> Iterator[None]:
    yield


def _since(began: float) -> float:
    return round(time.monotonic() - began, 4)


def _has_code(cell: NotebookNode) -> bool:
    return cell.cell_type == "code" and bool(cell.source.strip())


def _heading(cell: NotebookNode) -> str:
    """The last heading in a cell of prose."""
    if cell.cell_type != "markdown":
        return ""
    headings = [line for line in cell.source.splitlines() if line.startswith("#")]
    return headings[-1].lstrip("# ") if headings else ""


def _masked() -> int:
    """A file descriptor for what a kernel says beside its messages: it comes out on our standard error, without secrets."""
    reading, writing = os.pipe2(os.O_CLOEXEC)

    def pass_on() -> None:
        with os.fdopen(reading, errors="replace") as lines:
            for line in lines:
                with suppress(OSError):  # nobody listens to us any more; the kernel must not wait for that
                    print(mask(line), end="", file=sys.stderr)

    threading.Thread(target=pass_on, name="kernel's words", daemon=True).start()
    return writing


def _end_with_parent() -> Callable[[], None]:
    """To be called in a new process: the kernel of the operating system ends it when its parent has ended."""
    prctl = ctypes.CDLL(None).prctl  # looked up before the fork: nothing may be loaded after it
    parent = os.getpid()

    def ask() -> None:
        prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:
            os._exit(1)

    return ask
