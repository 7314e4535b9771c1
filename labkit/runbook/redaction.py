"""Secrets never reach disk: what is written down passes through `mask` first.

Two nets, since either alone leaks.  *Known values*: secret parameters, this process's own secret variables, the
credentials of registries, and what containers and images carry in variables, labels and arguments that look secret
(`labkit.runbook.sweeps`); these are masked wherever they appear, also escaped or in base64.  *Shapes*: ``NAME=value`` where
the name looks secret, passwords in URLs, bearer tokens, private keys; these are masked although nobody knew of them.

All processes of a run know the same values (`labkit.runbook.sharing`).  Before a file is written, `write_clean` looks
once more, and refuses: better no report than one with a password.
"""

from __future__ import annotations

import base64
import html
import json
import os
import re
import shlex
import tempfile
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote, quote_plus

from labkit import shapes as looks
from labkit.errors import LabkitError, UsageError
from labkit.runbook.sharing import VARIABLE, Shared
from labkit.shapes import MASK, looks_secret

__all__ = [
    "MASK",
    "SHORTEST",
    "SecretFound",
    "Secrets",
    "assert_clean",
    "known",
    "looks_secret",
    "mask",
    "printable",
    "write_clean",
]

T = TypeVar("T")

_REMEMBERED = 2**22
"""Characters of what was masked already that are remembered: a run masks its outputs and its sources several times."""
SHORTEST = 6
"""Characters: a shorter value would be found in any text, so it is masked by its shape alone."""
_ORDINARY = {"true", "false", "none", "null", "default", "disabled", "enabled", "required"}
_STRUCTURE = """
cells cell_type code markdown attachments execution_count metadata nbformat nbformat_minor outputs output_type stream stdout
stderr display_data execute_result update_display_data transient error ename evalue traceback source language_info
kernelspec display_name language python3 ipykernel papermill parameters injected-parameters default_parameters
environment_variables input_path output_path start_time end_time duration exception completed pending widgets
application/vnd.jupyter.widget-state+json text/plain text/html image/png image/svg+xml
application/vnd.labkit.application+json summary schema_version exit_code runbook engine status healthy fixed failed usage
unreachable incident unverified refused findings diagnosis object title confidence certain likely undecided evidence
candidates remedy advice detail plan_hash actions reason changes before after reversible arguments relies_on effects
touches always needed applied action seconds since verification failure message section timings folder container volume network
image previous run-started step-started step-done step-failed record approval action-started action-done action-skipped
run-interrupted run-resumed run-ended environ password secret token engine_id meanwhile planned actual
"""
"""Words that what we write is made of.  A password such as ``container`` cannot be told from them, and masking it would
break every file."""
_ANSI = re.compile(r"(?:\x1b|\\u001b|\\x1b)\[[0-9;:]{0,40}m")
_TAG = re.compile(r"<[^<>]{0,2000}>")
_REFERENCE = re.compile(r"ask|env:\w+|file:[^\n]*")
_NEXT_IN_LIST = re.compile(r'",\s{0,200}"')


def _is_ordinary(value: str) -> bool:
    return value.lower() in _ORDINARY or value.lower() in _STRUCTURE


class Secrets:
    """Values that are masked wherever they appear.  Safe to use from several threads."""

    def __init__(self) -> None:
        self._values: set[str] = set()
        self._forms: list[str] | None = None
        self._masked: dict[tuple[str, bool], str] = {}
        self._room = _REMEMBERED
        self._lock = threading.RLock()

    def __len__(self) -> int:
        return len(self._values)

    def add(self, value: str) -> None:
        """Know *value* from now on.  Raises `UsageError` for one that cannot be told from other text."""
        if len(value) < SHORTEST or _is_ordinary(value):
            raise UsageError(
                "a secret cannot be told from other text, so it cannot be kept out of what is written",
                seen=f"{len(value)} characters" if len(value) < SHORTEST else "a common word",
                expected=f"at least {SHORTEST} characters, and no word such as 'container'",
            )
        with self._lock:
            if value not in self._values:
                self._values.add(value)
                self._values.update(line for line in value.splitlines() if len(line) >= 2 * SHORTEST)
                self._forms = None
                self._forget()

    def add_named(self, pairs: Mapping[str, str] | Iterable[str]) -> None:
        """Know the values of those *pairs* (a mapping, or ``NAME=value`` each) whose names look secret.

        And what looks secret inside of the others, such as the password of a database's URL.  A value that another of
        them shows openly, such as a user's name, is no secret by itself.
        """
        if not isinstance(pairs, Mapping):
            pairs = dict(pair.partition("=")[::2] for pair in pairs)
        open_values = {value for name, value in pairs.items() if not looks_secret(name)}
        for name, value in pairs.items():
            if looks_secret(name) and value not in open_values and not _REFERENCE.fullmatch(value):
                self._add_if_telling(value)
            for inside in looks.values(value) if not looks_secret(name) else ():
                if inside not in open_values and f"//{inside}:{inside}@" not in value:
                    self._add_if_telling(inside)

    def add_shapes(self, text: str) -> None:
        """Know what `mask` would hide in *text* for its shape."""
        for value in looks.values(text):
            self._add_if_telling(value)

    def _add_if_telling(self, value: str) -> None:
        if len(value) >= SHORTEST and not _is_ordinary(value):
            self.add(value)

    def _catch_up(self) -> None:
        """Learn what others have learned."""

    def _found_in(self, text: str) -> Iterator[str]:
        """The known values, in whatever form, that *text* holds; the longest first."""
        with self._lock:
            if self._forms is None:
                forms = {form for value in self._values for form in _forms(value)}
                self._forms = sorted(forms, key=lambda form: (-len(form), form))
            forms_now = self._forms
        return (form for form in forms_now if form in text)

    def mask(self, thing: T, *, shapes: bool = True) -> T:
        """*thing* (text, or what JSON can say) with every secret replaced by `MASK`.

        *shapes*: also what only looks like a secret; right for outputs, wrong for prose and for source code.
        """
        self._catch_up()
        return self._mask(thing, shapes)  # type: ignore[no-any-return]

    def _mask(self, thing: Any, shapes: bool) -> Any:
        if isinstance(thing, str):
            return self._mask_text(printable(thing), shapes)
        if isinstance(thing, dict):
            return type(thing)(
                {self._mask(key, False): self._mask_item(key, value, shapes) for key, value in thing.items()}
            )
        if isinstance(thing, list | tuple):
            return type(thing)(self._mask_list(thing, shapes))
        if isinstance(thing, int | float) and not isinstance(thing, bool) and any(self._found_in(str(thing))):
            return MASK
        return thing

    def _mask_item(self, key: Any, value: Any, shapes: bool) -> Any:
        if shapes and isinstance(key, str) and isinstance(value, str) and looks_secret(key):
            # where a secret can be found is none, and a run that is resumed has to know it
            return value if not value or _REFERENCE.fullmatch(value) else MASK
        return self._mask(value, shapes)

    def _mask_list(self, things: list[Any] | tuple[Any, ...], shapes: bool) -> list[Any]:
        masked = [self._mask(each, shapes) for each in things]
        if len(masked) > 1 and all(isinstance(each, str) for each in masked):
            together = "".join(masked)  # lines, perhaps, of one text
            if any(self._found_in(together)):
                return [self._mask_text(together, shapes)]
        return masked

    def _mask_text(self, text: str, shapes: bool) -> str:
        # with another value there is another one, so what is put into it is never out of date
        remembered = self._masked
        if (masked := remembered.get((text, shapes))) is None:
            masked = remembered[text, shapes] = self._mask_new(text, shapes)
            self._room -= 2 * len(text)
            if self._room < 0:
                self._forget()
        return masked

    def _forget(self) -> None:
        self._masked, self._room = {}, _REMEMBERED

    def _mask_new(self, text: str, shapes: bool) -> str:
        if "\x1b[" in text:  # colours may stand between the letters; where a secret is, they go
            bare = _ANSI.sub("", text)
            masked = self._mask_plain(bare, shapes)
            return text if masked == bare else masked
        return self._mask_plain(text, shapes)

    def _mask_plain(self, text: str, shapes: bool) -> str:
        for form in self._found_in(text):
            text = text.replace(form, MASK)
        return looks.hide(text, MASK) if shapes else text

    def appear_in(self, text: str) -> bool:
        """Whether a known value is still in *text*, also between its colours, over its lists' lines, or between its tags."""
        self._catch_up()
        return any(any(self._found_in(view)) for view in _views(text))


def printable(text: str) -> str:
    """*text* with each lone surrogate, which no file and no terminal can hold, as Python would write it (``\\ud800``)."""
    return text if text.isascii() else text.encode("utf-8", "backslashreplace").decode("utf-8")


def _views(text: str) -> Iterator[str]:
    """*text*, and what a reader would make of it."""
    yield text
    bare = _NEXT_IN_LIST.sub("", _ANSI.sub("", text))
    if bare != text:
        yield bare
    if "<" in bare:
        yield html.unescape(_TAG.sub("", bare))


def _forms(value: str) -> set[str]:
    """*value* as it may be found in text: as it is, escaped for JSON, Python, HTML, URLs and shells, in base64 and in hex."""
    value = printable(value)  # as is all text in which it is looked for
    escaped = {json.dumps(value)[1:-1], json.dumps(value, ensure_ascii=False)[1:-1], repr(value)[1:-1]}
    twice = {json.dumps(each)[1:-1] for each in escaped}  # JSON inside of JSON
    forms = {
        value,
        html.escape(value),
        html.escape(value, quote=False),
        quote(value),
        quote(value, safe=""),
        quote_plus(value),
        shlex.quote(value).strip("'"),
        value.encode().hex(),
    }
    return forms | escaped | twice | _base64_forms(value.encode())


def _base64_forms(value: bytes) -> set[str]:
    """The characters that *value* alone decides, at each of the three places where it may stand in a longer text."""
    forms = {base64.b64encode(value).decode(), base64.urlsafe_b64encode(value).decode()}
    for shift in range(3):
        for encode in (base64.b64encode, base64.urlsafe_b64encode):
            encoded = encode(bytes(shift) + value).decode().rstrip("=")
            begin, end = (0, 2, 3)[shift], -1 if (shift + len(value)) % 3 else None
            if len(encoded[begin:end]) >= 2 * SHORTEST:
                forms.add(encoded[begin:end])
    return forms


class _Known(Secrets):
    """What this process knows, and what the other processes of its run know."""

    def __init__(self) -> None:
        super().__init__()
        self._shared: Shared | None = None
        self._place: str | None = ""  # none yet, so that this process's own variables are looked at first
        self._settled: str | None = ""

    def add(self, value: str) -> None:
        super().add(value)
        if shared := self._current():
            shared.add(value)

    def _catch_up(self) -> None:
        shared = self._current()
        while shared and shared.busy:  # without the lock, which whoever is learning needs
            time.sleep(0.002)
        if shared:
            with self._lock:  # lest another thread finds them taken, and not known yet
                for value in shared.new():
                    super().add(value)

    def _current(self) -> Shared | None:
        """The list of the run that this process belongs to now: its environment says so, also after a fork."""
        place = os.environ.get(VARIABLE)
        if place != self._settled:
            with self._lock:
                if place != self._place:  # also asked by `add`, below
                    self._change(place)
        return self._shared

    def _change(self, place: str | None) -> None:
        if self._shared:
            self._shared.close()
        self._place = place
        self._shared = Shared.open(place) if place else None
        self.add_named(os.environ)
        if self._shared:
            self._shared.add(*self._values)
        self._settled = place


known = _Known()
"""What this process knows."""


def mask(thing: T, *, shapes: bool = True) -> T:
    """`Secrets.mask` with what this process knows."""
    return known.mask(thing, shapes=shapes)


class SecretFound(LabkitError):
    """Something was not written, since a known secret was in it; *what* names it, and nothing shows the secret."""

    def __init__(self, name: str) -> None:
        super().__init__(
            f"{name} is not written: a secret was found in what it would hold",
            try_="report this as a defect of labkit, without the secret",
        )


def assert_clean(text: str, name: str) -> None:
    """Raise `SecretFound` when a known secret is in *text*, which is to be written to the file *name*."""
    if known.appear_in(text) or known.appear_in(name):
        raise SecretFound(mask(name))


def write_clean(path: Path, text: str) -> None:
    """Write *text* to the file *path*, whole or not at all, readable by its user alone.

    It is for text that was masked.  Raises `SecretFound` when a known secret is still in it, or in the file's name;
    nothing is written then, and what was there stays.
    """
    text = printable(text)
    assert_clean(text, path.name)
    if path.exists() and not path.is_file():  # /dev/null, say, whose place a file must not take
        path.write_text(text, encoding="utf-8")
        return
    # a file of our own: two runs may show the same plan at the same moment
    descriptor, aside = tempfile.mkstemp(prefix=".", suffix=".new", dir=path.parent)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
        Path(aside).replace(path)
    finally:
        Path(aside).unlink(missing_ok=True)
