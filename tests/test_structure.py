"""The shape of the code: imports run one way, no module is long, style and types hold, nothing is duplicated by hand."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

from labkit.lab.authoring.listings import page_updated, updated
from labkit.lab.notebooks.book import load
from tests.notebooks import LABS, PAGES, RUNBOOKS

ROOT = Path(__file__).parent.parent
LAYERS = [
    "errors",
    "labels",
    "paths",
    "shapes",
    "texts",
    "engine",
    "observe",
    "lifecycle",
    "kernels",
    "diagnosis",
    "faults",
    "lab",
    "runbook",
    "widgets",
    "doctor",
    "progress",
    "setup",
    "trust",
    "server",
    "uninstall",
    "cli",
]
ALLOWED = {
    "errors": set(),
    "labels": set(),
    "shapes": set(),
    "texts": set(),
    "paths": {"errors"},
    "progress": set(),
    "engine": {"errors", "labels", "paths", "texts", "doctor"},
    "doctor": {"errors", "paths", "engine"},
    "observe": {"errors", "labels", "shapes", "engine"},
    "lifecycle": {"errors"},
    "kernels": {"errors", "paths", "engine"},
    "diagnosis": {"errors", "engine", "observe", "lifecycle"},
    "faults": {"errors", "labels", "engine"},
    "runbook": {
        "kernels",
        "errors",
        "labels",
        "paths",
        "shapes",
        "engine",
        "observe",
        "lifecycle",
        "diagnosis",
    },
    "lab": {
        "errors",
        "labels",
        "paths",
        "progress",
        "shapes",
        "texts",
        "engine",
        "observe",
        "lifecycle",
        "kernels",
    },
    "widgets": {"errors", "engine", "observe", "lifecycle", "lab", "runbook"},
    "setup": {"errors", "engine", "doctor", "kernels", "progress"},
    "trust": set(),
    "server": {"errors", "paths", "engine", "progress", "trust"},
    "uninstall": {"errors", "paths", "engine", "progress", "server", "kernels"},
    "cli": set(LAYERS),
}
"""Which parts of labkit each part may import."""

MODULES = sorted((ROOT / "labkit").rglob("*.py"))


def part_of(module: Path) -> str:
    return module.relative_to(ROOT / "labkit").parts[0].removesuffix(".py")


def imported(module: Path) -> set[str]:
    """The parts of labkit that *module* imports, anywhere in it."""
    found = set()
    for node in ast.walk(ast.parse(module.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("labkit"):
            rest = node.module.split(".")[1:]
            found |= {rest[0]} if rest else {alias.name for alias in node.names}
        elif isinstance(node, ast.Import):
            found |= {alias.name.split(".")[1] for alias in node.names if alias.name.startswith("labkit.")}
    return {
        name
        for name in found
        if (ROOT / "labkit" / name).exists() or (ROOT / "labkit" / f"{name}.py").exists()
    }


@pytest.mark.parametrize(
    "module",
    [pytest.param(m, id=str(m.relative_to(ROOT))) for m in MODULES if m.name not in ("__main__.py",)],
)
def test_imports_run_one_way(module: Path) -> None:
    """A module imports only from the parts below its own; faults are never seen by a diagnosis or a runbook."""
    part = part_of(module)
    if part != "__init__":
        assert imported(module) - {part} <= ALLOWED[part]


@pytest.mark.parametrize("module", [pytest.param(m, id=str(m.relative_to(ROOT))) for m in MODULES])
def test_modules_are_one_idea(module: Path) -> None:
    """No module is longer than 420 lines, each says what it is for."""
    text = module.read_text()
    assert len(text.splitlines()) <= 420
    assert ast.get_docstring(ast.parse(text)), "a module starts with what it is for"


@pytest.mark.parametrize("module", MODULES, ids=lambda path: path.stem)
def test_files_are_written_and_read_in_one_encoding(module: Path) -> None:
    """Text files name their encoding: the user's locale may be another (ruff's PLW1514, which is in preview still)."""
    assert _without_encoding(module.read_text(encoding="utf-8")) == []


def test_a_missing_encoding_is_seen() -> None:
    """The rule above finds each way of opening a text file, and lets bytes and other openings pass."""
    bad = ["p.read_text()", "p.write_text(x)", "p.open('w')", "open(p)", "open(p, mode='a')"]
    good = ["p.read_bytes()", "p.open('rb')", "open(p, 'wb')", "os.open(p, 0)", "process.open()"]
    good += ["p.read_text(encoding='utf-8')", "open(p, encoding='utf-8')", "tarfile.open(p, 'w')"]
    assert all(_without_encoding(code) for code in bad)
    assert not any(_without_encoding(code) for code in good)


def _without_encoding(source: str) -> list[int]:
    """The lines on which a text file is opened without an encoding."""
    calls = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call)]
    return [call.lineno for call in calls if _opens_text(call) and "encoding" not in _keywords(call)]


def _keywords(call: ast.Call) -> dict[str | None, ast.expr]:
    return {keyword.arg: keyword.value for keyword in call.keywords}


def _opens_text(call: ast.Call) -> bool:
    if isinstance(call.func, ast.Name):
        return call.func.id == "open" and _mode(call, 1, default="r") in TEXT_MODES
    if not isinstance(call.func, ast.Attribute):
        return False
    # an attribute called open, without a mode, is most often another thing than a file's
    return call.func.attr in ("read_text", "write_text") or (
        call.func.attr == "open" and _mode(call, 0, default="") in TEXT_MODES
    )


def _mode(call: ast.Call, position: int, default: str) -> object:
    given = call.args[position] if len(call.args) > position else _keywords(call).get("mode")
    return default if given is None else given.value if isinstance(given, ast.Constant) else ""


TEXT_MODES = ("r", "w", "a", "x", "r+", "w+", "a+", "rt", "wt")


def test_only_widgets_import_ipywidgets() -> None:
    """ipywidgets and anywidget are imported by labkit.widgets alone."""
    for module in MODULES:
        if part_of(module) != "widgets":
            assert "ipywidgets" not in module.read_text() and "anywidget" not in module.read_text(), module


def test_every_test_says_what_it_holds() -> None:
    """Each test function begins with a sentence that says what it holds."""
    for module in sorted((ROOT / "tests").rglob("test_*.py")):
        for node in ast.walk(ast.parse(module.read_text())):
            if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
                assert ast.get_docstring(node), f"{module.relative_to(ROOT)}: {node.name}"


@pytest.mark.timeout(400)
@pytest.mark.parametrize(
    "command",
    [["ruff", "format", "--check", "labkit", "tests"], ["ruff", "check", "labkit", "tests"], ["mypy"]],
    ids=" ".join,
)
def test_style_and_types(command: list[str]) -> None:
    """Formatting, lint and strict types hold, as `make check` says."""
    done = subprocess.run(
        [sys.executable, "-m", *command], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-1000:]


def test_requirements_are_exact() -> None:
    """Every requirement is pinned to one version, and no registry is named."""
    for name in ("requirements.txt", "requirements-test.txt"):
        text = (ROOT / name).read_text()
        assert "://" not in text and "make requirements" in text
        for line in text.splitlines():
            assert not line or line.startswith(("#", " ")) or "==" in line, line


def test_readme_table_is_up_to_date() -> None:
    """The README lists every lab and runbook as its metadata say; `python -m tests.tables` writes the table anew."""
    text = (ROOT / "README.md").read_text()
    assert updated(text) == text


def test_first_page_lists_the_labs() -> None:
    """The page that is opened first lists every lab in its order; `python -m tests.tables` writes the list anew."""
    sources = [cell.source for cell in load(PAGES[0]).cells]
    assert [page_updated(source) for source in sources] == sources
    assert all(any(f"({path.name})" in source for source in sources) for path in LABS)


def test_every_claim_is_told() -> None:
    """Each id that a lab or runbook covers is in docs/claims.md, which has every id once."""
    told = re.findall(r"^\| ([A-Z]{3}-\d\d) \|", (ROOT / "docs/claims.md").read_text(encoding="utf-8"), re.M)
    covered = {id_ for path in [*LABS, *RUNBOOKS] for id_ in load(path).metadata["labkit"]["covers"]}
    assert len(told) == len(set(told))
    assert covered <= set(told)


@pytest.mark.parametrize("package", ["labkit", "labkit.runbook"])
def test_names_imported_on_first_use(package: str) -> None:
    """A package that imports its names late has each of them, and importing it brings in nothing heavy."""
    code = (
        f"import {package} as package, sys;"
        "heavy = {'papermill', 'nbformat', 'pydantic', 'docker', 'pandas'} & set(sys.modules);"
        "assert not heavy, heavy;"
        "[getattr(package, name) for name in package.__all__]"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
