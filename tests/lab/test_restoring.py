"""The state that a section needs is made again: under papermill, in plain IPython, and from a copy of the notebook."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from labkit.errors import LabkitError, UsageError
from labkit.lab.notebooks import book, cells
from tests.notebooks import ROOT, jupyter_environ

OPEN = 'import labkit.lab\nlab = labkit.lab.open("77-mine", name=name, image=image)'
MAKE = """!docker create --name {name}-kept {image} true
lab.progress.predicted("Which state?", True)
print("seen only when it was run by hand")"""
LATER = """!docker rm {name}-kept; docker create --name {name}-mess {image} true
lab.restore("later")
print("predictions:", lab.progress.tally.predictions_made)
print("kept:", lab.state(f"{name}-kept"), "mess:", lab.state(f"{name}-mess"))
for section in ("latr", "spoilt"):
    try:
        lab.restore(section)
    except Exception as error:
        print(type(error).__name__, error)"""


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    """A lab of somebody's own, in a folder of its own, with a section that can be restored and one that cannot."""
    told = [
        new_markdown_cell("# Mine", id="title"),
        new_code_cell(
            'name: str = "ada"\nimage: str = "busybox:lab"', id="given", metadata={"tags": ["parameters"]}
        ),
        new_code_cell(OPEN, id="open", metadata={"tags": ["setup"]}),
        new_code_cell(MAKE, id="make"),
        new_code_cell("once = 1 / (1 - globals().get('once', 0))", id="oops"),
        new_markdown_cell("## Later", id="later", metadata={"labkit": {"needs": ["make"]}}),
        new_code_cell(LATER, id="back"),
        new_markdown_cell("## Spoilt", id="spoilt", metadata={"labkit": {"needs": ["make", "oops"]}}),
    ]
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    facts = {"kernelspec": kernel, "labkit": {"title": "Mine"}}
    nbformat.write(new_notebook(cells=told, metadata=facts), tmp_path / "77-mine.ipynb")
    return tmp_path / "77-mine.ipynb"


def test_a_section_begins_again_under_papermill(mine: Path, tmp_path: Path) -> None:
    """Also in a copy under another name: what was made is gone, what is needed is back, without a word of the cells.

    A section that there is not, and a cell that fails, are one message each.
    """
    copy = Path(shutil.copy(mine, mine.with_name("copy of mine.ipynb")))
    command = [
        sys.executable,
        "-m",
        "papermill",
        copy.name,
        "out.ipynb",
        "--no-progress-bar",
        "-p",
        "name",
        "eve",
    ]
    environ = {**jupyter_environ(tmp_path), "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=tmp_path, env=environ, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    (said,) = [
        "".join(output.text for output in cell.outputs)
        for cell in nbformat.read(tmp_path / "out.ipynb", as_version=4).cells
        if cell.id == "back"
    ]
    assert "predictions: 1\nkept: created mess: removed\n" in said and "by hand" not in said
    assert "UsageError no section to restore called 'latr'" in said and "lab.restore('later')" in said
    assert (
        "LabkitError the cell 'oops', which the section needs, failed" in said and "ZeroDivisionError" in said
    )


def test_a_lab_opens_in_plain_ipython_and_in_vs_code(mine: Path, tmp_path: Path) -> None:
    """In a terminal the cells can be run as well; where VS Code says which notebook is open, a copy of a lab is read.

    A name that another cell makes is told with that cell.
    """
    copy = mine.rename(mine.with_name("copy.ipynb"))
    original = tmp_path / "elsewhere" / "77-mine.ipynb"
    original.parent.mkdir()
    original.write_text(copy.read_text(encoding="utf-8").replace("## Later", "## Original"), encoding="utf-8")
    code = f"""
name, image, __vsc_ipynb_file__ = "ada", "busybox:lab", {str(copy)!r}
{OPEN}
lab.restore("later")
get_ipython().run_cell("once")
import json
print(json.dumps([lab.state("ada-kept"), str(lab.book.path)]))
"""
    command = [sys.executable, "-m", "IPython", "--no-banner", "--colors=NoColor", "-c", code]
    environ = {**jupyter_environ(tmp_path), "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        command, cwd=original.parent, env=environ, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert json.loads(done.stdout.splitlines()[-1]) == ["created", str(copy)]
    assert (
        "once is made by a cell of this lab that has not run; run it first. It begins with:\n  once = 1"
        in done.stdout
    )


def test_no_cell_is_run_outside_ipython() -> None:
    """One message that says where they can be."""
    with pytest.raises(LabkitError, match="in a notebook only"):
        cells.run("make", "1")


@pytest.mark.parametrize("spoilt", ["", "{", "[]", '{"cells": 7}'])
def test_a_notebook_that_is_none_is_one_message(
    spoilt: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Half saved, or no notebook at all: its name and what is wrong with it; a copy of that kind is passed over."""
    (tmp_path / "77-mine.ipynb").write_text(spoilt, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match=r"77-mine\.ipynb is not a notebook"):
        book.find("77-mine").title  # noqa: B018 - reads it
    monkeypatch.setenv("JPY_SESSION_NAME", str(tmp_path / "77-mine.ipynb"))
    assert book.find("30-container-states").path == book.FOLDER / "30-container-states.ipynb"
