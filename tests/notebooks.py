"""The project's notebooks, for the generic tests over all of them."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from jupyter_client.blocking.client import BlockingKernelClient
from jupyter_client.manager import KernelManager

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "notebooks/00-start-here.ipynb"]
LABS = sorted(set(ROOT.glob("notebooks/*.ipynb")) - set(PAGES))
RUNBOOKS = sorted(ROOT.glob("runbooks/*.ipynb"))


def each(paths: list[Path]):  # type: ignore[no-untyped-def]
    """A test parameter for each of *paths*, called by its stem."""
    return [pytest.param(path, id=path.stem) for path in paths]


def jupyter_environ(folder: Path) -> dict[str, str]:
    """Variables that keep what Jupyter writes for itself, and what labkit notes of a learner, inside *folder*."""
    names = {
        "IPYTHONDIR": "ipython",
        "JUPYTER_CONFIG_DIR": "config",
        "JUPYTER_DATA_DIR": "data",
        "JUPYTER_RUNTIME_DIR": "runtime",
    }
    chosen = {variable: str(folder / name) for variable, name in names.items()}
    return {**os.environ, **chosen, "LABKIT_PROGRESS": str(folder / "progress.sqlite")}


@contextmanager
def kernel() -> Iterator[BlockingKernelClient]:
    """An ordinary kernel that is ready, without ports: another process could take one between its choice and the kernel."""
    with tempfile.TemporaryDirectory(prefix="lk-", dir="/tmp") as folder:
        manager = KernelManager(kernel_name="python3", transport="ipc", ip=f"{folder}/kernel")
        manager.start_kernel()
        client = manager.client()
        client.start_channels()
        try:
            client.wait_for_ready(timeout=120)
            yield client
        finally:
            client.stop_channels()
            manager.shutdown_kernel(now=True)
