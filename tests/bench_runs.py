"""Rows of `make bench` about the speed of runs: `labkit run` and forked kernels against scripts and papermill.

All sides of a comparison do the same work on the same engine, in turn.  *Stock* papermill and nbval are what pip gives to
somebody who has no labkit: without its pin of jsonschema, which saves half a second at each start.  They are installed once,
into a virtual environment in labkit's folder.
"""

from __future__ import annotations

import concurrent.futures
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import nbformat
from jupyter_client.manager import start_new_kernel

import labkit
from labkit.kernels import starting
from tests.bench import Row, p95, timed

BIN = Path(sys.executable).parent
ROUNDS = int(os.environ.get("BENCH_ROUNDS", "10"))
RUNS = int(os.environ.get("BENCH_RUNS", "100"))
STOCK = ("papermill", "ipykernel", "docker", "pandas", "nbval", "pytest", "jsonschema[format-nongpl]")
AT_ONCE = 16
CELLS = [
    'name: str = "web"  # the container to look at',
    "import docker\n\nclient = docker.from_env()",
    'version = client.version()\nprint(version["Version"], version["ApiVersion"])',
    'container = client.containers.get(name)\nprint(container.status, container.attrs["Config"]["Cmd"])',
    "print(container.logs(tail=5).decode(), [each.name for each in client.containers.list(all=True)])",
    "import pandas\n\nprint(pandas.DataFrame(container.top()['Processes']).shape)",
]


def stock() -> Path:
    """The programs of a stock installation, made when there is none yet."""
    folder = Path(sys.prefix) / "stock"  # goes with the virtual environment
    ready = folder / "ready"
    if not ready.exists() or ready.read_text() != " ".join(STOCK):
        subprocess.run([sys.executable, "-m", "venv", "--clear", folder], check=True)
        install = [folder / "bin/python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        subprocess.run([*install, *STOCK], check=True)
        # what makes it stock: without it the comparison would be with something faster
        subprocess.run([folder / "bin/python", "-c", "import rfc3987_syntax"], check=True)
        ready.write_text(" ".join(STOCK))  # last, so that what was interrupted is done again
    return folder / "bin"


class Bench:
    """A notebook and a script that do the same, on an engine with a container to look at; a zygote of our own."""

    def __init__(self, folder: Path, engine: labkit.Engine) -> None:
        self.folder, self.engine = folder, engine
        self.stock = stock()
        cells = [nbformat.v4.new_code_cell(source, execution_count=1) for source in CELLS]
        cells[0].metadata["tags"] = ["parameters"]
        spec = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
        self.book, self.script = folder / "book.ipynb", folder / "book.py"
        nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata=spec), self.book)
        self.script.write_text("\n".join(CELLS) + "\n")
        self.environ = {
            **os.environ,
            **engine.environ,
            "LABKIT_ZYGOTE": "1",
            "JUPYTER_PATH": str(folder / "share/jupyter"),
            "LABKIT_PROGRESS": str(folder / "progress.sqlite"),
        }

    def run(
        self,
        *command: str | Path,
        zygote: bool = True,
        codes: tuple[int, ...] = (0,),
        environ: dict[str, str] | None = None,
    ) -> None:
        environ = {**self.environ, "LABKIT_ZYGOTE": "1" if zygote else "0", **(environ or {})}
        done = subprocess.run(
            [str(word) for word in command],
            cwd=self.folder,
            env=environ,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode in codes, (command, done.returncode, done.stdout[-2000:], done.stderr[-2000:])

    def labkit(self, *, zygote: bool = True) -> None:
        command = (BIN / "labkit", "run", self.book, "--out", self.folder / "runs", "--quiet")
        self.run(*command, zygote=zygote, codes=(1,))  # the cells have run, but none of them told an outcome

    def papermill(self, number: int = 0) -> None:
        self.run(
            self.stock / "papermill",
            self.book,
            self.folder / f"out-{number}.ipynb",
            "--no-progress-bar",
            zygote=False,
        )


@contextmanager
def bench() -> Iterator[Bench]:
    from labkit.kernels import specs

    with tempfile.TemporaryDirectory(prefix="lkb", dir="/tmp") as name, labkit.open_engine(
        name="bench", images=["busybox"]
    ) as engine:  # fmt: skip
        engine.client.containers.run("busybox:lab", ["sleep", "100000"], name="web", detach=True)
        specs.install(Path(name))
        before = {key: os.environ.get(key) for key in ("LABKIT_RUNTIME", "LABKIT_ZYGOTE", "JUPYTER_PATH")}
        os.environ.update(
            LABKIT_RUNTIME=f"{name}/run", LABKIT_ZYGOTE="1", JUPYTER_PATH=f"{name}/share/jupyter"
        )
        try:
            one = Bench(Path(name), engine)
            starting.start()
            served()
            yield one
        finally:
            starting.end_all()
            for key, value in before.items():
                os.environ.pop(key) if value is None else os.environ.update({key: value})


def served() -> None:
    """Wait for the fork server."""
    waiting = starting.connect(30)
    assert waiting is not None
    waiting.close()


def compared(name: str, ours: list[float], theirs: list[float], versus: str, goal: float) -> Row:
    ratio = round(statistics.median(ours) / statistics.median(theirs), 3)
    median = round(statistics.median(ours), 4)
    return Row(name, median, round(p95(ours), 4), versus=f"{versus} ({statistics.median(theirs):.3f} s)", ratio=ratio,
               goal=f"<= {goal} x", ok=ratio <= goal)  # fmt: skip


def single(b: Bench) -> list[Row]:
    """One run, warm and cold, in turn with what it is compared with."""
    actions = {
        "warm": b.labkit,
        "script": lambda: b.run(sys.executable, b.script),
        "cold": lambda: b.labkit(zygote=False),
        "first": b.labkit,
        "papermill": b.papermill,
    }
    seconds: dict[str, list[float]] = {name: [] for name in actions}
    for _ in range(ROUNDS + 1):
        for name, action in actions.items():
            if name == "first":
                starting.end_all()
            seconds[name].append(timed(action))
            if name == "first":
                served()
    s = {name: values[1:] for name, values in seconds.items()}  # the first ones fill caches
    return [
        compared("labkit run, warm: Docker SDK and pandas", s["warm"], s["script"], "the script", 1.0),
        compared(
            "labkit run, cold: without the fork server", s["cold"], s["papermill"], "stock papermill", 0.45
        ),
        compared(
            "labkit run, cold: the first, which starts it",
            s["first"],
            s["papermill"],
            "stock papermill",
            0.45,
        ),
    ]


def kernel_start(b: Bench) -> list[Row]:
    """From nothing to an answer and to the end, as nbval and other programs start kernels."""
    sides: dict[str, list[float]] = {"labkit": [], "python3": []}
    ends: dict[str, list[float]] = {"labkit": [], "python3": []}
    for _ in range(ROUNDS + 1):
        for name, seconds in sides.items():
            began = time.perf_counter()
            manager, client = start_new_kernel(kernel_name=name, cwd=b.folder)
            seconds.append(time.perf_counter() - began)
            client.stop_channels()
            ends[name].append(timed(lambda m=manager: m.shutdown_kernel(now=True)))  # type: ignore[misc]
    s, e = ({name: values[1:] for name, values in each.items()} for each in (sides, ends))
    return [
        compared("kernel start, forked, until it answers", s["labkit"], s["python3"], "kernel python3", 1.0),
        compared("kernel end, forked", e["labkit"], e["python3"], "kernel python3", 1.0),
    ]


def together(b: Bench) -> list[Row]:
    """Sixteen runs, two at a time."""

    def all_of_them(action: object) -> None:
        with concurrent.futures.ThreadPoolExecutor(2) as pool:
            list(pool.map(action, range(AT_ONCE)))  # type: ignore[arg-type]

    ours, theirs = [], []
    for _ in range(max(2, ROUNDS // 4)):
        ours.append(timed(lambda: all_of_them(lambda _: b.labkit())))
        theirs.append(timed(lambda: all_of_them(b.papermill)))
    return [compared(f"{AT_ONCE} runs, two at a time", ours, theirs, "stock papermill", 0.15)]


def in_a_row(b: Bench) -> list[Row]:
    """Many runs, one after the other: no stall, and nothing that grows or stays."""
    (zygote,) = [int(lock.read_text().split()[0]) for lock in starting.place().parent.glob("zygote-*.lock")]
    for _ in range(5):
        b.labkit()
    time.sleep(0.5)  # the last one's descriptors are let go a moment after its end
    before, held = _memory(zygote), _files(zygote)
    seconds = [timed(b.labkit) for _ in range(RUNS)]
    time.sleep(0.5)
    median = statistics.median(seconds)
    stalls = sum(value > median + 1 for value in seconds)
    growth = _memory(zygote) / before - 1
    left = [_files(zygote) - held, len(Path(f"/proc/{zygote}/task/{zygote}/children").read_text().split())]
    note = f"slowest {max(seconds):.2f} s, memory {growth:+.1%}, descriptors {left[0]:+d}, processes left {left[1]}"
    ok = stalls == 0 and growth <= 0.1 and max(left) <= 0
    goal = "no stall > 1 s, memory <= +10 %, nothing left"
    return [
        Row(
            f"{RUNS} runs in a row, each",
            round(median, 4),
            round(p95(seconds), 4),
            goal=goal,
            ok=ok,
            note=note,
        )
    ]


def _memory(pid: int) -> int:
    return int(re.findall(r"^Rss:\s+(\d+)", Path(f"/proc/{pid}/smaps_rollup").read_text(), re.M)[0])


def _files(pid: int) -> int:
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))


def rows() -> list[Row]:
    """All of it."""
    from tests import bench_nbval

    with bench() as b:
        return [
            *single(b),
            *together(b),
            *kernel_start(b),
            *bench_nbval.rows(b, max(1, ROUNDS // 3)),
            *in_a_row(b),
        ]


if __name__ == "__main__":
    from tests.bench import show

    show(rows())
