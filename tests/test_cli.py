"""The command line: help everywhere, documented exit codes, one message for every mistake."""

from __future__ import annotations

import io
import json
import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import redirect_stderr, redirect_stdout
from importlib.metadata import version
from pathlib import Path

import nbformat
import pytest
from typer.main import get_command

from labkit.cli import app, main
from labkit.cli.shared import show_table
from labkit.runbook.parameters import read, validate


def labkit(*words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "labkit", *words],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
        env={**os.environ, **environment},
    )


def here(*words: str) -> subprocess.CompletedProcess[str]:
    """The same in this process, which spares an interpreter; what would be a traceback is raised."""
    out, err = io.StringIO(), io.StringIO()
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(out), redirect_stderr(err):
        patch.setattr(sys, "argv", ["labkit", *words])
        with pytest.raises(SystemExit) as ended:
            main()
    return subprocess.CompletedProcess(words, int(ended.value.code or 0), out.getvalue(), err.getvalue())


def commands(group=None, prefix: tuple[str, ...] = ()):  # type: ignore[no-untyped-def]
    """Every command of the command line, with the words that lead to it."""
    group = group or get_command(app)
    for name, command in sorted(group.commands.items()):
        if hasattr(command, "commands"):
            yield from commands(command, (*prefix, name))
        else:
            yield pytest.param((*prefix, name), command, id=" ".join((*prefix, name)))


@pytest.mark.parametrize(("words", "command"), list(commands()))
def test_every_command_says_what_it_does(words: tuple[str, ...], command) -> None:  # type: ignore[no-untyped-def]
    """Each command has a help text of a sentence, each of its options too."""
    assert command.help and command.help.strip().split("\n")[0].endswith((".", "?")), words
    for option in command.params:
        if option.param_type_name == "option" and option.name not in ("help", "name"):
            assert option.help, (words, option.name)


@pytest.mark.parametrize(("words", "command"), list(commands()))
def test_help_reaches_the_reader_whole(  # type: ignore[no-untyped-def]
    words: tuple[str, ...], command, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing of a help text is taken for rich's markup, as `[default: none]` was, which left "such as 10m ."."""
    monkeypatch.setenv("COLUMNS", "500")
    monkeypatch.setenv("TERM", "dumb")
    shown = " ".join(here(*words, "--help").stdout.replace("│", " ").split())
    assert " ." not in shown.replace(" ...", ""), shown
    for told in (option.help for option in command.params if getattr(option, "help", None)):
        assert " ".join(told.split()) in shown, told


def test_the_version_is_told() -> None:
    """`labkit --version` is that of the package."""
    done = here("--version")
    assert (done.returncode, done.stdout) == (0, f"labkit {version('labkit')}\n")


def test_a_name_is_refused_before_anything_is_said_to_start() -> None:
    """A bad name is the only line; a pack that there is not is answered with each that there is, once."""
    name, pack = labkit("engine", "start", "bad name/.."), labkit("engine", "start", "x", "--pack", "foo")
    assert "starting" not in name.stderr + pack.stderr
    (expected,) = [line for line in pack.stderr.splitlines() if "expected:" in line]
    offered = expected.partition("expected:")[2].replace(" ", "").split(",")
    assert "debian-13" in offered and len(offered) == len(set(offered))


@pytest.mark.parametrize(
    ("words", "code", "seen"),
    [
        (["bogus"], 2, "bogus"),
        (["engine", "stop", "nobody"], 2, "'nobody'"),
        (["engine", "exec", "nobody", "true"], 2, "'nobody'"),
        (["engine", "start", "bad name!"], 2, "'bad name!'"),
        (["engine", "start", "x", "--pack", "windows"], 2, "'windows'"),
        (["engine", "start", "bad name/..", "--pack", "windows"], 2, "'bad name/..'"),
        (["pack", "build", "windows"], 2, "'windows'"),
        (["pack", "import", "/no/such/file"], 2, "/no/such/file"),
        (["pack", "import", __file__], 2, "broken"),
        (["pack", "export", "/no/such/folder/x"], 2, "/no/such/folder"),
        (["images", "import", __file__], 2, "broken"),
        (["images", "get", "bussybox"], 2, "busybox"),
        (["images", "get", "busybox", "--source", "moon"], 2, "'moon'"),
        (["run", "diagnose-exit-138"], 2, "diagnose-exit-137"),
        (["run", "diagnose-exit-137", "-p", "contaner=web"], 2, "container"),
        (["run", "diagnose-exit-137", "-p", "watch=soon"], 2, "watch"),
        (["run", "diagnose-exit-137", "-p", "watch", "soon"], 2, "'soon'"),
        (["run", "diagnose-exit-137", "--watch", "soon"], 2, "'soon'"),
        (["run", "diagnose-exit-137", "--contaner=web"], 2, "container"),
        (["run", "diagnose-exit-137", "--container"], 2, "--container needs a value"),
        (["run", "diagnose-exit-137", "web"], 2, "'web'"),
        (["run", "diagnose-exit-137", "--params-file", "/no/such.yaml"], 2, "/no/such.yaml"),
        (["run", "diagnose-exit-137", "--params-file", __file__], 2, "test_cli.py"),
        (["run", "diagnose-exit-138", "--help"], 2, "diagnose-exit-137"),
        (["run", "diagnose-exit-137", "--engine", ""], 2, "no such engine"),
        (["run", "diagnose-exit-137", "--kernel", "nope"], 2, "--kernel"),
        (["run", "diagnose-exit-137", "--limit", "0"], 2, "--limit"),
        (["run", "diagnose-exit-137", "--step-limit", "0s"], 2, "--step-limit"),
        (["run", "diagnose-exit-137", "--expires", "0"], 2, "--expires"),
        (["report", "/no/such/notebook.ipynb"], 2, "/no/such/notebook.ipynb"),
        (["fault", "inject", "exit-137", "--engine", "nobody"], 2, "'nobody'"),
        (["fault", "inject", "exit-137", "--engine", ""], 2, "no such engine"),
        (["images", "load", "", "busybox"], 2, "no such engine"),
        (["lab", "--port", "99999"], 2, "99999"),
    ],
)
def test_mistakes_have_one_message_and_the_documented_code(words: list[str], code: int, seen: str) -> None:
    """A mistake is answered by its exit code and one message that names what was seen; never by a traceback."""
    done = here(*words)
    assert done.returncode == code, done.stderr
    assert seen in done.stderr
    assert "Traceback" not in done.stderr


def test_a_mistake_is_told_by_the_program_too() -> None:
    """What the function says and ends with, the program does."""
    words = ("run", "diagnose-exit-137", "--contaner=web")
    told, said = labkit(*words), here(*words)
    assert (told.returncode, told.stdout, told.stderr) == (said.returncode, said.stdout, said.stderr)


def test_no_engine_is_exit_code_3() -> None:
    """A runbook for an engine that does not answer exits with 3, and says where it looked."""
    done = labkit("run", "diagnose-exit-137", DOCKER_HOST="unix:///no/such.sock")
    assert done.returncode == 3
    assert "/no/such.sock" in done.stderr


def test_a_home_that_cannot_be_made_is_said_to_be_so(tmp_path: Path) -> None:
    """A LABKIT_HOME that is a file is one message with the remedy."""
    file = tmp_path / "file"
    file.touch()
    done = labkit("pack", "list", LABKIT_HOME=str(file))
    assert done.returncode == 2
    assert str(file) in done.stderr and "LABKIT_HOME" in done.stderr


def test_doctor_tells_every_need() -> None:
    """doctor names each need with its state, and a sentence on which ways to an engine are open; --json says the same.

    Where the terminal knows no more than ASCII, too.
    """
    text, data = labkit("doctor", PYTHONIOENCODING="ascii"), json.loads(labkit("doctor", "--json").stdout)
    for need in (
        "kernel",
        "overlay",
        "iptables",
        "cgroups",
        "seccomp",
        "namespaces",
        "mmdebstrap",
        "disk",
        "inotify",
    ):
        assert need in [finding["name"] for finding in data["findings"]]
        assert need in text.stdout
    for finding in data["findings"]:
        assert finding["status"] in ("ok", "degraded", "missing")
        assert finding["found"]
        assert finding["status"] == "ok" or finding["remedy"]
    assert data["verdict"] in text.stdout


def test_engine_lives_across_commands() -> None:
    """start, exec, logs, list, stop: an engine that belongs to no process lives until it is stopped; of two at once, one does."""
    with ThreadPoolExecutor() as pool:
        both = list(pool.map(lambda _: labkit("engine", "start", "cli", "--image", "busybox"), range(2)))
    try:
        assert sorted(each.returncode for each in both) == [0, 2], both
        assert "runs already" in both[both[0].returncode == 0].stderr
        assert [row["name"] for row in json.loads(labkit("engine", "list", "--json").stdout)].count(
            "cli"
        ) == 1
        assert (
            labkit("engine", "exec", "cli", "docker", "run", "--rm", "busybox:lab", "echo", "hi").stdout
            == "hi\n"
        )
        assert labkit("engine", "exec", "cli", "--", "sh", "-c", "exit 7").returncode == 7
        for word in ("", "/", "/nosuch", "--", "--host"):
            nothing = labkit("engine", "exec", "cli", word)
            assert nothing.returncode == 2 and nothing.stderr.startswith("labkit: "), nothing
        assert "exec --host NAME COMMAND" in nothing.stderr
        assert labkit("engine", "logs", "cli", "--tail", "-1").returncode == 2
        assert "172.17.0.1" in labkit("engine", "exec", "--host", "cli", "ip", "addr").stdout
        assert "API listen" in labkit("engine", "logs", "cli").stdout
        assert "cli" in [row["name"] for row in json.loads(labkit("engine", "list", "--json").stdout)]
    finally:
        assert labkit("engine", "stop", "cli").returncode == 0
    assert "cli" not in [row["name"] for row in json.loads(labkit("engine", "list", "--json").stdout)]


def test_a_runbook_tells_its_parameters() -> None:
    """`run NAME --help`: title, risk, and each parameter with its type, default and help; `run --help` the options."""
    told = " ".join(labkit("run", "diagnose-exit-137", "--help", COLUMNS="200").stdout.split())
    for wanted in (
        "Exit code 137: who killed it?",
        "Risk: changes state with apply",
        "--container the container to look at container on the engine default: web",
        "amount of memory that the engine's host has, such as 512m or none default: none",
        "--apply carry the plan out; without this, nothing is changed true or false default: false",
    ):
        assert wanted in told
    assert "--params-file" in labkit("run", "--help").stdout


def test_a_default_is_told_as_a_shell_takes_it(tmp_path: Path) -> None:
    """Lists within lists, nothing, and text with a space too: what help tells is typed after ``-p NAME=``."""
    defaults = {"pairs": [["a", "b"], ["c"]], "single": [["a"]], "none": [], "words": "a  'b'", "nothing": ""}
    kinds = {"pairs": "list[list[str]]", "single": "list[list[str]]", "none": "list[int]"}
    lines = [f"{name}: {kinds.get(name, 'str')} = {default!r}" for name, default in defaults.items()]
    cell = nbformat.v4.new_code_cell("\n".join(lines), metadata={"tags": ["parameters"]})
    book = nbformat.v4.new_notebook(cells=[cell])
    nbformat.write(book, tmp_path / "book.ipynb")
    told = labkit("run", str(tmp_path / "book.ipynb"), "--help", COLUMNS="200").stdout
    typed = [shlex.split(line.split("default: ")[1])[0] for line in told.splitlines() if "default: " in line]
    given = dict(zip(defaults, typed, strict=True))
    assert dict(validate(read(book), given)) == defaults


def test_the_command_line_wins_over_a_file(tmp_path: Path) -> None:
    """File, then -p, then --name: each is a wrong value here, so that the message says which was taken."""
    file = tmp_path / "p.yaml"
    file.write_text("watch: by-file\n")
    words = ["run", "diagnose-exit-137", "--params-file", str(file)]
    for more, taken in (
        ([], "by-file"),
        (["-p", "watch=by-pair"], "by-pair"),
        (["-p", "watch=by-pair", "--watch", "by-option"], "by-option"),
    ):
        done = labkit(*words, *more)
        assert (done.returncode, f"'{taken}'" in done.stderr) == (2, True), done.stderr


def test_a_program_that_a_signal_ends_has_a_shells_exit_code(detached: str) -> None:
    """`engine exec` returns 128 + n for a program that signal n has ended."""
    assert labkit("engine", "exec", detached, "sh", "-c", "kill -TERM $$").returncode == 128 + 15


def test_a_fault_that_is_there_already_is_a_usage_error(detached: str) -> None:
    """A second injection is told with its remedy, and leaves the first as it is; one without its image brings it along."""
    assert labkit("engine", "exec", detached, "docker", "rmi", "busybox:lab").returncode == 0
    inject = ["fault", "inject", "exit-137", "--engine", detached, "--variant", "killed"]
    first = labkit(*inject)
    assert first.returncode == 0
    assert f"labkit run diagnose-exit-137 --engine {detached}\n" in first.stdout
    again = labkit(*inject)
    assert again.returncode == 2 and "'web'" in again.stderr and "fault undo" in again.stderr
    assert "Traceback" not in again.stderr
    assert labkit("engine", "exec", detached, "docker", "inspect", "web").returncode == 0
    wrong = labkit(*inject, "--container", "no good")
    assert wrong.returncode == 2 and "'no good'" in wrong.stderr and "Traceback" not in wrong.stderr
    for more in (["--container", ""], ["--variant", ""]):
        assert labkit(*inject, *more).returncode == 2


def test_undo_says_what_is_gone_and_what_is_left(detached: str) -> None:
    """Only what the fault made for the container goes; what it made for another is named."""
    inject = ["fault", "inject", "exit-137", "--engine", detached, "--variant", "killed", "--container"]
    for name in ("web", "db"):
        assert labkit(*inject, name).returncode == 0
    undo = ["fault", "undo", "exit-137", "--engine", detached, "--container"]
    assert labkit(*undo, "nosuch").stdout.splitlines() == [
        f"removed: nothing; exit-137 has made no nosuch on {detached}",
        f"left with the label labkit.fault=exit-137 on {detached}: container db, container web",
    ]
    assert labkit(*undo, "web").stdout.splitlines() == [
        "removed: container web",
        f"left with the label labkit.fault=exit-137 on {detached}: container db",
    ]
    assert (
        labkit(*undo, "db").stdout.splitlines()[1]
        == f"left with the label labkit.fault=exit-137 on {detached}: nothing"
    )


def test_an_engine_that_has_gone_is_exit_code_3(detached: str) -> None:
    """The daemon ends while a command needs it: one message, no traceback."""
    host = labkit("engine", "exec", "--host", detached, "engine-service", "kill")
    assert host.returncode == 0, host.stderr
    done = labkit("fault", "inject", "exit-137", "--engine", detached)
    assert done.returncode == 3 and "Traceback" not in done.stderr, done.stderr


@pytest.fixture
def detached(request: pytest.FixtureRequest) -> Iterator[str]:
    name = f"cli-{os.getpid()}"
    assert labkit("engine", "start", name, "--image", "busybox").returncode == 0
    yield name
    assert labkit("engine", "stop", name).returncode == 0


def test_ctrl_c_ends_a_command_without_a_traceback() -> None:
    """Interrupted at its work, as by Ctrl-C, a command ends with 130 and has little to say."""
    name = f"interrupted-{os.getpid()}"
    command = subprocess.Popen(
        [sys.executable, "-m", "labkit", "engine", "start", name],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert command.stderr is not None
    assert "starting the engine" in command.stderr.readline()
    os.killpg(command.pid, signal.SIGINT)
    told = command.communicate(timeout=120)
    assert command.returncode == 130, told
    assert "Traceback" not in "".join(told)
    assert name not in labkit("engine", "list").stdout


def test_names_are_whole_on_a_narrow_terminal(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """In 40 columns a long name goes on in the next line; nothing is cut."""
    monkeypatch.setenv("COLUMNS", "40")
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    name = "other-engine-on-the-hosts-network"
    show_table(["FAULT", "VARIANT", "WHAT HAPPENS"], [["port-in-use", name, "a container listens on it"]], "")
    shown = capsys.readouterr().out.splitlines()[1:]
    assert max(map(len, shown)) <= 40 and "…" not in "".join(shown)
    begin, end = shown[0].index("other"), shown[0].index("a ")
    assert "".join(line[begin:end].strip() for line in shown) == name


def test_output_that_nobody_reads_is_no_error() -> None:
    """`labkit … | head` ends quietly when head has gone."""
    script = f"{sys.executable} -m labkit engine list | true"
    done = subprocess.run(["sh", "-c", script], capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")


def test_output_that_cannot_be_written_is_told() -> None:
    """On a full disk a command whose few lines are written only at its end fails too, with one message."""
    script = f"{sys.executable} -m labkit engine list --json >/dev/full"
    done = subprocess.run(["sh", "-c", script], capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stderr) == (1, "labkit: No space left on device\n")
