"""Run a runbook: check its parameters, execute its notebook with papermill, leave a journal and a report.

Plain papermill gives the same outcome from the same notebook; what this adds is the check before a kernel
starts, a journal by which a run that was cut off goes on, and an exit code that tells the truth.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
from collections.abc import Mapping
from contextlib import AbstractContextManager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from labkit import __version__, paths
from labkit.engine.failures import translated
from labkit.errors import LabkitError, Refused, UsageError
from labkit.kernels import lane
from labkit.runbook import folders, leftovers, locks, parameters, reports
from labkit.runbook.approvals import APPROVED, EXPIRES, keep
from labkit.runbook.interruptions import Interruptions
from labkit.runbook.journal import Journal
from labkit.runbook.outcomes import Outcome
from labkit.runbook.progress import Progress, Silent
from labkit.runbook.redaction import known, mask
from labkit.runbook.secret import handed_over
from labkit.runbook.sweeps import Learning, learning

__all__ = ["ENGINE_VARIABLES", "Order", "carry_out", "clear_away", "digest", "run"]

ENGINE_VARIABLES = ("DOCKER_HOST", "DOCKER_CONTEXT", "DOCKER_CONFIG", "DOCKER_TLS_VERIFY", "DOCKER_CERT_PATH")
"""What decides which engine a run talks to; a resumed run talks to the same."""


@dataclass(frozen=True)
class Order:
    """What is to be run: the header of its journal, from which it can be resumed.

    *environ* is the kernel's, as far as it says where the engine is.  *limit*, *step_limit* and *expires* (of
    the plan that it shows) are seconds; *approved* is the hash of the plan that may be carried out, if it is one.
    """

    runbook: str
    notebook: str
    sha256: str
    parameters: dict[str, Any]
    environ: dict[str, str]
    limit: float | None = None
    step_limit: float | None = None
    kernel: str | None = None
    expires: float = EXPIRES
    approved: str = ""
    version: str = field(default=__version__)


def run(
    name: str,
    given: Mapping[str, Any] | None = None,
    *,
    apply: bool | None = None,
    out_dir: Path | None = None,
    environ: Mapping[str, str] | None = None,
    limit: float | None = None,
    step_limit: float | None = None,
    expires: float = EXPIRES,
    approved: str = "",
    progress: Progress | None = None,
    kernel: str | None = None,
) -> Outcome:
    """Run the runbook *name* and return how it ended; ``outcome.folder`` holds notebook, journal and reports.

    *given*: parameters, as text or typed.  *apply*: carry the plan out (sets the parameter ``apply``).
    *out_dir*: where the run's own new folder is made (default: ``runs`` in labkit's folder).  *environ*:
    variables for the kernel, such as ``DOCKER_HOST``.  *limit*, *step_limit*: seconds for the whole run, and
    for each of its steps.  *kernel*: the name of a kernel for the cells (default: a fork of this process, where that
    can be).  *expires*: seconds for which the plan that it shows can be approved.  *approved*: the hash of such a
    plan; then no other one is carried out.

    Raises `UsageError` for an unknown runbook or parameter and for a value that does not fit or names nothing on
    the engine, and `EngineUnreachable` when that cannot be asked; nothing is started then.  Everything later, also an
    interruption by SIGINT, SIGTERM or SIGHUP, is told by the outcome.
    """
    path = folders.find(name)
    _need_kernel(kernel)
    order, secrets = _order(
        path,
        given or {},
        apply,
        environ or {},
        limit=limit,
        step_limit=step_limit,
        kernel=kernel,
        expires=expires,
        approved=approved,
    )
    # the lane is forked first, since learning takes a thread
    with lane.prepared(), Interruptions().handled() as interruptions, _learning(order):
        folder = folders.new_run(path.stem, out_dir)
        with locks.held(folder), folders.written(folder):
            journal = Journal.create(folder, asdict(order))
            return carry_out(
                order, journal, interruptions, environ={**(environ or {}), **secrets}, progress=progress
            )


def _need_kernel(name: str | None) -> None:
    """Raise `UsageError` when a kernel was named, and there is none of this *name*."""
    if name is None:
        return
    from jupyter_client.kernelspec import KernelSpecManager, NoSuchKernel

    with paths.jupyter_at_home():
        specs = KernelSpecManager()
        try:
            specs.get_kernel_spec(name)
        except (NoSuchKernel, ValueError):
            raise UsageError(
                f"there is no Jupyter kernel {name!r} for --kernel",
                expected=", ".join(sorted(specs.find_kernel_specs())) or "(none is installed)",
            ) from None


def _order(
    path: Path,
    given: Mapping[str, Any],
    apply: bool | None,
    environ: Mapping[str, str],
    **terms: Any,
) -> tuple[Order, dict[str, str]]:
    """What is to be run, checked; and the variables in which its secrets are handed to the kernel."""
    declared = parameters.read(folders.load(path))
    chosen = dict(given) if apply is None else {**given, "apply": apply}
    # what is wrong here is a mistake, whatever was approved
    chosen |= parameters.found_once(parameters.validate(declared, chosen))
    try:
        values = parameters.prepare(declared, chosen, environ)
    except UsageError as error:
        raise _drifted(terms["approved"], error) if terms["approved"] else error from None
    references, secrets = handed_over(dict(values))
    injected = {each: told for each, told in values.plain().items() if each in chosen} | references
    known.add_named({name: str(value) for name, value in injected.items()})
    around = {**os.environ, **environ}
    order = Order(
        runbook=path.stem,
        notebook=str(path.resolve()),
        sha256=digest(path),
        parameters=injected,
        environ={each: around[each] for each in ENGINE_VARIABLES if each in around},
        **terms,
    )
    return order, secrets


def _drifted(approved: str, error: UsageError) -> Refused:
    """What is told when there is no longer what the plan *approved* was shown for."""
    return Refused(
        f"the plan {approved} does not fit any more: {error.what}",
        seen=error.seen,
        expected=error.expected,
        try_="run the runbook again for a new plan",
    )


def carry_out(
    order: Order,
    journal: Journal,
    interruptions: Interruptions,
    *,
    environ: Mapping[str, str],
    progress: Progress | None = None,
) -> Outcome:
    """Execute the notebook of *order* in the folder of its *journal*, and write how it ended.

    *environ*: more variables for the kernel, which are written down nowhere.
    """
    folder = journal.path.parent
    output = folder / mask(Path(order.notebook).name)
    shutil.copyfile(order.notebook, output)  # so that there is one to report on, however early the run ends
    chosen = _lane(order)  # before the thread that learning takes
    with paths.jupyter_at_home(), _learning(order) as learned:
        options = {
            "environ": _environ(order, {**environ, "LABKIT_RUN_DIR": str(folder)}),
            "journal": journal,
            "limit": order.limit,
            "step_limit": order.step_limit,
            "progress": progress or Silent(),
            "lane": chosen,
            "kernel_name": order.kernel or "python3",
        }
        interrupted = _execute(order, output, options, interruptions)
        if interrupted:
            journal.write("run-interrupted", reason=interrupted)
            # what is still there then, the report is written; resuming tries again
            with suppress(LabkitError):
                clear_away(order, journal)
        outcome = reports.write(
            output, folder, name=order.runbook, interrupted=interrupted, engine=learned.found
        )
        keep(outcome, order.notebook, order.parameters, environ=order.environ, expires=order.expires)
        told = {"status": outcome.status, "exit_code": outcome.exit_code, "engine": outcome.engine}
        journal.write("run-ended", **told, seconds=outcome.seconds)
    return outcome


def _learning(order: Order) -> AbstractContextManager[Learning]:
    """Learn what must not be written, from the engine of *order*."""
    return learning(order.environ.get("DOCKER_HOST"), order.environ.get("DOCKER_CONTEXT"))


def _lane(order: Order) -> lane.Lane | None:
    """A lane for the run; None where it shall or must have a kernel.

    It must when its notebook says so (``labkit: {live: true}`` in the metadata: somebody answers its widgets), when it
    is not Python, and when this process had threads already.
    """
    metadata = json.loads(Path(order.notebook).read_text(encoding="utf-8")).get("metadata", {})
    language = metadata.get("kernelspec", {}).get("language", "python")
    if order.kernel or language != "python" or metadata.get("labkit", {}).get("live"):
        return None
    return lane.take()


def clear_away(order: Order, journal: Journal) -> None:
    """End what a run that was cut off has left: its kernel, and containers that worked for its actions."""
    entries = journal.entries()
    leftovers.end_processes(entries)
    actions = [entry.kind for entry in entries if entry.kind in ("action-started", "action-done")]
    if actions[-1:] != ["action-started"]:
        return
    from labkit.engine import open_engine

    url, context = order.environ.get("DOCKER_HOST"), order.environ.get("DOCKER_CONTEXT")
    where = {"url": url, "context": None if url else context}
    # an engine that does not answer now is for the run to tell of, when it goes on
    with suppress(LabkitError), translated(), open_engine("attach", **where) as engine:
        leftovers.remove_containers(engine, journal.path.parent.name)


def digest(path: Path) -> str:
    """The SHA-256 of a file, in hexadecimal."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _environ(order: Order, more: Mapping[str, str]) -> dict[str, str]:
    """The kernel's environment: ours, but the engine that the run began with, and nothing written into the user's home."""
    kept = {name: value for name, value in os.environ.items() if name not in (*ENGINE_VARIABLES, APPROVED)}
    approved = {APPROVED: order.approved} if order.approved else {}
    return {**kept, **paths.jupyter_environ(), **order.environ, **approved, **more}


def _execute(order: Order, output: Path, options: Mapping[str, Any], interruptions: Interruptions) -> str:
    """Execute the notebook; returns what ended it from outside, or an empty string."""
    import papermill
    from nbclient.exceptions import CellTimeoutError, DeadKernelError
    from papermill.engines import papermill_engines
    from papermill.exceptions import PapermillException

    from labkit.runbook.engine import NAME, LabkitEngine

    # also where labkit was not installed with its entry points
    papermill_engines.register(NAME, LabkitEngine)
    logging.getLogger("papermill").setLevel(logging.ERROR)
    try:
        with interruptions.allowed():
            papermill.execute_notebook(
                order.notebook,
                str(output),
                order.parameters,
                engine_name=NAME,
                progress_bar=False,
                check=interruptions.check,
                extra_arguments=[
                    "--log-level=ERROR",  # or the kernel warns about its own local sockets
                    "--HistoryManager.enabled=False",  # or what cells hold is kept in the user's folder
                ],
                **options,
            )
    except KeyboardInterrupt:
        return f"interrupted by {interruptions.received or 'SIGINT'}"
    except CellTimeoutError:
        return _limit_reached(order)
    except DeadKernelError:
        return "the kernel died"
    except (papermill.PapermillExecutionError, PapermillException):
        return ""  # the notebook holds the error
    except Exception as error:  # whatever a kernel can do to us, the run has failed and gets its report
        return f"{type(error).__name__}: {error}"
    return ""


def _limit_reached(order: Order) -> str:
    limits = {"a step": order.step_limit, "the run": order.limit}
    told = " or ".join(f"{what} {limit:g} s" for what, limit in limits.items() if limit)
    return f"a time limit was reached: {told}"
