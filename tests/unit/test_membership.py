"""Tests for harness.membership."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.errors import ScenarioError
from harness.history import Json
from harness.membership import Due, Ledger, in_order, plain, shown, token, written
from tests.unit.checks.bare import Bare

SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text()
VALUES: st.SearchStrategy[Json] = st.recursive(
    SCALARS, lambda of: st.lists(of) | st.dictionaries(st.text(), of), max_leaves=6
)


@given(VALUES, VALUES)
def test_tokens_differ_as_json_does(a: Json, b: Json):
    """And each leads back to its value."""
    assert repr(plain(token(a))) == repr(a) or isinstance(a, list | dict)
    assert plain(token(a)) == a
    assert (token(a) == token(b)) is (repr(plain(token(a))) == repr(plain(token(b))))
    hash(token(a))


def test_what_python_takes_for_equal():
    """1, 1.0 and True are three; a list is not its text; the order of members does not count."""
    values: list[Json] = [1, 1.0, True, "1", [1], "[1]"]
    assert len({token(value) for value in values}) == 6
    assert token({"a": 1, "b": 2}) == token({"b": 2, "a": 1})
    assert token(["list"]) != token("list")


def test_values_in_order():
    """Numbers and texts by themselves; anything else as it came."""
    assert in_order([3, 1, 2]) == [1, 2, 3]
    assert in_order(["b", "a"]) == ["a", "b"]
    assert in_order(["b", 1, token([0])]) == ["b", 1, [0]]


@pytest.mark.parametrize(
    ("f", "argument", "elements"),
    [
        ("add", 1, [1]),
        ("write", [1, 2], [[1, 2]]),
        ("txn", [["append", 1, 2], ["r", 1, None], ["w", 3, 4]], [[1, 2], [3, 4]]),
        ("txn", "x", []),
        ("read", None, []),
        ("kill", {"nodes": []}, []),
        ("kill", [["append", 1, 2]], []),
    ],
)
def test_what_an_operation_writes(f: str, argument: Json, elements: list[Json]):
    """Of a transaction each key with its value."""
    (op,) = Bare().op(f, argument).operations()
    assert [plain(one) for one in written(op)] == elements


def test_what_a_read_shows():
    """Elements, or rows of lists; nothing where it shows null."""
    rows: Json = [1, ["r", 7, [8, 9]], ["r", 6, None], ["x"]]
    (op,) = Bare().read(rows).operations()
    assert [plain(one) for one in shown(op)] == [1, [7, 8], [7, 9], ["x"]]
    (op,) = Bare().read(None).operations()
    assert [*shown(op)] == []
    (op,) = Bare().read("x").operations()
    with pytest.raises(ScenarioError, match="expected the list"):
        [*shown(op)]


def test_of_several_tries_the_surest_counts():
    """And how often an element may be there is how often it may have been written."""
    ledger = Ledger[str]()
    assert [ledger.take("a", due) for due in (Due.EITHER, Due.IN, Due.OUT)] == [True, True, False]
    assert ledger.compare(Counter()).missing == ["a"]
    assert ledger.compare(Counter("aa")).wrong == []
    assert ledger.compare(Counter("aaab")).wrong == ["b", "a"]
