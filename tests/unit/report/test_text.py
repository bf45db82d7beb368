"""What may be shown, and how numbers are shown."""

import pytest

from harness.report import text
from harness.verdict import Verdict

HOSTILE = '</script>\x1b[31mred\x00 & "quote" \u202eevil\ud800'


def test_no_control_character_survives() -> None:
    """An escape sequence is shown as text, never carried out by the terminal."""
    shown = text.one_line(HOSTILE + "\nsecond\rline")
    assert "\x1b" not in shown
    assert "\\x1b[31mred\\x00" in shown
    assert "\\u202e" in shown
    assert "\\ud800" in shown
    assert "\n" not in shown
    assert "\r" not in shown
    shown.encode()  # a lone surrogate would make this fail


def test_ordinary_text_is_left_alone() -> None:
    """People's letters, signs and line breaks stay."""
    assert text.printable("µ ± 語\n\tx") == "µ ± 語\n\tx"


def test_xml_loses_what_it_cannot_carry() -> None:
    """XML 1.0 has no form, not even an escaped one, for these."""
    assert text.xml_text("a\x00b\x1bc\ud800d\ufffee\tf") == "abcde\tf"


def test_secrets_are_hidden_the_longest_first() -> None:
    """A secret that contains another is hidden whole."""
    hide = text.hider(["pass", "password1", ""])
    assert hide("password1 pass x") == "*** *** x"


def test_secrets_are_hidden_in_depth() -> None:
    """Values and keys of any depth are reached."""
    hide = text.hider(["s3cret"])
    assert text.hide_deep({"a s3cret": [{"b": "s3cret!"}, 1, None]}, hide) == {
        "a ***": [{"b": "***!"}, 1, None]
    }


@pytest.mark.parametrize(
    ("value", "unit", "shown"),
    [
        (30.62, "s", "30.6 s"),
        (0.0123, "s", "0.012 s"),
        (0.0, "s", "0.0 s"),
        (125.0, "s", "2m5s"),
        (float("inf"), "s", "never"),
        (96104, "count", "96\u202f104"),
        (1, "count", "1"),
        (None, "s", "?"),
    ],
)
def test_numbers_are_for_people(value, unit, shown) -> None:
    """Seconds with their unit, counts grouped, nothing measured as a question mark."""
    assert text.show(value, unit) == shown


def test_worst_is_largest_unless_only_a_lower_bound(finding) -> None:
    """A `min` makes the smallest value the one to look at."""
    assert text.worst_value(finding(values=(1.0, 5.0, None))) == 5.0
    assert text.worst_value(finding(values=(1.0, 5.0), bound="min 2.00 s")) == 1.0
    assert text.worst_value(finding(values=(None,))) is None


def test_undecided_run_is_seen_first(finding) -> None:
    """A run that decided nothing is the one to look at."""
    assert text.worst_run(finding(values=(1.0, None, 9.0))) == 1
    assert text.worst_run(finding(values=(1.0, 9.0))) == 1
    assert text.worst_run(finding(values=())) is None


def test_parts_are_those_of_the_worst_run(finding) -> None:
    """The pieces sum up the value that is shown, not another run's."""
    parts = [{"detect": 1.0}, {"detect": 24.1, "elect": 0.3, "promote": 1.0}]
    shown = text.parts_of(finding(values=(1.0, 25.4), parts=parts))
    assert shown == "detect 24.1 + elect 0.3 + promote 1.0 s"


def test_sparkline_needs_five_runs(finding) -> None:
    """Fewer are read as numbers; so are equal ones, and what has no end."""
    assert text.sparkline(finding(values=(1.0, 2.0, 3.0, 4.0))) == ""
    assert text.sparkline(finding(values=(2.0,) * 6)) == ""
    assert text.sparkline(finding(values=(1.0, 2.0, 3.0, 4.0, float("inf")))) == ""


def test_sparkline_shows_the_range_and_the_gap(finding) -> None:
    """Columns are buckets of the range; an empty one is a dot."""
    line = text.sparkline(finding(values=(20.0, 20.0, 20.5, 21.0, 36.0)))
    bars, ends = line.split("   ")
    assert bars == "█▃·············▃"
    assert ends == "20.0 s … 36.0 s"


def test_marks_differ_without_colour() -> None:
    """A verdict is told by its mark alone."""
    assert len(set(text.MARKS.values())) == len(Verdict)
