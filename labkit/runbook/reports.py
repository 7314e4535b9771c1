"""What a run leaves for people and programs: the notebook, a page, a summary for a ticket, JSON, and JUnit XML.

Each is written whole or not at all, and none with a secret in it: one that cannot be cleaned is left out, and the
run has failed then.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import nbformat

from labkit.errors import UsageError
from labkit.runbook import executed, folders, journal
from labkit.runbook.journal import Entry
from labkit.runbook.outcomes import FILE, Failure, Outcome, as_json
from labkit.runbook.presenting import presentable
from labkit.runbook.redaction import SecretFound, mask, write_clean
from labkit.runbook.sweeps import learning

if TYPE_CHECKING:
    from jinja2 import Template

__all__ = ["CONTENTS", "JUNIT", "REPORT", "SUMMARY", "report", "write"]

REPORT = "report.html"
SUMMARY = "report.md"
JUNIT = "junit.xml"
CONTENTS = {
    "*.ipynb": "the notebook, as it ran",
    REPORT: "the report; it needs nothing else",
    SUMMARY: "its summary, for a ticket",
    FILE: "the outcome, for programs",
    JUNIT: "the outcome, for a CI server",
    journal.FILE: "what happened, step by step",
}
"""What a run's folder holds."""
_HERE = Path(__file__).parent
_CONTROLS = re.compile(
    r"\x1b\[[0-9;:?]*[A-Za-z]|[^\S\n\t ]|[\x00-\x08\x0e-\x1f\x7f\u202a-\u202e\u2066-\u2069]"
)
"""Colours, what is no text at all, and what makes the words after it run backwards (Unicode, UAX 9)."""


def report(notebook_path: Path, out_dir: Path | None = None) -> Outcome:
    """Make all reports from a runbook's notebook that plain papermill, or a person, has executed.

    They are put with a copy of it into a new folder in *out_dir* (default: ``runs`` in labkit's folder),
    which ``outcome.folder`` names.  Raises `UsageError` for what is no notebook, no runbook, or was not executed.
    """
    notebook = folders.load(notebook_path)
    if not executed.is_runbook(notebook):
        raise UsageError(f"{notebook_path} is not the notebook of a runbook", try_="labkit runbooks")
    if not executed.was_executed(notebook):
        raise UsageError(f"{notebook_path} was not executed", try_=f"labkit run {notebook_path}")
    with learning() as learned:
        learned.again()
        name = executed.outcome_of(notebook).runbook or notebook_path.stem
        folder = folders.new_run(name, out_dir)
        return _write(notebook, folder / f"{mask(name)}.ipynb", name, "", "", ())


def write(path: Path, folder: Path, *, name: str, interrupted: str = "", engine: str = "") -> Outcome:
    """Write the reports of the notebook at *path*, and it anew without secrets, into *folder*."""
    entries = journal.Journal.open(folder).entries() if (folder / journal.FILE).exists() else []
    return _write(folders.load(path), path, name, interrupted, engine, entries)


def _write(
    told: nbformat.NotebookNode,
    path: Path,
    name: str,
    interrupted: str,
    engine: str,
    entries: Sequence[Entry],
) -> Outcome:
    notebook, folder = presentable(told), path.parent
    outcome = executed.outcome_of(
        notebook, name=mask(name), interrupted=mask(interrupted), engine=mask(engine), journal=entries
    ).model_copy(update={"folder": str(folder)})
    kept_back = _all_but_those_with_secrets(
        folder,
        {
            path.name: lambda: nbformat.writes(notebook) + "\n",  # type: ignore[no-untyped-call]
            REPORT: lambda: render(notebook, outcome),
            SUMMARY: lambda: summarize(notebook, outcome),
            JUNIT: lambda: _junit(notebook, outcome),
            FILE: lambda: as_json(outcome),
        },
    )
    return _failed(outcome, kept_back) if kept_back else outcome


def _all_but_those_with_secrets(folder: Path, files: dict[str, Callable[[], str]]) -> list[str]:
    """Write *files*; what would hold a secret is not, and what lay there in its place goes.  Returns the messages."""
    messages = []
    for name, text in files.items():
        try:
            write_clean(folder / name, text())
        except SecretFound as found:
            (folder / name).unlink(missing_ok=True)
            messages.append(found.what)
    return messages


def _failed(outcome: Outcome, messages: list[str]) -> Outcome:
    """The outcome of a run whose files could not all be written, and its JSON: with the rest of it if that is clean."""
    told = Failure(error=SecretFound.__name__, message="\n".join(messages))
    failed = outcome.model_copy(update={"status": "failed", "failure": told})
    least = Outcome(status="failed", failure=told, runbook=outcome.runbook, folder=outcome.folder)
    unwritten = _all_but_those_with_secrets(Path(outcome.folder), {FILE: lambda: as_json(failed)})
    if unwritten:
        _all_but_those_with_secrets(Path(outcome.folder), {FILE: lambda: as_json(least)})
    return least if unwritten else failed


# -- what is in them


def render(notebook: nbformat.NotebookNode, outcome: Outcome) -> str:
    """The report as HTML: what happened, then the executed notebook.  It loads nothing."""
    from labkit.runbook import cells

    links = {kind: f'see <a href="#{kind}">{title}</a>' for kind, title in _above(outcome).items()}
    links["outcome"] = 'see <a href="#">the beginning</a>'
    above = {f"application/vnd.labkit.{kind}+json": link for kind, link in links.items()}
    failed = outcome.failure.cell if outcome.failure else None
    page = _template("report.html.j2", escape=True).render(
        **_facts(notebook, outcome), cells=cells.shown(notebook, failed, above), styles=cells.styles()
    )
    return _CONTROLS.sub("", page)


def _above(outcome: Outcome) -> dict[str, str]:
    """The parts of the report that tell what outputs of the notebook tell too: kind of record to title."""
    verified = outcome.verification is not None and outcome.verification.ok is not None
    parts = {
        "finding": ("Finding", bool(outcome.findings)),
        "plan": ("Plan", outcome.plan is not None),
        "applied": ("What was done", outcome.applied is not None),
        "verification": ("Verification", verified),
    }
    return {kind: title for kind, (title, there) in parts.items() if there}


def summarize(notebook: nbformat.NotebookNode, outcome: Outcome) -> str:
    """The report's summary in Markdown, as tickets take it."""
    template = _template("report.md.j2", escape=False)
    text = _CONTROLS.sub("", template.render(**_facts(notebook, outcome)))
    return re.sub(r"\n{3,}", "\n\n", text).strip() + "\n"


@cache
def _template(name: str, *, escape: bool) -> Template:
    from jinja2 import Environment

    environment = Environment(autoescape=escape, trim_blocks=True, lstrip_blocks=True)
    environment.filters["cell"] = _for_markdown
    return environment.from_string((_HERE / name).read_text(encoding="utf-8"))


def warm_up() -> None:
    """Do ahead what takes long the first time: compile the templates, the lexer, the reader of Markdown."""
    cells = [nbformat.v4.new_markdown_cell("# Words"), nbformat.v4.new_code_cell("some = 'code'  # and why")]  # type: ignore[no-untyped-call]
    notebook = nbformat.v4.new_notebook(cells=cells)  # type: ignore[no-untyped-call]
    for make in (render, summarize, _junit):
        make(notebook, Outcome(status="healthy"))


def _for_markdown(value: Any) -> str:
    """*value* in one line, in which nothing means anything to Markdown or HTML."""
    return re.sub(r"([\\`*_|<>\[\]#])", r"\\\1", " ".join(str(value).split()))


def _junit(notebook: nbformat.NotebookNode, outcome: Outcome) -> str:
    from labkit.runbook.junit import as_junit

    failed = outcome.failure.cell if outcome.failure else None
    return as_junit(outcome, executed.sections(notebook, failed))


def _facts(notebook: nbformat.NotebookNode, outcome: Outcome) -> dict[str, Any]:
    failure = outcome.failure
    return {
        "title": notebook.metadata.get("labkit", {}).get("title") or outcome.runbook,
        "outcome": outcome,
        "message": str(failure or ""),
        "began": _began(notebook),
        "sections": executed.sections(notebook, failure.cell if failure else None),
    }


def _began(notebook: nbformat.NotebookNode) -> str:
    told = notebook.metadata.get("papermill", {}).get("start_time")
    return datetime.fromisoformat(told).strftime("%Y-%m-%d %H:%M:%S UTC") if told else ""
