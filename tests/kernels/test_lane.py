"""The fast lane: what its cells show is what an ipykernel would have shown, and no more is left of it."""

from __future__ import annotations

import json
import os
import re
import select
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import nbformat
import papermill
import pytest
from nbclient.exceptions import CellTimeoutError, DeadKernelError
from papermill.engines import papermill_engines

from labkit.kernels.lane import Lane, LaneDied
from labkit.runbook import ahead
from tests.kernels.conftest import soon

CELLS = {
    "values and streams": [
        "import sys\nprint('out')\nprint('err', file=sys.stderr)\nprint('out again')\n1 + 1",
        "None",
        "sys.stdout.write('no newline')",
        "print('é', '\\U0001f600', end='')",
    ],
    "errors": ["def f():\n    1 / 0\nf()"],
    "a syntax error": ["def f(:"],
    "an error in a repr": ["class A:\n    def __repr__(self):\n        raise ValueError('no')\nA()"],
    "displays": [
        "from IPython.display import display, HTML, clear_output, Markdown",
        "h = display('one', display_id='same')\nh.update('two')",
        "h.update('three')",
        "print('gone'); clear_output(); print('stays')",
        "print('gone later'); clear_output(wait=True); display(HTML('<b>x</b>'))",
        "display({'text/plain': 'p', 'application/json': {'a': [1]}}, raw=True, metadata={'m': 1})",
        "import base64\ndisplay({'image/png': base64.b64decode('iVBORw0KGgo=')}, raw=True)",
    ],
    "tables": ["import pandas\npandas.DataFrame({'a': [1, 2], 'b': ['x', None]})"],
    "programs": [
        "!echo from a shell; echo and its stderr >&2",
        "%%bash\necho script",
        "out = !echo kept\nout",
    ],
    "magic and names": [
        "__name__, type(get_ipython()).__name__, get_ipython().execution_count, Out, len(In)",
        "%precision 2\n3.14159",
        "_ ; __name__",
        "%who_ls",
        "import sys; sys.path[1:] == sys.path[1:], sys.path.count('')",
    ],
    "await": [
        "import asyncio\nawait asyncio.sleep(0, 'slept')",
        "asyncio.get_running_loop().is_running()",
        "t = asyncio.create_task(asyncio.sleep(0, 7))",
        "await t",
    ],
    "asking": ["input('?')"],
    "asking for a password": ["import getpass\ngetpass.getpass()"],
    "leaving": ["import sys\nsys.exit(3)"],
    "a fork that displays": [
        "import os\nfrom IPython.display import display\nif os.fork() == 0:\n    display('child')\n    os._exit(0)\n"
        "_ = os.wait()\ndisplay('parent')"
    ],
    "warnings": ["import warnings\nwarnings.warn('careful')"],
    "expected errors": ["#raises\n1 / 0", "print('on')"],
    "a widget": [
        "import ipywidgets\nout = ipywidgets.Output()\nout",
        "with out:\n    print('captured')",
        "ipywidgets.IntSlider(value=3)",
    ],
}


def notebook(folder: Path, sources: list[str]) -> Path:
    cells = [nbformat.v4.new_code_cell(source) for source in sources]
    for cell in cells:
        cell.metadata["tags"] = ["raises-exception"] if cell.source.startswith("#raises") else []
    metadata = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    path = folder / "book.ipynb"
    nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata=metadata), path)
    return path


RUNNER = """
import os, sys, papermill
from labkit.kernels.lane import Lane
from labkit.runbook.engine import NAME, LabkitEngine
from papermill.engines import papermill_engines
source, *targets = sys.argv[1:]
how = "lane" if os.fork() else "kernel"  # side by side, after the imports
target = targets[how == "kernel"]
options = {"lane": Lane()} if how == "lane" else {}
papermill_engines.register(NAME, LabkitEngine)
try:
    papermill.execute_notebook(
        source, target, engine_name=NAME, kernel_name="python3", progress_bar=False, **options
    )
except papermill.PapermillExecutionError:
    pass
if how == "lane":
    sys.exit(os.waitstatus_to_exitcode(os.wait()[1]))
"""


def executed(path: Path) -> list[nbformat.NotebookNode]:
    """The notebook as it was executed on a lane, and as on an ipykernel; an error of a cell is in it."""
    outputs = [path.with_name(f"{how}.ipynb") for how in ("lane", "kernel")]
    # an ipykernel that thinks itself part of a test leaves the descriptors of its streams alone
    environ = {name: value for name, value in os.environ.items() if name != "PYTEST_CURRENT_TEST"}
    done = subprocess.run(
        [sys.executable, "-c", RUNNER, str(path), *map(str, outputs)], env=environ,
        capture_output=True, text=True, check=False, timeout=250,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return [nbformat.read(output, as_version=4) for output in outputs]


def run(path: Path, **options: Any) -> None:
    """Execute the notebook in a lane of this process."""
    from labkit.runbook.engine import NAME, LabkitEngine

    papermill_engines.register(NAME, LabkitEngine)
    papermill.execute_notebook(
        str(path),
        str(path.with_name("out.ipynb")),
        progress_bar=False,
        engine_name=NAME,
        lane=Lane(),
        **options,
    )


def comparable(notebook: nbformat.NotebookNode) -> Any:
    """Cells and outputs, but for what differs between any two runs."""
    text = nbformat.writes(
        nbformat.from_dict({**notebook, "metadata": {**notebook.metadata, "papermill": {}}})
    )
    found = nbformat.reads(
        re.sub(r"[0-9a-f]{32}|ipykernel_\d+|/tmp/\w+/\d+\.py|\d{9,10}", "-", text), as_version=4
    )
    for cell in found.cells:
        cell.pop("id")
        cell.metadata = {key: sorted(value) if key == "execution" else value
                         for key, value in cell.metadata.items() if key != "papermill"}  # fmt: skip
        for output in cell.get("outputs", []):  # the frame that refuses to ask is in another file
            kept = [
                line for line in output.get("traceback", []) if not re.search(r"(kernelbase|cells)\.py", line)
            ]
            output.update({"traceback": kept} if kept else {})
    state = (
        notebook.metadata.get("widgets", {})
        .get("application/vnd.jupyter.widget-state+json", {})
        .get("state", {})
    )
    found.metadata.pop("widgets", None)
    models = sorted(
        re.sub("[0-9a-f]{32}", "-", json.dumps(model, sort_keys=True)) for model in state.values()
    )
    return found.cells, found.metadata, models


@pytest.mark.parametrize("name", CELLS)
def test_outputs_are_those_of_an_ipykernel(name: str, tmp_path: Path) -> None:
    """An ipykernel and the lane leave the same notebook."""
    path = notebook(tmp_path, CELLS[name])
    lane, kernel = map(comparable, executed(path))
    assert lane == kernel


@pytest.fixture
def forkable(monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker of pytest-xdist has a second thread; it only waits, so a fork beside it does no harm."""
    monkeypatch.setattr("labkit.kernels.forks.single_threaded", lambda: True)


@pytest.fixture
def lane(tmp_path: Path, forkable: None) -> Iterator[Lane]:
    """A lane that has been given its environment."""
    one = Lane()
    one.start({**os.environ, "GIVEN": "yes"}, str(tmp_path))
    yield one
    one.end()


def text(lane: Lane, source: str, **options: Any) -> str:
    """What a cell prints."""
    messages = list(lane.run(source, **options))
    assert messages[-1]["content"]["status"] == "ok", messages
    return "".join(m["content"]["text"] for m in messages if m["msg_type"] == "stream").strip()


def test_environment_and_folder_are_those_given(lane: Lane, tmp_path: Path) -> None:
    """The cells see the environment and the folder that they were given, and an empty standard input."""
    code = "import os, sys; print(os.environ['GIVEN'], os.getcwd(), repr(sys.stdin.read()), os.getsid(0) == os.getpid())"
    assert text(lane, code) == f"yes {tmp_path} '' True"


def test_much_output_arrives_whole(lane: Lane) -> None:
    """A million numbers printed, and as many from a program, arrive whole and in their order."""
    numbers = "".join(f"{number}\n" for number in range(100_000))
    assert text(lane, "for n in range(100_000): print(n)") == numbers.strip()
    assert (
        text(lane, "import subprocess; subprocess.run(['seq', '0', '99999'], check=True); None")
        == numbers.strip()
    )


def test_streams_and_descriptors_keep_their_order(lane: Lane) -> None:
    """What Python prints and what programs print come in the order in which they were printed."""
    code = (
        "import subprocess\nfor n in range(5):\n    print(n)\n    subprocess.run(['echo', 'program'])\nNone"
    )
    assert text(lane, code).split() == [word for n in range(5) for word in (str(n), "program")]
    # not compared with an ipykernel: what comes there through the descriptor comes at any time, or not at all
    assert text(lane, "import os\nos.write(1, b'descriptor\\n')\nNone") == "descriptor"


def test_output_is_not_held_back(lane: Lane) -> None:
    """What a long cell prints arrives while it still runs."""
    messages = lane.run("print('now', end=''); import time; time.sleep(1000)")
    assert [next(messages)["msg_type"] for _ in range(2)] == ["execute_input", "stream"]
    os.kill(lane.pid, signal.SIGINT)
    assert list(messages)[-1]["content"]["status"] == "error"


def test_a_cell_of_its_own_forks(lane: Lane) -> None:
    """What a fork that a cell has made prints is shown, and disturbs nothing."""
    code = "import os\nif os.fork() == 0:\n    print('child', flush=True)\n    os._exit(0)\n_ = os.wait()\nprint('parent')"
    assert sorted(text(lane, code).split()) == ["child", "parent"]
    assert text(lane, "print('on')") == "on"


@pytest.mark.parametrize(
    ("source", "error"),
    [
        ("print('now', flush=True); import time; time.sleep(1000)", "KeyboardInterrupt"),
        (
            "import asyncio; print('now', flush=True); await asyncio.sleep(1000)",
            "CancelledError",
        ),  # as in ipykernel
    ],
)
def test_an_interrupt_ends_the_cell_alone(source: str, error: str, lane: Lane) -> None:
    """The cell fails, and the next one runs.  Between cells an interrupt does nothing."""
    messages = lane.run(source)
    assert [next(messages)["msg_type"] for _ in range(2)] == ["execute_input", "stream"]
    os.kill(lane.pid, signal.SIGINT)
    found = list(messages)
    assert found[-1]["content"]["status"] == "error"
    assert [m["content"]["ename"] for m in found if m["msg_type"] == "error"] == [error]
    os.kill(lane.pid, signal.SIGINT)
    assert text(lane, "print('on')") == "on"


def test_an_interrupt_garbles_no_message(lane: Lane) -> None:
    """One that comes while a message is half sent is heeded after it: the message arrives whole, and so do all that follow."""
    large = "'x' * 10_000_000"
    messages = lane.run(f"display({large}); import time; time.sleep(1000)", seconds=120)
    assert next(messages)["msg_type"] == "execute_input"
    assert select.select([lane._connection], [], [], 60)[0], (
        "it has begun, and is larger than what a socket holds"
    )
    os.kill(lane.pid, signal.SIGINT)
    shown, *_, reply = messages
    assert len(shown["content"]["data"]["text/plain"]) == len(eval(large)) + 2
    assert reply["content"]["status"] == "error"
    assert text(lane, "print('on')") == "on"


@pytest.mark.parametrize(
    "end",
    # pytest's own fault handler, which the fork has too, would tell of it as of an accident
    ["os._exit(0)", "os.kill(os.getpid(), 9)", "import faulthandler; faulthandler.disable(); os.abort()"],
)
def test_a_dead_lane_is_told(end: str, lane: Lane) -> None:
    """A cell that ends its process is not a cell that has run."""
    with pytest.raises(LaneDied):
        list(lane.run(f"import os; {end}"))
    assert not lane.alive


@pytest.mark.parametrize("end", ["import os; os._exit(0)", "exit()", "quit()"])
def test_a_run_whose_lane_dies_has_failed(end: str, tmp_path: Path, forkable: None) -> None:
    """As with a kernel: `DeadKernelError`, also when it was the last cell."""
    with pytest.raises(DeadKernelError):
        run(notebook(tmp_path, ["1", end]))


def test_time_limits(tmp_path: Path, forkable: None) -> None:
    """A cell that takes too long ends the run."""
    path = notebook(tmp_path, ["import time; time.sleep(1000)"])
    with pytest.raises(CellTimeoutError):
        run(path, step_limit=0.5)


def ended(pid: int) -> bool:
    """Whether there is no such process any more, or nobody has heard of its end."""
    with suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    return True


def test_its_end_takes_along_what_it_has_started(lane: Lane) -> None:
    """`end` leaves neither the lane nor a program that a cell has put into the background."""
    started = int(text(lane, "import subprocess; print(subprocess.Popen(['sleep', '1000']).pid)"))
    lane.end()
    for pid in (lane.pid, started):
        assert soon(lambda pid=pid: ended(pid))


def test_it_ends_with_its_runner() -> None:
    """kill -9 of the runner ends the lane."""
    code = (
        "from labkit.kernels.lane import Lane; import time; print(Lane().pid, flush=True); time.sleep(1000)"
    )
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert process.stdout
    pid = int(process.stdout.readline())
    assert Path(f"/proc/{pid}").exists()
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert soon(lambda: not Path(f"/proc/{pid}").exists())


def test_no_fork_beside_threads() -> None:
    """A process with several threads is not forked: a lock that another thread holds would never be released."""
    import threading

    stop = threading.Event()
    thread = threading.Thread(target=stop.wait)
    thread.start()
    try:
        with pytest.raises(RuntimeError, match="threads"):
            Lane()
    finally:
        stop.set()
        thread.join()


def test_what_cells_import_is_imported_ahead(tmp_path: Path, forkable: None) -> None:
    """The lane of a run carries out the cells' imports of what takes long ahead; of nothing else, and no error is lost."""
    path = notebook(
        tmp_path,
        ["import docker, os\nimport pandas as pd", "import antigravity", "from docker import nothing"],
    )
    found = ahead.imports(path)
    assert found == ["import docker, os", "import pandas as pd", "from docker import nothing"]
    assert ahead.imports(tmp_path) == []
    one = Lane(found)
    try:
        one.start(os.environ, str(tmp_path))
        assert text(
            one, "import sys\nprint('pandas' in sys.modules, 'docker' in sys.modules, 'pd' in dir())"
        ).strip() == ("True True False")
        assert list(one.run("from docker import nothing"))[-1]["content"]["ename"] == "ImportError"
    finally:
        one.end()
