"""Secrets never reach disk: what is written down passes through `mask` first.

Two nets, since either alone leaks.  *Known values*: secret parameters, this process's own secret variables, the
credentials of registries, and what containers and images carry in variables, labels and arguments that look secret
(`sweep`); these are masked wherever they appear, also escaped or in base64.  *Shapes*: ``NAME=value`` where the name looks
secret, passwords in URLs, bearer tokens, private keys; these are masked although nobody knew of them.

Before a file is written, `write_clean` looks once more, and refuses: better no report than one with a password.
"""

from __future__ import annotations

import base64
import html
import json
import os
import re
import threading
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import quote, quote_plus

from labkit.errors import LabkitError, UsageError

if TYPE_CHECKING:
    from labkit.engine import Engine

__all__ = [
    "MASK",
    "SHORTEST",
    "SecretFound",
    "Secrets",
    "assert_clean",
    "known",
    "looks_secret",
    "mask",
    "sweep",
    "write_clean",
]

T = TypeVar("T")

MASK = "••••••"
SHORTEST = 6
"""Characters: a shorter value would be found in any text, so it is masked by its shape alone."""

_WORD = (  # anywhere in a name, or as a word of its own
    r"(?:passwo?r?d|passphrase|secret|credential|requirepass|masterauth|"
    r"(?:api|access|private|signing|encryption|account|master)[_.-]?key|"
    r"(?<![a-z])(?:pass|pwd|tokens?|auth)(?![a-z]))"
)
_NAME = re.compile(_WORD, re.IGNORECASE)
_CAMEL_CASE = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
_NOT_SECRET = re.compile(
    r"^(?:old)?pwd$|_(?:file|path|dir|sock|method|type|url|host|enabled|mode|name)$", re.IGNORECASE
)
# every repetition is bounded, and names begin where words begin: a megabyte of anything takes a fraction of a second
_LABEL = r"(?<![\w.-])(?P<name>[\w.-]{1,200})"
_WORDLIKE = r"(?P<value>[^\s\"'`,;&<>|]{1,4096})"
_QUOTED = r"(?P<around>[\"'])(?P<value>(?:\\.|(?!(?P=around)).){1,4096})"
_SHAPES = [
    # NAME=value, as in an environment; NAME="a value", as in a shell
    re.compile(rf"{_LABEL}={_WORDLIKE}"),
    re.compile(rf"{_LABEL}={_QUOTED}", re.DOTALL),
    # "NAME": "value", as in JSON and in Python
    re.compile(rf"(?P<quote>[\"']){_LABEL}(?P=quote):\s{{0,9}}{_QUOTED}", re.DOTALL),
    # --name value, also as two words of a list
    re.compile(rf"(?<![\w-])--(?P<name>[\w.-]{{1,200}})[\s\"',]{{1,9}}{_WORDLIKE}"),
    re.compile(r"(?<![\w+.-])[a-zA-Z][\w+.-]{0,30}://[^\s/:@\"']{0,200}:(?P<value>[^\s/@\"']{1,1000})@"),
    re.compile(r"\bBearer\s+(?P<value>[\w.~+/=-]{8,4096})", re.IGNORECASE),
    re.compile(r"-----BEGIN [A-Z ]{0,30}PRIVATE KEY-----(?P<value>.{1,20000}?)(?:-----END|$)", re.DOTALL),
]
_ORDINARY = {
    "true",
    "false",
    "none",
    "null",
    "default",
    "disabled",
    "enabled",
    "required",
    "password",
    "secret",
}


def looks_secret(name: str) -> bool:
    """Whether the value of something called *name* is to be kept: ``POSTGRES_PASSWORD`` is, ``TOKENIZER`` is not."""
    words = _CAMEL_CASE.sub("_", name)
    return bool(_NAME.search(words)) and not _NOT_SECRET.search(words)


class Secrets:
    """Values that are masked wherever they appear.  Safe to use from several threads."""

    def __init__(self) -> None:
        self._values: set[str] = set()
        self._pattern: re.Pattern[str] | None = None
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._values)

    def add(self, value: str) -> None:
        """Know *value* from now on.  Raises `UsageError` for one that is too short to be told from other text."""
        if len(value) < SHORTEST:
            raise UsageError(
                "a secret is too short to be kept out of what is written",
                seen=f"{len(value)} characters",
                expected=f"at least {SHORTEST}",
            )
        with self._lock:
            self._values.add(value)
            self._values.update(line for line in value.splitlines() if len(line) >= 2 * SHORTEST)
            self._pattern = None

    def add_named(self, pairs: Mapping[str, str] | Iterable[str]) -> None:
        """Know the values of those *pairs* (a mapping, or ``NAME=value`` each) whose names look secret.

        A value that another of them shows openly, such as a user's name, is no secret by itself.
        """
        if not isinstance(pairs, Mapping):
            pairs = dict(pair.partition("=")[::2] for pair in pairs)
        open_values = {value for name, value in pairs.items() if not looks_secret(name)} | _ORDINARY
        for name, value in pairs.items():
            if looks_secret(name) and len(value) >= SHORTEST and value.lower() not in open_values:
                self.add(value)

    def add_shapes(self, text: str) -> None:
        """Know what `mask` would hide in *text* for its shape."""
        for shape in _SHAPES:
            for found in shape.finditer(text):
                value = found["value"]
                if _is_secret(found) and len(value) >= SHORTEST and value.lower() not in _ORDINARY:
                    self.add(value)

    @property
    def _known(self) -> re.Pattern[str] | None:
        with self._lock:
            if self._pattern is None and self._values:
                forms = {form for value in self._values for form in _forms(value)}
                longest_first = sorted(forms, key=lambda form: (-len(form), form))
                self._pattern = re.compile("|".join(map(re.escape, longest_first)))
            return self._pattern

    def mask(self, thing: T, *, shapes: bool = True) -> T:
        """*thing* (text, or what JSON can say) with every secret replaced by `MASK`.

        *shapes*: also what only looks like a secret; right for outputs, wrong for prose and for source code.
        """
        return self._mask(thing, shapes)  # type: ignore[no-any-return]

    def _mask(self, thing: Any, shapes: bool) -> Any:
        if isinstance(thing, str):
            return self._mask_text(thing, shapes)
        if isinstance(thing, dict):
            return type(thing)(
                {self._mask(key, False): self._mask_item(key, value, shapes) for key, value in thing.items()}
            )
        if isinstance(thing, list | tuple):
            return type(thing)(self._mask(each, shapes) for each in thing)
        return thing

    def _mask_item(self, key: Any, value: Any, shapes: bool) -> Any:
        if shapes and isinstance(key, str) and isinstance(value, str) and value and looks_secret(key):
            return MASK
        return self._mask(value, shapes)

    def _mask_text(self, text: str, shapes: bool) -> str:
        if (pattern := self._known) is not None:
            text = pattern.sub(MASK, text)
        if shapes:
            for shape in _SHAPES:
                text = shape.sub(_hide, text)
        return text

    def appear_in(self, text: str) -> bool:
        """Whether a known value is still in *text*."""
        pattern = self._known
        return pattern is not None and pattern.search(text) is not None


def _is_secret(found: re.Match[str]) -> bool:
    name = found.groupdict().get("name")
    return name is None or looks_secret(name)


def _hide(found: re.Match[str]) -> str:
    if not _is_secret(found) or found["value"] == MASK:
        return found[0]
    begin, end = (place - found.start() for place in found.span("value"))
    return found[0][:begin] + MASK + found[0][end:]


def _forms(value: str) -> set[str]:
    """*value* as it may be found in text: as it is, escaped for JSON, Python, HTML and URLs, and in base64."""
    escaped = {json.dumps(value)[1:-1], json.dumps(value, ensure_ascii=False)[1:-1], repr(value)[1:-1]}
    forms = {
        value,
        html.escape(value),
        html.escape(value, quote=False),
        quote(value),
        quote(value, safe=""),
        quote_plus(value),
    }
    return forms | escaped | _base64_forms(value.encode())


def _base64_forms(value: bytes) -> set[str]:
    """The characters that *value* alone decides, at each of the three places where it may stand in a longer text."""
    forms = {base64.b64encode(value).decode(), base64.urlsafe_b64encode(value).decode()}
    for shift in range(3):
        encoded = base64.b64encode(bytes(shift) + value).decode().rstrip("=")
        begin, end = (0, 2, 3)[shift], -1 if (shift + len(value)) % 3 else None
        if len(encoded[begin:end]) >= 2 * SHORTEST:
            forms.add(encoded[begin:end])
    return forms


known = Secrets()
"""What this process knows."""
known.add_named(os.environ)


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
    assert_clean(text, path.name)
    aside = path.with_name(f".{path.name}.new")
    descriptor = os.open(aside, os.O_CREAT | os.O_TRUNC | os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)
    aside.replace(path)


# -- where secrets are learned


def sweep(engine: Engine, secrets: Secrets = known, seen: set[str] | None = None) -> None:
    """Learn what the containers and images of *engine* carry, and the credentials that its clients use.

    *seen*: ids that need no second look; those looked at are added.
    """
    seen = set() if seen is None else seen
    _learn_credentials(secrets)
    api = engine.client.api
    things = [(row["Id"], api.inspect_container) for row in api.containers(all=True)]
    things += [(row["Id"], api.inspect_image) for row in api.images()]
    for id_, inspect in things:
        if id_ not in seen:
            _learn_object(secrets, inspect, id_)
            seen.add(id_)


def _learn_object(secrets: Secrets, inspect: Any, id_: str) -> None:
    import docker.errors

    try:
        facts = inspect(id_)
    except docker.errors.APIError:
        return  # it went in between, with what it carried
    config = facts.get("Config") or {}
    variables = dict(pair.partition("=")[::2] for pair in config.get("Env") or [])
    secrets.add_named(
        {**(config.get("Labels") or {}), **variables, "name": str(facts.get("Name", "")).lstrip("/")}
    )
    for words in (config.get("Cmd"), config.get("Entrypoint"), facts.get("Args")):
        secrets.add_shapes(" ".join(words or []))


def _learn_credentials(secrets: Secrets) -> None:
    """Those of ``config.json`` of the docker command line: ``auth`` is base64 of ``user:password``."""
    folder = Path(os.environ.get("DOCKER_CONFIG") or Path.home() / ".docker")
    try:
        entries = json.loads((folder / "config.json").read_text(encoding="utf-8")).get("auths", {}).values()
    except (OSError, ValueError, AttributeError):
        return
    for entry in entries:
        pairs = {
            f"{key} token": value for key, value in entry.items() if isinstance(value, str) and key != "auth"
        }
        if auth := entry.get("auth"):
            decoded = base64.b64decode(auth + "==").decode(errors="replace")
            pairs |= {"auth": auth, "password": decoded.partition(":")[2]}
        secrets.add_named(pairs)
