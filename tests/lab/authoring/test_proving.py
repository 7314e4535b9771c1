"""The proof of checks finds each way in which a lab could let a wrong answer pass, or tell the right one."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest

from labkit.lab.authoring.mutants import Condition, conditions, decisive, is_done, is_noticed, shorter, tells
from tests.lab.authoring.books import STAND_IN, book, exercise, written

CHECK = "lab.check('sum', a=2, b=3)"
WRONG = [
    {"name": "no-b", "source": "lab.state['a'] = 2", "says": "b: 0, expected 3"},
    {"name": "no-a", "source": "lab.state['b'] = 3", "says": "a: 0, expected 2"},
]
THIRD = {"name": "too-much", "source": "lab.state.update(a=3, b=3)", "says": "a: 3, expected 2"}
LEANS = {**THIRD, "source": "lab.state.update(a=two + 1, b=3)"}

AGAIN = {
    "starter": "lab.state['c'] = 1",
    "solution": "lab.state['c'] = 1 + 1\nlab.state['d'] = 3",
    "hints": ["Which?"],
    "wrong": [
        {"name": "no-d", "source": "lab.state['c'] = 2", "says": "d: 0, expected 3"},
        {"name": "no-c", "source": "lab.state['d'] = 3", "says": "c: 0, expected 2"},
        {"name": "too-much", "source": "lab.state.update(c=3, d=3)", "says": "c: 3, expected 2"},
    ],
}

FOOLED: dict[str, tuple[dict[str, Any], str]] = {
    "untouched": ({"check": "lab.check('sum', a=0)"}, "sum: a learner who has done nothing passes the check"),
    "raising": ({"check": "lab.state['a']\n" + CHECK}, "done nothing is checked, and the check raises KeyError"),
    "silent": ({"check": "if lab.state:\n    " + CHECK}, "a learner who has done nothing is shown no check of sum, but: nothing"),
    "starter": ({"starter": "lab.state.update(a=2, b=3)  # oh"}, "sum: the starter passes the check"),
    "starter raises": ({"starter": "1 / 0"}, "sum: the starter raises ZeroDivisionError: division by zero"),
    "wrong passes": ({"check": "lab.check('sum', a=2)"}, "sum: the wrong answer 'no-b' passes the check"),
    "wrong message": ({"wrong": [*WRONG, {**THIRD, "says": "a: 4"}]}, "the wrong answer 'too-much' is not told 'a: 4', but:"),
    "wrong raises": ({"wrong": [*WRONG, {**THIRD, "source": "nothing"}]}, "the wrong answer 'too-much' raises NameError"),
    "solution fails": ({"solution": "lab.state['a'] = 5"}, "once and under another name, does not pass the check, which says:"),
    "solution raises": ({"solution": "1 / 0"}, "sum: the solution, after wrong answers, raises ZeroDivisionError"),
    "solution leans": (
        {"wrong": [*WRONG, {**THIRD, "source": "two = 2\n" + THIRD["source"]}], "solution": "lab.state.update(a=two, b=3)"},
        "sum: the solution, at once and under another name, raises NameError: name 'two' is not defined",
    ),
    "wrong leans": (
        {"wrong": [{**WRONG[0], "source": "two = 2\nlab.state['a'] = two"}, WRONG[1], LEANS]},
        "sum: the wrong answer 'too-much' raises NameError: name 'two' is not defined",
    ),
    "latch": (
        {"check": "if lab.state == {'a': 2, 'b': 3}:\n    lab.once = dict(lab.state)\n"
                  "lab.state = lab.state or dict(getattr(lab, 'once', {}))\n" + CHECK},
        "sum: a learner who has undone the solution passes the check",
    ),
    "one name only": (
        {"check": "lab.check('sum', a=2, b=3 if name == 'ada' else 4)"},
        "the solution, at once and under another name, does not pass the check",
    ),
    "unneeded": ({"check": "lab.check('sum', a=2, b=3, c=0)"}, "'c: 0, expected 0' could be taken away, and no wrong answer"),
    "same message": (
        {"wrong": [*WRONG, {**THIRD, "says": "expected 2"}]},
        "the message to 'too-much' is told 'expected 2', and so is the solution",
    ),
    "hint tells": (
        {"hints": ["Try `lab.state['b'] = 3`."]}, "who reads hint 1 is told the solution: lab.state b = 3",
    ),
    "check tells": (
        {"check": "print('do: lab.state[\"b\"] = 3')\n" + CHECK}, "the starter is told the solution: lab.state b = 3",
    ),
    "hint unseen": (
        {"hints": ["Hm.", {"when": "c: 4", "hint": "Ha."}]}, "who reads hint 2 is never shown: no check has said 'c: 4'",
    ),
    "leaves": ({"wrong": [*WRONG, {**THIRD, "source": "import os; os._exit(1)"}]}, "'too-much' finds no kernel: it has ended"),
}  # fmt: skip


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What the inspection of each spoilt lab found, and of a few others."""
    folder = tmp_path_factory.mktemp("labs")
    for name, (spoilt, _) in FOOLED.items():
        written(folder, book(exercise(**spoilt)), name.replace(" ", "-"))
    again = exercise("again", check="lab.check('again', c=2, d=3)", **AGAIN)
    written(folder, book(exercise(), again), "sound")
    written(folder, book(exercise(), exercise("twin")), "twins")
    written(folder, book(setup="lab = None\nprint('ready')"), "no-lab")
    written(folder, book(setup="1 / 0\n" + STAND_IN), "no-setup")
    idle = "lab.state['c'] = 0\nlab.state['a'] = 2\nlab.state['b'] = 3"
    written(folder, book(exercise(solution=idle)), "idle")
    needy = exercise(
        check="lab.check('sum', b=3)",
        starter="lab.state['b'] = lab.state['a']",
        solution="lab.state['b'] = lab.state['a'] + 1",
        wrong=[
            {
                "name": f"{n}",
                "source": f"lab.state['b'] = lab.state['a'] + {n}",
                "says": f"b: {2 + n}, expected 3",
            }
            for n in (2, 3, 4)
        ],
        hints=["Count."],
    )
    needed = exercise("base", starter="lab.state['a'] = 1")
    needy[0].metadata["labkit"] = {"needs": ["two"]}
    needed[1].update(id="two", source="lab.state['a'] = 2")
    written(folder, book(needed[:2], needy), "needy")
    (folder / "broken.ipynb").write_text("{")
    odd = book()
    odd.cells[-2].metadata["labkit"] = {"needs": 3}
    written(folder, odd, "odd")
    done = subprocess.run(
        [sys.executable, "-m", "tests.lab.authoring.proofs", str(folder)],
        capture_output=True,
        text=True,
        check=False,
        timeout=280,
    )
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout))


@pytest.mark.parametrize("how", FOOLED)
def test_a_lab_that_can_be_fooled_is_reported(how: str, found: dict[str, Any]) -> None:
    """Each way to let a wrong answer pass, to refuse the right one, or to tell it, is told with the exercise and the answer."""
    report = found[how.replace(" ", "-")]
    assert FOOLED[how][1] in "\n".join(report["problems"])
    assert not report["ok"]


def test_a_sound_lab_is_found_sound(found: dict[str, Any]) -> None:
    """Both exercises hold; every wrong answer and every condition counts; nothing is worth a note."""
    report = found["sound"]
    assert (
        report["problems"] == [] and report["broken_rules"] == [] and report["ok"] and report["notes"] == []
    )
    assert (report["tried"], report["rejected"]) == (10, 10)


def test_one_exercise_does_not_solve_another(found: dict[str, Any]) -> None:
    """Two exercises whose checks look at the same are told, each with the other."""
    assert found["twins"]["problems"] == [
        "twin: who has solved only sum passes the check",
        "sum: who has solved only twin passes the check",
    ]


def test_a_score_is_lower_for_each_mistake_that_passes(found: dict[str, Any]) -> None:
    """Of five mistakes one passes the check that asks too little, and the condition that is missing cannot be dropped."""
    report = found["wrong-passes"]
    assert (report["tried"], report["rejected"]) == (4, 3)


def test_a_line_that_the_check_does_not_need_is_noted(found: dict[str, Any]) -> None:
    """The solution passes without one of its lines: worth a look, and no failure."""
    assert found["idle"]["notes"] == ["sum: the solution passes without its line lab.state['c'] = 0"]
    assert found["idle"]["problems"] == []


def test_what_an_exercise_needs_is_run_before_it(found: dict[str, Any]) -> None:
    """The cells that the task names are run before each answer, and after each reset."""
    assert found["needy"]["problems"] == []


def test_a_lab_that_does_not_begin_is_one_finding(found: dict[str, Any]) -> None:
    """A setup that raises, or that gives no lab, and a file that is no notebook, are one problem each."""
    assert found["no-setup"]["problems"] == [
        "the lab: its parameters and setup raises ZeroDivisionError: division by zero"
    ]
    assert "raises AttributeError: 'NoneType' object has no attribute" in found["no-lab"]["problems"][-1]
    assert found["odd"]["broken_rules"] == ["sum-starter: labkit.needs: input should be a valid list"]
    (broken,) = found["broken"]["broken_rules"]
    assert "broken.ipynb is not a notebook" in broken


# -- the pure part


TEXT = "sum: not yet\n✓ a: 2\n  and so on\n✗ b: 0, expected 3\nhint: lab.hint('sum')"


def test_the_text_of_a_check_is_understood() -> None:
    """A mark begins a condition, what is indented goes on with it, and the first line says whether it is done."""
    assert conditions(TEXT) == [
        Condition("✓ a: 2\n  and so on", True),
        Condition("✗ b: 0, expected 3", False),
    ]
    assert conditions(TEXT)[0].name == "a: 2"
    assert not is_done("sum", TEXT) and is_done("sum", "sum: done\n✓ a: 2") and not is_done("um", "sum: done")


@pytest.mark.parametrize(
    ("place", "says", "noticed"),
    [(1, "b: 0", True), (0, "b: 0", False), (0, "a: 2", True), (1, "a: 2", True)],
)
def test_a_condition_is_missed_or_not(place: int, says: str, noticed: bool) -> None:
    """A condition that is gone is noticed by the answer that passes then, or is no longer told what it should be."""
    assert is_noticed(place, [(says, TEXT)]) is noticed


@pytest.mark.parametrize(
    ("starter", "solution", "given_away"),
    [
        ("!docker run -d {image} sh", "!docker run -d --init {image} sh", ["--init"]),
        ("!docker run --restart no x", "!docker run --restart on-failure:3 x", ["--restart on-failure:3"]),
        (
            "!run sh -c 'echo awake'",
            "!run sh -c 'trap \"exit 143\" TERM; echo awake'",
            ["trap exit 143 TERM"],
        ),
        ("!docker create x", "!docker create x\n!docker start x", ["docker start x"]),
        ("a = 1", "a = 2", ["= 2"]),
        ("same", "same", []),
    ],
)
def test_the_decisive_words_are_those_of_the_solution_alone(
    starter: str, solution: str, given_away: list[str]
) -> None:
    """What the solution has and the starter has not, a phrase for each place."""
    assert decisive(starter, solution) == given_away


def test_a_phrase_is_found_however_it_is_quoted() -> None:
    """Quotes, backticks and full stops do not hide it; a part of a word is not it."""
    assert tells("Use `--init`.", "--init") and tells('trap "exit 143" TERM', "trap exit 143 TERM")
    assert not tells("an --init-path", "--init") and not tells("exit code: 137, expected 143", "exit 143")


def test_lines_of_the_starter_are_not_taken_out() -> None:
    """Only what the solution adds is taken out, a line at a time."""
    assert list(shorter("a\nb", "a\n  c\nb\nd")) == [("c", "a\nb\nd"), ("d", "a\n  c\nb")]
