"""Which notebooks Jupyter is told to trust: none in which anything could run, or fetch something."""

from __future__ import annotations

from pathlib import Path

import nbformat
import pytest
from nbformat.sign import NotebookNotary

from labkit import trust
from labkit.lab.notebooks.book import load
from tests.notebooks import LABS, PAGES, each


@pytest.mark.parametrize(
    ("data", "trusted"),
    [
        ({"image/svg+xml": "<svg><path/></svg>"}, True),
        ({"image/svg+xml": "<svg><script>alert(1)</script></svg>"}, False),
        ({"image/svg+xml": '<svg onload="alert(1)"/>'}, False),
        (
            {
                "text/html": "<table><tr><th scope='row'>a &lt; b</th><td style='color: red'>1</td></tr></table><br/>"
            },
            True,
        ),
        ({"text/html": "<details open><summary>Hint</summary>…</details>"}, True),
        ({"text/html": "<b onclick='alert(1)'>hello</b>"}, False),
        ({"text/html": "<b data-commandlinker-command='x'>hello</b>"}, False),
        ({"text/html": "<img src='http://example.org/x.png'>"}, False),
        ({"text/html": "<a href='javascript:alert(1)'>x</a>"}, False),
        ({"text/html": "<p style='background: url(http://example.org)'>x</p>"}, False),
        ({"text/html": "<p style='background: u\\72l(http://example.org)'>x</p>"}, False),
        ({"text/html": "<!--><script>alert(1)</script>-->"}, False),
        ({"text/html": "<p>1 < 2 <script</p>"}, False),
        ({"text/html": "<svg><b>hello</b></svg>"}, False),
        ({"text/plain": "a", "application/x-unknown": "b"}, False),
        ({"application/javascript": "alert(1)"}, False),
    ],
)
def test_only_what_is_still_is_trusted(data: dict[str, str], trusted: bool, tmp_path: Path) -> None:
    """A notebook in which something could run at its opening is not signed, nor does one that is no notebook disturb."""
    output = nbformat.v4.new_output("display_data", data)
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("1", outputs=[output])])
    (tmp_path / "a.ipynb").write_text("{", encoding="utf-8")
    nbformat.write(notebook, tmp_path / "b.ipynb")
    trust.sign(tmp_path, tmp_path / "data")
    notary = NotebookNotary(data_dir=str(tmp_path / "data"))
    assert notary.check_signature(nbformat.read(tmp_path / "b.ipynb", as_version=4)) is trusted
    notary.store.close()


@pytest.mark.parametrize("path", each(PAGES + LABS))
def test_what_is_committed_is_shown_as_it_is(path: Path) -> None:
    """Every output of a lab is still: else JupyterLab would cut all of them down before they are run."""
    outputs = [output for cell in load(path).cells for output in cell.get("outputs", [])]
    assert all(trust.is_still(output.data) for output in outputs if "data" in output)
