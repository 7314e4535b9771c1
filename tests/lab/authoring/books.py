"""Sound labs, small and made to be spoilt: one whose engine is a stand-in, for the rules and for the proof of exercises."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nbformat

__all__ = ["STAND_IN", "book", "exercise", "written"]

STAND_IN = """\
class Lab:
    def reset(self):
        self.state = {}
    def check(self, name, **wanted):
        seen = {key: self.state.get(key, 0) for key in wanted}
        marks = [f"{'✓' if seen[key] == to else '✗'} {key}: {seen[key]}, expected {to}" for key, to in wanted.items()]
        done = seen == wanted
        print(f"{name}: {'done' if done else 'not yet'}", *marks, sep="\\n")
lab = Lab()
lab.reset()
print("ready")
"""
"""A `lab` without an engine: its state is numbers by name, and a check wants some of them."""


def exercise(
    name: str = "sum", *, check: str = "", starter: str = "lab.state['a'] = 1", **recorded: Any
) -> list[Any]:
    """The three cells of an exercise: two numbers to be set, each of which some wrong answer gets wrong."""
    told = {
        "exercise": name,
        "hints": ["Which number is wrong?", {"when": "a: 1", "hint": "More than one, and even."}],
        "solution": "lab.state['a'] = 1 + 1\nlab.state['b'] = 3",
        "because": "Two and three make five.",
        "wrong": [
            {"name": "no-b", "source": "lab.state['a'] = 2", "says": "b: 0, expected 3"},
            {"name": "no-a", "source": "lab.state['b'] = 3", "says": "a: 0, expected 2"},
            {"name": "too-much", "source": "lab.state.update(a=3, b=3)", "says": "a: 3, expected 2"},
        ],
        **recorded,
    }
    asked, begun, checked = (f"{name}-task", f"{name}-starter", f"{name}-check")
    return [
        _prose(asked, f"**{name}.** Make the sum five."),
        _code(begun, starter, tags=["exercise"]),
        _code(checked, check or f"lab.check({name!r}, a=2, b=3)", tags=["check"], labkit=told),
    ]


def book(*exercises: list[Any], setup: str = STAND_IN) -> Any:
    """A lab that keeps every house rule; *exercises*, by default one, are at its end."""
    cells = [_prose("title", "# A sum\n\nSee [below](#Reading)."), _prose("reading", "## Reading")]
    cells += [_code("parameters", 'name = "ada"', tags=["parameters"]), _code("setup", setup, tags=["setup"])]
    for each in exercises or [exercise()]:
        cells += each
    while len(cells) < 31:
        cells.insert(-3, _prose(f"prose-{len(cells)}", "so many words " * 30))
    facts = {"title": "A sum", "summary": "Sums.", "covers": ["LIF-01"]}
    facts["claims"] = {"LIF-01": {"verdict": "confirmed", "cell": "setup"}}
    spec = {"name": "python3", "display_name": "Python 3", "language": "python"}
    return nbformat.v4.new_notebook(cells=cells, metadata={"labkit": facts, "kernelspec": spec})  # type: ignore[no-untyped-call]


def written(folder: Path, notebook: Any, name: str = "10-sum") -> Path:
    """The file that holds *notebook*, in *folder*."""
    path = folder / f"{name}.ipynb"
    nbformat.write(notebook, path)  # type: ignore[no-untyped-call]
    return path


def _prose(id_: str, source: str) -> Any:
    return nbformat.v4.new_markdown_cell(source, id=id_)  # type: ignore[no-untyped-call]


def _code(id_: str, source: str, **metadata: Any) -> Any:
    output = nbformat.v4.new_output("stream", name="stdout", text="shown\n")  # type: ignore[no-untyped-call]
    return nbformat.v4.new_code_cell(  # type: ignore[no-untyped-call]
        source, id=id_, metadata=metadata, execution_count=1, outputs=[output]
    )
