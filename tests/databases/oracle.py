"""Decides tiny transactional histories by the definitions of the models, without any graph.

Every way to execute the transactions is tried: each of those acknowledged, any of those of unknown
outcome, none of those that failed. A model holds if one of the ways explains every read. Meant for
up to about six transactions.

What follows from what, for a checker that infers dependencies (`harness.isolation`):

- it says false => the oracle says false, always; there is no false alarm;
- the oracle says false => it says false, for list-append, when one transaction that ends the
  history has read every key: then every order of versions is known. Without such a read, and for
  registers, whose orders are never read, it may miss what the oracle finds. One thing is missed
  always, as by Elle: two appends of one transaction to one list, the wrong way round there.

Two remarks. Sessions are orders of acknowledged transactions only, as Elle has them. Elle's
`repeatable-read` allows a transaction to contradict itself; nothing else of it can be defined
apart from `serializable` as long as no transaction reads by a predicate.

Source: Papadimitriou, "The Serializability of Concurrent Database Updates" (JACM 1979); Berenson
et al., "A Critique of ANSI SQL Isolation Levels" (SIGMOD 1995), for snapshots and the first
committer; Daudjee & Salem, "Lazy Database Replication with Snapshot Isolation" (VLDB 2006), for
the strong ones; Adya, "Weak Consistency" (MIT 1999), section 3.1, for PL-2.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, permutations

from harness.history import Json
from harness.operations import Operation
from tests.databases.histories import WORKLOADS
from tests.databases.stores import State

Database = dict[int, State]
Before = Callable[["Txn", "Txn"], bool]


@dataclass(frozen=True, eq=False)
class Txn:
    """One transaction.

    Attributes:
        number: its place among those that may have happened.
        process, invoked, completed: as in `Operation`.
        micros: what it did; reads of one that is not acknowledged carry nothing.
    """

    number: int
    process: str | int
    invoked: int
    completed: int | None
    micros: Sequence[tuple[str, int, Json]]

    @property
    def acknowledged(self) -> bool:
        return self.completed is not None

    @property
    def written(self) -> Mapping[int, State]:
        """Return what it wrote to each key, in order."""
        found: dict[int, State] = {}
        for verb, key, value in self.micros:
            if verb != "r":
                assert isinstance(value, int)
                found[key] = (*found.get(key, ()), value)
        return found


class Oracle:
    """Answers for one history.

    Args:
        operations: the history, of one workload of transactions over integers.
        workload: its name.
        options: assumptions about keys, as of rw-register.
    """

    def __init__(
        self, operations: Iterable[Operation], workload: str, options: Sequence[str] = ()
    ) -> None:
        self._show = WORKLOADS[workload].show
        self._lists = workload == "list-append"
        self._txns: list[Txn] = []
        for one in operations:
            if one.f == "txn" and one.outcome != "fail":
                micros = micro_operations(one.value)
                txn = Txn(len(self._txns), one.process, one.invoked, one.completed, micros)
                self._txns.append(txn)
        self._assumed = [*self._assumptions(options)]

    def models(self) -> Mapping[str, bool]:
        """Return what holds; `read-uncommitted` is not defined here."""
        serializable = self._serializable(_never)
        return {
            "read-committed": self._read_committed(),
            "repeatable-read": serializable,
            "snapshot-isolation": self._snapshots(_never),
            "serializable": serializable,
            "strong-session-snapshot-isolation": self._snapshots(_session),
            "strong-session-serializable": self._serializable(_session),
            "strong-snapshot-isolation": self._snapshots(_real_time),
            "strict-serializable": self._serializable(_real_time),
        }

    # --- which happened ---------------------------------------------------------------------

    def _chosen(self) -> Iterator[Sequence[Txn]]:
        """Yield every set of transactions that may be all that happened."""
        sure = [txn for txn in self._txns if txn.acknowledged]
        unsure = [txn for txn in self._txns if not txn.acknowledged]
        for count in range(len(unsure) + 1):
            for some in combinations(unsure, count):
                yield [*sure, *some]

    # --- serializable -----------------------------------------------------------------------

    def _serializable(self, before: Before) -> bool:
        """Return whether the transactions explain their reads one after the other."""
        return any(self._one_by_one([], list(chosen), {}, before) for chosen in self._chosen())

    def _one_by_one(
        self, done: list[Txn], left: list[Txn], database: Database, before: Before
    ) -> bool:
        if not left:
            return self._as_assumed(database)
        for txn in left:
            if any(before(other, txn) for other in left if other is not txn):
                continue
            if not self._explains(txn, database):
                continue
            rest = [other for other in left if other is not txn]
            if self._one_by_one([*done, txn], rest, _after(database, txn), before):
                return True
        return False

    def _explains(self, txn: Txn, database: Database) -> bool:
        """Return whether the transaction would read what it read, in this state of things."""
        own: dict[int, State] = {}
        for verb, key, value in txn.micros:
            if verb != "r":
                assert isinstance(value, int)
                own[key] = (*own.get(key, ()), value)
            elif txn.acknowledged:
                state = (*database.get(key, ()), *own.get(key, ()))
                if self._show(state) != self._normal(value):
                    return False
        return True

    def _normal(self, value: Json) -> Json:
        """Return a read without the freedom to say null for nothing."""
        if self._lists:
            return [] if value is None else value
        return None if value == [] else value

    # --- snapshot isolation -----------------------------------------------------------------

    def _snapshots(self, before: Before) -> bool:
        """Return whether starts and commits can be placed so that the snapshots explain all reads.

        A transaction reads what was committed at its start; between its start and its commit
        nobody else commits a key that it writes. With an order to respect, a transaction starts
        after the commits of those before it.
        """
        return any(
            self._start_or_commit(frozenset(chosen), frozenset(), {}, before, set())
            for chosen in self._chosen()
        )

    def _start_or_commit(
        self,
        waiting: frozenset[Txn],
        active: frozenset[Txn],
        database: Database,
        before: Before,
        seen: set[object],
    ) -> bool:
        if not waiting and not active:
            return self._as_assumed(database)
        situation = waiting, active, tuple(sorted(database.items()))
        if situation in seen:
            return False
        seen.add(situation)
        for txn in waiting:
            if any(before(other, txn) for other in (*waiting, *active) if other is not txn):
                continue
            if self._explains(txn, database) and self._start_or_commit(
                waiting - {txn}, active | {txn}, database, before, seen
            ):
                return True
        for txn in active:
            others = active - {txn}
            if any(not txn.written.keys().isdisjoint(other.written) for other in others):
                continue
            if self._start_or_commit(waiting, others, _after(database, txn), before, seen):
                return True
        return False

    # --- read committed ---------------------------------------------------------------------

    def _read_committed(self) -> bool:
        """Return whether in some order each read is of the end of an earlier one, or of its own.

        For lists it must moreover be the beginning of all that was ever appended, in that order.
        A read of a key after an own write to it may miss the write: PL-2 does not forbid it.
        """
        return any(
            self._reads_committed(order)
            for chosen in self._chosen()
            for order in permutations(chosen)
        )

    def _reads_committed(self, order: Sequence[Txn]) -> bool:
        final: Database = {}
        for txn in order:
            final = _after(final, txn)
        if not self._as_assumed(final):
            return False
        ends: dict[int, set[int | None]] = {}
        for txn in order:
            own: dict[int, set[int]] = {}
            for verb, key, value in txn.micros:
                if verb != "r":
                    assert isinstance(value, int)
                    own.setdefault(key, set()).add(value)
                elif txn.acknowledged:
                    allowed = {None, *own.get(key, ()), *ends.get(key, ())}
                    if not self._is_beginning(self._normal(value), final.get(key, ()), allowed):
                        return False
            for key, values in txn.written.items():
                ends.setdefault(key, set()).add(values[-1])
        return True

    def _is_beginning(self, value: Json, final: State, allowed: set[int | None]) -> bool:
        if not self._lists:
            return value in allowed
        assert isinstance(value, list)
        return list(final[: len(value)]) == value and (value[-1] if value else None) in allowed

    # --- assumptions about keys ---------------------------------------------------------------

    def _assumptions(self, options: Sequence[str]) -> Iterator[tuple[int, Json, Json]]:
        """Yield key, value and a later value, wherever the options make one later."""
        for txn in self._txns:
            if "wfr-keys?" in options and txn.acknowledged:
                for key, (first, last) in self._ends(txn).items():
                    if first is not None:
                        yield key, first, last
        for option, before in (
            ("sequential-keys?", _session),
            ("linearizable-keys?", _real_time),
        ):
            for txn, other in permutations(self._txns, 2):
                if option in options and before(txn, other):
                    left, right = self._ends(txn), self._ends(other)
                    for key in left.keys() & right.keys():
                        yield key, left[key][1], right[key][0]

    def _ends(self, txn: Txn) -> Mapping[int, tuple[Json, Json]]:
        """Return the first and the last value of each key that the transaction knew."""
        reads: dict[int, Json] = {}
        writes: dict[int, Json] = {}
        for verb, key, value in txn.micros:
            if verb != "r":
                writes[key] = value
            elif txn.acknowledged and key not in writes:
                reads.setdefault(key, self._normal(value))
        return {
            key: (reads[key] if key in reads else writes[key], writes.get(key, reads.get(key)))
            for key in reads.keys() | writes.keys()
        }

    def _as_assumed(self, database: Database) -> bool:
        """Return whether the values of each key came in the order that was assumed."""
        for key, early, late in self._assumed:
            values: list[Json] = [None, *database.get(key, ())]
            if early in values and late in values and values.index(early) > values.index(late):
                return False
        return True


def micro_operations(value: Json) -> Sequence[tuple[str, int, Json]]:
    """Return what a transaction over integer keys did, from an event's value."""
    assert isinstance(value, list)
    found: list[tuple[str, int, Json]] = []
    for verb, key, argument in value:
        assert isinstance(verb, str)
        assert isinstance(key, int)
        found.append((verb, key, argument))
    return found


def _after(database: Database, txn: Txn) -> Database:
    """Return the state of things after the transaction's commit."""
    return {**database, **{k: (*database.get(k, ()), *v) for k, v in txn.written.items()}}


def _never(_: Txn, __: Txn) -> bool:
    return False


def _session(txn: Txn, other: Txn) -> bool:
    return other.acknowledged and txn.process == other.process and _real_time(txn, other)


def _real_time(txn: Txn, other: Txn) -> bool:
    return txn.completed is not None and txn.completed < other.invoked
