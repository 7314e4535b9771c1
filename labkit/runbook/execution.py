"""Run a runbook: check its parameters, execute its notebook with papermill, leave a report.

Plain papermill gives the same outcome from the same notebook; what this adds is the check before a kernel
starts, an exit code that tells the truth, and the report.
"""

from __future__ import annotations

import logging
import os
import shutil
import signal
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from labkit.runbook import folders, parameters, reports
from labkit.runbook.outcomes import Outcome

__all__ = ["run"]


def run(
    name: str,
    given: Mapping[str, Any] | None = None,
    *,
    apply: bool | None = None,
    out_dir: Path | None = None,
    environ: Mapping[str, str] | None = None,
) -> Outcome:
    """Run the runbook *name* and return how it ended; ``outcome.folder`` holds notebook, report and JSON.

    *given*: parameters, as text or typed.  *apply*: carry the plan out (sets the parameter ``apply``).
    *out_dir*: where the run's own new folder is made (default: ``runs`` in labkit's folder).  *environ*:
    variables for the kernel, such as ``DOCKER_HOST``.

    Raises `UsageError` for an unknown runbook or parameter and for a value that does not fit; nothing is
    started then. Everything later, also an interruption by SIGINT or SIGTERM, is told by the outcome.
    """
    path = folders.find(name)
    declared = parameters.read(folders.load(path))
    chosen = dict(given or {}) if apply is None else {**(given or {}), "apply": apply}
    values = parameters.validate(declared, chosen).plain()
    folder = folders.new_run(path.stem, out_dir)
    output = folder / path.name
    shutil.copyfile(path, output)  # so that there is one to report on, however early the run ends
    with _variables({**(environ or {}), "LABKIT_RUN_DIR": str(folder)}), _sigterm_as_interrupt():
        interrupted = _execute(path, output, {each: values[each] for each in chosen})
    return reports.write(output, folder, name=path.stem, interrupted=interrupted)


def _execute(path: Path, output: Path, values: Mapping[str, Any]) -> str:
    """Execute the notebook; returns what ended it from outside, or an empty string."""
    import papermill
    from nbclient.exceptions import DeadKernelError

    logging.getLogger("papermill").setLevel(logging.ERROR)
    try:
        papermill.execute_notebook(
            path,
            output,
            dict(values),
            kernel_name="python3",
            progress_bar=False,
            extra_arguments=["--log-level=ERROR"],  # or the kernel warns about its own local sockets
            shutdown_kernel="immediate",  # a graceful end stalls for seconds, now and then
        )
    except papermill.PapermillExecutionError:
        return ""  # the notebook holds the error
    except DeadKernelError:
        return "the kernel died"
    except KeyboardInterrupt:
        return "interrupted"
    except Exception as error:  # whatever a kernel can do to us, the run has failed and gets its report
        return f"{type(error).__name__}: {error}"
    return ""


@contextmanager
def _variables(chosen: Mapping[str, str]) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in chosen}
    os.environ.update(chosen)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


@contextmanager
def _sigterm_as_interrupt() -> Iterator[None]:
    """SIGTERM ends a run as Ctrl-C does: the kernel is shut down and the report is written."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
