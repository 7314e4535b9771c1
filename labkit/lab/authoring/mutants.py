"""What a check must notice though nobody recorded it, and what must not be told: pure text, no engine.

The text of a check is a line that says whether it is done, then for each condition one or more lines, of which the first
begins with a mark.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from difflib import SequenceMatcher

__all__ = ["Condition", "conditions", "decisive", "is_done", "is_noticed", "shorter", "tells"]

HOLDS, FAILS = "✓", "✗"
NEWLINE = "\n"
_WORD = re.compile(r"""[^\s'"`;,()\[\]!<>*]+""")


@dataclass(frozen=True)
class Condition:
    """What a check's *text* says of one of its conditions, and whether it *holds*."""

    text: str
    holds: bool

    @property
    def name(self) -> str:
        """Its first line, without the mark."""
        return self.text.split(NEWLINE)[0].strip()[1:].strip()


def is_done(exercise: str, text: str) -> bool:
    """Whether the *text* of a check says that the *exercise* is done."""
    return f"{exercise}: done" in text.splitlines()


def conditions(text: str) -> list[Condition]:
    """The conditions in the *text* of a check, in their order."""
    found: list[list[str]] = []
    for line in text.splitlines():
        if line.lstrip()[:1] in (HOLDS, FAILS):
            found.append([line])
        elif found and line.startswith(" "):  # what a condition has to say further
            found[-1].append(line)
    return [Condition(NEWLINE.join(lines), lines[0].lstrip()[0] == HOLDS) for lines in found]


def is_noticed(place: int, rejected: Iterable[tuple[str, str]]) -> bool:
    """Whether some recorded wrong answer would notice that the condition at *place* is gone from the check.

    *rejected*: of each wrong answer, what the check must say of it and the check's text.  Without the condition that answer
    passes, or the check no longer says it.
    """
    for says, text in rejected:
        left = conditions(text)
        del left[place : place + 1]
        if all(each.holds for each in left) or not any(says in each.text for each in left):
            return True
    return False


def shorter(starter: str, solution: str) -> Iterator[tuple[str, str]]:
    """Each line of the *solution* that the *starter* has not, and the solution without it, if anything is left."""
    lines, known = solution.splitlines(), {line.strip() for line in starter.splitlines()}
    for number, line in enumerate(lines):
        if line.strip() and line.strip() not in known and not line.lstrip().startswith("#"):
            rest = NEWLINE.join(lines[:number] + lines[number + 1 :])
            if rest.strip():
                yield line.strip(), rest


def decisive(starter: str, solution: str) -> list[str]:
    """The words of the *solution* that make the difference to the *starter*: what no hint and no message may give away.

    One word by itself gives nothing away, unless it is an option (``--init``); it is taken with the word before it.
    """
    before, after = _words(starter), _words(solution)
    found: list[str] = []
    for verb, _, _, begin, end in SequenceMatcher(a=before, b=after, autojunk=False).get_opcodes():
        if verb in ("insert", "replace"):
            found += _phrases(after, begin, end)
    return list(dict.fromkeys(found))


def _phrases(words: list[str], begin: int, end: int) -> Iterator[str]:
    """The words from *begin* to *end*, line by line."""
    place = begin
    while place < end:
        stop = words.index(NEWLINE, place, end) if NEWLINE in words[place:end] else end
        first = place
        if (
            stop - place == 1
            and not words[place].startswith("--")
            and place > 0
            and words[place - 1] != NEWLINE
        ):
            first = place - 1
        phrase = words[first:stop]
        if len(phrase) > 1 or (phrase and phrase[0].startswith("--")):
            yield " ".join(phrase)
        place = stop + 1


def _words(text: str) -> list[str]:
    """The words of *text* without what is around them, and a newline for the end of each line."""
    return [word for line in text.splitlines() for word in (*map(_bare, _WORD.findall(line)), NEWLINE)]


def _bare(word: str) -> str:
    return word.rstrip(".:?") or word


def tells(text: str, phrase: str) -> bool:
    """Whether *text*, in prose or Markdown, holds *phrase*, however it is quoted there."""
    told = [word for word in _words(text) if word != NEWLINE]
    wanted = phrase.split()
    return any(told[place : place + len(wanted)] == wanted for place in range(len(told)))
