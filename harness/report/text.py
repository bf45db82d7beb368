"""What may be shown, and how: hostile text made harmless, secrets hidden, numbers for people.

Names, notes and errors come from scenario files, databases and servers; any of them may carry
control characters. Every report passes its text through here once, at its own door.
"""

import math
import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from typing import Literal, TypeAlias

from harness.history import Json
from harness.units import format_duration
from harness.verdict import Finding, Verdict

Hide: TypeAlias = Callable[[str], str]

# Right-to-left overrides and isolates can make a line read as another one ("trojan source").
_BIDI = frozenset("\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
_SPARKS = "▁▂▃▄▅▆▇█"
_SPARK_BUCKETS = 16
SPARK_RUNS = 5  # fewer runs are better read as numbers

MARKS = {Verdict.PASS: "✓", Verdict.FAIL: "✗", Verdict.ERROR: "\N{EN DASH}", Verdict.SKIP: "○"}


def printable(text: str, *, keep: str = "\n\t") -> str:
    r"""Return the text with each control, override or surrogate character spelled out: `\x1b`."""

    def shown(char: str) -> str:
        if char in keep:
            return char
        if char in _BIDI or unicodedata.category(char) in ("Cc", "Cs"):
            return char.encode("unicode_escape").decode("ascii")
        return char

    if text.isascii() and text.isprintable():
        return text
    return "".join(map(shown, text))


def one_line(text: str) -> str:
    """Return the text on one line, fit for a terminal: no control character survives."""
    return printable(" ".join(text.split()), keep="")


def xml_text(text: str) -> str:
    """Return the text without the characters that XML 1.0 forbids even when escaped.

    Source: Extensible Markup Language 1.0, production [2] Char.
    """
    return re.sub(r"[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]", "", text)


def hider(secrets: Collection[str]) -> Hide:
    """Return a function that replaces each of these values, wherever it stands, by `***`."""
    # The longest first: one secret may contain another.
    known = sorted(filter(None, secrets), key=len, reverse=True)
    if not known:
        return lambda text: text
    pattern = re.compile("|".join(map(re.escape, known)))
    return lambda text: pattern.sub("***", text)


def hide_deep(value: Json, hide: Hide) -> Json:
    """Return a JSON value with secrets hidden in all of its texts, keys included."""
    if isinstance(value, str):
        return hide(value)
    if isinstance(value, dict):
        return {hide(str(key)): hide_deep(inner, hide) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [hide_deep(inner, hide) for inner in value]
    return value


def show(value: float | None, unit: Literal["s", "count"]) -> str:
    """Return a measured value for people: `24.1 s`, `2m5s`, `96 104`; `?` for none."""
    if value is None:
        return "?"
    if math.isinf(value):
        return "never"  # a breach that no bound could allow
    if unit == "count":
        return f"{value:,.10g}".replace(",", "\N{NARROW NO-BREAK SPACE}")
    if value >= 120:
        return format_duration(value)
    return f"{value:.3f} s" if 0 < value < 0.1 else f"{value:.1f} s"


def worst_run(finding: Finding) -> int | None:
    """Return the index of the run that a reader should see first; None when nothing was measured.

    A run that decided nothing comes before any other; then the largest value, or the smallest
    where the only bound is a lower one.
    """
    for index, value in enumerate(finding.values):
        if value is None:
            return index
    known = [(value, index) for index, value in enumerate(finding.values) if value is not None]
    if not known:
        return None
    pick = min if finding.bound.startswith("min") and "max" not in finding.bound else max
    return pick(known, key=lambda pair: pair[0])[1]


def worst_value(finding: Finding) -> float | None:
    """Return the one value that stands for all runs: the largest, or smallest under a `min`."""
    known = [value for value in finding.values if value is not None]
    if not known:
        return None
    lower_only = finding.bound.startswith("min") and "max" not in finding.bound
    return min(known) if lower_only else max(known)


def parts_of(finding: Finding) -> str:
    """Return the pieces of the worst run's value: `detect 24.1 + elect 0.3 + promote 1.0 s`."""
    index = worst_run(finding)
    if index is None or index >= len(finding.parts) or not finding.parts[index]:
        return ""
    pieces = (f"{name} {seconds:.1f}" for name, seconds in finding.parts[index].items())
    return " + ".join(pieces) + (" s" if finding.unit == "s" else "")


def sparkline(finding: Finding) -> str:
    """Return the distribution of five runs or more in one line, or nothing for fewer.

    Each column is one sixteenth of the range, `·` an empty one.
    """
    known = [value for value in finding.values if value is not None]
    if len(known) < SPARK_RUNS or min(known) == max(known) or math.isinf(max(known)):
        return ""
    low, high = min(known), max(known)
    width = (high - low) / _SPARK_BUCKETS
    counts = Counter(min(int((v - low) / width), _SPARK_BUCKETS - 1) for v in known)
    top = max(counts.values())
    columns = (
        _SPARKS[round((len(_SPARKS) - 1) * counts[i] / top)] if counts[i] else "·"
        for i in range(_SPARK_BUCKETS)
    )
    return f"{''.join(columns)}   {show(low, finding.unit)} … {show(high, finding.unit)}"


def plural(count: int, word: str) -> str:
    """Return `1 cell`, `3 cells`."""
    return f"{count} {word}" if count == 1 else f"{count} {word}s"


def first_clause(note: str) -> str:
    """Return what a note says first: notes are clauses, the decisive one in front."""
    return note.split("; ")[0]


def joined(items: Sequence[str]) -> str:
    """Return `a`, `a and b`, `a, b and c`."""
    return " and ".join(filter(None, (", ".join(items[:-1]), items[-1]))) if items else ""
