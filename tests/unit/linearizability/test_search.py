"""Tests for harness.linearizability: the search, its turns, its values and its drawings."""

from collections.abc import Sequence

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.answer import Valid
from harness.history import Json
from harness.linearizability.breach import breach_of
from harness.linearizability.calls import Call
from harness.linearizability.deciding import decide
from harness.linearizability.drawing import Bar, draw, words
from harness.linearizability.models import CellEffect, KvString, Object, Register
from harness.linearizability.returns import Move, in_order, returns, unknown
from harness.linearizability.strings import JUNK, Outlook
from harness.linearizability.values import Numbering, canonical, token
from tests.unit.checks.bare import Bare


def objects(history: Bare) -> Sequence[Object[int, CellEffect]]:
    model = Register(None)
    gathered = model.gather(history.operations())
    return [one for of in gathered.objects for one in model.objects(of)]


def easy(key: Json = None, last: Json = None) -> Bare:
    """Return writes one after the other, and a read."""
    history = Bare()
    for value in range(20):
        history.op("write", value, key=key)
    return history.read(19 if last is None else last, key=key)


def hard(width: int = 13, key: Json = None) -> Bare:
    """Return a history without an order that only very many tries show to have none."""
    history = Bare()
    for value in range(width):
        history.op("write", value, at=(value, 100 + value), key=key)
    for number, value in enumerate((0, 1, 0)):
        # Each value is there once only.
        history.op("read", value=value, at=(200 + 2 * number, 201 + 2 * number), key=key)
    return history


# --- the search --------------------------------------------------------------------------------


@pytest.mark.parametrize(("history", "expected"), [(easy(), True), (hard(6), False)])
def test_a_search_can_be_interrupted(history: Bare, expected: Valid):
    """Step by step it comes to the same as in one go."""
    (whole,), (pieces,) = objects(history), objects(history)
    search = pieces.search()
    found = None
    while found is None:
        found = search.run(1)
    assert found is whole.search().run(10**9) is expected


def test_an_object_without_acknowledged_operations_has_an_order():
    """Nothing has to be placed."""
    (object_,) = objects(Bare().op("write", 1, "info").op("cas", [1, 2], "info"))
    assert object_.search().run(1) is True


def test_a_long_history_takes_a_step_for_each_write():
    """Without concurrency nothing is tried twice, however long it is."""
    history = Bare()
    for value in range(3000):
        history.op("write", value).read(value)
    (object_,) = objects(history)
    search = object_.search()
    assert search.run(10**9) is True
    assert search.steps == 3000
    assert search.explained()[:4] == [0, 1, 2, 3]


def test_what_was_explained_ends_before_what_fits_nowhere():
    """The longest order leaves out the operation whose return was not reached."""
    (object_,) = objects(Bare().op("write", 1).op("write", 2).read(1).read(2))
    search = object_.search()
    assert search.run(100) is False
    breach = breach_of(object_, search)
    assert (breach.order, breach.blocked, breach.shortest) == ([0, 1], 2, True)


def test_looking_ahead_does_not_blame_the_wrong_one():
    """The search turns back at a write because of a later read; it is that read that is wrong."""
    history = Bare().op("write", 1).op("write", 2).op("write", 3).read(3).read(1).read(1)
    (object_,) = objects(history)
    search = object_.search()
    assert search.run(100) is False
    breach = breach_of(object_, search)
    assert (breach.order, breach.blocked, breach.shortest) == ([0, 1, 2, 3], 4, True)


def test_fewer_unknown_operations_are_never_worse():
    """50 writes of unknown outcome do not make 2^50 ways."""
    history = Bare()
    for value in range(50):
        history.op("write", value, "info")
    for value in range(50):
        history.op("write", 1000 + value).read(value).read(1000 + value)
    (object_,) = objects(history)
    search = object_.search()
    assert search.run(20_000) is False


def test_returns_know_what_was_open():
    """Each return has its own bit, those that are open together have different ones."""
    moves = [
        Move("a", 0, 5, pure=False),
        Move("b", 1, 3, pure=True),
        Move("c", 4, 6, pure=False),
        Move("d", 2, None, pure=False),
    ]
    order = in_order(moves)
    assert [*order] == [1, 0, 2]
    first, second, third = returns(moves, order)
    assert (first.effect, first.pure, [e for _, e, _ in first.movers]) == ("b", True, ["a"])
    assert {e for _, e, _ in second.movers} == {"a", "c"}
    assert len({bit for bit, _, _ in second.movers}) == 2
    assert (third.which, third.fresh) == (2, [])
    (group,) = unknown(moves, order)
    assert [(one.since, one.which) for one in group.members] == [(0, 3)]


# --- turns -------------------------------------------------------------------------------------


def test_a_hard_object_does_not_keep_an_easy_one_waiting():
    """The broken one is found in its first turn, though another one comes before it."""
    mixed = [*objects(hard(13, key="hard")), *objects(easy("easy", last=7))]
    decision = decide(mixed, lambda: False, remembered=10_000)
    assert decision.valid is False
    assert decision.breach is not None
    assert decision.breach.object.key == "easy"


def test_the_time_limit_leaves_it_open():
    """Whatever is not decided then is named."""
    late = iter([False, False, True, True, True])
    mixed = [*objects(easy("easy")), *objects(hard(13, key="hard"))]
    decision = decide(mixed, lambda: next(late))
    assert (decision.valid, decision.undecided) == ("unknown", ("hard",))
    assert decision.reason == "the time limit"


def test_memory_is_bounded():
    """After so many configurations the search gives up."""
    decision = decide(objects(hard(13)), lambda: False, remembered=500)
    assert (decision.valid, decision.undecided) == ("unknown", (None,))
    assert decision.reason == "500 configurations"


def test_a_value_out_of_nowhere_needs_no_search():
    """Nobody wrote it: the answer is there although time has run out."""
    history = easy().read(99)
    decision = decide(objects(history), lambda: True)
    assert decision.valid is False
    assert decision.breach is not None
    assert decision.breach.object.calls[decision.breach.blocked].value == 99


# --- strings to come ---------------------------------------------------------------------------


def test_a_string_that_is_read_later_must_begin_like_it():
    """Without a `put` to come, what is no beginning of the next `get` leads nowhere."""
    history = Bare().op("append", "a", at=(0, 9)).op("append", "b", at=(1, 10))
    history.op("get", value="ab", at=(11, 12))
    model = KvString("")
    (of,) = model.gather(history.operations()).objects
    (object_,) = model.objects(of)
    order = in_order(object_.moves)
    outlook = Outlook([*returns(object_.moves, order)], [])
    assert outlook(0, 0, 0, 0, "a") == "a"
    assert outlook(0, 0, 0, 0, "b") is None


def test_a_mess_that_may_be_hidden_is_one_mess():
    """With a `put` to come, strings that nobody reads are all the same."""
    history = Bare().op("append", "x").op("put", "a").op("get", value="a")
    model = KvString("")
    (of,) = model.gather(history.operations()).objects
    (object_,) = model.objects(of)
    outlook = Outlook([*returns(object_.moves, in_order(object_.moves))], [])
    assert outlook(0, 0, 0, 0, "x") == outlook(0, 0, 0, 0, "y") == JUNK
    assert outlook(0, 0, 2, 1, "x") is None


# --- values ------------------------------------------------------------------------------------

values: st.SearchStrategy[Json] = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-3, 3)
    | st.sampled_from([1.0, 2.5])
    | st.sampled_from(["", "a", "1"]),
    lambda of: st.lists(of, max_size=2) | st.dictionaries(st.sampled_from("ab"), of, max_size=2),
    max_leaves=4,
)


@given(values, values)
def test_tokens_are_equal_when_the_json_is(one: Json, other: Json):
    """Tokens tell apart what JSON does and nothing else; so do the texts of canonical values."""
    texts = [orjson.dumps(canonical(of), option=orjson.OPT_SORT_KEYS) for of in (one, other)]
    assert (token(one) == token(other)) is (texts[0] == texts[1])


@given(st.lists(values))
def test_numbers_stand_for_values(found: list[Json]):
    """Each value has its number back; null is the initial one."""
    number = Numbering("initial")
    for value in found:
        back = number.value(number(value))
        assert token(back) == token("initial" if value is None else value)


# --- drawings ----------------------------------------------------------------------------------


def call(f: str, argument: Json, value: Json, completed: int | None = 1) -> Call[None]:
    return Call(0, f, argument, value, 0, completed, None)


@pytest.mark.parametrize(
    ("of", "said"),
    [
        (call("read", None, None), "read null"),
        (call("write", 1, None, None), "write 1 ?"),
        (call("cas", [1, 2], [1, 2]), "cas 1 to 2"),
        (call("cas", [1, 2], [1, 2, False]), "cas 1 to 2 missed"),
        (call("acquire", None, None), "acquire"),
        (call("get", None, "0123456789" * 4), 'get ...7890123456789' + '0123456789"'),
    ],
)  # fmt: skip
def test_an_operation_in_words(of: Call[None], said: str):
    """Short, with a question mark where nobody knows whether it happened."""
    assert words(of)[-12:] == said[-12:]
    assert len(words(of)) <= 40


def test_a_drawing_keeps_the_order_of_the_ends():
    """Bars overlap exactly where the operations did; open ends reach the margin."""
    bars = [
        Bar("a", "write 1", 0, 3, misfit=False),
        Bar("b", "read 2", 1, 2, misfit=True),
        Bar("c", "write 3 ?", 4, None, misfit=False),
    ]
    assert draw(bars) == [
        "a  |-write 1--|",
        "b   |=read 2=|",
        "c              |-write 3 ?->",
    ]
