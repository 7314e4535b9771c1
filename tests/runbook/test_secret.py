"""Secrets: found where they lie, handed to the kernel, and never shown."""

from __future__ import annotations

import hashlib
import os
import pickle
import pty
import subprocess
import sys
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

import nbformat
import pytest

from labkit import runbook
from labkit.errors import UsageError
from labkit.runbook import Secret
from labkit.runbook.execution import Order, digest
from labkit.runbook.journal import Journal
from labkit.runbook.parameters import Parameters, prepare, read, validate
from labkit.runbook.redaction import mask
from labkit.runbook.secret import handed_over

CANARY = "correct horse battery"


def declared(default: str = "None") -> Any:
    cell = nbformat.v4.new_code_cell(
        f"password: Secret | None = {default}", metadata={"tags": ["parameters"]}
    )
    return read(nbformat.v4.new_notebook(cells=[cell]))


def secret(values: Parameters) -> Secret:
    found = dict(values)["password"]
    assert isinstance(found, Secret)
    return found


@pytest.fixture
def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """Where the canary is: by kind, the reference to it."""
    file = tmp_path / "password"
    file.write_text(CANARY + "\n")
    monkeypatch.setenv("DB_PASSWORD", CANARY)
    return {"env": "env:DB_PASSWORD", "file": f"file:{file}", "value": CANARY}


@pytest.mark.parametrize("place", ["env", "file", "value"])
def test_a_secret_is_found_and_never_shown(place: str, places: dict[str, str]) -> None:
    """In no form of the parameters, nor in what passes through the redaction; `reveal` alone gives it."""
    values = validate(declared(), {"password": places[place]})
    assert secret(values).reveal() == secret(values).get_secret_value() == CANARY
    shown = [
        repr(values),
        str(values),
        repr(dict(values)),
        values.model_dump_json(),
        str(values.model_dump()),
    ]
    shown += [
        f"{secret(values)} {secret(values)!r}",
        str(values.plain()),
        str(type(values).model_json_schema()),
    ]
    for each in shown:
        assert CANARY not in each
    assert CANARY not in mask(f"it is {CANARY}!")


def test_where_a_secret_lies_is_kept_and_itself_is_not(places: dict[str, str]) -> None:
    """A notebook holds the reference; for what has none, the kernel gets a variable."""
    for place in ("env", "file"):
        values = validate(declared(), {"password": places[place]})
        assert values.plain() == {"password": places[place]}
        assert handed_over(dict(values)) == ({}, {})
    values = validate(declared(), {"password": CANARY})
    assert values.plain() == {"password": "**********"}
    assert handed_over(dict(values)) == (
        {"password": "env:LABKIT_SECRET_PASSWORD"},
        {"LABKIT_SECRET_PASSWORD": CANARY},
    )


def test_a_file_is_found_from_everywhere(places: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernel may work in another folder."""
    path = Path(places["file"].removeprefix("file:"))
    monkeypatch.chdir(path.parent)
    assert validate(declared(), {"password": "file:password"}).plain() == {"password": places["file"]}


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("env:NO_SUCH", "a variable that is set; NO_SUCH is not"),
        ("env:LABKIT_SECRET_PASSWORD", "what was typed is kept nowhere, so set it again"),
        ("env:", "one without a name is not"),
        ("file:/no/such", "/no/such: No such file"),
        ("file:/", "/: Is a directory"),
        ("file:~no-such-user/it", "~no-such-user/it: Could not determine home"),
        ("file:/dev/null", "a secret that is not empty"),
        (7, "env:NAME, file:PATH or ask"),
        ("ask", "since there is no terminal to ask on"),
    ],
)
def test_a_secret_that_is_not_there_is_a_usage_error(given: Any, expected: str) -> None:
    """Each says what is missing; nobody waits for an answer that cannot come."""
    with pytest.raises(UsageError) as told:
        prepare(declared(), {"password": given})
    assert expected in told.value.expected


def test_a_wrong_secret_is_not_repeated_in_its_message() -> None:
    """A message goes to terminals, logs and reports."""
    for given in (CANARY, "tiny"):
        with pytest.raises(UsageError) as told:
            validate(declared(), {"password": given}, in_notebook=True)
        assert given not in str(told.value)
    with pytest.raises(UsageError, match="kept out of what is written") as told:
        validate(declared(), {"password": "tiny"})
    assert "tiny" not in str(told.value)


def test_no_secret_is_written_into_a_notebook() -> None:
    """Neither as a default nor by plain papermill; where it lies may be."""
    with pytest.raises(UsageError, match="no secret in a notebook"):
        declared(repr(CANARY))
    for fine in ("None", "'ask'", "'env:DB_PASSWORD'", "'file:/run/password'"):
        assert declared(fine)
    with pytest.raises(UsageError, match="would be written into the notebook"):
        validate(declared(), {"password": CANARY}, in_notebook=True)


def test_a_secret_is_asked_for_on_a_terminal() -> None:
    """Once, without an echo, and only after everything else was found to fit."""
    code = (
        "from tests.runbook.test_secret import declared, secret\n"
        "from labkit.runbook.parameters import prepare\n"
        "print('length', len(secret(prepare(declared(), {'password': 'ask'})).reveal()))"
    )
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-c", code], stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True
    )
    os.close(theirs)
    shown = b""
    while b"password: " not in shown:
        shown += os.read(ours, 1000)
    os.write(ours, CANARY.encode() + b"\n")
    with suppress(OSError):  # Linux ends a terminal without a process with an error
        while chunk := os.read(ours, 1000):
            shown += chunk
    os.close(ours)
    assert process.wait(timeout=60) == 0
    assert f"length {len(CANARY)}".encode() in shown
    assert CANARY.encode() not in shown


NOTEBOOK = [
    "from labkit import runbook\nfrom labkit.runbook import Secret",
    'password: Secret | None = None  # the canary\nuser: str = "ada"',
    "p = runbook.check(globals())\np",
    "import hashlib, pathlib\n"
    "pathlib.Path('{proof}').write_text(hashlib.sha256(p.password.reveal().encode()).hexdigest())",
]


def book(tmp_path: Path) -> Path:
    """A notebook that proves, in the file ``proof``, that it had the canary."""
    proof = str(tmp_path / "proof")
    cells = [nbformat.v4.new_code_cell(source.replace("{proof}", proof)) for source in NOTEBOOK]
    cells[1].metadata["tags"] = ["parameters"]
    spec = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata=spec), tmp_path / "book.ipynb")
    return tmp_path / "book.ipynb"


def used_and_not_kept(tmp_path: Path, folder: Path) -> bool:
    """Whether the notebook had the canary, and no file of the run has it."""
    files = [file for file in folder.rglob("*") if file.is_file()]
    assert files
    for file in files:
        assert CANARY.encode() not in file.read_bytes(), file
    return (tmp_path / "proof").read_text() == hashlib.sha256(CANARY.encode()).hexdigest()


@pytest.mark.parametrize("place", ["env", "file", "value"])
def test_a_run_uses_a_secret_and_leaves_none(place: str, places: dict[str, str], tmp_path: Path) -> None:
    """The kernel has it; notebook, journal, report and all else in the run's folder have not; nor does the environment."""
    outcome = runbook.run(str(book(tmp_path)), {"password": places[place]}, out_dir=tmp_path / "runs")
    assert used_and_not_kept(tmp_path, Path(outcome.folder))
    assert not [name for name in os.environ if name.startswith("LABKIT_SECRET_")]


@pytest.mark.parametrize("place", ["file:/dev/stdin", "file:<(cat)"])
@pytest.mark.parametrize("source", ["pipe", "file"])
def test_what_only_the_caller_has_open_is_read_once(
    place: str, source: str, places: dict[str, str], tmp_path: Path
) -> None:
    """Standard input and the shell's ``<(…)``: the kernel, which has neither, has the secret all the same."""
    command = f'"$0" -m labkit run "$1" -p password={place} --out "$2"'
    with Path(places["file"].removeprefix("file:")).open("rb") as file:
        done = subprocess.run(
            ["bash", "-c", command, sys.executable, str(book(tmp_path)), str(tmp_path / "runs")],
            **({"stdin": file} if source == "file" else {"input": f"{CANARY}\n".encode()}),  # type: ignore[call-overload]
            capture_output=True,
            check=False,
        )
    assert CANARY.encode() not in done.stdout + done.stderr
    assert used_and_not_kept(tmp_path, tmp_path / "runs"), done


def test_a_resumed_run_needs_a_typed_secret_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It was kept nowhere: that is said before anything starts, and the variable that is named does."""
    path, folder = book(tmp_path), tmp_path / "runs" / "cut-off"
    folder.mkdir(parents=True)
    order = Order(
        runbook="book",
        notebook=str(path),
        sha256=digest(path),
        parameters={"password": "env:LABKIT_SECRET_PASSWORD"},
        environ={},
    )
    Journal.create(folder, asdict(order))
    before = (folder / "journal.jsonl").read_bytes()
    with pytest.raises(UsageError, match=r"LABKIT_SECRET_PASSWORD is not; .* set it again"):
        runbook.resume(str(folder))
    assert (folder / "journal.jsonl").read_bytes() == before
    monkeypatch.setenv("LABKIT_SECRET_PASSWORD", CANARY)
    runbook.resume(str(folder))
    assert used_and_not_kept(tmp_path, folder)


def test_a_secret_is_not_pickled() -> None:
    """A copy on disk would show it."""
    with pytest.raises(TypeError, match="secret"):
        pickle.dumps(Secret(CANARY))
