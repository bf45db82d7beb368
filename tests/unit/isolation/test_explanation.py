"""Tests for harness.isolation.explanation."""

from harness.isolation import list_append
from harness.isolation.cycles import search
from harness.isolation.explanation import lines, story
from tests.unit.isolation.tape import Script, a, r, tape, together


def told(script: Script) -> list[str]:
    inference = list_append.infer(tape(script))
    (cycle,) = search(inference).cycles
    return list(lines(story(cycle, inference)))


def test_a_cycle_is_told_operation_by_operation() -> None:
    """Who, where, when; and why each transaction came before the next."""
    script: Script = [
        ("p", "0 10", "ok", [r("x"), a("y", 1)]),
        ("q", "1 11", "ok", [r("y"), a("x", 2)]),
        ("z", "20 30", "ok", [r("x", 2), r("y", 1)]),
    ]
    first, second = (
        "T0 read key 'x' as empty, without 2, which T1 appended next",
        "T1 read key 'y' as empty, without 1, which T0 appended next",
    )
    found = told(script)
    assert found[0] == "G2-item:"
    assert set(found[1:3]) == {
        '  T0 = [["r","x",[]],["append","y",1]] by process \'p\' on pg-1, 0.000 to 0.010 s',
        '  T1 = [["r","y",[]],["append","x",2]] by process \'q\' on pg-1, 0.001 to 0.011 s',
    }
    assert found[3:] in (
        [f"  then T0 before T1 (rw): {first}", f"  but also T1 before T0 (rw): {second}"],
        [f"  then T1 before T0 (rw): {second}", f"  but also T0 before T1 (rw): {first}"],
    )


def test_an_append_that_no_read_shows_says_so() -> None:
    """That it came last is a conclusion, and the reader may doubt it."""
    found = told([("p", "0 10", "ok", [a("x", 1)]), ("q", "20 30", "ok", [r("x")])])
    assert any(
        line.endswith("which T0 appended next (never read: after all that was)") for line in found
    )


def test_a_stale_read_is_told_with_the_time_between() -> None:
    """Real time by the clock of the history."""
    found = told([("p", "0 10", "ok", [a("x", 1)]), ("q", "260 270", "ok", [r("x")])])
    assert found[0] == "G-single-item-realtime:"
    assert any("T0 was acknowledged 0.250 s before T1 was sent" in line for line in found)


def test_an_order_of_a_process_names_it() -> None:
    """A client does not see its own write."""
    found = told([("p", "0 10", "ok", [a("x", 1)]), ("p", "20 30", "ok", [r("x")])])
    assert found[0] == "G-single-item-process:"
    assert any("process 'p' did T0 before T1" in line for line in found)


def test_one_of_unknown_outcome_has_no_end() -> None:
    """It may have taken effect long after its client gave up."""
    script: Script = [
        ("p", "0 9", "info", [a("x", 1), a("y", 1)]),
        ("q", "20 30", "ok", [r("x", 1), r("y")]),
    ]
    assert any("0.000 s, outcome unknown" in line for line in told(script))


def test_without_times_the_order_is_told_all_the_same() -> None:
    """A history need not carry a clock."""
    script: Script = [("p", "0 10", "ok", [a("x", 1)]), ("q", "20 30", "ok", [r("x")])]
    inference = list_append.infer(one._replace(start=None, end=None) for one in tape(script))
    (cycle,) = search(inference).cycles
    text = "\n".join(lines(story(cycle, inference)))
    assert "T0 was acknowledged before T1 was sent" in text
    assert "by process 'p' on pg-1\n" in text


def test_long_operations_are_cut() -> None:
    """A line stays a line; the JSON has them whole."""
    script: Script = [
        ("p", "0 10", "ok", [a("x", n) for n in range(100)]),
        ("q", "20 30", "ok", [r("x")]),
    ]
    assert all(len(line) < 300 for line in told(script))


def test_of_a_long_cycle_both_ends_are_told() -> None:
    """A hundred clients in a ring, each of which read what the one before appended."""
    script = together(*([r(n - 1 if n else 99, 1), a(n, 1)] for n in range(100)))
    found = told(script)
    assert found.count("  ... 60 more ...") == 1
    assert sum(" (wr): " in line for line in found) == 40
    assert found[-1].startswith("  but also ")
