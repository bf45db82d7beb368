"""Tests for harness.checks.bank."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from harness.answer import Answer
from harness.checks.bank import Bank
from harness.errors import ScenarioError
from harness.history import Json
from tests.unit.checks.bare import Bare, first, listed

BANK = Bank(accounts=(0, 1), total=100)


def judge(value: Json, bank: Bank = BANK) -> Answer:
    return Bare().read(value).judged(bank)


def test_a_whole_read_is_fine():
    """All accounts, and all of the money; numbers and texts name the same account."""
    assert judge({"0": 40, "1": 60}).valid is True
    assert judge([[0, 40], ["1", 60]]).valid is True
    assert judge({"a": 100}, Bank(accounts=("a",), total=100)).valid is True


@pytest.mark.parametrize(
    ("value", "kinds"),
    [
        ({"0": 40, "1": 61}, ["wrong-total"]),
        ({"0": 120, "1": -20}, ["negative-value"]),
        ({"0": 100, "1": None}, ["nil-balance"]),
        ({"0": 40, "1": 60, "2": 0}, ["unexpected-key"]),
        ({"0": 100}, ["missing-account"]),
        ({"0": 40}, ["missing-account", "wrong-total"]),
        ({"0": 40, "2": 60}, ["missing-account", "unexpected-key"]),
        ([["0", 40], [0, 0], ["1", 60]], ["duplicate-account"]),
        (None, ["missing-account", "wrong-total"]),
        ({}, ["missing-account", "wrong-total"]),
    ],
)
def test_each_fault_is_named(value: Json, kinds: list[str]):
    """Whatever a transfer leaves unchanged is held against every read."""
    found = judge(value)
    assert found.valid is False
    assert found.anomalies == kinds


def test_an_overdraft_may_be_allowed():
    """Then only the sum decides."""
    lenient = Bank(accounts=(0, 1), total=100, negative_allowed=True)
    assert judge({"0": 120, "1": -20}, lenient).valid is True
    assert judge({"0": 120, "1": -21}, lenient).valid is False


def test_the_first_bad_reads_are_shown():
    """With who read, where in the file, and what was wrong; all are counted."""
    history = Bare().read({"0": 40, "1": 60})
    for _ in range(20):
        history.read({"0": 40, "1": 61})
    found = history.judged(BANK)
    assert found.detail["reads"] == 21
    assert found.detail["bad_reads"] == found.detail["wrong-total"] == 20
    assert len(listed(found, "first")) == 10
    shown = first(found, "first")
    assert (shown["process"], shown["invoked"]) == ("client-1", 2)
    assert shown["faults"] == ["wrong-total"]
    assert found.reason == "20 of 21 reads: 20 wrong-total"


def test_only_ok_reads_count():
    """A read that failed or has no outcome carries nothing, and a transfer shows nothing."""
    history = Bare().read({"0": 1}, "fail").read({"0": 1}, "info")
    history.op("transfer", {"from": 0, "to": 1, "amount": 5})
    assert history.judged(BANK).valid == "unknown"
    assert Bare().judged(BANK).valid == "unknown"


@pytest.mark.parametrize(
    "value", [7, "x", [1], {"0": True}, {"0": "40"}, [[0]], [[True, 1]], {"0": [1]}]
)
def test_a_read_that_shows_no_balances_is_the_users_mistake(value: Json):
    """It is no verdict."""
    with pytest.raises(ScenarioError, match="expected balances by account"):
        judge(value)


@pytest.mark.parametrize(
    "fields",
    [{"accounts": [], "total": 1}, {"accounts": [0, "0"], "total": 1}, {"accounts": [0]},
     {"accounts": [True], "total": 1}, {"accounts": [0], "total": 1, "negative_allowed": 1}],
)  # fmt: skip
def test_a_bank_that_cannot_be(fields: dict[str, Json]):
    """The case itself is wrong."""
    with pytest.raises(ValidationError):
        Bank.model_validate(fields)


@given(
    balances=st.dictionaries(
        st.sampled_from("0123"), st.none() | st.integers(-9, 99) | st.just(60.0)
    ),
    lax=st.booleans(),
)
def test_pairs_and_maps_are_judged_alike(balances: dict[str, int | float | None], *, lax: bool):
    """However the balances are written, and however fast they are looked at."""
    bank = Bank(accounts=(0, 1), total=100, negative_allowed=lax)
    pairs: list[Json] = [[name, balance] for name, balance in balances.items()]
    found = judge({**balances}, bank)
    assert (found.valid, found.anomalies) == (
        judge(pairs, bank).valid,
        judge(pairs, bank).anomalies,
    )


# --- laws ----------------------------------------------------------------------------------------


def bank_run(seed: int) -> tuple[Bank, list[dict[str, int]], random.Random]:
    """Return a bank, its states after each transfer, and the randomness that made them."""
    rng = random.Random(seed)
    state = {str(n): rng.randint(0, 10) for n in range(rng.randint(2, 4))}
    states = [dict(state)]
    for _ in range(rng.randint(1, 10)):
        source, to = rng.sample(sorted(state), 2)
        amount = rng.randint(0, state[source])
        state[source] -= amount
        state[to] += amount
        states.append(dict(state))
    return Bank(accounts=tuple(state), total=sum(state.values())), states, rng


@settings(max_examples=200, deadline=None)
@given(st.integers(0, 2**32))
def test_a_bank_that_works_never_alarms(seed: int):
    """Each read is one of its states; a torn one between two states is caught unless it adds up."""
    bank, states, rng = bank_run(seed)
    history = Bare()
    for state in states:
        history.read({**state})
    assert history.judged(bank).valid is True
    old, new = states[0], rng.choice(states)
    torn = {name: (old if rng.random() < 0.5 else new)[name] for name in old}
    assert history.read({**torn}).judged(bank).valid is (sum(torn.values()) == bank.total)


@settings(max_examples=200, deadline=None)
@given(st.integers(0, 2**32), st.sampled_from(["nil", "gone", "odd", "more", "below"]))
def test_a_planted_fault_is_caught(seed: int, fault: str):
    """In one read among many good ones."""
    bank, states, rng = bank_run(seed)
    bad: dict[str, Json] = {**rng.choice(states)}
    name = rng.choice(sorted(bad))
    match fault:
        case "nil":
            bad[name] = None
        case "gone":
            del bad[name]
        case "odd":
            bad["odd"] = 0
        case "more":
            bad[name] = bank.total + 1
        case _:
            bad[name] = -1
    history = Bare()
    for state in states:
        history.read({**state})
    assert history.read(bad).read({**states[0]}).judged(bank).valid is False
