"""What a traced command did, in three views, as text and as a page: what is typed, what is sent, and the calls of docker-py."""

from __future__ import annotations

import html
from collections.abc import Iterator
from dataclasses import dataclass, field

from labkit.lab.changes import Aside
from labkit.lab.showing import Shown
from labkit.lab.tracing.repeating import Performed

__all__ = ["BEGIN", "HEADINGS", "Command", "Step", "Trace"]

BRIEF = 300
"""Characters of a body that are told in the text; the live view has the rest."""
BEGIN = "api = docker.APIClient()  # executed a second time; what changes something, on a twin"
HEADINGS = ("as it is typed", "as HTTP requests", "as calls of docker-py")
STYLE = "white-space:pre-wrap;margin:4px 0 8px 16px"


@dataclass(frozen=True)
class Command:
    """How the command went: its *line*, exit *code*, *output* (both streams as they came) and *seconds*.

    *ended*: after how many seconds it was ended, because it went on; None where it ended by itself.
    """

    line: str
    code: int
    output: str
    seconds: float
    ended: float | None = None

    @property
    def end(self) -> str:
        """How it ended, in words: a program that a signal has ended has no exit code."""
        how = f"exit code {self.code}" if self.code >= 0 else f"ended by signal {-self.code}"
        return f"interrupted after {self.ended:g} s ({how})" if self.ended else how


@dataclass(frozen=True)
class Step:
    """A request (*method*, *target* with names for ids, *status*, *seconds*) and the call that does the same.

    *sent*, *answered*: the bodies; *stream*: the connection became one; *note*: why it was not recorded to its end.  *code* is
    empty where docker-py has no call; *performed* says why, how long it took, or why it was not executed.
    """

    method: str
    target: str
    status: int | None
    seconds: float | None
    sent: str = ""
    answered: str = ""
    stream: bool = False
    note: str = ""
    code: str = ""
    performed: Performed = field(default_factory=Performed)

    @property
    def request(self) -> str:
        """The request and the status of its answer, on a line."""
        status = "no answer" if self.status is None else str(self.status)
        more = ", then a stream" if self.stream else f" ({self.note})" if self.note else ""
        return f"{self.method} {self.target} → {status}{more}"

    @property
    def call(self) -> str:
        """The call, and what is to be said of it."""
        done = self.performed
        if not self.code:
            return f"# {self.request.partition(' → ')[0]}: {done.why}"
        if done.why:
            return f"{self.code}  # not executed: {done.why}"
        return f"{self.code}  # raises {done.raised}" if done.raised else self.code

    @property
    def brief(self) -> list[str]:
        """The bodies, where they are short and the same every time."""
        told = [self.sent] if self.sent else []
        if self.answered and self.method != "GET":
            told.append(f"→ {self.answered}")
        return [" ".join(text.split()) for text in told if len(text) <= BRIEF]


@dataclass(frozen=True, repr=False)
class Trace(Shown):
    """A command in three views.  Printed, it tells what is the same every time; `times` adds how long each took."""

    command: Command
    steps: tuple[Step, ...]
    aside: Aside = field(default_factory=Aside)

    def views(self, *, times: bool = False) -> list[tuple[str, list[str]]]:
        """The heading and the lines of each view."""
        return [
            (heading, list(lines))
            for heading, lines in zip(
                HEADINGS, (self._typed(times), self._sent(times), self._called(times)), strict=True
            )
        ]

    def _typed(self, times: bool) -> Iterator[str]:
        done = self.command
        yield _at(done.seconds, times) + done.line
        yield from (f"  {line}" for line in done.output.splitlines())
        yield done.end

    def _sent(self, times: bool) -> Iterator[str]:
        for step in self.steps:
            yield _at(step.seconds, times) + step.request
            yield from (f"  {line}" for line in step.brief)

    def _called(self, times: bool) -> Iterator[str]:
        yield _at(None, times) + BEGIN
        for step in self.steps:
            yield _at(step.performed.seconds, times) + step.call

    def _text(self, times: bool) -> str:
        return "\n".join(
            "\n".join([heading, *(f"  {line}" for line in lines)])
            for heading, lines in self.views(times=times)
        )

    @property
    def times(self) -> str:
        """The text, with the milliseconds that each took: of calls, the second time, on a twin."""
        return self._text(times=True)

    def __repr__(self) -> str:
        return self._text(times=False)

    def _static(self) -> str:
        return "".join(
            f"<details{' open' if number == 0 else ''}><summary>{heading}</summary>"
            f"<pre style='{STYLE}'>{html.escape(chr(10).join(lines))}</pre></details>"
            for number, (heading, lines) in enumerate(self.views())
        )


def _at(seconds: float | None, shown: bool) -> str:
    """Milliseconds in front of a line."""
    if not shown:
        return ""
    return f"{seconds * 1000:8.1f} ms  " if seconds is not None else " " * 13
