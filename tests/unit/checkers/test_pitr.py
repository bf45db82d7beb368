"""Tests for harness.checkers.pitr."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.checkers.pitr import Pitr
from harness.history import Json
from harness.units import Lsn
from harness.verdict import Measurement, judge
from tests.unit.checkers.tape import Tape, ns

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
NOON = int(datetime(2024, 5, 1, 12, tzinfo=UTC).timestamp()) * 1_000_000


def measure(tape: Tape) -> Measurement:
    return Pitr(of="restored").measure(tape.history())


def clock(time_us: int) -> str:
    """Return a time of day of the tests as PostgreSQL writes it."""
    return (EPOCH + timedelta(microseconds=NOON + time_us)).isoformat(" ")


def target(kind: str, value: str = "before", *, inclusive: bool = True) -> Json:
    return {"kind": kind, "value": value, "inclusive": inclusive}


def read(tape: Tape, held: Sequence[int], key: int = 1) -> Tape:
    tape.read(25, "append", [["r", key, list(held)]])
    return tape


# --- the load was held ----------------------------------------------------------------------------


def held(present: Sequence[int] | None = (1, 2, 3), **restore: Json) -> Tape:
    """Return a run that appended 1, 2, 3, was marked at 10 s, appended 4, 5 and was restored."""
    tape = Tape()
    tape.phases(steps=0, settled=30)
    for element, at in ((1, 1), (2, 2), (3, 3), (4, 12), (5, 13)):
        tape.txn("a/0.0", at, [["append", 1, element]], xid=700 + element)
    tape.mark(10, restore_point="before", xid=703)
    tape.restore(20, **restore)
    return tape if present is None else read(tape, present)


def test_what_was_marked_came_back() -> None:
    """1, 2 and 3 were acknowledged before the mark; 4 and 5 were sent after it."""
    found = measure(held())
    assert (found.value, found.at_least) == (0, False)
    assert found.note == (
        "none missing, none extra; 3 writes before the target, 2 after it, 0 may be either"
    )


def test_the_moment_within_the_hold_decides() -> None:
    """Acknowledged just before it, or sent just after it, though the step took longer."""
    for start, value in ((9.85, 1), (10.05, 0)):
        tape = held((1, 2, 3))
        tape.txn("a/1.0", start, [["append", 1, 6]])
        assert measure(tape).value == value
        tape = held((1, 2, 3, 6))
        tape.txn("a/1.0", start, [["append", 1, 6]])
        assert measure(tape).value == 1 - value


def test_a_missing_element_is_named() -> None:
    """3 was acknowledged before the mark."""
    found = measure(held((1, 2)))
    assert found.value == 1
    assert "1 missing: append 1:3" in found.note
    assert judge("pitr", "count", {"max": 0}, [found]).verdict == "fail"
    witness = found.evidence[-1]
    assert isinstance(witness, Mapping)
    assert witness["value"] == [["append", 1, 3]]


@pytest.mark.parametrize("kind", ["time", "lsn", "xid", "name"])
def test_a_restore_that_ignores_its_target_goes_too_far(kind: str) -> None:
    """It replayed all that the archive holds."""
    found = measure(held((1, 2, 3, 4, 5), target=target(kind)))
    assert found.value == 2
    assert "2 extra: append 1:4, append 1:5" in found.note


def test_an_element_that_nobody_wrote_is_extra() -> None:
    """Neither tried nor possible."""
    assert measure(held((1, 2, 3, 99))).value == 1


def test_a_doubled_element_counts() -> None:
    """Once for each element, however often it is there."""
    found = measure(held((1, 2, 2, 2, 3)))
    assert found.value == 1
    assert "1 duplicated: append 1:2" in found.note


def test_an_element_that_was_refused_is_extra() -> None:
    """Certainly not written before the mark, and there."""
    tape = held((1, 2, 3, 6))
    tape.txn("a/1.0", 4, [["append", 1, 6]], "fail")
    assert measure(tape).value == 1


def test_an_element_of_unknown_outcome_may_be_there_or_not() -> None:
    """Tried before the mark; tried after it, it may not be there."""
    for present in ((1, 2, 3), (1, 2, 3, 6)):
        tape = held(present)
        tape.txn("a/1.0", 4, [["append", 1, 6]], "info")
        assert measure(tape).value == 0
    tape = held((1, 2, 3, 6))
    tape.txn("a/1.0", 14, [["append", 1, 6]], "info")
    assert measure(tape).value == 1


def test_an_element_that_was_tried_twice_counts_by_the_surer_try() -> None:
    """Unknown at first, and acknowledged when it was tried again."""
    tape = held((1, 2, 3))
    tape.txn("a/1.0", 4, [["append", 1, 6]], "info")
    tape.txn("a/2.0", 5, [["append", 1, 6]])
    found = measure(tape)
    assert found.value == 1
    assert "append 1:6" in found.note


def test_a_torn_transaction_counts() -> None:
    """Whether it was committed is unknown, but half of it cannot have been."""
    tape = held((1, 2, 3, 6))
    tape.txn("a/1.0", 4, [["append", 1, 6], ["append", 1, 7]], "info")
    found = measure(tape)
    assert found.value == 1
    assert "1 missing: append 1:7" in found.note


def test_each_table_is_judged() -> None:
    """The probes' rows too."""
    tape = held()
    kept, lost = tape.probe("pg-1", 4, "ok", 1), tape.probe("pg-1", 5, "ok", 1)
    tape.read(26, "probe", [kept])
    found = measure(tape)
    assert found.value == 1
    assert f"probe {lost}" in found.note


def test_an_unread_table_decides_nothing() -> None:
    """Rows of the probes were acknowledged; nobody looked, or looking failed."""
    tape = held()
    tape.probe("pg-1", 4, "ok", 1)
    found = measure(tape)
    assert found.value is None
    assert "probe was not read" in found.note
    tape.read(26, "probe", None, "fail")
    assert measure(tape).value is None


def test_what_the_restored_cluster_was_given_later_is_no_fault() -> None:
    """It is read while it is used."""
    tape = held((1, 2, 3, 8))
    tape.txn("restored/a/0.0", 21, [["append", 1, 8]], node="restored-1", tli=2)
    tape.txn("b/0.0", 22, [["append", 1, 9]], node="restored-1", tli=2)
    assert measure(tape).value == 0


@pytest.mark.parametrize(
    ("restore", "word"),
    [
        ({"tli": 1}, "it is on timeline 1, not on a newer one than 1"),
        ({"system_identifier": "8"}, "its system identifier is 8, not its source's 7"),
    ],
)
def test_another_lineage_is_a_breach(restore: dict[str, Json], word: str) -> None:
    """The elements are right, but it is not the source's next timeline."""
    found = measure(held((1, 2, 3), **restore))
    assert found.value == 1
    assert word in found.note


@pytest.mark.parametrize("name", ["tli", "system_identifier", "source_system_identifier"])
def test_undecided_without_the_lineage(name: str) -> None:
    """What the restored cluster descends from was not recorded."""
    without: dict[str, Json] = {name: None}
    assert measure(held((1, 2, 3), **without)).value is None


@pytest.mark.parametrize("f", ["restore", "mark", "read", "txn"])
def test_undecided_without_what_it_takes(f: str) -> None:
    """A restore, its mark, a read, and writes on both sides."""
    tape = held()
    tape.events = [event for event in tape.events if event.f != f]
    found = measure(tape)
    # A read of elements that nobody wrote is a breach, not a doubt.
    assert found.value == (3 if f == "txn" else None)


@pytest.mark.parametrize(("after", "word"), [(True, "before"), (False, "after")])
def test_undecided_when_one_side_of_the_target_is_empty(after: object, word: str) -> None:
    """An empty cluster, or one that replayed everything, would look the same."""
    tape = held(() if after else (1, 2, 3))
    late = [event for event in tape.events if event.f == "txn" and event.time > ns(10)]
    drop = [e for e in tape.events if e.f == "txn" and e not in late] if after else late
    tape.events = [event for event in tape.events if event not in drop]
    found = measure(tape)
    assert found.value is None
    assert word in found.note


def test_undecided_when_it_was_restored_to_no_mark() -> None:
    """A target that was typed in says nothing of what should be there."""
    found = measure(held(mark=None))
    assert found.value is None
    assert "to no mark" in found.note


def test_undecided_when_the_mark_neither_held_nor_recorded() -> None:
    """Under load, without the order of commits, no boundary is known."""
    tape = held()
    tape.events = [event for event in tape.events if event.f != "mark"]
    tape.mark(10, held=False, commits=[], digest=None)
    found = measure(tape)
    assert found.value is None
    assert "neither held" in found.note


# --- to the latest --------------------------------------------------------------------------------


def test_the_latest_holds_at_least_what_was_acknowledged_before_the_mark() -> None:
    """What came later may have been archived or not."""
    for present in ((1, 2, 3), (1, 2, 3, 4), (1, 2, 3, 4, 5)):
        assert measure(held(present, target=target("latest", ""))).value == 0
    assert measure(held((1, 2), target=target("latest", ""))).value == 1


def test_the_latest_has_no_gap() -> None:
    """5 was sent after 4 was acknowledged, so it cannot be there alone."""
    found = measure(held((1, 2, 3, 5), target=target("latest", "")))
    assert found.value == 1
    assert "1 missing: append 1:4" in found.note


def test_an_element_that_was_tried_twice_shows_no_order() -> None:
    """3 came from its first try; the second one, later than 4, proves nothing of 4."""
    tape = held((1, 2, 3), target=target("latest", ""))
    tape.txn("a/1.0", 14, [["append", 1, 3]], "info")
    assert measure(tape).value == 0


def test_without_a_mark_the_latest_goes_by_the_last_wait() -> None:
    """The wait saw all archived that was committed by 12.5 s: 1 to 4."""

    def waited(*present: int) -> Tape:
        tape = held(present, target=target("latest", ""), mark=None)
        tape.did("wait", 12.7, [], {"until": "archived"})
        return tape

    assert measure(waited(1, 2, 3, 4)).value == 0
    assert measure(waited(1, 2, 3)).value == 1
    assert measure(held(target=target("latest", ""), mark=None)).value is None


def test_without_a_mark_the_source_may_be_unknown() -> None:
    """All its nodes were gone before anybody asked; a known one must still be the same."""
    for source, value in ((None, 0), ("8", 1)):
        tape = held(
            (1, 2, 3, 4), target=target("latest", ""), mark=None, source_system_identifier=source
        )
        tape.did("wait", 12.7, [], {"until": "archived"})
        assert measure(tape).value == value


def test_what_was_archived_after_the_mark_came_back_too() -> None:
    """The wait saw 4 in the archive, and that is later than the mark."""
    tape = held((1, 2, 3), target=target("latest", ""))
    tape.did("wait", 12.7, [], {"until": "archived"})
    assert measure(tape).value == 1


def test_the_latest_does_not_hold_what_came_after_the_restore() -> None:
    """The source went on after the copy was writable."""
    tape = held((1, 2, 3, 6), target=target("latest", ""))
    tape.txn("a/0.0", 22, [["append", 1, 6]])
    assert measure(tape).value == 1


# --- under load -----------------------------------------------------------------------------------


# In the order of WAL. Neither xids nor commit times are in that order.
COMMITS: Sequence[tuple[int, str, int]] = (
    (801, "0/3000100", 100),
    (803, "0/3000200", 300),
    (802, "0/3000300", 200),
    (805, "0/3000400", 500),
    (804, "0/3000500", 400),
    (806, "0/3000600", 600),
)


def recorded() -> Sequence[Json]:
    """Return the order of commits as a mark records it."""
    return [[xid, lsn, NOON + time] for xid, lsn, time in COMMITS]


def loaded(aim: Json, present: Sequence[int], **mark: Json) -> Tape:
    """Return a run that appends element n in transaction 800+n around the mark, and 90 before."""
    tape = Tape()
    tape.phases(steps=0, settled=30)
    tape.txn("a/0.0", 1, [["append", 1, 90]], xid=790)
    for place, (xid, _, _) in enumerate(COMMITS):
        at = 9.9 + place / 50
        tape.txn(f"a/{xid}.0", at, [["append", 1, xid - 800]], xid=xid, took=0.1)
    shown: dict[str, Json] = {
        "commits": recorded(), "commits_from": "0/3000100", "lsn": "0/3000380",
        "next_lsn": "0/3000400", "restore_point": "before", "restore_lsn": "0/3000390",
    }  # fmt: skip
    tape.mark(10, **{"held": False, "digest": None, **shown, **mark})
    tape.restore(20, target=aim)
    return read(tape, present)


EXACT: Sequence[tuple[Json, Sequence[int]]] = (
    (target("xid", "802"), (90, 1, 3, 2)),
    (target("xid", "802", inclusive=False), (90, 1, 3)),
    (target("xid", str((7 << 32) + 803)), (90, 1, 3)),
    # 3 is later than the target, so 2 is out although its time is not.
    (target("time", clock(250)), (90, 1)),
    (target("time", clock(300)), (90, 1, 3, 2)),
    (target("time", clock(300), inclusive=False), (90, 1)),
    (target("time", clock(301)), (90, 1, 3, 2)),
    (target("lsn", "0/3000300", inclusive=False), (90, 1, 3)),
    (target("lsn", "0/3000300"), (90, 1, 3, 2)),
    # 5 begins the first record at or past the mark's LSN.
    (target("lsn", "0/3000380"), (90, 1, 3, 2, 5)),
    (target("lsn", "0/3000380", inclusive=False), (90, 1, 3, 2)),
    (target("name"), (90, 1, 3, 2)),
)


@pytest.mark.parametrize(("aim", "prefix"), EXACT)
def test_the_boundary_is_postgresqls_own(aim: Json, prefix: Sequence[int]) -> None:
    """Exactly this prefix of the order of commits: with one less or one more it is none."""
    assert measure(loaded(aim, prefix)).value == 0
    assert measure(loaded(aim, prefix[:-1])).value == 1
    (more, *_) = [xid - 800 for xid, _, _ in COMMITS if xid - 800 not in prefix]
    assert measure(loaded(aim, [*prefix, more])).value == 1


def test_the_note_names_the_commits_on_both_sides() -> None:
    """A reader sees where the target lies."""
    found = measure(loaded(target("xid", "802"), (90, 1, 3, 2)))
    assert found.note.endswith(
        "it lies between xid 802 at 0/3000300 (append 1:2) and xid 805 at 0/3000400 (append 1:5)"
    )


def test_a_write_before_the_recorded_commits_is_in() -> None:
    """Its xid is not among them, and it was acknowledged before the mark."""
    found = measure(loaded(target("xid", "802"), (1, 3, 2)))
    assert found.value == 1
    assert "append 1:90" in found.note


def test_a_write_after_the_recorded_commits_is_out() -> None:
    """It was sent when the mark had been made."""
    tape = loaded(target("xid", "802"), (90, 1, 3, 2, 91))
    tape.txn("a/0.0", 11, [["append", 1, 91]], xid=820)
    assert measure(tape).value == 1


def test_an_unknown_outcome_is_known_by_its_commit() -> None:
    """The client never heard of it, but WAL holds its commit record."""
    for xid, present in ((807, (90, 1, 3, 2)), (807, (90, 1, 3, 2, 7)), (809, (90, 1, 3, 2, 7))):
        tape = loaded(
            target("xid", "802"), present,
            commits=[*recorded(), [807, "0/3000210", NOON]],
        )  # fmt: skip
        tape.op(
            "a/7.0", "txn", 9.9, 10, "info",
            argument=[["append", 1, 7]], key="append", xid=xid,
        )  # fmt: skip
        assert measure(tape).value == (1 if xid == 807 and 7 not in present else 0)


def test_a_write_without_xid_goes_by_its_times() -> None:
    """Acknowledged before the mark it is in, unless the target lies before the mark."""
    for aim, prefix in ((target("lsn", "0/3000380"), (90, 1, 3, 2, 5)), (target("xid", "801"), ())):
        tape = loaded(aim, prefix or (90, 1))
        # 801 was long under way, so that nothing else tells that 92 came before it.
        tape.events = [e for e in tape.events if e.process != "a/801.0"]
        tape.txn("a/801.0", 5, [["append", 1, 1]], xid=801, took=5)
        tape.txn("a/1.0", 9, [["append", 1, 92]])
        assert measure(tape).value == bool(prefix)


def test_the_same_xid_on_another_timeline_is_another_transaction() -> None:
    """After a failover xids come again; one of timeline 2 was not recorded by the mark."""
    tape = loaded(target("xid", "802"), (90, 1, 3, 2))
    tape.txn("a/5.0", 14, [["append", 1, 93]], xid=801, tli=2)
    assert measure(tape).value == 0
    tape = loaded(target("xid", "802"), (90, 1, 3, 2, 93))
    tape.txn("a/5.0", 14, [["append", 1, 93]], xid=801, tli=2)
    assert measure(tape).value == 1


@pytest.mark.parametrize(
    ("bounds", "value"), [(["0/3000280", "0/3000380"], 1), (["0/2000280", "0/2000380"], 0)]
)
def test_an_older_timeline_is_known_by_its_position(bounds: Json, value: int) -> None:
    """The order of commits goes back beyond a switchover; its LSN says which commit it was."""
    rows: Json = [[810, "0/3000290", NOON], *recorded()]
    aim = target("xid", "805")
    tape = loaded(aim, (90, 1, 3, 2, 5), commits=rows, tli=2)
    tape.events = [replace(e, tli=2) if e.xid else e for e in tape.events if e.f != "restore"]
    tape.restore(20, target=aim, tli=3)
    tape.txn("a/5.0", 9.9, [["append", 1, 94]], xid=810, lsn=bounds, took=0.2)
    assert measure(tape).value == value


def test_replay_stops_before_an_abort_too() -> None:
    """An abort later than the target ends replay, as a commit would."""
    aborts: Json = [[888, "0/3000180", NOON + 350]]
    assert measure(loaded(target("time", clock(320)), (90, 1), aborts=aborts)).value == 0
    assert measure(loaded(target("time", clock(320)), (90, 1, 3, 2), aborts=aborts)).value == 2
    assert measure(loaded(target("xid", "888"), (90, 1), aborts=aborts)).value == 0


def test_without_the_next_record_one_commit_is_in_doubt() -> None:
    """The first record at or past the LSN may be 5's commit, or one that nobody recorded."""
    aim = target("lsn", "0/3000380")
    for present, value in (((90, 1, 3, 2), 0), ((90, 1, 3, 2, 5), 0), ((90, 1, 3, 2, 5, 4), 1)):
        assert measure(loaded(aim, present, next_lsn=None)).value == value


@pytest.mark.parametrize(
    ("aim", "present", "word"),
    [
        (target("xid", "806"), (90, 1, 3, 2, 5, 4, 6), "after the target"),
        (target("time", clock(900)), (90, 1, 3, 2, 5, 4, 6), "after the target"),
        (target("time", clock(1)), (90,), "before the target"),
        (target("xid", "801", inclusive=False), (90,), "before the target"),
        (target("xid", "999"), (90, 1), "does not know where transaction 999"),
        (target("xid", "many"), (90, 1), "is no xid"),
        (target("lsn", "here"), (90, 1), "a log position"),
        (target("time", "noon"), (90, 1), "a time with its zone"),
        (target("time", "2024-05-01 12:00:00"), (90, 1), "a time with its zone"),
        (target("name", "other"), (90, 1), "no restore point 'other'"),
        (target("mood", "good"), (90, 1), "unknown kind 'mood'"),
        (None, (90, 1), "no target"),
    ],
)
def test_undecided_where_the_boundary_was_not_tested(
    aim: Json, present: Sequence[int], word: str
) -> None:
    """All commits on one side, or a target that nobody can place."""
    found = measure(loaded(aim, present))
    assert found.value is None
    assert word in found.note


def test_a_breach_counts_though_one_side_is_empty() -> None:
    """What is missing is missing."""
    found = measure(loaded(target("xid", "806"), (90, 1)))
    assert (found.value, found.at_least) == (5, True)


def test_undecided_when_the_mark_is_malformed() -> None:
    """A commit without its time cannot be placed."""
    found = measure(loaded(target("xid", "802"), (90, 1), commits=[[801, "0/3000100"]]))
    assert found.value is None
    assert "expected xid, LSN and time" in found.note


def test_the_marks_own_words_are_its_time() -> None:
    """A text that no one else can read is the mark's time if it is the mark's text."""
    aim = target("time", "noon and a bit")
    tape = loaded(aim, (90, 1, 3, 2), time="noon and a bit", time_us=NOON + 300)
    assert measure(tape).value == 0


def test_its_names_are_no_steps() -> None:
    """`of` is a cluster."""
    assert Pitr(of="restored").refs == []
    assert Pitr(of="restored").bounds == {"max": 0}


# --- against PostgreSQL's rule, record by record --------------------------------------------------


@dataclass(frozen=True)
class WalRecord:
    """One record: a transaction's end, the restore point, or anything else."""

    kind: Literal["commit", "abort", "point", "other"]
    start: int
    xid: int
    time_us: int


@dataclass(frozen=True)
class Aim:
    """A recovery target as PostgreSQL's settings have it."""

    kind: Literal["time", "lsn", "xid", "name"]
    number: int
    inclusive: bool

    @property
    def json(self) -> Json:
        words = {"time": clock(self.number), "lsn": str(Lsn(self.number)), "name": "before"}
        return target(self.kind, words.get(self.kind, str(self.number)), inclusive=self.inclusive)


def replayed(wal: Sequence[WalRecord], aim: Aim) -> Iterator[WalRecord]:
    """Yield what is applied: `recoveryStopsBefore`, redo, `recoveryStopsAfter`, one by one."""
    for record in wal:
        is_end = record.kind in ("commit", "abort")
        past_lsn = aim.kind == "lsn" and record.start >= aim.number
        at_xid = aim.kind == "xid" and is_end and record.xid == aim.number
        if not aim.inclusive and (past_lsn or at_xid):
            return
        last = aim.number if aim.inclusive else aim.number - 1
        if aim.kind == "time" and is_end and record.time_us > last:
            return
        yield record
        if aim.kind == "name" and record.kind == "point":
            return
        if aim.inclusive and (past_lsn or at_xid):
            return


@st.composite
def wals(draw: st.DrawFn) -> Sequence[WalRecord]:
    """Return some WAL with one restore point; xids and times are in no order."""
    kinds = draw(st.lists(st.sampled_from(["commit", "commit", "abort", "other"]), max_size=12))
    kinds.insert(draw(st.integers(0, len(kinds))), "point")
    xids = draw(st.permutations(range(800, 800 + len(kinds))))
    start, wal = 0x3000000, []
    for kind, xid in zip(kinds, xids, strict=True):
        start += draw(st.integers(1, 3)) * 8
        wal.append(WalRecord(kind, start, xid, draw(st.integers(0, 6))))  # type: ignore[arg-type]
    return wal


def run_of(wal: Sequence[WalRecord], aim: Aim, at: int, held: Sequence[int]) -> Tape:
    """Return a run that wrote this WAL, was marked at this LSN, and restored to these elements."""
    tape = Tape()
    tape.phases(steps=0, settled=30)
    for place, record in enumerate(wal):
        if record.kind == "commit":
            began, took = 9.9 + place / 100, 0.05 + place % 3 / 20
            what: Sequence[Sequence[Json]] = [["append", 1, record.xid], ["append", 1, -record.xid]]
            tape.txn(f"a/{place}.0", began, what, xid=record.xid, took=took)
    point = next(record.start for record in wal if record.kind == "point")

    def rows(kind: str) -> Json:
        return [[r.xid, str(Lsn(r.start)), NOON + r.time_us] for r in wal if r.kind == kind]

    tape.mark(
        10, held=False, digest=None, commits=rows("commit"), aborts=rows("abort"),
        commits_from=str(Lsn(wal[0].start)), lsn=str(Lsn(at)), restore_point="before",
        restore_lsn=str(Lsn(point + 4)),
        next_lsn=next((str(Lsn(r.start)) for r in wal if r.start >= at), None),
    )  # fmt: skip
    tape.restore(20, target=aim.json)
    return read(tape, held)


@settings(max_examples=300, deadline=None)
@given(st.data(), wals())
def test_agrees_with_postgresql(data: st.DataObject, wal: Sequence[WalRecord]) -> None:
    """A true restore shows no difference; with one element less or more it shows one."""
    ends = [record.xid for record in wal if record.kind in ("commit", "abort")]
    kind = data.draw(st.sampled_from(["time", "lsn", "name", *(["xid"] if ends else [])]))
    at = data.draw(st.integers(0x3000000, wal[-1].start + 8))
    number = {
        "time": data.draw(st.integers(0, 6)),
        "lsn": at,
        "xid": data.draw(st.sampled_from(ends or [0])),
        "name": 0,
    }[kind]
    aim = Aim(kind, number, data.draw(st.booleans()))  # type: ignore[arg-type]
    commits = [record.xid for record in wal if record.kind == "commit"]
    applied = [record.xid for record in replayed(wal, aim) if record.kind == "commit"]
    late = [xid for xid in commits if xid not in applied]
    right = [e for xid in applied for e in (xid, -xid)]

    found = measure(run_of(wal, aim, at, right))
    if applied and late:
        assert found.value == 0, found.note
    else:
        assert found.value is None, found.note
    if applied:
        gone = data.draw(st.sampled_from(right))
        found = measure(run_of(wal, aim, at, [e for e in right if e != gone]))
        assert found.value == 1, found.note
    if late:
        found = measure(run_of(wal, aim, at, [*right, data.draw(st.sampled_from(late))]))
        assert found.value is not None, found.note
        assert found.value >= 1, found.note
