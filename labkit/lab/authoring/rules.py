"""The house rules for notebooks: each is a function that tells what it finds wrong, in words for an author.

What a notebook is, its folder and its metadata say: a ``runbook``, a ``lab``, or a ``page`` (``labkit: {kind: "page"}``), which
has only to be sound.  `RULES` gives the rules of each kind.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from labkit import paths
from labkit.errors import UsageError
from labkit.lab.notebooks.book import load
from labkit.lab.notebooks.exercises import flaws, tagged
from labkit.lab.notebooks.metadata import malformed

if TYPE_CHECKING:
    from nbformat import NotebookNode

__all__ = ["RULES", "kind", "violations"]

TAGS = {"parameters", "setup", "exercise", "check", "raises-exception"}
VERDICTS = ("confirmed", "refuted", "depends", "not testable here")
FIELDS = {"lab": ("title", "summary", "covers", "claims"), "runbook": ("title", "summary", "covers", "risk")}
CELLS = range(30, 46)
CODE_LINES, CODE_LINES_IN_THE_MIDDLE = 15, 6
WORDS_A_LINE = 12
OUTPUT_LINES, NOTEBOOK_BYTES = 30, 500_000
ROOT = Path(__file__).resolve().parents[3]
OF_A_MACHINE = re.compile(r"/(?:home|Users)/\w[^/\s]*/|/run/labkit\b|/run/user/\d|/(?:site|dist)-packages\b")
"""Places that are there on one machine only."""

_HEADING = re.compile(r"^#+ +(.+?) *#*$", re.M)
_LINK = re.compile(r"\]\((?!\w+:)([^)\s]*)\)")
_FENCED = re.compile(r"^```.*?^```", re.M | re.S)

Rule = Callable[[Path, "NotebookNode"], Iterator[str]]


def violations(path: Path) -> list[str]:
    """What the notebook at *path* does against the house rules, a sentence each."""
    try:
        notebook = load(path)
    except UsageError as error:
        return [f"{error.what}: {error.seen}"]
    if wrong := malformed(notebook):
        return wrong  # the rules read what has the right form
    return [told for rule in RULES[kind(path, notebook)] for told in rule(path, notebook)]


def kind(path: Path, notebook: NotebookNode) -> str:
    """``lab``, ``runbook`` or ``page``."""
    facts = notebook.metadata.get("labkit")
    if isinstance(facts, dict) and facts.get("kind") == "page":
        return "page"
    return "runbook" if path.resolve().parent.name == "runbooks" else "lab"


# -- what every notebook keeps


def begins_with_its_title(_: Path, notebook: NotebookNode) -> Iterator[str]:
    """The first cell is prose and begins with the title."""
    first = notebook.cells[0] if notebook.cells else None
    if first is None or first.cell_type != "markdown" or not first.source.startswith("# "):
        yield "the first cell is not prose that begins with '# ' and the title"


def runs_anywhere(_: Path, notebook: NotebookNode) -> Iterator[str]:
    """It asks for a kernel that every Jupyter has."""
    name = notebook.metadata.get("kernelspec", {}).get("name")
    if name != "python3":
        yield f"its kernel is {name!r}, not 'python3', which every Jupyter has"


def was_executed(_: Path, notebook: NotebookNode) -> Iterator[str]:
    """Every code cell was run, and most show something."""
    code = [cell for cell in notebook.cells if cell.cell_type == "code" and cell.source.strip()]
    if fresh := [cell.id for cell in code if not cell.execution_count]:
        told = ", ".join(fresh[:3]) + (f" and {len(fresh) - 3} more" if len(fresh) > 3 else "")
        yield f"not executed: {told}; run the notebook from top to bottom, and save it with its outputs"
    shown = sum(bool(cell.outputs) for cell in code)
    if code and shown <= len(code) / 2:
        yield f"{shown} of {len(code)} code cells show something; more than half should, or a comparison compares nothing"


def fails_only_on_purpose(_: Path, notebook: NotebookNode) -> Iterator[str]:
    """No output is an error that was not expected."""
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            if output.output_type == "error" and not tagged(cell, "raises-exception"):
                yield f"{cell.id} ends with an error, {output.ename}: {output.evalue}; expected ones are tagged raises-exception"


def has_known_tags(_: Path, notebook: NotebookNode) -> Iterator[str]:
    """A tag that nothing reads is a typing error."""
    for cell in notebook.cells:
        for tag in sorted(set(cell.metadata.get("tags", [])) - TAGS):
            yield f"{cell.id} has the tag {tag!r}; there are {', '.join(sorted(TAGS))}"


def has_links_that_lead_somewhere(path: Path, notebook: NotebookNode) -> Iterator[str]:
    """Each link to a heading finds it, and each link to a file finds the file."""
    prose = [(cell, _FENCED.sub("", cell.source)) for cell in notebook.cells if cell.cell_type == "markdown"]
    anchors = {_anchor(heading) for _, text in prose for heading in _HEADING.findall(text)}
    for cell, text in prose:
        for target in _LINK.findall(text):
            file, _, anchor = target.partition("#")
            if file and not (path.resolve().parent / file).exists():
                yield f"{cell.id} links to {file}, and there is no such file"
            elif not file and anchor not in anchors:
                yield f"{cell.id} links to #{anchor}, and no heading has this anchor"


def _anchor(heading: str) -> str:
    """How Jupyter's pages call a heading's place."""
    return re.sub(r"[`*]", "", heading).replace(" ", "-")


def names_no_machine(_: Path, notebook: NotebookNode) -> Iterator[str]:
    """Neither cells nor outputs hold a path of the machine on which they were written."""
    here = {str(ROOT), str(paths.home())}
    for cell in notebook.cells:
        for text in [cell.source, *map(_text, cell.get("outputs", []))]:
            found = [place for place in here if place in text] or OF_A_MACHINE.findall(text)
            if found:
                yield f"{cell.id} holds a path of one machine: {found[0]}"
                break


def _text(output: NotebookNode) -> str:
    """All text of an output, whatever it is called there."""
    told = [output.get("text", ""), output.get("evalue", ""), *output.get("data", {}).values()]
    return "\n".join(each for each in told if isinstance(each, str))


# -- what labs and runbooks keep


def says_what_it_is(path: Path, notebook: NotebookNode) -> Iterator[str]:
    """Its metadata have title, summary and the rest that listings and ledgers are made from."""
    facts = notebook.metadata.get("labkit", {})
    for field in FIELDS[kind(path, notebook)]:
        if not facts.get(field):
            yield f"its metadata lack labkit.{field}"


def covers_known_claims(_: Path, notebook: NotebookNode) -> Iterator[str]:
    """What it covers is told in the list of claims."""
    ledger = (ROOT / "docs/claims.md").read_text(encoding="utf-8")
    for claim in notebook.metadata.get("labkit", {}).get("covers") or ():
        if f"\n| {claim} |" not in ledger:
            yield f"it covers {claim}, which docs/claims.md does not know"


def has_parameters(_: Path, notebook: NotebookNode) -> Iterator[str]:
    """One cell is tagged parameters."""
    count = sum(tagged(cell, "parameters") for cell in notebook.cells)
    if count != 1:
        yield f"{count} cells are tagged parameters, expected one"


# -- what labs keep


def shows_evidence_for_every_claim(_: Path, notebook: NotebookNode) -> Iterator[str]:
    """Each claim that is covered has a verdict, and the cell that shows it has an output."""
    facts = notebook.metadata.get("labkit", {})
    claims: dict[str, Any] = facts.get("claims") or {}
    shown = {cell.id for cell in notebook.cells if cell.get("outputs")}
    for claim in sorted(set(facts.get("covers") or ()) ^ set(claims)):
        yield f"{claim} is in one of labkit.covers and labkit.claims, expected in both"
    for claim, told in claims.items():
        if told.get("verdict") not in VERDICTS:
            yield f"{claim}: the verdict is {told.get('verdict')!r}, expected {', '.join(VERDICTS)}"
        if told.get("cell") not in shown:
            yield f"{claim}: the cell that shows it, {told.get('cell')!r}, is not there or shows nothing"


def opens_its_engine(_: Path, notebook: NotebookNode) -> Iterator[str]:
    """One cell is tagged setup, below the parameters."""
    code = [cell for cell in notebook.cells if tagged(cell, "parameters") or tagged(cell, "setup")]
    if [tagged(cell, "setup") for cell in code] != [False, True]:
        yield "there is not one cell tagged setup, below the one tagged parameters: it holds labkit.lab.open(…)"


def is_pleasant_to_read(path: Path, notebook: NotebookNode) -> Iterator[str]:
    """30 to 45 cells, half or more of them prose, and a dozen words for a line of code."""
    cells = notebook.cells
    prose = [cell for cell in cells if cell.cell_type == "markdown"]
    lines = sum(map(_lines, _code(notebook)))
    words = sum(len(cell.source.split()) for cell in prose)
    if len(cells) not in CELLS:
        yield f"it has {len(cells)} cells, expected {CELLS[0]} to {CELLS[-1]}"
    if len(prose) * 2 < len(cells):
        yield f"{len(prose)} of {len(cells)} cells are prose, expected half or more"
    if words < WORDS_A_LINE * lines:
        yield f"it has {words} words for {lines} lines of code, expected {WORDS_A_LINE} a line: {WORDS_A_LINE * lines}"


def has_short_cells(path: Path, notebook: NotebookNode) -> Iterator[str]:
    """Code cells of a few lines, with small outputs."""
    code = _code(notebook)
    for cell in code:
        if _lines(cell) > CODE_LINES:
            yield f"{cell.id} has {_lines(cell)} lines of code, expected at most {CODE_LINES}"
        shown = sum(_shown(output).strip().count("\n") + 1 for output in cell.outputs)
        if shown > OUTPUT_LINES:
            yield f"{cell.id} shows {shown} lines, expected at most {OUTPUT_LINES}"
    middle = sorted(map(_lines, code))[len(code) // 2] if code else 0
    if middle > CODE_LINES_IN_THE_MIDDLE:
        yield f"half of its code cells have {middle} lines or more, expected at most {CODE_LINES_IN_THE_MIDDLE}"
    if path.stat().st_size > NOTEBOOK_BYTES:
        yield f"its file has {path.stat().st_size} bytes, expected at most {NOTEBOOK_BYTES}"


def _code(notebook: NotebookNode) -> list[NotebookNode]:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def _lines(cell: NotebookNode) -> int:
    return sum(bool(line.strip()) for line in cell.source.splitlines())


def _shown(output: NotebookNode) -> str:
    """What a reader without pictures sees of an output."""
    return str(output.get("text") or output.get("data", {}).get("text/plain") or output.get("evalue") or "")


def records_its_exercises(_: Path, notebook: NotebookNode) -> Iterator[str]:
    """It has exercises, each with its task, starter, check and what is recorded beside it."""
    if not any(tagged(cell, "exercise") for cell in notebook.cells):
        yield "it has no exercise: a code cell tagged exercise, its task above it and its check below"
    yield from flaws(notebook)


_ALL: list[Rule] = [
    begins_with_its_title,
    runs_anywhere,
    was_executed,
    fails_only_on_purpose,
    has_known_tags,
    has_links_that_lead_somewhere,
    names_no_machine,
]
_NAMED: list[Rule] = [says_what_it_is, covers_known_claims, has_parameters]
_LAB: list[Rule] = [
    shows_evidence_for_every_claim,
    opens_its_engine,
    is_pleasant_to_read,
    has_short_cells,
    records_its_exercises,
]
RULES: dict[str, list[Rule]] = {"page": _ALL, "runbook": [*_ALL, *_NAMED], "lab": [*_ALL, *_NAMED, *_LAB]}
"""By kind of notebook.  A new rule is one function and its name here."""
