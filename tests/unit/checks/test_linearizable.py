"""Tests for harness.checks.linearizable."""

import random
from collections.abc import Mapping
from pathlib import Path

import pytest
from pydantic import ValidationError

from harness import operations
from harness.answer import Valid
from harness.checks.linearizable import Linearizable
from harness.errors import ScenarioError
from harness.history import Json
from harness.linearizability.models import ModelName
from tests.databases.objects import DEFECTS, Recipe, is_linearizable, record, save
from tests.unit.checks.bare import Bare, listed

CAS = Linearizable(model="cas-register")
KV = Linearizable(model="kv-string")
MAP = Linearizable(model="multi-register")
MUTEX = Linearizable(model="mutex")


def verdict(history: Bare, check: Linearizable = CAS) -> Valid:
    return history.judged(check).valid


# --- what each value means ---------------------------------------------------------------------


@pytest.mark.parametrize("model", ["register", "cas-register"])
def test_a_register_holds_what_was_written_last(model: ModelName):
    """Reads see the initial null, then what was written; anything else is wrong."""
    check = Linearizable(model=model)
    assert verdict(Bare().read(None).op("write", 1).read(1), check) is True
    assert verdict(Bare().read(None).op("write", 1).read(2), check) is False
    assert verdict(Bare().op("write", 1).op("write", 2).read(1), check) is False
    assert verdict(Bare().op("write", 1).read(None), check) is False


def test_null_is_the_initial_value():
    """With `init` a read of null means that value, and so does the value itself."""
    check = Linearizable(model="register", init=7)
    assert verdict(Bare().read(7).read(None).op("write", 1).read(1), check) is True
    assert verdict(Bare().op("write", 1).read(None), check) is False
    assert verdict(Bare().op("write", 1).op("write", 7).read(None), check) is True


@pytest.mark.parametrize(
    ("read", "expected"), [(1, True), (1.0, True), (True, False), ("1", False), ([1], False)]
)
def test_values_are_compared_as_json_has_them(read: Json, expected: Valid):
    """1 is 1.0, and neither `true` nor a text."""
    assert verdict(Bare().op("write", 1).read(read)) is expected


def test_values_may_be_lists_and_maps():
    """They are equal when what they hold is."""
    assert verdict(Bare().op("write", {"a": [1, None]}).read({"a": [1, None]})) is True
    assert verdict(Bare().op("write", {"a": [1, None]}).read({"a": [None, 1]})) is False


@pytest.mark.parametrize("hit", [[1, 2], [1, 2, True]])
def test_a_cas_that_hit(hit: Json):
    """It found what it looked for, and its value is there afterwards."""
    assert verdict(Bare().op("write", 1).op("cas", [1, 2], value=hit).read(2)) is True
    assert verdict(Bare().op("write", 1).op("cas", [1, 2], value=hit).read(1)) is False
    assert verdict(Bare().op("write", 3).op("cas", [1, 2], value=hit)) is False


def test_a_cas_that_missed():
    """It found something else, and changed nothing."""
    missed: Json = [1, 2, False]
    assert verdict(Bare().op("write", 3).op("cas", [1, 2], value=missed).read(3)) is True
    assert verdict(Bare().op("write", 1).op("cas", [1, 2], value=missed)) is False
    assert verdict(Bare().op("write", 3).op("cas", [1, 2], value=missed).read(2)) is False
    assert verdict(Bare().op("cas", [None, 2], value=[None, 2, False])) is False


def test_a_failed_cas_says_nothing():
    """It may have failed for any reason, though the value was there."""
    history = Bare().op("write", 1).op("cas", [1, 2], "fail").read(1)
    assert verdict(history) is True
    assert verdict(Bare().op("write", 1).op("cas", [1, 2], "fail").read(2)) is False


def test_a_failed_write_did_not_happen():
    """Whoever reads it reads what was never written."""
    assert verdict(Bare().op("write", 1).op("write", 2, "fail").read(2)) is False
    assert verdict(Bare().op("write", 1).op("write", 2, "fail").read(1)) is True


def test_a_mutex_is_held_once():
    """It is acquired when free and released when held, by whomever."""
    assert verdict(Bare().op("acquire").op("release").op("acquire"), MUTEX) is True
    assert verdict(Bare().op("acquire").op("acquire"), MUTEX) is False
    assert verdict(Bare().op("release"), MUTEX) is False
    assert verdict(Bare().op("acquire").op("acquire", outcome="fail"), MUTEX) is True
    assert verdict(Bare().op("acquire").op("release", outcome="info").op("acquire"), MUTEX) is True


def test_a_string_grows():
    """`get` sees what was put and appended since, in that order; null is the empty string."""
    grown = Bare().op("get", value="").op("append", "a").op("append", "b").op("get", value="ab")
    assert verdict(grown.op("put", "c").op("get", value="c"), KV) is True
    swapped = Bare().op("append", "a").op("append", "b").op("get", value="ba")
    assert verdict(swapped, KV) is False
    assert verdict(Bare().op("append", "a").op("get", value=None), KV) is False
    assert verdict(Bare().op("get", value=None), KV) is True
    started = Linearizable(model="kv-string", init="x")
    assert verdict(Bare().op("append", "a").op("get", value="xa"), started) is True
    assert verdict(Bare().op("get", value=None).op("append", "a"), started) is True


def txn(history: Bare, *micros: Json, outcome: str = "ok") -> Bare:
    assert outcome in ("ok", "info", "fail")
    return history.op("txn", [*micros], outcome)  # type: ignore[arg-type]


def test_several_registers_change_at_once():
    """All writes of an operation are seen or none; a read of null constrains nothing."""
    start = txn(Bare(), ["write", "x", 1], ["write", "y", 1])
    assert verdict(txn(start, ["read", "x", 1], ["read", "y", 1]), MAP) is True
    assert verdict(txn(start, ["read", "x", None], ["read", "y", None]), MAP) is True
    assert verdict(txn(start, ["read", "x", 1], ["read", "y", 2]), MAP) is False
    both = Bare().op("txn", [["write", "x", 1], ["write", "y", 1]], at=(0, 9))
    both.op("txn", [["read", "x", 1]], at=(1, 2)).op("txn", [["write", "y", 0]], at=(3, 4))
    assert verdict(both.op("txn", [["read", "x", 1], ["read", "y", 1]], at=(5, 6)), MAP) is False


def test_a_transaction_sees_its_own_writes():
    """It reads what it wrote, and cannot see two values in between."""
    assert verdict(txn(Bare(), ["write", "x", 1], ["read", "x", 1]), MAP) is True
    assert verdict(txn(Bare(), ["write", "x", 1], ["read", "x", 2]), MAP) is False
    history = txn(txn(Bare(), ["write", "x", 1]), ["read", "x", 1], ["read", "x", 2])
    assert verdict(txn(history, ["write", "x", 2]), MAP) is False


def test_registers_of_a_map_have_initial_values():
    """`init` gives them, by key; a number is meant by its digits."""
    check = Linearizable(model="multi-register", init={"x": 5, "1": 6})
    assert verdict(txn(Bare(), ["read", "x", 5], ["read", 1, 6]), check) is True
    assert verdict(txn(Bare(), ["read", "x", 6]), check) is False


def test_registers_that_nothing_connects_are_judged_apart():
    """Each group is an object of its own; one that something connects is one."""
    apart = txn(txn(Bare(), ["write", "x", 1]), ["write", "y", 1])
    assert apart.judged(MAP).detail == {"objects": 2}
    assert txn(apart, ["read", "x", 1], ["read", "y", 1]).judged(MAP).detail == {"objects": 1}


# --- unknown outcomes --------------------------------------------------------------------------


def test_an_unknown_write_may_happen_at_any_later_time_or_never():
    """After its invocation everything goes, before it nothing."""
    assert verdict(Bare().op("write", 1, "info").read(None).read(1)) is True
    assert verdict(Bare().op("write", 1, "info").read(None).read(None)) is True
    assert verdict(Bare().read(1).op("write", 1, "info")) is False


def test_an_unknown_write_happens_once():
    """What it wrote does not come back after it was overwritten."""
    history = Bare().op("write", 1, "info").read(1).op("write", 2)
    assert verdict(history.read(2)) is True
    assert verdict(history.read(1)) is False


def test_as_many_unknown_writes_as_there_are():
    """Two of one value explain that it was there twice, and not three times."""
    history = Bare().op("write", 1, "info").op("write", 1, "info")
    for _ in range(2):
        history.op("write", 2).read(1)
    assert verdict(history) is True
    assert verdict(history.op("write", 2).read(1)) is False


def test_an_unknown_read_says_nothing():
    """Whatever it carries was asked, not seen."""
    assert verdict(Bare().op("write", 1).read(9, "info").read(1)) is True


def test_unknown_operations_may_build_upon_one_another():
    """A value may come about by several of them, none of which was seen on the way."""
    history = Bare().op("write", 1, "info").op("cas", [2, 3], "info").op("cas", [1, 2], "info")
    assert verdict(history.read(None).read(3)) is True
    strings = Bare().op("append", "b", "info").op("append", "a", "info").op("put", "-", "info")
    assert verdict(strings.op("get", value="-ab"), KV) is True
    assert verdict(strings.op("get", value="-ba"), KV) is False


def test_an_unknown_transaction_may_be_overwritten_in_part():
    """What is left of it is seen, and not the rest."""
    history = txn(Bare(), ["write", "x", 1], ["write", "y", 1], outcome="info")
    history = txn(txn(history, ["write", "x", 2]), ["read", "x", 2], ["read", "y", 1])
    assert verdict(history, MAP) is True
    assert verdict(txn(history, ["read", "x", 1]), MAP) is False


def test_an_unknown_cas_needs_what_it_looks_for():
    """It cannot have happened when the value never was there."""
    assert verdict(Bare().op("cas", [1, 2], "info").read(2)) is False
    assert verdict(Bare().op("write", 1).op("cas", [1, 2], "info").read(2).read(2)) is True


# --- real time ---------------------------------------------------------------------------------


def test_concurrent_operations_may_come_in_either_order():
    """While a write is open a read sees the old or the new value, and not the old after it."""

    def history(first: Json, second: Json) -> Bare:
        made = Bare().op("write", 1, at=(0, 9))
        return made.op("read", value=first, at=(1, 2)).op("read", value=second, at=(3, 4))

    assert verdict(history(None, None)) is True
    assert verdict(history(None, 1)) is True
    assert verdict(history(1, None)) is False


def test_an_effect_before_its_invocation():
    """What is read before anybody asked for it cannot be explained."""
    assert verdict(Bare().read(1).op("write", 1)) is False


def test_keys_are_judged_apart():
    """One key's value explains nothing about another's; 1 and "1" are two keys."""
    assert verdict(Bare().op("write", 1, key=1).read(None, key="1")) is True
    assert verdict(Bare().op("write", 1, key="a").read(1, key="b")) is False
    both = Bare().op("write", 1, key="a").op("write", 1).op("write", 1, key=1)
    assert both.judged(CAS).detail == {"objects": 3}


# --- what cannot be decided, and what cannot be read -------------------------------------------


@pytest.mark.parametrize(
    "history",
    [
        Bare(),
        Bare().op("write", 1, "fail").read(None, "fail"),
        Bare().op("write", 1, "info").op("cas", [1, 2], "info"),
    ],
)
def test_nothing_acknowledged_is_unknown(history: Bare):
    """A history in which nothing succeeded could not have shown a breach."""
    answer = history.judged(CAS)
    assert answer.valid == "unknown"
    assert "no operation was acknowledged" in answer.reason


def test_out_of_time_is_unknown():
    """What was not decided in time is named."""
    check = Linearizable(model="register", time_limit=0)
    history = Bare()
    for value in range(300):
        # Only an order that nobody would try first explains the last read.
        history.op("write", value, at=(value, 1000 + value))
    answer = history.op("read", value=70, at=(2000, 2001)).judged(check)
    assert answer.valid == "unknown"
    assert answer.detail == {"undecided": [None]}
    assert "not decided within the time limit" in answer.reason


@pytest.mark.parametrize(
    ("check", "f", "argument", "value", "said"),
    [
        (CAS, "cas", 1, 1, "cas asks 1; expected [from, to]"),
        (CAS, "cas", [1], [1], "cas asks [1]; expected [from, to]"),
        (CAS, "cas", [1, 2], [1, 3], "cas [1, 2] completes as [1, 3]; expected it again"),
        (CAS, "cas", [1, 2], [1, 2, 1], "cas [1, 2] completes as [1, 2, 1]; expected it again"),
        (CAS, "enqueue", 1, 1, "f 'enqueue'; expected one of cas, read, write"),
        (KV, "get", None, 5, "get 5; expected a string"),
        (KV, "append", 5, None, "append 5; expected a string"),
        (MAP, "txn", 5, 5, "value 5; expected a list of"),
        (MAP, "txn", [["add", 1, 1]], None, "['add', 1, 1] in the value; expected a list of"),
        (MAP, "txn", [["read", 1]], None, "['read', 1] in the value; expected a list of"),
        (MUTEX, "lock", None, None, "f 'lock'; expected one of acquire, release"),
    ],
)  # fmt: skip
def test_a_malformed_operation_is_a_mistake(
    check: Linearizable, f: str, argument: Json, value: Json, said: str
):
    """It is named with its line, and never judged."""
    with pytest.raises(ScenarioError) as error:
        Bare().op(f, argument, value=value).judged(check)
    (mistake,) = error.value.mistakes
    assert mistake.line == 2
    assert said in mistake.text


def test_what_others_do_is_left_alone():
    """Faults, and what a recorded run observes, are no operations on an object."""
    observed = Bare().op("write", 1).op("role", {"in_recovery": False}).op("open").read(1)
    assert verdict(observed) is True
    fault = [op._replace(process="nemesis") for op in Bare().op("kill", ["n1"]).operations()]
    assert CAS.judge([*fault, *Bare().op("write", 1).operations()]).valid is True


@pytest.mark.parametrize(
    ("model", "init"), [("mutex", "held"), ("kv-string", 5), ("multi-register", [1])]
)
def test_an_initial_value_must_fit_its_model(model: ModelName, init: Json):
    """A mistake in the case is told before the history is read."""
    with pytest.raises(ValidationError, match="init"):
        Linearizable(model=model, init=init)


# --- counterexamples ---------------------------------------------------------------------------


def test_a_counterexample_shows_what_fits_nowhere():
    """The order so far, what could not be placed, and a drawing with a row per client."""
    history = Bare().op("write", 1).op("write", 2, at=(2, 9)).op("write", 3, "info", at=(3, 4))
    answer = history.op("read", value=2, at=(5, 6)).op("read", value=1, at=(7, 8)).judged(CAS)
    assert answer.valid is False
    assert "read 1 by process 'client-4' (lines 8 to 9) fits nowhere" in answer.reason
    assert answer.detail["prefix"] == 3
    assert answer.detail["line"] == 9
    assert answer.detail["state"] == 2
    assert listed(answer, "unplaced") == ["read 1 by process 'client-4' (lines 8 to 9)"]
    positions = {
        str(told["process"]): told["position"]
        for told in listed(answer, "operations")
        if isinstance(told, Mapping)
    }
    assert positions == {"client-0": 1, "client-1": 2, "client-3": 3, "client-4": None}
    assert listed(answer, "drawing") == [
        "client-0  |-write 1-|",
        "client-1             |------write 2-------|",
        "client-3              |-read 2-|",
        "client-4                        |=read 1=|",
    ]  # fmt: skip


def test_the_first_breach_is_shown():
    """Everything before the return that fits nowhere has an order, whatever comes later."""
    history = Bare().op("write", 1).read(2).op("write", 2).read(99)
    assert history.judged(CAS).detail["line"] == 4


# --- planted defects and the oracle ------------------------------------------------------------


@pytest.mark.parametrize(
    ("model", "defect"), [(model, defect) for model, of in DEFECTS.items() for defect in of]
)
def test_every_planted_defect_is_caught(model: ModelName, defect: str, tmp_path: Path):
    """A database with this defect is found out within a few short histories."""
    rng = random.Random(f"{model}/{defect}")
    for _ in range(60):
        recipe = Recipe(model, operations=40, info=0.02, defect=defect)  # type: ignore[arg-type]
        path = save(record(recipe, rng), tmp_path / "history.jsonl")
        if Linearizable(model=model).judge(operations.read(path)).valid is False:
            return
    pytest.fail("not once in 60 histories")


@pytest.mark.parametrize("model", DEFECTS)
def test_a_sound_object_passes(model: ModelName, tmp_path: Path):
    """No alarm without a defect, with unknown outcomes and failures."""
    rng = random.Random(model)
    for _ in range(10):
        path = save(record(Recipe(model, operations=50), rng), tmp_path / "history.jsonl")
        assert Linearizable(model=model).judge(operations.read(path)).valid is True


@pytest.mark.parametrize("model", DEFECTS)
def test_agrees_with_all_orders(model: ModelName, tmp_path: Path):
    """On a few operations the search says what trying every order says."""
    for seed in range(60):
        rng = random.Random(f"{model}/{seed}")
        defect = rng.choice([None, *DEFECTS[model]])
        recipe = Recipe(model, 3, 6, values=3, registers=2, info=0.2, defect=defect, errs=0.8)
        path = save(record(recipe, rng), tmp_path / "history.jsonl")
        history = [*operations.read(path)]
        if any(op.outcome == "ok" for op in history):
            expected = is_linearizable(model, history)
            assert Linearizable(model=model).judge(history).valid is expected, recipe
