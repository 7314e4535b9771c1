"""How long nbval took over each notebook, and how long the cells worked by their kernel's own clock: a `conftest.py` for a bench.

It is copied into the folder of the notebooks, since the Python that runs nbval there need not have labkit.  To the file
``NBVAL_TIMES`` it writes a JSON list of `{"book", "seconds", "ran", "queued", "cells"}`: *seconds* from its being read to its
kernel's end; for how long of that nbval, or its kernel before the first cell, *ran*, and was *queued*: ready to run, without a
processor (the kernel's sched-stats.rst, /proc/PID/schedstat); and in *cells* the sum of what lay between each `execute_input`
and its `idle`.
"""

from __future__ import annotations

import json
import os
import time
from collections import defaultdict
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

SECONDS: dict[str, float] = defaultdict(float)
CELLS: dict[str, float] = defaultdict(float)
RAN: dict[str, float] = defaultdict(float)
QUEUED: dict[str, float] = defaultdict(float)


def scheduled(pid: int) -> tuple[float, float]:
    """Seconds that the first thread of a process ran and was queued; 0 where the system does not tell."""
    try:
        ran, waited, _ = Path(f"/proc/{pid}/schedstat").read_text().split()
    except (OSError, ValueError):
        return 0.0, 0.0
    return int(ran) / 1e9, int(waited) / 1e9


def add(book: str, pid: int, ran: float = 0, waited: float = 0) -> None:
    """Count for *book* what a process has run and waited since it had *ran* and *waited* so much."""
    now = scheduled(pid)
    RAN[book] += now[0] - ran
    QUEUED[book] += now[1] - waited


@contextmanager
def counted(book: str) -> Iterator[None]:
    """What is done here is done for *book*."""
    began, (ran, waited) = time.perf_counter(), scheduled(os.getpid())
    try:
        yield
    finally:
        SECONDS[book] += time.perf_counter() - began
        add(book, os.getpid(), ran, waited)


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(collector: Any) -> Generator[None, Any, Any]:
    """A notebook is read."""
    with counted(collector.path.name):
        return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: Any) -> Generator[None, Any, Any]:
    """A cell is executed, with the start of the kernel before the first, and its end after the last."""
    with counted(item.path.name):
        return (yield)


def pytest_runtest_call(item: Any) -> None:
    """The kernel is there: listen to what it says, from the first cell on."""
    kernel = item.parent.kernel
    if "get_message" in vars(kernel):
        return
    add(item.path.name, kernel.km.provisioner.pid)
    get, started = kernel.get_message, dict[str, float]()

    def listened(*arguments: Any, **options: Any) -> Any:
        message = get(*arguments, **options)
        request, at = message["parent_header"].get("msg_id"), message["header"]["date"].timestamp()
        if message["msg_type"] == "execute_input":
            started[request] = at
        elif message["content"].get("execution_state") == "idle" and request in started:
            CELLS[item.path.name] += at - started.pop(request)
        return message

    kernel.get_message = listened


def pytest_sessionfinish() -> None:
    """Write it down."""
    told = [
        {
            "book": book,
            "seconds": SECONDS[book],
            "ran": RAN[book],
            "queued": QUEUED[book],
            "cells": CELLS[book],
        }
        for book in SECONDS
        if book.endswith(".ipynb")
    ]
    Path(os.environ["NBVAL_TIMES"]).write_text(json.dumps(told))
