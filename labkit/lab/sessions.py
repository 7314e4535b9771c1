"""A lab that is open: its engine and name, what one asks of them in a cell, and the ways back to a known state."""

from __future__ import annotations

import html
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from labkit.engine.failures import translated
from labkit.errors import LabkitError, Refused, no_such
from labkit.lab import evidence, needs, registries, speeds, tidying, tracing, waiting
from labkit.lab.arguments import learners, made, no_such_method
from labkit.lab.binding import Bound, Drawn
from labkit.lab.changes import UNNAMED, Changes, Looks
from labkit.lab.checking import Check, Checks, Hint, Solution
from labkit.lab.conditions import Condition
from labkit.lab.notebooks import cells, names
from labkit.lab.predictions import OPEN, Prediction, predict
from labkit.lab.showing import Shown
from labkit.lab.tracing import Trace
from labkit.lifecycle import STATES

if TYPE_CHECKING:
    from labkit.engine import Engine
    from labkit.lab.notebooks.book import Book
    from labkit.lab.progress import Progress

__all__ = ["Session"]

LISTED = 8
"""Names of a kind that are told when a lab is taken up again; the rest is counted."""


@made("labkit.lab.Session")
@learners("lab")
class Session(Shown):
    """What ``labkit.lab.open`` gives.  *book*: the lab's notebook; *name*: what the lab's containers are called; *images*: those
    that it was opened with, which is what a check goes by, whatever a variable is set to since.

    *ends_with*: what ends a private engine.  *there*: the names that were on it already, by kind, if it was taken up again.
    """

    def __init__(
        self,
        book: Book,
        engine: Engine,
        name: str,
        progress: Progress,
        *,
        images: Sequence[str] = (),
        ends_with: str = "this notebook",
        there: Mapping[str, Sequence[str]] | None = None,
    ) -> None:
        self.book, self.engine, self.name, self.progress = book, engine, name, progress
        self.images = tuple(images)
        self._end_listening = cells.hear(after=self._ran)
        self._ends_with, self._there = ends_with, there
        self._looks = Looks.of(engine)
        self._checks = Checks(engine, lambda: book.exercises, self.progress)

    layers = Drawn("layers")
    network_map = Drawn("network_map")
    state_machine = Drawn("state_machine")
    timeline = Drawn("timeline")
    usage = Drawn("usage")

    able = Bound(needs.able)
    freezer = Bound(evidence.freezer)
    happened = Bound(evidence.happened)
    inspected = Bound(waiting.inspected)
    registry = Bound(registries.open_registry)
    said = Bound(waiting.said)
    seconds = Bound(evidence.seconds)
    signals = Bound(evidence.signals)
    speeds = Bound(speeds.speeds)
    state = Bound(waiting.state)
    undeletable = Bound(evidence.undeletable)
    until = Bound(waiting.until)
    until_ready = Bound(waiting.until_ready)
    until_says = Bound(waiting.until_says)
    watch = Bound(waiting.watch)
    writable_layer = Bound(evidence.writable_layer)
    written = Bound(evidence.written)

    def changed(self) -> Changes:
        """What has changed on the engine since `changed` was called the last time, or since the lab was opened."""
        return self._looks.changed()

    def follow_changes(self, on: bool = True) -> None:
        """Show after each cell what it changed on the engine, as long as *on*; nothing after a cell that changed nothing."""
        self._looks.follow(on)

    def trace(self, line: str, *, seconds: float = tracing.SECONDS) -> Trace:
        """Run a docker command, and see it as typed, as HTTP requests and as calls of docker-py; see `labkit.lab.tracing`."""
        found = tracing.trace(self.engine, line, seconds=seconds)
        self._looks.leave_out(found.aside)
        return found

    def check(self, exercise: str, *conditions: Condition) -> Check:
        """Whether the *exercise* is done: all *conditions* hold, such as ``labkit.lab.container("web").exited(0)``."""
        return self._checks.check(exercise, *conditions)

    def hint(self, exercise: str) -> Hint:
        """The next hint for the *exercise*: first a general one, then one for what its check sees now."""
        return self._checks.hint(exercise)

    def solution(self, exercise: str) -> Solution:
        """One solution of the *exercise*, and why it works."""
        return self._checks.solution(exercise)

    def predict(self, question: str, answer: object = OPEN, *, among: Sequence[object] = ()) -> Prediction:
        """Commit *answer* to *question* before looking, or without one answer in a form; ``.saw(…)`` grades it."""
        return predict(question, answer, among=among, noted=self.progress.predicted)

    # -- the ways back

    def reset(self) -> None:
        """The pristine start of the lab: an engine as it was when it was opened for the first time, with its images ready.

        The progress stays.  Raises `Refused` on a shared engine, and `EngineUnreachable` for one that was closed.
        """
        self._reset()
        print("reset: the engine is as it was at the start of the lab")

    def _reset(self) -> None:
        if not self.engine.owned:
            raise Refused(
                "a shared engine is not reset",
                seen=f"{self.engine.name}, reached at {self.engine.url}",
                try_="lab.tidy() removes what this lab has made there",
            )
        self.engine.reset()
        self._looks.begin()
        self._there = None

    def restore(self, section: str) -> None:
        """The state that a *section* needs (the id of its heading's cell): a reset, and the cells above it that make that state.

        They run quietly, with this notebook's variables, and count for nothing in the progress.  On a shared engine what the
        lab has made is tidied up instead.  Raises `UsageError` for a section that cannot be restored, and `LabkitError` when a
        cell fails.
        """
        needed = self._needed(section)
        if self.engine.owned:
            self._reset()
        else:
            self.tidy()
        with self.progress.paused():
            for id_, source in needed:
                cells.run(id_, source)
        self._looks.begin()
        print(f"restored: what {section!r} needs")

    def _needed(self, section: str) -> list[tuple[str, str]]:
        sections = self.book.sections
        if isinstance(section, str) and section in sections:
            return sections[section]
        raise no_such(
            "section to restore",
            section,
            sections,
            otherwise="this lab names none",
            try_="lab.restore({!r})",
            far=self._back,
        )

    @property
    def _back(self) -> str:
        """The way to the start of the lab."""
        return "lab.reset()" if self.engine.owned else "lab.tidy()"

    def tidy(self) -> None:
        """Remove the lab's containers, volumes, networks and images, and nothing else; see `labkit.lab.tidy`."""
        with translated():
            tidying.tidy(self.engine, self.name)
        self._there = None

    def leave(self) -> None:
        """Let go of everything but the engine: this lab is opened anew."""
        self._checks.close()
        self._end_listening()
        self.progress.close()

    def close(self) -> None:
        """End a private engine with all that is on it, before its time; let go of a shared one."""
        self._looks.end()
        self.leave()
        self.engine.close()

    # -- what it says to mistakes

    def _ran(self, result: Any) -> None:
        """What came of a cell, as IPython tells it."""
        self.progress.active()
        error, info = getattr(result, "error_in_exec", None), getattr(result, "info", None)
        with suppress(LabkitError):
            if isinstance(error, NameError) and (
                told := names.advice(self.book.notebook, error, getattr(info, "cell_id", None))
            ):
                print(told)

    def known(self, parameter: str) -> Iterable[str] | None:
        """What can be given for this *parameter* of a method; None where that cannot be listed now."""
        with suppress(LabkitError), translated():
            match parameter:
                case "exercise":
                    return self.book.exercises
                case "section":
                    return self.book.sections
                case "container":
                    return tidying.inventory(self.engine)["containers"]
                case "wanted":
                    return STATES
        return None

    if not TYPE_CHECKING:

        def __getattr__(self, name: str) -> object:
            if name.startswith("_"):  # what IPython looks for
                raise AttributeError(name)
            raise no_such_method("lab", type(self), name)

    # -- how it looks

    def _lines(self) -> list[str]:
        """Where the engine comes from, with what it ends, and what was found on it."""
        kind = (
            f"private: it ends with {self._ends_with}"
            if self.engine.owned
            else f"shared, reached at {self.engine.url}"
        )
        lines = [f"engine: {self.engine.name}, provider {self.engine.provider} ({kind})"]
        if self._there is not None:
            told = [f"{kind} {_listed(names)}" for kind, names in self._there.items() if names]
            lines += [
                f"taken up again, with what is on it: {'; '.join(told) or 'nothing'}",
                f"for the start of the lab: {self._back}",
            ]
        return lines

    def __repr__(self) -> str:
        return "\n".join(self._lines())

    def _static(self) -> str:
        title = f"<b>{html.escape(self.book.stem)}</b>"
        return "<p>" + "<br>".join([title, *map(html.escape, self._lines())]) + "</p>"


def _listed(names: Sequence[str]) -> str:
    """The *names*, but for those that nobody can read and those that are too many, which are counted."""
    named = [name for name in names if not UNNAMED.fullmatch(name)]
    rest = {"more": len(named[LISTED:]), "without a name": len(names) - len(named)}
    return ", ".join([*named[:LISTED], *(f"{count} {what}" for what, count in rest.items() if count)])
