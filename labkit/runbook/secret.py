"""A secret parameter: named by where it lies, known to the redaction, and never shown.

``env:NAME`` (a variable), ``file:PATH`` (its trailing line break is cut off) and ``ask`` (typed on the terminal)
keep it off the command line and out of the notebook.  A value itself is taken only from outside a notebook; the kernel
then finds it in a variable of its own (`handed_over`).  So it is with what a pipe gives, which is read once.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from pydantic import SecretStr

from labkit.runbook.redaction import known

if TYPE_CHECKING:
    from pydantic import GetCoreSchemaHandler, ValidationInfo
    from pydantic_core import CoreSchema

__all__ = ["Secret", "handed_over", "is_reference"]

ASK = "ask"
_VARIABLE = "LABKIT_SECRET_"
_REFERENCES = "env:NAME, file:PATH or ask"


def is_reference(given: object) -> bool:
    """Whether *given* says where a secret is, rather than what it is."""
    return isinstance(given, str) and (given == ASK or given.startswith(("env:", "file:")))


class Secret(SecretStr):
    """A secret; `reveal` gives its value, and nothing else does.  *reference*: where it was found, if that is known."""

    def __init__(self, value: str, reference: str = "") -> None:
        super().__init__(value)
        self.reference = reference

    @property
    def pending(self) -> bool:
        """Whether a person has still to be asked for it."""
        return self.reference == ASK and not self.get_secret_value()

    def reveal(self) -> str:
        """The secret itself."""
        return self.get_secret_value()

    def __str__(self) -> str:
        return "**********"

    def __repr__(self) -> str:
        return f"Secret('{self}')"

    def __reduce__(self) -> Any:
        raise TypeError("a secret is not pickled")

    def __deepcopy__(self, _: Any) -> Self:
        return self

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        from pydantic_core import core_schema

        return core_schema.with_info_plain_validator_function(
            cls._read,
            serialization=core_schema.plain_serializer_function_ser_schema(
                lambda secret: secret.reference or str(secret), when_used="json"
            ),
            json_schema_input_schema=core_schema.str_schema(),
        )

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: CoreSchema, handler: Any) -> dict[str, Any]:
        return {"type": "string", "writeOnly": True}

    @classmethod
    def _read(cls, given: Any, info: ValidationInfo) -> Self:
        context: dict[str, Any] = info.context or {}
        if isinstance(given, cls) and not (given.pending and context.get("settle")):
            return given
        if isinstance(given, cls):
            given = ASK
        if not isinstance(given, str):
            raise ValueError(_REFERENCES)
        if given == ASK and not context.get("settle"):
            return cls("", ASK)
        if not is_reference(given) and context.get("in_notebook"):
            raise ValueError(f"{_REFERENCES}: a value given here would be written into the notebook")
        found = cls(*_find(given, str(info.field_name)))
        if not found.reveal():
            raise ValueError(f"a secret that is not empty, from {_REFERENCES}")
        known.add(found.reveal())
        return found


def _find(given: str, name: str) -> tuple[str, str]:
    """The secret that *given* names, or is, and where else it can be found again."""
    if given == ASK:
        return _asked(name), ASK
    scheme, _, place = given.partition(":")
    if not is_reference(given):
        return given, ""
    if scheme == "env":
        if place not in os.environ:
            lost = "; what was typed is kept nowhere, so set it again" if place.startswith(_VARIABLE) else ""
            raise ValueError(f"a variable that is set; {place or 'one without a name'} is not{lost}")
        return os.environ[place], given
    path = Path(place)
    try:
        path = path.expanduser().absolute()
        value = path.read_text(encoding="utf-8").removesuffix("\n")
        return value, f"file:{path}" if path.is_file() and not _is_open_here(path) else ""
    except (OSError, ValueError, RuntimeError) as error:  # the last of them for ~nobody
        raise ValueError(
            f"a text file that can be read; {path}: {getattr(error, 'strerror', '') or error}"
        ) from None


def _is_open_here(path: Path) -> bool:
    """Whether this process has it open, as ``/dev/stdin`` or a shell's ``<(…)``; others have other ones there (proc(5))."""
    while not os.path.realpath(path.parent).startswith("/proc/"):
        if not path.is_symlink():
            return False
        path = path.parent / path.readlink()
    return True


def _asked(name: str) -> str:
    """The answer of whoever sits at the terminal, or at the notebook."""
    import getpass

    if not _in_a_kernel() and not sys.stdin.isatty():
        raise ValueError("env:NAME or file:PATH, since there is no terminal to ask on")
    try:
        return getpass.getpass(f"{name}: ")
    except (EOFError, NotImplementedError):
        raise ValueError("env:NAME or file:PATH, since nobody answers here") from None


def _in_a_kernel() -> bool:
    """Whether getpass asks whoever is at a notebook (ipykernel sees to that)."""
    ipython = sys.modules.get("IPython")
    return ipython is not None and hasattr(ipython.get_ipython(), "kernel")


def handed_over(values: Mapping[str, Any]) -> tuple[dict[str, str], dict[str, str]]:
    """What the kernel is given in place of secrets that it cannot find by itself, typed or given as they are.

    Returns references by parameter, for the notebook, and variables, for the kernel's environment only.
    """
    typed = {
        name: value
        for name, value in values.items()
        if isinstance(value, Secret) and value.reference in ("", ASK)
    }
    variables = {name: _VARIABLE + name.upper() for name in typed}
    return (
        {name: f"env:{variable}" for name, variable in variables.items()},
        {variables[name]: value.reveal() for name, value in typed.items()},
    )
