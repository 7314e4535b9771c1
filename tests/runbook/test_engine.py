"""The papermill engine ``labkit``: what papermill publishes holds under it, and outputs are those of stock papermill."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import nbformat
import papermill
import pytest
from nbclient.exceptions import CellTimeoutError, DeadKernelError
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook
from papermill.engines import papermill_engines
from papermill.exceptions import PapermillException

from labkit.engine.processes import Process
from labkit.runbook import redaction, steps
from labkit.runbook.engine import NAME, LabkitEngine
from labkit.runbook.journal import Journal

papermill_engines.register(NAME, LabkitEngine)

PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR4nGNgYGD4DwABBAEAX+XDSwAAAABJRU5ErkJggg=="


def say(text: str) -> str:
    """Code that prints a line in one write: a kernel may send what it has at any time, also between text and newline."""
    return f"print({text + chr(10)!r}, end='')"


ODD = {
    "nothing": [],
    "no code": ["# only prose"],
    "what goes on to the end": [
        # errors that are allowed
        ("1 / 0", ["raises-exception"]),
        say("after"),
        # streams
        f"import sys\n{say('a')}; sys.stdout.flush(); print('b\\n', end='', file=sys.stderr, flush=True)\n"
        + say("c\rd\b")
        + "; sys.stdout.flush()",
        "import subprocess; subprocess.run(['echo', 'from a child'])",
        "!echo shell; exit 3",
        "",
        "   \n",
        "# a comment",
        "for i in range(300): print(f'{i}\\n', end='', flush=True)",
        "print('x' * 2_000_000 + '\\n', end='')",
        # displays
        "from IPython.display import *\nh = display('first', display_id='x')\nh.update('second')",
        "h.update('third'); display({'text/plain': 'raw'}, raw=True)",
        f"{say('gone')}; clear_output(); {say('stays')}",
        f"{say('gone later')}; clear_output(wait=True)",
        "display('one'); clear_output(wait=True); display('two')",
        f"import base64\nImage(base64.b64decode('{PIXEL}'))",
        "display(HTML('<b>x</b>'), Markdown('*y*'), JSON({'a': 1}))",
        "1; 2",
        "_",
        # what a kernel is asked for in vain, and what it is not asked for
        "try:\n    input('name? ')\nexcept Exception as error:\n    print(f'{type(error)} {error}\\n', end='')",
        ("1 / 0", ["skip-execution"]),
        # magics
        "%%bash\necho hi",
        "%precision 3",
        "%%capture said\nprint(1)",
        "said.stdout",
        # what separates lines for some
        "'\\u2028 \\x85'",
        say("\x0b"),
    ],
    "widgets": [
        "import ipywidgets as w\nout = w.Output()\nslider = w.IntSlider(3)\ndisplay(slider, out)",
        "with out:\n    print('captured'); display('also')",
        "slider.value = 5\nout.clear_output()",
        "print(f'{slider.value}\\n', end='')",
    ],
    "error": ["x = 1", "def f():\n    raise ValueError('with \\x1b[31mcolour')\nf()", "print('never')"],
    "syntax error": ["x ="],
    "interrupt": ["raise KeyboardInterrupt"],
    "exit": ["import sys; sys.exit(0)", "never"],
    "exit 3": ["import sys; sys.exit(3)"],
    "parameters": [("size = 1\nname = 'a'", ["parameters"]), "print(f'{size} {name}\\n', end='')"],
}


def notebook(*sources: Any, **metadata: Any) -> nbformat.NotebookNode:
    """A notebook of code cells, each its source or (source, tags); prose begins with ``#␣``."""
    cells = []
    for source in sources:
        text, tags = source if isinstance(source, tuple) else (source, [])
        make = new_markdown_cell if text.startswith("# only") else new_code_cell
        cells.append(make(text, metadata={"tags": tags} if tags else {}))
    spec = {"name": "python3", "display_name": "Python 3", "language": "python"}
    return new_notebook(cells=cells, metadata={"kernelspec": spec, **metadata})


def written(path: Path, *sources: Any, **metadata: Any) -> Path:
    nbformat.write(notebook(*sources, **metadata), path)
    return path


def execute(source: Path, output: Path, engine: str | None = NAME, **options: Any) -> str:
    """Execute it; returns the name of the exception's class and what it says, or an empty string."""
    parameters = options.pop("parameters", None)
    try:
        papermill.execute_notebook(
            source, output, parameters, engine_name=engine, progress_bar=False, **options
        )
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return ""


def told(path: Path) -> Any:
    """An executed notebook without what differs from run to run: times, ids, its own path."""
    data = json.loads(path.read_text())
    for cell in data["cells"]:
        cell.pop("id", None)
        for key in ("start_time", "end_time", "duration"):
            cell["metadata"].get("papermill", {}).pop(key, None)
        cell["metadata"].get("execution", {}).clear()
    for key in ("start_time", "end_time", "duration", "output_path"):
        data["metadata"]["papermill"].pop(key)
    models = data["metadata"].get("widgets", {}).get("application/vnd.jupyter.widget-state+json", {})
    models["state"] = [model for _, model in sorted(models.get("state", {}).items(), key=_anonymous)]
    return json.loads(_anonymous(data))


def _anonymous(thing: Any) -> str:
    """As text, without random ids."""
    return re.sub(r"[0-9a-f]{32}", "ID", json.dumps(thing, sort_keys=True))


# -- conformance


@pytest.mark.parametrize("name", ODD)
def test_outputs_are_those_of_stock_papermill(name: str, tmp_path: Path) -> None:
    """Outputs, marks, metadata, widget state and the exception are the same under both engines."""
    source = written(tmp_path / "in.ipynb", *ODD[name])
    parameters: dict[str, Any] = {"parameters": {"size": 7, "name": "it's"}} if name == "parameters" else {}
    ours = execute(source, tmp_path / "ours.ipynb", **parameters)
    # stock papermill may overlook a kernel's answer while an Output widget sends something, until the time is up
    for seconds in (10, 20, 30, 40, 50):
        stock = execute(source, tmp_path / "stock.ipynb", None, execution_timeout=seconds, **parameters)
        if "CellTimeoutError" not in stock and "Kernel died before" not in stock:
            break
    one, other = told(tmp_path / "ours.ipynb"), told(tmp_path / "stock.ipynb")
    for ours_cell, stock_cell in zip(one["cells"], other["cells"], strict=True):
        assert ours_cell == stock_cell, ours_cell["source"]
    assert one == other
    assert _anonymous(ours) == _anonymous(stock)


def test_it_can_be_told_from_stock(tmp_path: Path) -> None:
    """The comparison above would see a difference: it does for two notebooks that differ in one output."""
    for name, source in (("one", "print(1)"), ("two", "print(2)")):
        execute(written(tmp_path / f"{name}-in.ipynb", source), tmp_path / f"{name}.ipynb")
    assert told(tmp_path / "one.ipynb") != told(tmp_path / "two.ipynb")


def command(*words: object) -> subprocess.CompletedProcess[str]:
    line = [sys.executable, "-m", "papermill", *map(str, words)]
    return subprocess.run(line, capture_output=True, text=True, check=False)


def test_the_entry_point_is_installed() -> None:
    """papermill finds the engine by itself (if not: ``pip install -e .`` again)."""
    found = [each.value for each in entry_points(group="papermill.engine") if each.name == NAME]
    assert set(found) == {"labkit.runbook.engine:LabkitEngine"}


@pytest.mark.parametrize(
    "options", [["--help-notebook"], ["--prepare-only", "-p", "size", "3"]], ids=" ".join
)
def test_without_executing(options: list[str], tmp_path: Path) -> None:
    """``--help-notebook`` and ``--prepare-only`` say and write the same with our engine."""
    cells = ODD["parameters"]
    source, output = written(tmp_path / "in.ipynb", *cells), tmp_path / "out.ipynb"
    said = []
    for engine in (["--engine", NAME], []):
        done = command(source, output, *options, *engine)
        assert done.returncode == 0
        said.append((done.stdout, json.loads(output.read_text())["cells"][1:] if output.exists() else ""))
        output.unlink(missing_ok=True)
    for _, cells in said:
        for cell in cells:
            cell.pop("id", None)  # of the injected cell: random
    assert said[0] == said[1]


def test_log_output_and_the_marks_of_an_error(tmp_path: Path) -> None:
    """``--log-output`` logs what cells print; the cell that failed is marked, and the exit code is papermill's."""
    source = written(tmp_path / "in.ipynb", "print('hello from the cell')", "1 / 0", "print('never')")
    said, codes = [], []
    for engine in (["--engine", NAME], []):
        done = command(source, tmp_path / "out.ipynb", "--log-output", "--no-progress-bar", *engine)
        said.append(done.stderr)
        codes.append(done.returncode)
        cells = nbformat.read(tmp_path / "out.ipynb", as_version=4).cells
        assert "An Exception was encountered" in cells[0].source
        assert "papermill-error-cell" in cells[2].source
        assert [cell.metadata.get("papermill", {}).get("status") for cell in cells[1:]] == [
            "completed",
            None,
            "failed",
            "pending",
        ]
    assert codes[0] == codes[1] != 0
    assert all("hello from the cell" in each and "ZeroDivisionError" in each for each in said)
    # a kernel that is interrupted on its way out may say so itself
    said = [re.sub(r"(?m)^\[IPKernelApp\].*\n", "", each) for each in said]
    lines = [re.sub(r"[\d.:]+", "", each).splitlines() for each in said]
    assert lines[0] == lines[1]


def test_as_a_library_call(tmp_path: Path) -> None:
    """`papermill.execute_notebook` returns what it writes; without an output path nothing is written."""
    source = written(tmp_path / "in.ipynb", *ODD["parameters"])
    given = {"engine_name": NAME, "progress_bar": False}
    made = papermill.execute_notebook(source, tmp_path / "out.ipynb", {"size": 2}, **given)
    assert [cell.metadata.tags for cell in made.cells] == [["parameters"], ["injected-parameters"], []]
    assert made.cells[2].outputs[0].text == "2 a\n"
    assert made == nbformat.read(tmp_path / "out.ipynb", as_version=4)
    assert papermill.execute_notebook(source, None, **given).cells[1].outputs[0].text == "1 a\n"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.ipynb", "out.ipynb"]


def test_the_output_may_be_a_stream_and_the_kernel_chosen(tmp_path: Path) -> None:
    """``-`` as output writes to stdout, as papermill's does; an unknown kernel is the same error."""
    source = written(tmp_path / "in.ipynb", "print(1)")
    done = command("--engine", NAME, "--no-progress-bar", source, "-")
    assert nbformat.reads(done.stdout, as_version=4).cells[0].outputs[0].text == "1\n"
    ours, stock = (execute(source, tmp_path / "o.ipynb", each, kernel_name="nope") for each in (NAME, None))
    assert ours == stock and ours.startswith("NoSuchKernel")


@pytest.mark.parametrize("order", ["papermill, labkit.runbook.engine", "labkit.runbook.engine, papermill"])
def test_loading_costs_little_and_is_not_circular(order: str) -> None:
    """The engine can be imported before and after papermill, and brings in nothing that papermill does not."""
    code = (
        "import labkit.runbook.engine, sys; light = set(sys.modules);"
        "assert not {'papermill', 'nbformat', 'docker', 'pydantic'} & light, light;"
        f"import {order}; from papermill.engines import papermill_engines as known;"
        "assert known.get_engine('labkit').__name__ == 'LabkitEngine';"
        "assert 'labkit.runbook.steps' not in sys.modules and 'docker' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_nothing_is_patched(tmp_path: Path) -> None:
    """After a run by our engine, papermill's, nbclient's and jupyter_client's classes are what they were."""
    source = written(tmp_path / "in.ipynb", "1")
    code = f"""
import papermill, sys, types, nbclient, jupyter_client
from papermill import engines, clientwrap, execute, iorw, translators
def state():
    modules = [m for n, m in sys.modules.items() if n.split('.')[0] in ('papermill', 'nbclient', 'jupyter_client', 'nbformat')]
    found = {{}}
    for module in modules:
        for name, thing in vars(module).items():
            if isinstance(thing, (type, types.FunctionType)):
                found[module.__name__, name] = id(thing)
            if isinstance(thing, type) and thing.__module__.split('.')[0] in ('papermill', 'nbclient', 'jupyter_client'):
                for each, value in vars(thing).items():
                    if isinstance(value, (types.FunctionType, classmethod, staticmethod, property)):
                        found[module.__name__, name, each] = id(value)
    return found
papermill.execute_notebook({str(source)!r}, None, progress_bar=False)
before = state()
papermill.execute_notebook({str(source)!r}, None, progress_bar=False, engine_name='labkit')
after = state()
changed = [key for key in before if after.get(key) != before[key]]
assert not changed, changed
"""
    subprocess.run([sys.executable, "-c", code], check=True)


# -- what it adds


def test_steps_are_journaled_ahead(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The journal names each code cell before it runs, with its section, and how it ended; prose is no step."""
    journal = Journal.create(tmp_path, {})
    monkeypatch.setenv("LABKIT_RUN_DIR", str(tmp_path))
    look = f"print(open({str(journal.path)!r}).read().splitlines()[-1])"
    source = written(tmp_path / "in.ipynb", "# only prose\n\n## Evidence", look, "", "1 / 0", "never")
    execute(source, tmp_path / "out.ipynb")
    kinds = [(each.kind, each.facts.get("cell"), each.facts.get("section")) for each in journal.verify()[1:]]
    assert kinds == [
        ("step-started", 1, "Evidence"),
        ("step-done", 1, "Evidence"),
        ("step-started", 3, "Evidence"),
        ("step-failed", 3, "Evidence"),
    ]
    assert journal.entries()[-1].facts["error"] == "ZeroDivisionError"
    cell = nbformat.read(tmp_path / "out.ipynb", as_version=4).cells[2]
    assert json.loads(cell.outputs[0].text)["kind"] == "step-started", "it was there before the cell ran"


def test_secrets_reach_no_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A known secret is masked in streams (also across two messages), displays, errors, widgets, sources, metadata."""
    canary = "kanarienvogel-4711"
    redaction.known.add(canary)
    monkeypatch.setenv("LABKIT_RUN_DIR", str(tmp_path))
    Journal.create(tmp_path, {"parameters": {"word": canary}})
    source = written(
        tmp_path / "in.ipynb",
        ("word = ''", ["parameters"]),
        "print(word); print(word[:7], end='', flush=True)\nimport time; time.sleep(.3); print(word[7:])",
        "from IPython.display import *; display(word, HTML(f'<b>{word}</b>'), metadata={'x': word}); word",
        "import ipywidgets; ipywidgets.Text(word)",
        "raise ValueError(word)",
    )
    error = execute(source, tmp_path / "out.ipynb", parameters={"word": canary})
    assert error.startswith("PapermillExecutionError") and canary not in error
    for path in tmp_path.iterdir():
        text = path.read_text()
        assert canary not in text, path
    streams = nbformat.read(tmp_path / "out.ipynb", as_version=4).cells[3].outputs
    assert canary not in "".join(each.text for each in streams)


@pytest.mark.parametrize("limits", [{"step_limit": 1}, {"limit": 1.5}, {"execution_timeout": 1}])
def test_time_limits(limits: dict[str, float], tmp_path: Path) -> None:
    """A step, or a run of many short steps, that takes too long is ended, and its cell is marked."""
    cells = (
        ["import time; time.sleep(.7)"] * 3 if "limit" in limits else ["1", "import time; time.sleep(1000)"]
    )
    error = execute(written(tmp_path / "in.ipynb", *cells), tmp_path / "out.ipynb", **limits)
    assert error.startswith(CellTimeoutError.__name__)
    states = [
        cell.metadata.papermill.status for cell in nbformat.read(tmp_path / "out.ipynb", as_version=4).cells
    ]
    assert "failed" in states


def test_a_kernel_that_dies_at_its_start_is_started_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another process may take a port between its choice and the kernel; a kernel that never lives is an error."""
    spec = tmp_path / "kernels/unlucky"
    spec.mkdir(parents=True)
    tries = tmp_path / "tries"
    start = f"echo try >> {tries}; [ $(wc -l < {tries}) -lt $LUCKY ] || exec {sys.executable} -m ipykernel_launcher -f $0"
    told = {"argv": ["sh", "-c", start, "{connection_file}"], "display_name": "x", "language": "python"}
    (spec / "kernel.json").write_text(json.dumps(told))
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path))
    source = written(tmp_path / "in.ipynb", "print(1)")
    for lucky, error in ((2, ""), (9, "RuntimeError: Kernel died before replying to kernel_info")):
        monkeypatch.setenv("LUCKY", str(lucky))
        tries.unlink(missing_ok=True)
        assert execute(source, tmp_path / "out.ipynb", kernel_name="unlucky") == error
    assert len(tries.read_text().splitlines()) == 3


def test_leaving_early_is_a_failure(tmp_path: Path) -> None:
    """``sys.exit(0)`` in a runbook, and a kernel that dies in any notebook, are errors for papermill too."""
    source = written(tmp_path / "in.ipynb", "import sys; sys.exit(0)", labkit={"title": "x"})
    assert execute(source, tmp_path / "out.ipynb").startswith(PapermillException.__name__)
    source = written(tmp_path / "in.ipynb", "import os; os._exit(0)")
    assert execute(source, tmp_path / "out.ipynb").startswith(DeadKernelError.__name__)


@pytest.mark.parametrize(("every", "least", "most"), [(1000, 2, 3), (0, 42, 50)])
def test_the_notebook_is_saved_now_and_then(
    every: int, least: int, most: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Cells cause no more writes than there are seconds, and the first and the last state are always written."""
    from labkit.runbook import saving

    writes: list[int] = []
    real = saving._write
    monkeypatch.setattr(saving, "_write", lambda *given: (writes.append(1), real(*given)))
    monkeypatch.setattr(saving, "EVERY", every)
    source = written(tmp_path / "in.ipynb", *["1"] * 20, "print('end')")
    assert execute(source, tmp_path / "out.ipynb") == ""
    assert least <= len(writes) <= most
    assert nbformat.read(tmp_path / "out.ipynb", as_version=4).cells[-1].outputs[0].text == "end\n"


@pytest.mark.parametrize("sent", [signal.SIGKILL, signal.SIGTERM])
def test_a_kernel_ends_with_its_runner(sent: signal.Signals, tmp_path: Path) -> None:
    """However the runner ends, its kernel does too, also one that does not listen."""
    mark = tmp_path / "kernel"
    stubborn = (
        "import os, signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        f"open({str(mark)!r} + '.new', 'w').write(str(os.getpid())); os.rename({str(mark)!r} + '.new', {str(mark)!r})\n"
        "time.sleep(1000)"
    )
    source = written(tmp_path / "in.ipynb", stubborn)
    runner = subprocess.Popen(
        [sys.executable, "-m", "papermill", "--engine", NAME, str(source), str(tmp_path / "out.ipynb")],
        stderr=subprocess.DEVNULL,
        env={**os.environ, "LABKIT_RUN_DIR": ""},
    )
    try:
        deadline = time.monotonic() + 60
        while not mark.exists():
            assert time.monotonic() < deadline and runner.poll() is None
            time.sleep(0.02)
        kernel = Process.of(int(mark.read_text()))
        runner.send_signal(sent)
        runner.wait(60)
        deadline = time.monotonic() + 60
        while kernel.alive:
            assert time.monotonic() < deadline
            time.sleep(0.01)
    finally:
        runner.kill()
        runner.wait()


def test_a_kernel_can_speak_though_nobody_listens_to_us(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where our own standard error takes nothing any more, what a kernel says beside its messages is still taken from it."""
    others = set(threading.enumerate())
    full = Path("/dev/full").open("w", buffering=1)  # noqa: SIM115  closed below, which fails
    monkeypatch.setattr(sys, "stderr", full)
    descriptor = steps._masked()
    (thread,) = set(threading.enumerate()) - others
    try:
        for _ in range(20):  # more than a pipe holds
            os.write(descriptor, b"much\n" * 1000)
    finally:
        os.close(descriptor)
        thread.join(60)
        monkeypatch.undo()
        with suppress(OSError):
            full.close()
    assert not thread.is_alive()
