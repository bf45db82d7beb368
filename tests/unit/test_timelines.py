"""Tests for harness.timelines."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.history import Json
from harness.timelines import Bounds, Fate, Lineage, Masters, bounds, histories, position

HISTORIES = {2: ((1, 100),), 3: ((1, 100), (2, 200)), 4: ((1, 150),)}


def test_positions_are_numbers_or_text():
    """Both forms of an event's `lsn`."""
    assert position(7) == 7
    assert position("1/A0") == (1 << 32) + 0xA0


@pytest.mark.parametrize(
    ("lsn", "found"),
    [(None, None), (7, (7, 7)), ("0/7", (7, 7)), ([7, "0/9"], (7, 9)), ([7, 7], (7, 7))],
)
def test_bounds_of_a_commit(lsn: Json, found: Bounds | None):
    """One position, or at least and at most."""
    assert bounds(lsn) == found


@pytest.mark.parametrize("lsn", [True, 1.5, -1, "7", [], [7], [9, 7], [7, None], {"lsn": 7}])
def test_what_is_no_position(lsn: Json):
    """Each is named as it was found."""
    with pytest.raises(ValueError, match="expected a log position"):
        bounds(lsn)


def test_histories_as_they_are_recorded():
    """Keys of a JSON object are text; a reason may follow."""
    told = {"2": [[1, "0/64", "no recovery target specified"]], 1: []}
    assert histories(told) == {2: ((1, 100),), 1: ()}


@pytest.mark.parametrize(
    "told",
    [None, [], {"x": []}, {"-2": []}, {"²": []}, {"0": []}, {"2": 7}, {"2": [7]}, {"2": [[1]]},
     {"2": [[2, 7]]}, {"2": [[1, "x"]]}, {"2": [[True, 7]]}],
)  # fmt: skip
def test_what_are_no_histories(told: object):
    """Each is named as it was found."""
    with pytest.raises(ValueError, match="; expected "):
        histories(told)


@pytest.mark.parametrize(
    ("newest", "tli", "at", "fate"),
    [
        (2, 2, (999, 999), Fate.KEPT),
        (2, 1, (100, 100), Fate.KEPT),
        (2, 1, (101, 101), Fate.LOST),
        (2, 1, (99, 101), Fate.UNSURE),
        (2, 1, (100, 101), Fate.UNSURE),
        (2, 1, None, Fate.UNSURE),
        (3, 1, (101, 101), Fate.LOST),
        (3, 2, (200, 200), Fate.KEPT),
        (4, 1, (120, 120), Fate.KEPT),
        (4, 2, (120, 120), Fate.LOST),
        (4, 3, None, Fate.LOST),
        (5, 4, (120, 120), Fate.UNSURE),
    ],
)
def test_what_became_of_a_commit(newest: int, tli: int, at: Bounds | None, fate: Fate):
    """By the ancestry of the newest timeline: on it, up to a fork, past it, or on a dead branch."""
    assert Lineage.of(newest, HISTORIES).fate(tli, at) is fate


def test_a_timeline_older_than_all_that_is_known():
    """It may be an ancestor that was left out."""
    assert Lineage.of(3, {3: ((2, 200),)}).fate(1, (7, 7)) is Fate.UNSURE


SPANS = st.lists(
    st.tuples(st.sampled_from("ab"), st.integers(1, 3), st.integers(0, 6), st.integers(0, 3)),
    max_size=8,
)


@settings(max_examples=300, deadline=None)
@given(SPANS)
def test_masters_agree_with_all_pairs(found: list[tuple[str, int, int, int]]):
    """Each late write counts once, by whoever was newest when it was sent."""
    acks = sorted(((n, t, s, s + took) for n, t, s, took in found), key=lambda ack: ack[3])
    masters = Masters[tuple[str, int, int, int]]()
    for ack in acks:
        masters.take(*ack, ack)
    late = [a for a in acks if any(b[3] < a[2] and b[1] > a[1] for b in acks)]
    shared = {t for n, t, _, _ in acks for m, u, _, _ in acks if t == u and n != m}
    assert set(masters.shared) == shared
    assert sum(one.count for one in masters.late.values()) == len(late)
    for one in masters.late.values():
        assert one.newer == next(ack for ack in acks if ack[1] == one.newer[1])
        assert one.newer[3] < one.first[2]
        assert one.first[2] <= one.last[3]
        assert {one.first, one.last} <= set(late)
        assert one.nodes <= {ack[0] for ack in late}
