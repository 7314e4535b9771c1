"""Amounts as people write them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from labkit.observe import ByteSize, Duration


@pytest.mark.parametrize(
    ("text", "number"),
    [("512m", 512 * 2**20), ("1.5g", 3 * 2**29), ("64MiB", 2**26), ("64 mb", 2**26), ("7", 7), (4096, 4096)],
)
def test_sizes_are_read_as_docker_reads_them(text: object, number: int) -> None:
    """Every unit is a power of 1024, with or without a b behind it."""
    assert ByteSize.parse(text) == number


@pytest.mark.parametrize("text", ["", "64q", "-1", "0", 0, True, "1e3", "m", "1 2m", "0.5", "9" * 5000])
def test_what_is_no_size_is_refused(text: object) -> None:
    """A size that cannot be read, or that is below a byte, or is beyond what an engine counts, is refused with a good one."""
    with pytest.raises(ValueError, match="a size"):
        ByteSize.parse(text)


@given(st.integers(min_value=1, max_value=2**60))
def test_a_size_reads_back_as_itself(number: int) -> None:
    """The short form of a size is exact."""
    assert ByteSize.parse(str(ByteSize(number))) == number


@pytest.mark.parametrize(
    ("text", "seconds", "shown"),
    [
        ("10s", 10, "10s"),
        ("500ms", 0.5, "500ms"),
        ("1h30m", 5400, "90m"),
        ("2m5s", 125, "2m5s"),
        (3, 3, "3s"),
    ],
)
def test_durations_are_seconds(text: object, seconds: float, shown: str) -> None:
    """A time is a number of seconds, and is shown as people write it."""
    assert Duration.parse(text) == seconds
    assert str(Duration.parse(text)) == shown


@pytest.mark.parametrize("text", ["", "-1", "5 minutes", "s", True, "1s x"])
def test_what_is_no_duration_is_refused(text: object) -> None:
    """A time that cannot be read is refused with an example of a good one."""
    with pytest.raises(ValueError, match="a time such as"):
        Duration.parse(text)


@pytest.mark.parametrize("text", ["8761h", "9" * 30 + "h", "9" * 400])
def test_nobody_waits_for_more_than_a_year(text: str) -> None:
    """A time that the system's clocks cannot wait for is refused when it is read, and not in the middle of a run."""
    assert Duration.parse("8760h") == 365 * 24 * 3600
    with pytest.raises(ValueError, match="at most a year"):
        Duration.parse(text)
