"""What a secret looks like, though nobody knows its value: by the name it goes under, and by the form of text around it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from functools import lru_cache

__all__ = ["MASK", "hide", "looks_secret", "values"]

MASK = "••••••"
"""What stands in the place of a secret."""

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
    re.compile(r"-----BEGIN [A-Z ]{0,30}PRIVATE KEY-----(?P<value>(?:[^-]|-(?!----)){1,20000})"),
]
_HINT = re.compile(r"[=:]|--|bearer", re.IGNORECASE)
"""Without this no shape is in a text; to look for it costs next to nothing."""


@lru_cache(maxsize=4096)
def looks_secret(name: str) -> bool:
    """Whether the value of something called *name* is to be kept: ``POSTGRES_PASSWORD`` is, ``TOKENIZER`` is not."""
    words = _CAMEL_CASE.sub("_", name)
    return bool(_NAME.search(words)) and not _NOT_SECRET.search(words)


def values(text: str) -> Iterator[str]:
    """What `hide` would hide in *text*."""
    return (found["value"] for shape in _SHAPES for found in shape.finditer(text) if _is_secret(found))


def hide(text: str, mask: str = MASK) -> str:
    """*text* with *mask* in place of each value that looks secret."""
    if not _HINT.search(text):
        return text
    for shape in _SHAPES:
        text = shape.sub(_hiding(mask), text)
    return text


def _is_secret(found: re.Match[str]) -> bool:
    name = found.groupdict().get("name")
    return name is None or looks_secret(name)


def _hiding(mask: str) -> Callable[[re.Match[str]], str]:
    def replaced(found: re.Match[str]) -> str:
        if not _is_secret(found) or found["value"] == mask:
            return found[0]
        begin, end = (place - found.start() for place in found.span("value"))
        return found[0][:begin] + mask + found[0][end:]

    return replaced
