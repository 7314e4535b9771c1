"""`make bench`: engine start and end, engines at once, and the lab against the same steps as a script, side by side.

Every comparison alternates its two sides in one run, since machines are noisy: what counts is the ratio of medians.  With
``BENCH_JSON=file`` the rows are written there: ``{"name", "median", "p95", "unit", "versus", "ratio", "goal", "ok"}``.
"""

from __future__ import annotations

import concurrent.futures
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import labkit
from labkit.engine import Engine, packs
from tests import installed
from tests.engine.machine import snapshot
from tests.notebooks import LABS, jupyter_environ

ROUNDS = int(os.environ.get("BENCH_ROUNDS", "10"))


@dataclass(frozen=True)
class Row:
    """One measured figure; *ok* is None where there is no goal, or nothing could be measured (*note* says why)."""

    name: str
    median: float | None
    p95: float | None
    unit: str = "s"
    versus: str = ""
    ratio: float | None = None
    goal: str = ""
    ok: bool | None = None
    note: str = ""


def timed(action: Callable[[], object]) -> float:
    began = time.perf_counter()
    action()
    return time.perf_counter() - began


def p95(values: list[float]) -> float:
    return sorted(values)[max(0, round(0.95 * len(values)) - 1)]


def row(name: str, values: list[float], goal: float | None = None, **more: object) -> Row:
    median = statistics.median(values)
    told = f"<= {goal} s" if goal is not None else ""
    return Row(
        name,
        round(median, 4),
        round(p95(values), 4),
        goal=told,
        ok=None if goal is None else median <= goal,
        **more,
    )  # type: ignore[arg-type]


def starts_and_ends() -> list[Row]:
    """Start to first answer and end, in turn: from the pack, from a prepared state, from the machine's own dockerd."""
    sides: dict[str, dict[str, object]] = {
        "from the engine pack": {},
        "clone with images ready": {"images": ["busybox"]},
    }
    goals = {
        "from the engine pack": 0.5,
        "clone with images ready": 0.6,
        "from the machine's own dockerd": 0.25,
    }
    if packs.MACHINE in packs.names():
        sides["from the machine's own dockerd"] = {"pack": packs.MACHINE}
    starts: dict[str, list[float]] = {side: [] for side in sides}
    theirs: dict[str, str] = {}
    ends: list[float] = []
    clean = True
    for options in sides.values():
        labkit.open_engine(name="bench", **options).close()  # what is made only once
    for _ in range(ROUNDS):
        for side, options in sides.items():
            before = snapshot()
            engines: list[Engine] = []
            starts[side].append(
                timed(lambda o=options, e=engines: e.append(labkit.open_engine(name="bench", **o)))
            )  # type: ignore[misc]
            assert engines[0].ping()
            theirs[side] = docker_takes(engines[0])
            ends.append(timed(engines[0].close))
            after = snapshot()
            clean = clean and all(after[kind] <= before[kind] for kind in before)
    base = statistics.median(starts["from the engine pack"])
    rows = []
    for side, goal in goals.items():
        if side not in starts:
            rows.append(
                Row(
                    f"engine start, {side}",
                    None,
                    None,
                    goal=f"<= {goal} s",
                    note="no dockerd is installed here",
                )
            )
            continue
        ratio = round(statistics.median(starts[side]) / base, 2)
        rows.append(
            row(
                f"engine start, {side}",
                starts[side],
                goal,
                versus="from the engine pack",
                ratio=ratio,
                note=theirs[side],
            )
        )
    end = row("engine end", ends, 0.5)
    return [
        *rows,
        Row(**{**asdict(end), "ok": bool(end.ok) and clean, "note": "zero residue" if clean else "RESIDUE"}),
    ]


def docker_takes(engine: Engine) -> str:
    """How much of a start that has just ended is Docker's own work, one step after the other: no goal can be below it.

    Processor time, in which the machine's other work does not count (proc(5): fields 14 to 17 of ``stat``, in ticks).
    """
    listing = "cat /run/containerd.pid /run/dockerd.started"
    containerd, dockerd = engine.host.run(listing).stdout.split()
    tick = os.sysconf("SC_CLK_TCK")
    own, called = {}, {}
    for name, pid in (("containerd", containerd), ("dockerd", dockerd)):
        fields = engine.host.read(f"/proc/{pid}/stat").rpartition(")")[2].split()
        own[name] = (int(fields[11]) + int(fields[12])) / tick
        called[name] = (int(fields[13]) + int(fields[14])) / tick
    return (
        f"of it dockerd {own['dockerd']:.2f} s, the iptables that it calls {called['dockerd']:.2f} s,"
        f" containerd {own['containerd']:.2f} s"
    )


def ten_at_once() -> list[Row]:
    """Ten engines opened at once until all answer, against one; and the memory that each takes."""
    single, together, memory = [], [], []
    for _ in range(max(3, ROUNDS // 3)):
        single.append(timed(lambda: labkit.open_engine(name="bench").close()))
        engines: list[Engine] = []

        def all_ten(found: list[Engine] = engines) -> None:
            with concurrent.futures.ThreadPoolExecutor(10) as pool:
                found += pool.map(lambda number: labkit.open_engine(name=f"bench-{number}"), range(10))
                assert all(pool.map(Engine.ping, found))

        together.append(timed(all_ten))
        memory += [proportional_memory(engine) for engine in engines]
        with concurrent.futures.ThreadPoolExecutor(10) as pool:
            list(pool.map(Engine.close, engines))
    ratio = round(statistics.median(together) / statistics.median(single), 2)
    mib = [value / 2**20 for value in memory]
    return [
        row(
            "ten engines at once, all answering",
            together,
            3.0,
            versus="one engine, start and end",
            ratio=ratio,
        ),
        Row(
            "memory of one engine of ten (proportional set size)",
            round(statistics.median(mib), 1),
            round(p95(mib), 1),
            "MiB",
        ),
    ]


def proportional_memory(engine: Engine) -> int:
    """Bytes: the proportional set size (proc(5), smaps_rollup) of all processes on the engine's host."""
    script = "cat /proc/[0-9]*/smaps_rollup 2>/dev/null"
    return 1024 * sum(
        int(found)
        for found in re.findall(r"^Pss:\s+(\d+) kB", engine.host.run(script, check=False).stdout, re.M)
    )


def lab_against_script() -> list[Row]:
    """The first lab, executed by papermill, against its code cells as one plain script on the same kind of engine."""
    lab = next(path for path in LABS if path.stem == "30-container-states")
    sides: dict[str, list[float]] = {"notebook": [], "script": []}
    with tempfile.TemporaryDirectory() as folder:
        environ = jupyter_environ(Path(folder))
        export = [sys.executable, "-m", "nbconvert", "--to", "python", "--output-dir", folder, str(lab)]
        subprocess.run(export, env=environ, check=True, capture_output=True)
        script = Path(folder) / f"{lab.stem}.py"
        commands = {
            "notebook": [
                sys.executable,
                "-m",
                "papermill",
                str(lab),
                f"{folder}/out.ipynb",
                "--no-progress-bar",
            ],
            "script": [sys.executable, "-m", "IPython", "--no-banner", str(script)],
        }
        for _ in range(3):
            for side, command in commands.items():
                sides[side].append(
                    timed(
                        lambda c=command: subprocess.run(
                            c, cwd=lab.parent, env=environ, check=True, capture_output=True
                        )
                    )  # type: ignore[misc]
                )
    ratio = round(statistics.median(sides["notebook"]) / statistics.median(sides["script"]), 2)
    return [
        row(
            f"the lab {lab.stem}, executed",
            sides["notebook"],
            versus="the same steps as a plain script",
            ratio=ratio,
        )
    ]


def show(rows: list[Row]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table("what", "median", "95 %", "versus", "ratio", "goal", "ok", box=None, pad_edge=False)
    for r in rows:
        number = [
            "-" if v is None else f"{v:.3f} {r.unit}" if r.unit == "s" else f"{v:.1f} {r.unit}"
            for v in (r.median, r.p95)
        ]
        verdict = r.note if r.ok is None else f"{'yes' if r.ok else 'NO'} {r.note}".strip()
        table.add_row(r.name, *number, r.versus, "" if r.ratio is None else f"{r.ratio:.2f}", r.goal, verdict)
    Console(width=170, highlight=False).print(table)


def main() -> None:
    if packs.MACHINE not in packs.names() and not installed.why_not():
        command = [sys.executable, "-m", "tests.installed", sys.executable, "-m", "tests.bench"]
        os.execv(sys.executable, command)
    from tests import bench_checks, bench_labs, bench_runs
    from tests.bench_journal import journal_share

    rows = [
        *starts_and_ends(),
        *ten_at_once(),
        *lab_against_script(),
        *bench_labs.rows(),
        bench_checks.event_to_mark(ROUNDS),
        *journal_share(ROUNDS),
        *bench_runs.rows(),
    ]
    show(rows)
    if target := os.environ.get("BENCH_JSON"):
        keys = ("name", "median", "p95", "unit", "versus", "ratio", "goal", "ok")
        Path(target).write_text(
            json.dumps([{key: asdict(r)[key] for key in keys} for r in rows], indent=1) + "\n"
        )


if __name__ == "__main__":
    main()
