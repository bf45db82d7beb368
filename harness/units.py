"""Durations, rates, sizes and log positions: how people write them, and as numbers."""

import re
from typing import Self

_UNIT_S = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
_SIZE_BYTES = {"B": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30}
# Bounded, so that no text becomes an infinite number; ASCII, so that all of it can be typed.
_NUMBER = r"[0-9]{1,12}(?:\.[0-9]{1,9})?"

# Also the patterns of the JSON Schema; beside each, what an error says was expected.
DURATION_PATTERN = rf"^(?=.)(?:{_NUMBER}h)?(?:{_NUMBER}m(?!s))?(?:{_NUMBER}s)?(?:{_NUMBER}ms)?$"
RATE_PATTERN = rf"^{_NUMBER}/[sm]$"
SIZE_PATTERN = rf"^{_NUMBER}(?:B|KiB|MiB|GiB)$"
DURATION_WORDS = "a duration like 90s"
RATE_WORDS = "a rate like 20/s"
SIZE_WORDS = "a size like 1MiB"


def parse_duration(text: str) -> float:
    """Return seconds for `250ms`, `30s`, `5m`, `2h` or a sum such as `1m30s`.

    Raises:
        ValueError: when the text is none of these; the message says what was expected.
    """
    if not re.fullmatch(DURATION_PATTERN, text, re.ASCII):
        raise ValueError(f"found {text!r}; expected {DURATION_WORDS}")
    return sum(float(n) * _UNIT_S[unit] for n, unit in re.findall(r"([0-9.]+)(ms|s|m|h)", text))


def parse_rate(text: str) -> float:
    """Return operations per second for `20/s` or `90/m`.

    Raises:
        ValueError: when the text is neither, or the rate is zero.
    """
    number, _, unit = text.partition("/")
    if not re.fullmatch(RATE_PATTERN, text, re.ASCII) or not float(number):
        raise ValueError(f"found {text!r}; expected {RATE_WORDS}")
    return float(number) / _UNIT_S[unit]


def parse_size(text: str) -> int:
    """Return bytes for `512B`, `16KiB`, `1MiB` or `2GiB`.

    Raises:
        ValueError: when the text is none of these, or no whole number of bytes.
    """
    match = re.fullmatch(rf"({_NUMBER})([A-Za-z]+)", text, re.ASCII)
    size = float(match[1]) * _SIZE_BYTES.get(match[2], 0.5) if match else 0.5
    if not match or not size.is_integer() or match[2] not in _SIZE_BYTES:
        raise ValueError(f"found {text!r}; expected {SIZE_WORDS}")
    return int(size)


def format_duration(seconds: float) -> str:
    """Return `0.25` as `250ms`, `41.234` as `41.2s` and `75` as `1m15s`; never a unit too large."""
    if seconds < 0:
        return f"-{format_duration(-seconds)}"
    if round(seconds * 1000) < 1000:
        return f"{seconds * 1000:.0f}ms" if seconds else "0s"
    if round(seconds, 1) < 60:
        return f"{seconds:.1f}s".replace(".0s", "s")
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return "".join(f"{n}{u}" for n, u in ((hours, "h"), (minutes, "m"), (rest, "s")) if n)


def format_rate(per_second: float) -> str:
    """Return `20` as `20/s`, in a form that `parse_rate` reads."""
    return f"{per_second:.6f}".rstrip("0").rstrip(".") + "/s"


def format_size(size: int) -> str:
    """Return `1048576` as `1MiB`: the largest unit of which the size is a whole number."""
    unit = max((u for u, n in _SIZE_BYTES.items() if size % n == 0), key=_SIZE_BYTES.__getitem__)
    return f"{size // _SIZE_BYTES[unit]}{unit}"


class Lsn(int):
    """A position in the write-ahead log: a number that is written as `0/3000060`.

    Source: PostgreSQL documentation, "pg_lsn Type".
    """

    @classmethod
    def parse(cls, text: str) -> Self:
        """Return the position that `X/Y` names, both parts hexadecimal."""
        match = re.fullmatch(r"([0-9A-Fa-f]{1,8})/([0-9A-Fa-f]{1,8})", text)
        if not match:
            raise ValueError(f"found {text!r}; expected a log position like 0/3000060")
        return cls((int(match[1], 16) << 32) + int(match[2], 16))

    def __str__(self) -> str:
        return f"{self >> 32:X}/{self & 0xFFFFFFFF:X}"
