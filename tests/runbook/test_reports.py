"""What a run leaves: files that hold together, load nothing, and say each thing once."""

from __future__ import annotations

import json
import re
import xml.etree.ElementTree as ET
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import jsonschema
import nbformat
import pytest
import xmlschema
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from labkit import runbook
from labkit.errors import UsageError
from labkit.runbook import redaction, reports
from labkit.runbook.journal import Journal
from labkit.runbook.outcomes import EXIT_CODES, Outcome, schema
from labkit.runbook.plans import Applied, Plan
from tests import schemas
from tests.runbook.test_outcomes import DONE, FINDING, failed, ran, shown

NASTY = (
    "<script>alert(1)</script> | `x` \x1b[31mred\x1b[0m\x00 ]]> <img src=http://example.org/x> \u202etxt.egap"
)


class Page(HTMLParser):
    """A page's ids, links, headings, and everything that it would load or run."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.loads: list[str] = []
        self.ids: list[str] = []
        self.links: list[str] = []
        self.feed(text)
        self.loads += re.findall(r"@import|url\(", text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        told = {name: value or "" for name, value in attrs}
        outside = {"src", "srcset", "data", "background", "poster", "action", "style"} & told.keys()
        self.loads += [f"{tag} {name}" for name in outside if not told[name].startswith("data:image/")]
        self.loads += [f"{tag} {name}" for name in told if name.startswith("on")]
        self.loads += [tag] if tag in {"script", "link", "iframe", "object", "embed", "base", "form"} else []
        self.ids += [told["id"]] if "id" in told else []
        self.links += [told["href"]] if "href" in told else []


def written(notebook: nbformat.NotebookNode, folder: Path, **options: Any) -> tuple[Outcome, str]:
    """The outcome of *notebook*, and its page, as they are written to *folder*."""
    nbformat.write(notebook, folder / "x.ipynb")
    outcome = reports.write(folder / "x.ipynb", folder, name="x", **options)
    return outcome, (folder / reports.REPORT).read_text()


def nasty() -> nbformat.NotebookNode:
    """A notebook in which everything that can be text is nasty."""
    finding = FINDING.model_copy(update={"title": NASTY, "object": NASTY, "advice": NASTY})
    html = new_output(
        "display_data", data={"text/html": f"<b onclick=x()>bold</b>{NASTY}", "text/plain": "-"}
    )
    svg = new_output(
        "display_data", data={"image/svg+xml": "<svg onload=x() xmlns='http://www.w3.org/2000/svg'/>"}
    )
    return new_notebook(
        cells=[
            new_markdown_cell(f"# {NASTY}\n\n![a picture](http://example.org/y.png)\n\n{NASTY}"),
            ran(html, svg, new_output("stream", name="stderr", text=NASTY), source=f"x = {NASTY!r}"),
            ran(shown(finding)),
            ran(shown(Outcome(status="incident", findings=(finding,), plan=Plan(), engine=NASTY))),
        ],
        metadata={"labkit": {"title": NASTY, "risk": "none"}},
    )


def test_the_page_loads_and_runs_nothing(tmp_path: Path) -> None:
    """Whatever the notebook holds: no script, no handler, no reference to anything outside; and links lead somewhere."""
    _, text = written(nasty(), tmp_path)
    page = Page(text)
    assert page.loads == []
    assert "default-src 'none'" in text and "<b>bold</b>" in text and "data:image/svg+xml" in text
    assert [link for link in page.links if link.startswith("#") and link[1:] not in ["", *page.ids]] == []
    assert "\x1b" not in text and "\u202e" not in text, "nothing after it runs backwards"


@pytest.mark.parametrize(
    "bad", ["<img src=x.png>", "<b style='a: url(x)'>", "<p onclick=x()>", "<link href=x>", "<script>"]
)
def test_what_would_be_loaded_is_found(bad: str) -> None:
    """The look at the page is a real one: each of these it finds."""
    assert Page(bad).loads


def test_each_thing_is_said_once(tmp_path: Path) -> None:
    """Headings and ids are unique, and outputs that the report tells are referred to."""
    cells = [
        new_markdown_cell("## Diagnosis"),
        ran(shown(FINDING)),
        new_markdown_cell("## Apply"),
        ran(shown(DONE)),
    ]
    cells.append(ran(shown(Outcome(status="fixed", findings=(FINDING,), plan=Plan(), applied=DONE))))
    _, text = written(new_notebook(cells=cells), tmp_path)
    page = Page(text)
    assert len(page.ids) == len(set(page.ids))
    headings = re.findall(r"<h2>(.*?)</h2>", text)
    assert len(headings) == len(set(headings))
    assert text.count(FINDING.evidence[0].detail) == 1
    assert {"#finding", "#applied", "#"} <= set(page.links)


@pytest.mark.parametrize(
    ("applied", "said"),
    [
        (Plan().wait(), "<p>There is nothing to do.</p>"),
        (
            Applied(note="dry run: nothing was changed; apply = True carries the plan out"),
            "<p>Dry run: nothing was changed; apply = True carries the plan out.</p>",
        ),
    ],
)
def test_why_nothing_was_done_is_a_sentence(applied: Applied, said: str, tmp_path: Path) -> None:
    """Below "What was done", what came of a plan that nobody carried out."""
    cells = [ran(shown(Outcome(status="incident", findings=(FINDING,), plan=Plan(), applied=applied)))]
    assert said in written(new_notebook(cells=cells), tmp_path)[1]


def marked(ename: str, evalue: str, traceback: list[str]) -> nbformat.NotebookNode:
    """A notebook that failed under papermill, with papermill's marks."""
    mark = {"tags": ["papermill-error-cell-tag"]}
    error = new_output("error", ename=ename, evalue=evalue, traceback=traceback)
    return new_notebook(
        cells=[
            new_markdown_cell(
                "<span style='color:red'>An Exception was encountered at 'In [2]'.</span>", metadata=mark
            ),
            new_markdown_cell("# Title\n\n## Evidence"),
            ran(shown(FINDING)),
            new_markdown_cell(
                "<span>Execution using papermill encountered an exception here</span>", metadata=mark
            ),
            ran(error, source="boom()"),
            new_markdown_cell("## Plan"),
            ran(count=None),
        ]
    )


def test_a_failure_is_on_top_and_readable(tmp_path: Path) -> None:
    """The message comes first, with a link to its cell; papermill's own marks and the colours of tracebacks are gone."""
    outcome, text = written(marked("KeyError", "'x'", ["\x1b[31mTraceback\x1b[0m", "library.py"]), tmp_path)
    assert outcome.failure is not None and outcome.failure.cell == 4
    assert (
        text.index("What went wrong") < text.index("Summary")
        and 'href="#cell-4"' in text
        and 'id="cell-4"' in text
    )
    assert (
        "papermill" not in re.sub(r"-p apply True|papermill: ", "", text) and "An Exception was" not in text
    )
    assert "KeyError: &#39;x&#39;" in text and "library.py" in text and "This cell stopped the run" in text


def test_a_users_mistake_shows_its_message_alone(tmp_path: Path) -> None:
    """No traceback of a library for what labkit explains itself."""
    _, text = written(
        marked("UsageError", "no container called 'wbe'", ["Traceback", "library.py"]), tmp_path
    )
    assert text.count("no container called &#39;wbe&#39;") == 2
    body = text.partition("<body>")[2]
    assert "library.py" not in body and "UsageError" not in body and "Traceback" not in body


@pytest.mark.parametrize("error", ["UsageError", "EngineUnreachable", "Refused", "KeyError"])
def test_after_something_was_done_nothing_says_that_nothing_was(error: str, tmp_path: Path) -> None:
    """A failure after the plan was applied is a failed run, and what was done is told."""
    cells = [ran(shown(FINDING)), ran(shown(DONE)), ran(failed(error))]
    outcome, text = written(new_notebook(cells=cells), tmp_path)
    assert (outcome.status, outcome.applied) == ("failed", DONE)
    assert "docker stop web" in text


def test_what_was_done_before_it_broke_off_is_in_the_journal(tmp_path: Path) -> None:
    """The cell that failed could not show it."""
    journal = Journal.create(tmp_path, {})
    journal.write("action-done", index=0, plan="x", done=DONE.done[0].model_dump())
    outcome, text = written(new_notebook(cells=[ran(failed("Refused"))]), tmp_path)
    assert outcome.applied is not None
    assert (outcome.status, outcome.applied.done) == ("failed", DONE.done)
    assert "docker stop web" in text


def test_what_had_begun_is_no_mistake_that_touched_nothing(tmp_path: Path) -> None:
    """A run that was resumed met a mistake before it came to what it had begun: failed, so it can be resumed again."""
    cells = [ran(failed("UsageError"))]
    assert written(new_notebook(cells=cells), tmp_path)[0].status == "usage"
    Journal.create(tmp_path, {}).write("action-started", index=0)
    assert written(new_notebook(cells=cells), tmp_path)[0].status == "failed"


def test_a_broken_run_keeps_what_is_known(tmp_path: Path) -> None:
    """Engine and checked parameters are in the outcome of a run that failed."""
    checked = new_output(
        "execute_result",
        data={},
        metadata={"application/vnd.labkit.parameters+json": {"container": "web", "watch": "5s"}},
        execution_count=1,
    )
    outcome, _ = written(
        new_notebook(cells=[ran(checked), ran(failed("KeyError"))]), tmp_path, engine="unix:///x"
    )
    assert (outcome.engine, outcome.parameters) == ("unix:///x", {"container": "web", "watch": "5s"})


@pytest.mark.parametrize(
    "notebook", [nasty(), marked("KeyError", NASTY, []), marked("UsageError", "", ["x"])]
)
def test_json_and_junit_hold_to_their_schemas(notebook: nbformat.NotebookNode, tmp_path: Path) -> None:
    """Every outcome validates against the published schema, every JUnit file against the dialect that CI servers read."""
    written(notebook, tmp_path)
    outcome = json.loads((tmp_path / "outcome.json").read_text())
    jsonschema.validate(outcome, json.loads(schemas.PLACE.read_text()), jsonschema.Draft202012Validator)
    junit = xmlschema.XMLSchema(Path(__file__).parent / "junit-10.xsd")
    junit.validate(tmp_path / reports.JUNIT)
    suite = ET.parse(tmp_path / reports.JUNIT).getroot()[0]
    bad = len(list(suite.iter("failure"))) + len(list(suite.iter("error")))
    assert int(suite.attrib["failures"]) + int(suite.attrib["errors"]) == bad == 1


def test_the_schema_is_up_to_date_and_tells_wrong_from_right() -> None:
    """``python -m tests.schemas`` writes it anew; it refuses another status, and an outcome without one."""
    assert schemas.PLACE.read_text() == schemas.text()
    good = json.loads(Outcome(status="healthy").model_dump_json())
    jsonschema.validate(good, schema())
    for bad in (
        {**good, "status": "great"},
        {k: v for k, v in good.items() if k != "status"},
        {**good, "findings": 1},
    ):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(bad, schema())


def test_no_word_of_the_schema_can_be_taken_for_a_secret() -> None:
    """A password like ``container`` would otherwise tear holes into every outcome."""
    parts = [schema(), *schema()["$defs"].values()]
    names = {*EXIT_CODES, *(name for part in parts for name in part["properties"])}
    secrets = redaction.Secrets()
    secrets.add_named({f"{name}_PASSWORD": name for name in names})
    assert len(secrets) == 0


def test_the_summary_is_one_markdown_page(tmp_path: Path) -> None:
    """No table is torn by what it holds, no HTML comes through, and no blank lines pile up."""
    written(nasty(), tmp_path)
    text = (tmp_path / reports.SUMMARY).read_text()
    assert "<script>" not in text.replace(r"\<script\>", "") and "\n\n\n" not in text
    assert "\u202e" not in text
    rows = [line for line in text.splitlines() if line.startswith("|")]
    assert rows and all(len(re.findall(r"(?<!\\)\|", line)) == 3 for line in rows)


def test_what_cannot_be_cleaned_is_not_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The run has failed then, and says which file is missing and why; the others are there."""
    redaction.known.add("a-canary-in-markdown")
    monkeypatch.setattr(reports, "summarize", lambda *_: "x a-canary-in-markdown y")
    outcome, _ = written(nasty(), tmp_path)
    assert (outcome.status, outcome.exit_code) == ("failed", 1)
    assert outcome.failure is not None and outcome.failure.message.startswith("report.md is not written")
    assert not (tmp_path / reports.SUMMARY).exists() and (tmp_path / reports.REPORT).exists()
    assert json.loads((tmp_path / "outcome.json").read_text())["status"] == "failed"


def test_a_report_is_made_of_executed_runbooks_only(tmp_path: Path) -> None:
    """A lab, a notebook that never ran, and no notebook at all are usage errors, with one message."""
    lab = new_notebook(cells=[ran()], metadata={"labkit": {"title": "a lab"}})
    unexecuted = new_notebook(cells=[new_code_cell("x")], metadata={"labkit": {"risk": "none"}})
    for number, (notebook, message) in enumerate(
        [(lab, "not the notebook of a runbook"), (unexecuted, "was not executed")]
    ):
        nbformat.write(notebook, tmp_path / f"{number}.ipynb")
        with pytest.raises(UsageError, match=message):
            runbook.report(tmp_path / f"{number}.ipynb", tmp_path / "runs")
    assert not (tmp_path / "runs").exists()
