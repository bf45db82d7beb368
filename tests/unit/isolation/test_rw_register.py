"""Tests for harness.isolation.rw_register."""

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.answer import UNKNOWN, Answer
from harness.checks.elle import Elle
from harness.errors import ScenarioError
from harness.history import Json
from harness.isolation import rw_register, version_order
from harness.isolation.inference import NEVER, Inference, Kind
from harness.isolation.rw_register import Option
from tests.unit.isolation.tape import Script, Step, tape

ALL: Sequence[Option] = ("wfr-keys?", "sequential-keys?", "linearizable-keys?")


def w(key: Json, value: Json) -> Json:
    return ["w", key, value]


def r(key: Json, value: Json) -> Json:
    return ["r", key, value]


def infer(script: Script, *options: Option) -> Inference:
    return rw_register.infer(tape(script), dict.fromkeys(options, True))


def judge(script: Script, *options: Option) -> Answer:
    check = Elle.model_validate({"model": "rw-register", "options": dict.fromkeys(options, True)})
    return check.judge(tape(script))


def edges(inference: Inference) -> set[tuple[int, int, str]]:
    columns = inference.source.tolist(), inference.target.tolist(), inference.kind.tolist()
    return {(a, b, Kind(kind).name) for a, b, kind in zip(*columns, strict=True)}


# --- dependencies -------------------------------------------------------------------------------


def test_a_read_comes_after_the_write_of_its_value() -> None:
    """A unique value tells whose it is."""
    found = infer([("a", "0 1", "ok", [w("x", 1)]), ("b", "2 3", "ok", [r("x", 1)])])
    assert edges(found) == {(0, 1, "WR")}
    assert found.explain(0, 1, Kind.WR) == "T1 read key 'x' = 1, which T0 wrote"


def test_a_read_of_null_comes_before_every_write() -> None:
    """The initial null is before all values; the empty list means it too."""
    script: Script = [
        ("a", "0 1", "ok", [r("x", None)]),
        ("b", "2 3", "ok", [r("x", [])]),
        ("c", "4 5", "ok", [w("x", 1)]),
        ("d", "6 7", "ok", [w("x", 2)]),
    ]
    expected = {(reader, writer, "RW") for reader in (0, 1) for writer in (2, 3)}
    assert edges(infer(script)) == expected


def test_without_assumptions_two_writes_have_no_order() -> None:
    """Not even a read in between tells which of two values was first."""
    script: Script = [
        ("a", "0 1", "ok", [w("x", 1)]),
        ("a", "2 3", "ok", [r("x", 1), w("x", 2)]),
    ]
    assert edges(infer(script)) == {(0, 1, "WR")}


@pytest.mark.parametrize("option", ALL)
def test_each_assumption_orders_two_writes(option: Option) -> None:
    """Writes follow reads; or sessions; or real time: each gives WW, and RW to the readers."""
    script: Script = [
        ("a", "0 1", "ok", [w("x", 1)]),
        ("a", "2 3", "ok", [r("x", 1)]),
        ("a", "4 5", "ok", [r("x", 1), w("x", 2)]),
    ]
    found = edges(infer(script, option))
    if option != "wfr-keys?":  # the others relate what two transactions last and first knew
        script = [*script[:2], ("a", "4 5", "ok", [w("x", 2)])]
        found = edges(infer(script, option))
    assert {(0, 2, "WW"), (1, 2, "RW"), (0, 1, "WR")} <= found


def test_sessions_are_apart() -> None:
    """The order of sessions says nothing of two clients, however long between them."""
    script: Script = [("a", "0 1", "ok", [w("x", 1)]), ("b", "2 3", "ok", [w("x", 2)])]
    assert not edges(infer(script, "sequential-keys?"))
    assert edges(infer(script, "linearizable-keys?")) == {(0, 1, "WW")}


def test_concurrent_writes_have_no_order() -> None:
    """Real time orders only what does not overlap."""
    script: Script = [("a", "0 2", "ok", [w("x", 1)]), ("b", "1 3", "ok", [w("x", 2)])]
    assert not edges(infer(script, "linearizable-keys?"))


def test_the_reasons_name_the_versions() -> None:
    """A dependency is told in words, with the key and both values."""
    script: Script = [
        ("a", "0 1", "ok", [w("x", 1)]),
        ("b", "2 3", "ok", [r("x", 1)]),
        ("c", "4 5", "ok", [w("x", 2)]),
    ]
    found = infer(script, "linearizable-keys?")
    assert found.explain(0, 2, Kind.WW) == "T0 wrote key 'x' = 1, and T2 wrote the later 2"
    assert found.explain(1, 2, Kind.RW) == "T1 read key 'x' = 1, and T2 wrote the later 2"
    assert found.describe(1)["operations"] == [r("x", 1)]


def test_unknown_outcomes_give_no_dependency() -> None:
    """A write of unknown outcome may not have happened; nothing follows from it."""
    script: Script = [
        ("a", "0 1", "info", [w("x", 1)]),
        ("b", "2 3", "ok", [r("x", 1)]),
        ("c", "4 5", "ok", [w("x", 2)]),
    ]
    assert edges(infer(script, *ALL)) == {(1, 2, "RW")}


def test_many_readers_and_writers_share_a_hub() -> None:
    """Readers of null times writers would be quadratic; through a hub it is their sum."""
    readers: Script = [(f"r{n}", f"{n} {n + 1000}", "ok", [r("x", None)]) for n in range(50)]
    writers: Script = [(f"w{n}", f"{n} {n + 2000}", "ok", [w("x", n)]) for n in range(50, 100)]
    found = infer([*readers, *writers])
    assert found.hubs == 1
    assert edges(found) == {(n, 100, "RW") for n in range(50)} | {
        (100, n, "RW") for n in range(50, 100)
    }


def test_no_transaction_reaches_itself_through_a_hub() -> None:
    """Who read null and wrote the key is kept off the way into the hub."""
    both: Script = [("b", "0 900", "ok", [r("x", None), w("x", 100)])]
    readers: Script = [(f"r{n}", f"{n} {n + 1000}", "ok", [r("x", None)]) for n in range(1, 50)]
    writers: Script = [(f"w{n}", f"{n} {n + 2000}", "ok", [w("x", n)]) for n in range(50, 100)]
    found = edges(infer([*both, *readers, *writers]))
    assert (100, 0, "RW") in found
    assert (0, 100, "RW") not in found
    assert {(0, n, "RW") for n in range(50, 100)} <= found


# --- anomalies ----------------------------------------------------------------------------------


def test_aborted_read() -> None:
    """A value of a failed transaction was read: G1a."""
    script: Script = [("a", "0 1", "fail", [w("x", 1)]), ("b", "2 3", "ok", [r("x", 1)])]
    answer = judge(script)
    assert answer.anomalies == ["G1a"]
    assert answer.models["read-committed"] is False


def test_a_value_tried_again_is_no_aborted_read() -> None:
    """The failed try certainly did nothing: the value is of the one that succeeded."""
    script: Script = [
        ("a", "0 1", "fail", [w("x", 1)]),
        ("a", "2 3", "ok", [w("x", 1)]),
        ("b", "4 5", "ok", [r("x", 1)]),
    ]
    assert judge(script).valid is True


def test_intermediate_read() -> None:
    """A value that its own transaction overwrote was read: G1b; not by itself, though."""
    writer: Step = ("a", "0 1", "ok", [w("x", 1), r("x", 1), w("x", 2)])
    assert judge([writer, ("b", "2 3", "ok", [r("x", 1)])]).anomalies == ["G1b"]
    assert judge([writer, ("b", "2 3", "ok", [r("x", 2)])]).valid is True


@pytest.mark.parametrize(
    "micros",
    [
        [w("x", 1), r("x", None)],
        [r("x", None), r("x", 2)],
        [r("x", 2), w("x", 1), r("x", 2)],
    ],
)
def test_internal(micros: Sequence[Json]) -> None:
    """A transaction that does not see its own writes, or sees the world change, is `internal`."""
    assert "internal" in judge([("a", "0 1", "ok", micros)]).anomalies


def test_lost_update() -> None:
    """Two that read one version and both wrote the key; of which one is unknown, it is none."""
    first: Step = ("a", "0 5", "ok", [r("x", None), w("x", 1)])
    second: Sequence[Json] = [r("x", None), w("x", 2)]
    answer = judge([first, ("b", "1 6", "ok", second)])
    assert "lost-update" in answer.anomalies
    assert answer.models["snapshot-isolation"] is False
    assert answer.models["read-committed"] is True
    assert not judge([first, ("b", "1 6", "info", second)]).anomalies


def test_stale_read() -> None:
    """Null was read after a write was acknowledged: serializable, but not strictly."""
    script: Script = [("a", "0 1", "ok", [w("x", 1)]), ("b", "2 3", "ok", [r("x", None)])]
    answer = judge(script)
    assert answer.models["serializable"] is True
    assert answer.models["strong-session-serializable"] is True
    assert answer.models["strong-snapshot-isolation"] is False


def test_write_skew() -> None:
    """Each of two read what the other overwrote: snapshots allow it, serializability does not."""
    script: Script = [
        ("a", "0 2", "ok", [r("x", None), w("y", 1)]),
        ("b", "1 3", "ok", [r("y", None), w("x", 1)]),
    ]
    answer = judge(script)
    assert answer.anomalies == ["G2-item"]
    assert answer.models["strong-snapshot-isolation"] is True
    assert answer.models["serializable"] is False


def test_cyclic_versions_of_one_assumption_leave_the_others() -> None:
    """An assumption that contradicts what was read is reported and not used; others are."""
    script: Script = [
        ("a", "0 1", "ok", [w("x", 1)]),
        ("b", "2 3", "ok", [r("x", None)]),
        ("c", "4 5", "ok", [r("y", None), w("y", 1)]),
        ("c", "6 7", "ok", [r("y", 1), w("y", 2)]),
    ]
    found = infer(script, "wfr-keys?", "linearizable-keys?")
    (case,) = found.direct["cyclic-versions"]
    assert isinstance(case, dict)
    assert case["source"] == "linearizable-keys?"
    assert case["values"] == [None, 1] or case["values"] == [1, None]
    assert (2, 3, "WW") in edges(found)
    assert judge(script, "linearizable-keys?").models["read-uncommitted"] is False


def test_a_valid_history_has_no_anomaly() -> None:
    """A session that reads what it wrote is strict, under every assumption."""
    script: Script = [
        ("a", "0 1", "ok", [r("x", None), w("x", 1)]),
        ("b", "2 3", "ok", [r("x", 1), w("x", 2), w("y", 1)]),
        ("a", "4 5", "ok", [r("x", 2), r("y", 1)]),
    ]
    answer = judge(script, *ALL)
    assert (answer.valid, answer.anomalies) == (True, [])


# --- what cannot be judged ----------------------------------------------------------------------


def test_nothing_succeeded_is_unknown() -> None:
    """Without an acknowledged transaction nothing was observed."""
    assert judge([]).valid == UNKNOWN
    assert judge([("a", "0 1", "fail", [w("x", 1)]), ("b", "2 3", "info", [w("x", 2)])]).valid == (
        UNKNOWN
    )


def test_a_value_written_twice_is_unknown() -> None:
    """If two may have written it, a read does not tell whose it is."""
    twice: Script = [("a", "0 1", "ok", [w("x", 1)]), ("b", "2 3", "info", [w("x", 1)])]
    answer = judge(twice)
    assert answer.valid == UNKNOWN
    assert "1 was written to key 'x' by more than one transaction" in answer.reason


def test_appends_are_unknown() -> None:
    """The history of another workload is not judged."""
    assert judge([("a", "0 1", "ok", [["append", "x", 1]])]).valid == UNKNOWN
    assert judge([("a", "0 1", "ok", [r("x", [1, 2])])]).valid == UNKNOWN


def test_a_value_of_nobody_makes_a_pass_unknown() -> None:
    """A read of what nobody wrote: the history is not all there is, or the data is invented."""
    script: Script = [("a", "0 1", "ok", [r("x", 7)]), ("b", "2 3", "ok", [w("x", 1)])]
    answer = judge(script)
    assert answer.valid == UNKNOWN
    assert "7" in answer.reason


@pytest.mark.parametrize(
    "micros", [[["r", "x"]], [["x", 1, 2]], ["r"], [["w", "x", None]], [["w", ["x"], 1]], [3]]
)
def test_malformed_transactions_are_the_users_mistake(micros: Sequence[Json]) -> None:
    """Never a traceback, and never a verdict."""
    with pytest.raises(ScenarioError, match="expected"):
        judge([("a", "0 1", "ok", micros)])


def test_values_are_compared_as_json_has_them() -> None:
    """1, 1.0, true and "1" are four values."""
    values: Sequence[Json] = [1, 1.0, True, "1"]
    script: Script = [
        (f"a{n}", f"{n} {n + 100}", "ok", [w("x", value)]) for n, value in enumerate(values)
    ]
    reads: Script = [("b", "200 201", "ok", [["r", "x", True]])]
    assert edges(infer([*script, *reads])) == {(2, 4, "WR")}


def test_a_key_of_another_table_is_another_key() -> None:
    """Operations that name their table keep their keys to it."""
    operations = [
        *tape([("a", "0 1", "ok", [w("x", 1)])], key="t1"),
        *tape([("b", "2 3", "ok", [r("x", 1)])], key="t2"),
    ]
    assert not len(rw_register.infer(operations).source)


# --- the order that real time implies -------------------------------------------------------------


def by_walking(
    invoked: Sequence[int], completed: Sequence[int | None], touches: Sequence[tuple[int, int, int]]
) -> set[tuple[int, int]]:
    """Return the pairs by their definition: walk along the covering order of real time.

    Args:
        invoked, completed: of each transaction; None where the outcome is unknown.
        touches: transaction, first and last version, of one key.
    """
    ends = {n: at for n, at in enumerate(completed) if at is not None}
    covers = {
        a: [
            b
            for b in range(len(invoked))
            if ends[a] < invoked[b]
            and not any(ends[a] < invoked[c] and ends[c] < invoked[b] for c in ends)
        ]
        for a in ends
    }
    first = {n: version for n, version, _ in touches}
    last = {n: version for n, _, version in touches}
    pairs = set()
    for start in last:
        seen: set[int] = set()
        stack = list(covers.get(start, ()))
        while stack:
            one = stack.pop()
            if one in first:
                pairs.add((last[start], first[one]))
            elif one not in seen:
                seen.add(one)
                stack += covers.get(one, ())
    return {(early, late) for early, late in pairs if early != late}


@st.composite
def intervals(draw: st.DrawFn) -> tuple[list[int], list[int | None], list[tuple[int, int, int]]]:
    """Draw transactions at once, and which versions some of them touched."""
    count = draw(st.integers(1, 12))
    moments = draw(st.permutations(range(2 * count)))
    spans = [sorted(moments[2 * n : 2 * n + 2]) for n in range(count)]
    spans.sort(key=lambda span: span[1])
    # Short ones, or everything overlaps and nothing is ordered.
    spans = [[max(start, end - draw(st.integers(1, 8))), end] for start, end in spans]
    invoked = [2 * start * count + n for n, (start, _) in enumerate(spans)]
    known = draw(st.lists(st.integers(0, 9), min_size=count, max_size=count))
    completed = [
        2 * end * count + count + n if known[n] else None for n, (_, end) in enumerate(spans)
    ]
    touches = []
    for number in range(count):
        if draw(st.booleans()):
            read, write = draw(st.integers(0, 5)), 6 + number
            form = draw(st.sampled_from(["read", "write", "both"]))
            touches.append(
                (number, write if form == "write" else read, read if form == "read" else write)
            )
    return invoked, completed, touches


def reachable(pairs: set[tuple[int, int]], inner: set[int]) -> set[tuple[int, int]]:
    """Return all that follows from pairs by way of some versions."""
    found = set(pairs)
    while True:
        more = {
            (a, d) for a, b in found for c, d in found if b == c and b in inner and a != d
        } - found
        if not more:
            return found
        found |= more


@given(intervals(), st.sets(st.integers(0, 5)))
def test_the_sweep_implies_what_the_walk_finds(
    drawn: tuple[list[int], list[int | None], list[tuple[int, int, int]]], unknown: set[int]
) -> None:
    """No pair but those of the definition, and each follows by way of versions that are known."""
    invoked, completed, touches = drawn
    expected = by_walking(invoked, completed, touches)
    rows = np.array(touches, np.int32).reshape(-1, 3)
    versions = 6 + len(invoked)
    written = [version not in unknown for version in range(versions)]
    early, late = version_order.linearizable(
        version_order.Touches(rows[:, 0], np.zeros(len(rows), np.int32), rows[:, 1], rows[:, 2]),
        np.array(invoked, np.int64),
        np.array([NEVER if at is None else at for at in completed], np.int64),
        written,
    )
    found = set(zip(early.tolist(), late.tolist(), strict=True))
    assert found <= expected
    inner = {version for version in range(versions) if written[version]}
    assert reachable(found, inner) == reachable(expected, inner)
