"""Durations, rates, sizes and log positions, as text and as numbers."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.units import (
    Lsn,
    format_duration,
    format_rate,
    format_size,
    parse_duration,
    parse_rate,
    parse_size,
)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("250ms", 0.25),
        ("0s", 0),
        ("30s", 30),
        ("1.5s", 1.5),
        ("5m", 300),
        ("2h", 7200),
        ("1m30s", 90),
        ("1h1m1s1ms", 3661.001),
        ("1m250ms", 60.25),
    ],
)
def test_durations(text: str, seconds: float):
    """Each unit, and sums from large to small."""
    assert parse_duration(text) == pytest.approx(seconds)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "30",
        "s",
        "30 s",
        "-1s",
        "30s1m",
        "1s1s",
        "1d",
        "1e3s",
        "1_0s",
        "٣s",
        "30s\n",
        "9" * 400 + "h",
    ],
)
def test_what_is_no_duration(text: str):
    """Anything else says what was found and what was expected."""
    with pytest.raises(ValueError, match=r"^found .*; expected a duration like 90s$"):
        parse_duration(text)


@pytest.mark.parametrize(("text", "rate"), [("20/s", 20), ("90/m", 1.5), ("0.5/s", 0.5)])
def test_rates(text: str, rate: float):
    """Per second, whatever unit it is written in."""
    assert parse_rate(text) == rate


@pytest.mark.parametrize(
    "text", ["", "20", "0/s", "0.0/m", "-1/s", "20/h", "/s", "20/", "1/s/s", "20/s\n"]
)
def test_what_is_no_rate(text: str):
    """A rate of zero would be a workload that does nothing."""
    with pytest.raises(ValueError, match=r"^found .*; expected a rate like 20/s$"):
        parse_rate(text)


@pytest.mark.parametrize(
    ("text", "size"),
    [("512B", 512), ("16KiB", 16384), ("1MiB", 1 << 20), ("1.5KiB", 1536), ("2GiB", 2 << 30)],
)
def test_sizes(text: str, size: int):
    """Binary units only: there is no doubt about what they mean."""
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "1", "1MB", "1mib", "0.3B", "-1B", "B", "1 MiB", "1MiB\n"])
def test_what_is_no_size(text: str):
    """Also none: a part of a byte."""
    with pytest.raises(ValueError, match=r"^found .*; expected a size like 1MiB$"):
        parse_size(text)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0s"),
        (0.25, "250ms"),
        (0.9996, "1s"),
        (1, "1s"),
        (41.234, "41.2s"),
        (59.94, "59.9s"),
        (59.96, "1m"),
        (75, "1m15s"),
        (3600, "1h"),
        (3661, "1h1m1s"),
        (-1.5, "-1.5s"),
    ],
)
def test_durations_for_people(seconds: float, text: str):
    """Three digits are enough, and no unit overflows into the next."""
    assert format_duration(seconds) == text


@given(st.integers(0, 10**6))
def test_whole_durations_survive_a_round_trip(seconds: int):
    """What is shown can be written into a scenario."""
    assert parse_duration(format_duration(seconds)) == seconds


@given(st.integers(1, 10**9))
def test_rates_and_sizes_survive_a_round_trip(number: int):
    """The schema shows defaults in the form in which they are written."""
    assert parse_rate(format_rate(number / 1000)) == pytest.approx(number / 1000)
    assert parse_size(format_size(number)) == number


def test_log_positions():
    """Two hexadecimal halves of one number; they compare as numbers."""
    assert str(Lsn.parse("1/A0")) == "1/A0"
    assert Lsn.parse("1/0") == 1 << 32
    assert Lsn.parse("0/FFFFFFFF") < Lsn.parse("1/0")


@pytest.mark.parametrize("text", ["", "0", "0/", "/0", "0/G", "0/123456789", "0/0 "])
def test_what_is_no_log_position(text: str):
    """Anything else says what was expected."""
    with pytest.raises(ValueError, match="expected a log position like 0/3000060"):
        Lsn.parse(text)
