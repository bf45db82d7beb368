"""Tests for harness.isolation.list_append and harness.isolation.appends."""

from collections.abc import Sequence
from random import Random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.errors import ScenarioError
from harness.history import Json
from harness.isolation import appends, list_append
from harness.isolation.inference import EXAMPLES, NEVER, Inference, Kind
from tests.unit.isolation.tape import Script, Step, a, judge, r, tape, together

YES = True  # an element that equals 1 in Python


def infer(script: Script) -> Inference:
    return list_append.infer(tape(script))


def edges(inference: Inference) -> set[tuple[int, int, str]]:
    columns = inference.source.tolist(), inference.target.tolist(), inference.kind.tolist()
    return {(s, t, Kind(kind).name) for s, t, kind in zip(*columns, strict=True)}


def names(script: Script) -> set[str]:
    return set(infer(script).direct)


# --- dependencies ------------------------------------------------------------------------------


def test_a_read_orders_the_appends_and_those_who_read_them() -> None:
    """WW along the longest read, WR from its last element, RW to whoever appended next."""
    found = infer(together([a("x", 1)], [a("x", 2)], [r("x", 1, 2)], [r("x", 1)], [r("x")]))
    assert edges(found) == {
        (0, 1, "WW"), (1, 2, "WR"), (0, 3, "WR"), (3, 1, "RW"), (4, 0, "RW"),
    }  # fmt: skip
    assert not found.direct


def test_an_append_that_nobody_read_is_after_all_that_were() -> None:
    """Whoever read the end of the list, and who appended it, comes before it."""
    found = infer(together([a("x", 1)], [r("x", 1)], [a("x", 9)]))
    assert edges(found) == {(0, 1, "WR"), (0, 2, "WW"), (1, 2, "RW")}


def test_a_key_that_nobody_read_orders_nothing_but_its_empty_reads() -> None:
    """Two appends without a read are in no order; a read of nothing is before both."""
    assert edges(infer(together([a("x", 1)], [a("x", 2)]))) == set()
    found = infer(together([a("x", 1)], [a("x", 2)], [["r", "x", None]]))
    assert edges(found) == {(2, 0, "RW"), (2, 1, "RW")}


def test_no_dependency_on_oneself() -> None:
    """What a transaction reads of itself, or appends after itself, orders nothing."""
    assert edges(infer(together([a("x", 1), a("x", 2), r("x", 1, 2)]))) == set()


def test_failed_appends_make_no_edges() -> None:
    """What failed is no transaction of the graph, but what follows it is still read before it."""
    found = infer(
        [
            ("p", "0 1", "fail", [a("x", 1)]),
            ("p", "2 3", "ok", [a("x", 2)]),
            ("q", "4 5", "ok", [r("x", 1, 2)]),
            ("q", "6 7", "ok", [r("x", 1)]),
        ]
    )
    assert len(found) == 3
    assert edges(found) == {(0, 1, "WR"), (2, 0, "RW")}


def test_of_a_transaction_of_unknown_outcome_only_the_appends_count() -> None:
    """It may have taken effect; what it read was never told."""
    found = infer(
        [
            ("p", "1 5", "ok", [r("x", 1)]),
            ("q", "0 9", "info", [a("x", 1), ["r", "y", None]]),
            ("s", "2 8", "info", [r("y", 7)]),
            ("p", "6 7", "ok", [a("y", 3)]),
        ]
    )
    assert edges(found) == {(1, 0, "WR")}
    assert found.completed.tolist() == [5, NEVER, NEVER, 7]
    assert found.describe(2)["operations"] == [["r", "y", None]]


def test_many_readers_and_unread_appends_go_through_a_hub() -> None:
    """100 readers of one version and 100 appends after it take 200 edges, not 10,000."""
    readers = [[r("x")] for _ in range(100)]
    found = infer(together(*readers, *([a("x", n)] for n in range(100))))
    assert found.hubs == 1
    assert len(found.source) == 200
    assert set(found.source[:100].tolist()) == set(range(100))
    assert set(found.target[:100].tolist()) == {200} == set(found.source[100:].tolist())


def test_keys_of_different_tables_are_different() -> None:
    """The same element may be appended to key 1 of two tables."""
    found = list_append.infer(
        [
            *tape([("p", "0 1", "ok", [a(1, 1)])], key="left"),
            *tape([("p", "2 3", "ok", [a(1, 1)])], key="right"),
            *tape([("p", "4 5", "ok", [r(1, 1)])], key="left"),
        ]
    )
    assert edges(found) == {(0, 2, "WR")}
    assert found.describe(1)["operations"] == [["append", ["right", 1], 1]]


def test_one_and_true_and_the_text_1_are_different_elements_and_keys() -> None:
    """Python takes 1, 1.0 and True for the same; the history does not."""
    script = together(
        [a("x", 1)], [a("x", YES)], [a("x", "1")], [a("x", 1.0)], [a("x", None)],
        [r("x", 1, YES, "1", 1.0, None)], [a(1, 5)], [a(YES, 5)], [a("1", 5)], [r(YES, 5)],
    )  # fmt: skip
    found = infer(script)
    assert {(s, t) for s, t, kind in edges(found) if kind == "WW"} == {
        (0, 1), (1, 2), (2, 3), (3, 4),
    }  # fmt: skip
    assert {(s, t) for s, t, kind in edges(found) if kind == "WR"} == {(4, 5), (7, 9)}
    assert not found.direct
    assert "incompatible-order" in names(together([a("x", 1)], [r("x", 1)], [r("x", YES)]))


def test_operations_of_other_functions_are_passed_over_unless_they_look_like_transactions() -> None:
    """A fault in the same file, or a register's cas, is no transaction."""
    one = next(tape([("p", "0 1", "ok", [a("x", 1)])]))
    kill = one._replace(f="kill", process="nemesis", argument=["pg-1"], value=["pg-1"])
    plain = one._replace(f="upsert", process="q", argument=[a("x", 2)], value=[a("x", 2)])
    assert len(list_append.infer([one, kill, plain])) == 2


# --- anomalies without a cycle -----------------------------------------------------------------


def test_an_aborted_read_is_g1a() -> None:
    """An acknowledged read has an element of a transaction that failed, even in its middle."""
    failed: Step = ("p", "0 1", "fail", [a("x", 1)])
    assert names([failed, ("q", "2 3", "ok", [r("x", 1)])]) == {"G1a"}
    after: Script = [("s", "2 3", "info", [a("x", 2)]), ("q", "4 5", "ok", [r("x", 1, 2)])]
    found = infer([failed, *after])
    assert set(found.direct) == {"G1a"}
    assert "of process 'p' appended that failed (line 2)" in str(found.direct["G1a"])


def test_an_aborted_element_that_only_transactions_of_unknown_outcome_read_is_none() -> None:
    """What they read was never told."""
    failed = ("p", "0 1", "fail", [a("x", 1)])
    rest = [("q", "2 3", "info", [r("x", 1)]), ("q", "4 5", "ok", [r("x")])]
    assert names([failed, *rest]) == set()  # type: ignore[list-item]


def test_an_intermediate_read_is_g1b() -> None:
    """A read ends where its writer went on; its own intermediate state anyone may read."""
    writer = [a("x", 1), r("x", 1), a("x", 2)]
    assert names(together(writer, [r("x", 1)])) == {"G1b"}
    assert names(together(writer, [r("x", 1, 2)])) == set()


@pytest.mark.parametrize(
    "micros",
    [
        [r("x", 1), r("x", 1, 2)],
        [r("x"), r("x", 1)],
        [a("x", 1), r("x", 2)],
        [a("x", 1), r("x")],
        [a("x", 1), r("x", 1, 2)],
        [r("x", 2), a("x", 1), r("x", 2)],
        [r("x", 2), a("x", 1), r("x", 1, 2)],
        [a("x", 1), a("x", 3), r("x", 1)],
    ],
)
def test_a_transaction_that_contradicts_itself_is_internal(micros: Sequence[Json]) -> None:
    """A read shows something else than the transaction's own reads and appends before it."""
    others = [a("x", n) for n in (1, 2, 3) if a("x", n) not in micros]
    assert "internal" in names(together(micros, *([each] for each in others)))


@pytest.mark.parametrize(
    "micros",
    [
        [r("x", 1), r("x", 1)],
        [a("x", 2), r("x", 1, 2), a("x", 3), r("x", 1, 2, 3)],
        [["r", "x", None], r("x")],
        [r("y"), r("x", 1), a("x", 2), r("y"), r("x", 1, 2)],
    ],
)
def test_a_transaction_that_agrees_with_itself_is_not(micros: Sequence[Json]) -> None:
    """Its own appends are at the end of what it reads next."""
    others = [a("x", n) for n in (1, 2, 3) if a("x", n) not in micros]
    assert names(together(micros, *([each] for each in others))) == set()


def test_inside_a_transaction_true_is_not_1_either() -> None:
    """A transaction appends 1 and reads true."""
    assert "internal" in names(together([a("x", 1), r("x", YES)], [a("x", YES)]))


def test_reading_what_one_appends_later_is_a_future_read() -> None:
    """The element was there before it was appended."""
    assert names(together([r("x", 1), a("x", 1)])) == {"future-read"}
    assert names(together([r("x", 1), r("x"), a("x", 1)])) >= {"future-read", "internal"}
    assert names(together([r("x"), a("x", 1), r("x", 1)])) == set()


def test_an_acknowledged_append_after_a_failed_one_is_a_dirty_update() -> None:
    """Also with one of unknown outcome between; not if another acknowledged one is."""
    failed = ("p", "0 1", "fail", [a("x", 1)])
    info = ("i", "2 3", "info", [a("x", 2)])
    later = ("q", "4 5", "ok", [a("x", 3)])
    final = ("z", "8 9", "ok", [r("x", 1, 2, 3)])
    assert names([failed, info, later, final]) == {"G1a", "dirty-update"}  # type: ignore[list-item]
    first = ("q", "4 5", "ok", [a("x", 0)])
    end = ("z", "8 9", "ok", [r("x", 0, 1, 2)])
    assert names([first, failed, info, end]) == {"G1a"}  # type: ignore[list-item]


def test_an_element_read_twice_is_a_duplicate() -> None:
    """It was appended once; a shorter read without the copy is sound."""
    assert names(together([a("x", 1)], [r("x", 1, 1)])) == {"duplicate-elements"}
    found = infer(together([a("x", 1)], [a("x", 2)], [r("x", 1)], [r("x", 1, 2, 1)]))
    assert [list(each["transactions"]) for each in found.direct["duplicate-elements"]] == [["T3"]]  # type: ignore[index, call-overload, arg-type]
    assert edges(found) == {(0, 1, "WW"), (0, 2, "WR"), (2, 1, "RW"), (0, 3, "WR"), (3, 1, "RW")}


def test_two_reads_of_which_neither_is_the_beginning_of_the_other_are_incompatible() -> None:
    """Whichever comes first, and however many agree with either."""
    both = [[a("x", 1)], [a("x", 2)], [a("x", 3)]]
    assert names(together(*both, [r("x", 1)], [r("x", 2, 3)])) == {"incompatible-order"}
    assert names(together(*both, [r("x", 2, 1)], [r("x", 2, 3)], [r("x", 2)])) == {
        "incompatible-order"
    }
    assert names(together(*both, [r("x", 1, 2, 3)], [r("x", 1)], [r("x", 1, 2)])) == set()


def test_of_incompatible_reads_the_longest_is_the_order() -> None:
    """Dependencies follow it; a read of another is known by the element that it ends with."""
    found = infer(together([a("x", 1)], [a("x", 2)], [r("x", 2)], [r("x", 1, 2)]))
    assert edges(found) == {(0, 1, "WW"), (1, 2, "WR"), (1, 3, "WR")}


def test_of_several_longest_the_one_with_the_newest_element_is_the_order() -> None:
    """1 was named first, so [2] is taken, whichever was read first: what was not read follows."""
    appended = [[a("x", 1)], [a("x", 2)]]
    for reads in ([[r("x", 1)], [r("x", 2)]], [[r("x", 2)], [r("x", 1)]]):
        assert (1, 0, "WW") in edges(infer(together(*appended, *reads)))


def test_two_updates_of_one_state_are_a_lost_update() -> None:
    """Both read the same and append to it: one of them did not see the other."""
    script = [[a("x", 1)], [r("x", 1), a("x", 2)], [r("x", 1), a("x", 3)]]
    assert names(together(*script)) == {"lost-update"}
    assert names(together(script[0], script[1], [r("x", 1, 2), a("x", 3)])) == set()
    assert names(together(*script[:2], [a("x", 3), r("x", 1, 3)])) == set()


def test_a_lost_update_of_a_state_that_only_diverging_reads_show() -> None:
    """The same [1] is the beginning of two lists that contradict each other."""
    script = together(
        [a("x", 1)], [a("x", 2)], [a("x", 3)], [r("x", 2)],
        [r("x", 1), a("x", 4)], [r("x", 1, 3)], [r("x", 1), a("x", 5)],
    )  # fmt: skip
    assert names(script) == {"incompatible-order", "lost-update"}


def test_examples_are_counted_and_told_with_their_transactions() -> None:
    """At most so many of a name, each with the words and the transactions that show it."""
    aborted = [("p", "0 1", "fail", [a("x", 1)])]
    reads = [("q", f"{n} {n + 1}", "ok", [r("x", 1)]) for n in range(2, 60, 2)]
    examples = infer([*aborted, *reads]).direct["G1a"]  # type: ignore[list-item]
    assert len(examples) == EXAMPLES
    assert examples[0] == {
        "why": "T0 read 1 in key 'x', which a transaction of process 'p' appended that failed "
        "(line 2)",
        "transactions": {
            "T0": {
                "process": "q",
                "node": "pg-1",
                "outcome": "ok",
                "start": 2_000_000,
                "end": 3_000_000,
                "operations": [["r", "x", [1]]],
            }
        },
    }


# --- words -------------------------------------------------------------------------------------


def test_each_kind_of_dependency_has_words() -> None:
    """What was appended after what, and what was read or not."""
    found = infer(together([a("x", 1)], [a("x", 2)], [r("x", 1, 2)], [r("x")]))
    assert found.explain(0, 1, Kind.WW) == "T1 appended 2 to key 'x' after T0 appended 1"
    assert found.explain(1, 2, Kind.WR) == "T2 read 2 in key 'x', which T1 appended"
    assert found.explain(3, 0, Kind.RW) == (
        "T3 read key 'x' as empty, without 1, which T0 appended next"
    )


def test_every_dependency_of_a_random_history_has_words() -> None:
    """Each edge is explained by the operations of its two ends."""
    found = infer(_serial(Random(1), 60))
    for source, target, kind in zip(found.source, found.target, found.kind, strict=True):
        words = found.explain(int(source), int(target), Kind(int(kind)))
        assert f"T{source}" in words
        assert "key" in words


# --- what nothing can be said of ---------------------------------------------------------------


def test_nothing_is_known_where_no_transaction_succeeded() -> None:
    """A history of failures and lost connections is no evidence."""
    script: Script = [("p", "0 1", "fail", [a("x", 1)]), ("q", "2 3", "info", [a("x", 2)])]
    assert "no transaction succeeded" in infer(script).undecidable
    assert infer([]).undecidable


@pytest.mark.parametrize(
    ("micros", "why"),
    [
        ([a("x", 1), a("x", 1)], "more than once"),
        ([["w", "x", 1]], '"w"'),
        ([["r", "x", 1]], "no list"),
    ],
)
def test_other_workloads_and_repeated_elements_are_undecidable(
    micros: Sequence[Json], why: str
) -> None:
    """Nobody can tell whose element was read; that is no fault of the database."""
    assert (
        why in infer(together([a("y", 1)], micros, [a("y", 2), r("y", 2), r("y", 1)])).undecidable
    )


def test_an_element_that_nobody_appended_makes_a_pass_unsure() -> None:
    """The history is incomplete or the database invents data: never a plain true."""
    found = infer(together([a("x", 1)], [r("x", 1, 7)], [r("x", 1, 7)]))
    assert found.unsure == (
        "1 elements were read that no transaction of the history appended, 7 in key 'x' for one"
    )


@pytest.mark.parametrize(
    "value",
    [None, 7, [7], ["append"], [["append", "x"]], [["cut", "x", 1]], [["append", {}, 1]],
     [["append", "x", [1]]], [["r", ["x"], None]], [["r", "x", {"a": 1}]], ["abc"],
     [["r", "x", [[1]]]], [[["r"], "x", 1]]],
)  # fmt: skip
def test_a_malformed_transaction_is_the_users_mistake(value: Json) -> None:
    """It is a sentence with the line, never a traceback."""
    one = next(tape([("p", "4 5", "ok", [a("x", 1)])]))._replace(value=value, f="txn")
    with pytest.raises(ScenarioError, match="expected"):
        list_append.infer([one])


# --- laws --------------------------------------------------------------------------------------


def _serial(random: Random, transactions: int) -> Script:
    """Return transactions done one after the other, that is: correctly."""
    lists: dict[int, list[Json]] = {}
    script = []
    fresh = 0
    for number in range(transactions):
        micros: list[Json] = []
        outcome = random.choice(["ok", "ok", "ok", "info", "fail"])
        effect = outcome == "ok" or (outcome == "info" and random.random() < 0.5)
        view = {key: list(of) for key, of in lists.items()}
        for _ in range(random.randint(1, 4)):
            key = random.randrange(3)
            if random.random() < 0.5:
                micros.append(r(key, *view.get(key, [])) if outcome == "ok" else ["r", key, None])
            else:
                fresh += 1
                micros.append(a(key, fresh))
                view.setdefault(key, []).append(fresh)
        if effect:
            lists = view
        script.append((f"p{number}", f"{2 * number} {2 * number + 1}", outcome, micros))
    return script  # type: ignore[return-value]


@given(st.randoms(use_true_random=False), st.integers(1, 40))
def test_a_serial_history_never_alarms(random: Random, transactions: int) -> None:
    """No anomaly, and no model false, whatever the transactions are."""
    answer = judge(_serial(random, transactions))
    assert answer.valid is not False
    assert not answer.anomalies
    assert set(answer.models.values()) <= {True, "unknown"}


@settings(max_examples=40)
@given(st.randoms(use_true_random=False))
def test_the_order_of_reading_decides_nothing(random: Random) -> None:
    """The same transactions in another order of completion have the same dependencies."""
    script = list(_serial(random, 12))
    shuffled = random.sample(script, len(script))
    one, other = infer(script), infer(shuffled)

    def named(of: Inference) -> set[tuple[Json, Json, str]]:
        return {(of.describe(s)["process"], of.describe(t)["process"], k) for s, t, k in edges(of)}

    assert one.undecidable == other.undecidable
    assert named(one) == named(other)


def test_a_read_is_stored_as_a_length() -> None:
    """1,000 reads of a growing list leave one list behind."""
    reading = appends.Reading()
    elements = list(range(1000))
    micros = [[a("x", n), r("x", *elements[: n + 1])] for n in range(1000)]
    reading.take(tape(together(*micros)))
    assert [len(chain) for chain in reading.chains] == [1000]
    assert np.array(reading.size).max() == 1000
