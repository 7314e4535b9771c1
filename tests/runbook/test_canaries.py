"""No secret reaches a disk or a terminal: canaries are planted everywhere, and every byte that a run leaves is searched for them.

The search shares no code with the redaction.
"""

from __future__ import annotations

import base64
import gzip
import html
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from labkit import faults, runbook
from labkit.engine import Engine
from tests import commands

on_one_engine = pytest.mark.parametrize("module_engine", ["debian-13"], indirect=True)

CANARIES = {
    "parameter": "cnry1 pär&\"am'eter\\",
    "file": "cnry2-of-a-file",
    "variable": "cnry3<env>&var",
    "label": "cnry4|label\\u00e9",
    "argument": "cnry5-argument",
    "registry": "cnry6:registry",
    "runner": "cnry7 of the runner",
    "shape": "cnry8-nobody-knows-it",
    "later": "cnry9-comes-while-it-runs",
    "number": "7319045528",
    "kernel": "cnry10-only-the-kernel-knows",
}

NASTY = [
    "import base64, html, json, logging, os, sys, time\nimport labkit\nfrom labkit import diagnosis, observe, runbook\n"
    "from labkit.runbook import ByteSize, Container, Secret\nfrom labkit.runbook.verification import Verification",
    """p = runbook.check(globals())
p""",
    """engine = labkit.open_engine("attach").use()
facts = engine.client.api.inspect_container("web")
config = facts["Config"]
registry = json.load(open(os.environ["DOCKER_CONFIG"] + "/config.json"))["auths"]["example.org"]["auth"]
variables = dict(each.split("=", 1) for each in config["Env"] if "=" in each)
found = [p.password.reveal(), p.key.reveal(), variables["DB_PASSWORD"], config["Labels"]["com.example.api-key"],
         config["Cmd"][2], base64.b64decode(registry).decode().partition(":")[2], os.environ["MY_API_TOKEN"],
         variables["PIN_TOKEN"]]
len(found)""",
    """for value in found:
    print(value, repr(value), json.dumps(value), json.dumps({"a": [json.dumps(value)]}), html.escape(value))
    print(base64.b64encode(b"x" + value.encode()).decode(), value.encode().hex())
    print(value[:4], end="", flush=True)
    time.sleep(0.02)
    print(value[4:], flush=True)
    print("".join(f"\\x1b[3{n % 8}m{letter}\\x1b[0m" for n, letter in enumerate(value)), file=sys.stderr)
    logging.warning("logged %s", value)
unknown = "-".join(["cnry8", "nobody", "knows", "it"])
print(f"SESSION_TOKEN={unknown} https://me:{unknown}@example.org/ {{'password': '{unknown}'}}")
print(int(found[7]), config, facts["Args"])""",
    "!env; echo $MY_API_TOKEN >&2",
    """from IPython.display import HTML, JSON, Markdown, display
for value in found:
    display(value, HTML(f"<b>{html.escape(value)}</b>"), JSON({"a": {value: [value]}}), Markdown(value))
    display("x", metadata={"note": [value]})
    handle = display(value, display_id=True)
    handle.update(value + value)
JSON({"pin": int(found[7]), "password": unknown})""",
    """import ipywidgets
text = ipywidgets.Text(value=found[2])
display(text)
text.value = found[3]""",
    """evidence = tuple(diagnosis.Evidence(source=value, fact=value, detail=value) for value in found)
finding = diagnosis.Finding(diagnosis="nasty", object=found[2], code=found[3], title=found[4], confidence="certain",
                            incident=True, evidence=evidence, advice=found[0])
finding""",
    """later = "-".join(["cnry9", "comes", "while", "it", "runs"])
engine.client.containers.create("busybox:lab", environment={"LATE_PASSWORD": later})
print(later)
from labkit.runbook.redaction import known
only = "-".join(["cnry10", "only", "the", "kernel", "knows"])
known.add(only)
print(only)""",
    """open(os.environ["STARTED"], "w").close()
if p.fail == "error":
    secret = found[0]
    raise ValueError(f"{secret} and {found[2]}", {found[3]: found[5]})
if p.fail == "usage":
    observe.container(engine, found[4])
if p.fail == "sleep":
    time.sleep(1000)""",
    """plan = runbook.Plan.of(runbook.raise_memory(observe.container(engine, "web"), ByteSize.parse("64m")))
plan = plan.model_copy(update={"actions": tuple(a.model_copy(update={"reason": found[0], "arguments": {**a.arguments}})
                                                for a in plan.actions)})
plan""",
    """applied = plan.apply(engine, named=p) if p.apply else plan.wait()
applied""",
    """verified = Verification(ok=True if applied.done else None, evidence=evidence)
runbook.outcome(p, finding, plan, applied, verified, engine=engine)""",
]  # fmt: skip
PARAMETERS = """password: Secret = "env:NASTY_PASSWORD"  # typed
key: Secret = "env:NASTY_PASSWORD"  # typed
container: Container = "web"
note: str = "x"  # no secret, by its type
fail: str = ""
apply: bool = False"""


METADATA = {
    "kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"},
    "language_info": {"name": "python"},
    "labkit": {"title": "Nasty", "risk": "none"},
}


# -- the search


def forms(value: str) -> dict[str, bytes]:
    """What *value* looks like in files: as it is, escaped, encoded."""
    found = {
        "as it is": value,
        "JSON": json.dumps(value)[1:-1],
        "JSON, not ASCII": json.dumps(value, ensure_ascii=False)[1:-1],
        "JSON in JSON": json.dumps(json.dumps(value)[1:-1])[1:-1],
        "HTML": html.escape(value),
        "HTML text": html.escape(value, quote=False),
        "URL": quote(value, safe=""),
        "hex": value.encode().hex(),
    }
    for shift in range(3):
        encoded = base64.b64encode(b"\0" * shift + value.encode()).decode().rstrip("=")
        found[f"base64+{shift}"] = encoded[(0, 2, 3)[shift] : -1]
    return {name: form.encode() for name, form in found.items()}


FORMS = {kind: forms(value) for kind, value in CANARIES.items()}


def readings(content: bytes) -> Iterator[bytes]:
    """*content*, and what is in it: unpacked, without colours, tags and the seams of lists, and notebooks' streams joined."""
    yield content
    if content.startswith(b"\x1f\x8b"):
        yield from readings(gzip.decompress(content))
    text = content.decode(errors="replace")
    bare = re.sub(r"(\x1b|\\u001b)\[[0-9;]*m", "", text)
    yield bare.encode()
    yield re.sub(r'",\s*"', "", bare).encode()
    yield html.unescape(re.sub(r"<[^>]*>", "", bare)).encode()
    if text.startswith("{") and '"cells"' in text:
        for cell in nbformat.reads(text, as_version=4).cells:
            yield "".join(output.get("text", "") for output in cell.get("outputs", [])).encode()


def sightings(content: bytes) -> list[str]:
    return sorted(
        {
            f"{kind} ({name})"
            for reading in readings(content)
            for kind, known in FORMS.items()
            for name, form in known.items()
            if form in reading
        }
    )


def leaks(*folders: Path) -> list[str]:
    """Where in *folders* a canary is: in what files hold, and in how they are called."""
    found = []
    for path in (each for folder in folders for each in folder.rglob("*")):
        found += [f"{path}: its name: {each}" for each in sightings(os.fsencode(path.name))]
        if path.is_file() and not path.is_symlink():
            found += [f"{path}: {each}" for each in sightings(path.read_bytes())]
    return found


@pytest.mark.parametrize("kind", CANARIES)
def test_the_search_finds_what_it_looks_for(kind: str, tmp_path: Path) -> None:
    """Each canary is seen in each of the ways in which it could be left behind, and nothing is seen where there is none."""
    value = CANARIES[kind]
    coloured = "".join(f"\x1b[31m{letter}\x1b[0m" for letter in value)
    notebook = new_notebook(
        cells=[new_code_cell(outputs=[nbformat.v4.new_output("stream", text=x) for x in value])]
    )
    ways = [
        *FORMS[kind].values(),
        gzip.compress(value.encode()),
        coloured.encode(),
        nbformat.writes(notebook).encode(),
    ]
    for number, way in enumerate(ways):
        place = tmp_path / f"{number}"
        place.mkdir()
        (place / "file").write_bytes(b"before " + way if not way.startswith((b"\x1f", b"{")) else way)
        assert leaks(place), way
    (tmp_path / "clean").mkdir()
    (tmp_path / "clean/file").write_bytes(b"cnry of a file, 73190455")
    assert leaks(tmp_path / "clean") == []


# -- the runs


class Place:
    """Where a run of the test lives: a home, a runtime and a user's folder of its own, and canaries all around it."""

    def __init__(self, folder: Path, engine: Engine) -> None:
        self.folder = folder
        self.input, self.runs = folder / "input", folder / "out/runs"
        for each in (self.input, self.runs, folder / "user"):
            each.mkdir(parents=True)
        self.runtime = Path(f"/tmp/cnr{os.getpid()}")
        auth = base64.b64encode(f"me:{CANARIES['registry']}".encode()).decode()
        (self.input / "config.json").write_text(json.dumps({"auths": {"example.org": {"auth": auth}}}))
        (self.input / "key").write_text(CANARIES["file"])
        self.started = folder / "started"
        self.environ = {
            **os.environ,
            "HOME": str(folder / "user"),
            "LABKIT_HOME": str(folder / "out/home"),
            "LABKIT_RUNTIME": str(self.runtime),
            "LABKIT_ZYGOTE": "0",
            "DOCKER_HOST": engine.url,
            "DOCKER_CONFIG": str(self.input),
            "NASTY_PASSWORD": CANARIES["parameter"],
            "MY_API_TOKEN": CANARIES["runner"],
            "STARTED": str(self.started),
        }
        del self.environ[
            "PYTEST_CURRENT_TEST"
        ]  # ipykernel does not capture file descriptors where this is set
        self.nasty = self.input / "nasty.ipynb"
        nbformat.write(self._notebook(), self.nasty)

    def _notebook(self) -> nbformat.NotebookNode:
        first, *rest = NASTY
        cells = [new_markdown_cell("# Nasty\n\n## Parameters"), new_code_cell(first)]
        cells.append(new_code_cell(PARAMETERS, metadata={"tags": ["parameters"]}))
        cells += [new_code_cell(source) for source in rest]
        return new_notebook(cells=cells, metadata=METADATA)

    def begin(self, *words: str) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", *words]
        return subprocess.Popen(
            command, env=self.environ, cwd=self.folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )

    def run(self, *words: str) -> tuple[int, bytes]:
        """Run a module; returns its exit code and all that it printed."""
        process = self.begin(*words)
        try:
            out, err = process.communicate(timeout=120)
        finally:
            process.kill()
        return process.returncode, out + b"\n" + err

    def labkit(self, *words: str) -> tuple[int, bytes]:
        done = commands.labkit(*words, environ=self.environ, folder=self.folder)
        return done.returncode, os.fsencode(f"{done.stdout}\n{done.stderr}")

    def cut_off(self, sent: signal.Signals, *words: str) -> bytes:
        """Send a run that sleeps a signal once all that is written before has had time to be; returns what it printed."""
        process = self.begin("labkit", *words)
        deadline = time.monotonic() + 60
        while not self.started.exists():
            assert time.monotonic() < deadline and process.poll() is None, process.communicate()
            time.sleep(0.05)
        time.sleep(0.5)
        process.send_signal(sent)
        return b"\n".join(process.communicate(timeout=60))

    def leaks(self) -> list[str]:
        """What leaked out of what the canaries were planted in."""
        return leaks(self.folder / "out", self.folder / "user", self.runtime)


@pytest.fixture
def place(engine: Engine, tmp_path: Path) -> Iterator[Place]:
    """A place, beside an engine whose container carries canaries."""
    faults.inject(engine, "exit-137")
    engine.client.containers.get("web").remove(force=True)
    engine.client.containers.create(
        "busybox:lab",
        ["redis-server", "--requirepass", CANARIES["argument"]],
        name="web",
        mem_limit="32m",
        environment={"DB_PASSWORD": CANARIES["variable"], "PIN_TOKEN": CANARIES["number"]},
        labels={"com.example.api-key": CANARIES["label"]},
    )
    made = Place(tmp_path, engine)
    yield made
    shutil.rmtree(made.runtime, ignore_errors=True)


def given(place: Place, *more: str) -> list[str]:
    """The words of a run of the nasty runbook: a secret from a file, and one that is given as no secret."""
    words = ["run", str(place.nasty), "--out", str(place.runs), "-p", f"key=file:{place.input / 'key'}"]
    return [*words, "-p", f"note={CANARIES['variable']}", *more]


@on_one_engine
@pytest.mark.parametrize("kernel", [[], ["--kernel", "python3"]], ids=["lane", "kernel"])
@pytest.mark.parametrize(
    ("words", "code"),
    [
        ([], 4),
        (["--apply", "--json"], 0),
        (["-p", "fail=error"], 1),
        (["-p", "fail=usage"], 2),
        (["-p", "fail=sleep", "--step-limit", "15s"], 1),  # which no other step may reach on a busy machine
    ],
    ids=["plan", "apply", "error", "mistake", "limit"],
)
def test_a_run_leaves_no_secret(place: Place, words: list[str], code: int, kernel: list[str]) -> None:
    """However it ends: nothing in its folder, in labkit's folders, in the user's, or on the terminal; and every file is there."""
    ended, printed = place.labkit(*given(place, *words, *kernel))
    assert ended == code, printed.decode()
    assert place.leaks() == []
    # what is typed on the command line is what the terminal shows; nothing else
    assert sightings(printed) == []
    folder = next(place.runs.iterdir())
    names = {path.name for path in folder.iterdir()}
    assert names == {"nasty.ipynb", "report.html", "report.md", "outcome.json", "junit.xml", "journal.jsonl"}
    assert all(path.stat().st_mode & 0o077 == 0 for path in folder.iterdir())
    outcome = json.loads((folder / "outcome.json").read_text())
    assert outcome["parameters"]["password"] == "env:NASTY_PASSWORD"
    assert outcome["findings"] and outcome["engine"]
    for told in (["runs"], ["show", str(folder)]):
        assert sightings(place.labkit(*told)[1]) == []


@on_one_engine
@pytest.mark.parametrize("sent", [signal.SIGKILL, signal.SIGTERM])
def test_a_run_that_was_cut_off_leaves_no_secret(place: Place, sent: signal.Signals) -> None:
    """Killed in the middle, and when it was taken up again."""
    printed = place.cut_off(sent, *given(place, "-p", "fail=sleep"))
    assert [*place.leaks(), *sightings(printed)] == []
    folder = next(place.runs.iterdir())
    assert (folder / "journal.jsonl").exists() and (folder / "nasty.ipynb").exists()
    if sent == signal.SIGKILL:
        place.started.unlink()
        printed = place.cut_off(signal.SIGTERM, "resume", str(folder))
        assert [*place.leaks(), *sightings(printed)] == []


@on_one_engine
def test_runbooks_of_the_kit_leave_no_secret(place: Place) -> None:
    """Each of them, beside a container that carries canaries, and given one as an ordinary parameter."""
    for name in runbook.names():
        words = ["run", name, "--out", str(place.runs), "-p"]
        place.labkit(
            *words, f"container={CANARIES['argument']}"
        )  # shown again to who has typed it, and not kept
        _, printed = place.labkit(*words, "container=web", "-p", "watch=1s")
        assert [*place.leaks(), *sightings(printed)] == []
    assert list(place.runs.iterdir())


@on_one_engine
def test_papermill_with_our_engine_leaves_no_secret(place: Place) -> None:
    """Also in what it logs of the outputs, and in the files that it writes streams to."""
    code = f"""
import logging, papermill, sys
from papermill.engines import papermill_engines
from labkit.runbook.engine import NAME, LabkitEngine
papermill_engines.register(NAME, LabkitEngine)
logging.basicConfig(level="INFO", format="%(message)s")
given = {{"key": "file:{place.input / "key"}", "note": {CANARIES["variable"]!r}, "fail": "error"}}
streams = open("out/stdout", "w"), open("out/stderr", "w")
papermill.execute_notebook({str(place.nasty)!r}, "out/executed.ipynb", given, engine_name=NAME, log_output=True,
    progress_bar=False, stdout_file=streams[0], stderr_file=streams[1], kernel_name="python3")
"""
    program = place.input / "program.py"
    program.write_text(code)
    environ = {**place.environ, "PYTHONPATH": f"{place.input}:{os.environ.get('PYTHONPATH', '')}"}
    place.environ = environ
    ended, printed = place.run("program")
    assert ended == 1 and b"PapermillExecutionError" in printed, printed.decode()
    assert [*place.leaks(), *sightings(printed)] == [], (
        "also what came to the engine within the cell that shows it"
    )
    assert (place.folder / "out/executed.ipynb").exists() and (place.folder / "out/stdout").stat().st_size


@on_one_engine
def test_a_report_of_what_others_executed_has_no_secret(place: Place) -> None:
    """Stock papermill writes what it gets; what we make of that is clean."""
    executed = place.input / "executed.ipynb"
    place.run(
        "papermill", "--no-progress-bar", str(place.nasty), str(executed), "-p", "note", CANARIES["variable"]
    )
    assert leaks(place.input), "stock papermill masks nothing; so there is something to clean"
    ended, printed = place.labkit("report", str(executed), "--out", str(place.runs))
    assert ended == 4, printed.decode()
    found = [*leaks(place.runs, place.folder / "out/home"), *sightings(printed)]
    assert [each for each in found if "kernel (" not in each] == [], (
        "what only that kernel knew, nobody can know now"
    )
