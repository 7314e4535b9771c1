"""Amounts as people write them: ``512m`` for bytes, ``10s`` for time, ``1.5`` CPUs.  Numbers to Python, words to people."""

from __future__ import annotations

import re
from collections.abc import Callable
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from pydantic import GetCoreSchemaHandler
    from pydantic_core import CoreSchema

__all__ = ["ByteSize", "CPUs", "Duration"]

_FEWEST_CPUS = Decimal("0.01")
_MOST = 2**63 - 1
"""Bytes: engines and kernels count them in 64 bits, with a sign."""
_MOST_CPUS = _MOST // 10**9
"""Engines count billionths of them (``NanoCpus``), in 64 bits too."""
_POWERS = {"b": 0, "k": 10, "m": 20, "g": 30, "t": 40}
_YEAR = 365 * 24 * 3600
_SECONDS = {"ms": Decimal("0.001"), "s": Decimal(1), "m": Decimal(60), "h": Decimal(3600)}


class ByteSize(int):
    """A number of bytes, written as Docker's ``--memory`` takes it: ``512m``, ``1.5g``, ``64MiB``, ``65536``.

    Every unit is a power of 1024, as in Docker (``512mb`` is 512 MiB there too).  ``str()`` gives the
    shortest exact form, which reads back as the same number.
    """

    @classmethod
    def parse(cls, given: object) -> Self:
        """Read *given* (text or a whole number).  Raises `ValueError` saying what is expected."""
        if isinstance(given, int) and not isinstance(given, bool):
            number, power = Decimal(given), 0
        else:
            match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([bkmgt]?)(?:i?b)?", str(given).strip().lower())
            if not match:
                raise ValueError("a size such as 512m, 1.5g or 67108864")
            number, power = Decimal(match[1]), _POWERS[match[2] or "b"]
        size = int(number * 2**power)
        if size <= 0:
            raise ValueError("a size above zero")
        if size > _MOST:
            raise ValueError(f"a size of at most {_MOST} bytes")
        return cls(size)

    def __str__(self) -> str:
        for unit in ("t", "g", "m", "k"):
            if self and self % 2 ** _POWERS[unit] == 0:
                return f"{self // 2 ** _POWERS[unit]}{unit}"
        return f"{int(self)}b"

    def rounded(self) -> str:
        """About how much, to one place: ``4.2m``."""
        for unit in ("t", "g", "m", "k"):
            if self >= 2 ** _POWERS[unit]:
                return f"{self / 2 ** _POWERS[unit]:.1f}{unit}"
        return f"{int(self)}b"

    def __repr__(self) -> str:
        return f"ByteSize('{self}')"

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return _schema(cls.parse)


class Duration(float):
    """A time in seconds, written ``10s``, ``500ms``, ``2m``, ``1h30m`` or as a plain number of seconds; at most a year."""

    @classmethod
    def parse(cls, given: object) -> Self:
        """Read *given* (text or a number of seconds).  Raises `ValueError` saying what is expected."""
        read = cls._read(given)
        if read > _YEAR:  # nobody waits for so long, and the system's clocks cannot (time.sleep)
            raise ValueError(f"a time of at most a year ({_YEAR // 3600}h)")
        return read

    @classmethod
    def _read(cls, given: object) -> Self:
        text = str(given).strip().lower()
        if not isinstance(given, bool) and re.fullmatch(r"\d+(\.\d+)?", text):
            return cls(float(text))
        parts = re.findall(r"(\d+(?:\.\d+)?)(ms|s|m|h)", text)
        if not parts or "".join(number + unit for number, unit in parts) != text:
            raise ValueError("a time such as 10s, 500ms, 2m or 1h30m")
        return cls(sum(Decimal(number) * _SECONDS[unit] for number, unit in parts))

    def __str__(self) -> str:
        exact = Decimal(repr(float(self)))
        if 0 < exact < 1:
            return f"{(exact * 1000).normalize():f}ms"
        minutes, seconds = divmod(exact, 60)
        shown = f"{seconds.normalize():f}s" if seconds or not minutes else ""
        return (f"{minutes:f}m" if minutes else "") + shown

    def __repr__(self) -> str:
        return f"Duration('{self}')"

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return _schema(cls.parse)


class CPUs(float):
    """How much of the host's CPUs, as Docker's ``--cpus`` takes it: ``1.5``; at least 0.01, to a billionth."""

    @classmethod
    def parse(cls, given: object) -> Self:
        """Read *given* (text or a number).  Raises `ValueError` saying what is expected."""
        text = str(given).strip()
        if isinstance(given, bool) or not re.fullmatch(r"\d+(\.\d{1,9})?", text):
            raise ValueError("a number of CPUs such as 2 or 1.5")
        if Decimal(text) < _FEWEST_CPUS:
            raise ValueError(f"at least {_FEWEST_CPUS} of a CPU")
        if Decimal(text) > _MOST_CPUS:
            raise ValueError(f"at most {_MOST_CPUS} CPUs")
        return cls(text)

    @property
    def nano(self) -> int:
        """Billionths of a CPU, as the engine's API takes it (``NanoCpus``)."""
        return round(self * 10**9)

    def __str__(self) -> str:
        return f"{Decimal(repr(float(self))).normalize():f}"

    def __repr__(self) -> str:
        return f"CPUs('{self}')"

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return _schema(cls.parse)


def _schema(parse: Callable[[object], Any]) -> CoreSchema:
    from pydantic_core import core_schema

    return core_schema.no_info_plain_validator_function(
        parse,
        serialization=core_schema.to_string_ser_schema(),
        json_schema_input_schema=core_schema.str_schema(),
    )
