"""Rw-register: every transaction writes unique values to registers and reads them.

A read tells who wrote what it saw, and nothing of what was there before. So dependencies between
writers are known only as far as an order of versions is:

- the initial null comes before every value;
- `wfr-keys?`: writes follow reads: what a transaction read of a key comes before what it wrote;
- `sequential-keys?`: each key by itself respects the order of sessions;
- `linearizable-keys?`: each key by itself respects the order of real time.

The last three are assumptions of whoever asks. They are taken one after the other; one that makes
the order of a key cyclic is reported (`cyclic-versions`) and then left out, for all keys.

Of unknown outcome (`info`): as in Elle and adya, such a transaction never gets a dependency out of
its reads or writes, because it may not have happened. What it wrote has a place among the
versions: after null and, with `linearizable-keys?`, after what was known before it was sent. So
nothing that is reported rests on its having happened, nor on its having not.

Source: Kingsbury & Alvaro, "Elle" (PVLDB 2020), section 5; the elle library, rw_register.clj;
Adya, "Weak Consistency" (MIT 1999), section 3.1, for G1a and G1b.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Final, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from harness.history import Json
from harness.isolation.inference import EXAMPLES, Inference, Int8s, Int32s, Kind, undecided
from harness.isolation.registers import Reading
from harness.isolation.version_order import Pairs, Touches, linearizable, sequential
from harness.operations import Operation

if TYPE_CHECKING:
    from array import array

Option: TypeAlias = Literal["wfr-keys?", "sequential-keys?", "linearizable-keys?"]

NOBODY: Final = -1
# From so many readers times successors on, a hub is cheaper than the edges.
_HUB: Final = 64

_Bools: TypeAlias = NDArray[np.bool_]
_Edges: TypeAlias = tuple[Int32s, Int32s, Kind]


def infer(
    operations: Iterable[Operation], options: Mapping[Option, bool] | None = None
) -> Inference:
    """Return what the transactions of a history tell about each other.

    Nothing (`undecidable`) when no transaction succeeded, when two that may have committed wrote
    the same value to one key, or when the micro-operations are those of another workload. A value
    that nobody wrote makes a pass unsure: the history is not all there is, or the database
    invents data.

    Near-linear in the number of micro-operations, with `linearizable-keys?` times the number of
    transactions that run at once.

    Args:
        operations: in the order of their completions, those of unknown outcome last.
        options: what may be assumed of each key by itself; nothing if left out.

    Raises:
        ScenarioError: a transaction's value is not a list of `["r" | "w", key, value]`.
    """
    reading = Reading()
    reading.take(operations)
    if reading.undecidable:
        return undecided(reading.undecidable)
    if not reading.transactions.acknowledged():
        return undecided("no transaction succeeded, so nothing was observed")
    return _Analysis(reading, options or {}).inference()


class _Analysis:
    """The order of versions, and the dependencies between transactions that follow from it."""

    def __init__(self, reading: Reading, options: Mapping[Option, bool]) -> None:
        self._of = reading
        self._versions = len(reading.values)
        self._process, self._invoked, self._completed = reading.transactions.arrays()
        self._key = np.array(reading.keys, np.int32)
        # Who installed a version: acknowledged, and it was the last write to its key.
        self._installer = np.full(self._versions, NOBODY, np.int32)
        self._installer[np.array(reading.wrote, np.int32)] = np.array(reading.writes_by, np.int32)
        self._cyclic: list[Mapping[str, Json]] = []
        self._before = self._order(options)
        self._pairs: frozenset[tuple[int, int]] | None = None

    def inference(self) -> Inference:
        columns = [self._write_reads(), self._write_writes(), *self._anti_dependencies()]
        source = np.concatenate([one[0] for one in columns])
        hubs = max(0, int(max(map(_largest, columns))) + 1 - len(self._process))
        kinds: list[Int8s] = [np.full(len(one[0]), one[2], np.int8) for one in columns]
        return Inference(
            process=self._process,
            invoked=self._invoked,
            completed=self._completed,
            source=source,
            target=np.concatenate([one[1] for one in columns]),
            kind=np.concatenate(kinds),
            explain=self._explain,
            describe=self._describe,
            direct=self._direct(),
            hubs=hubs,
            unsure=self._unsure(),
        )

    def _unsure(self) -> str:
        """Return that values were read that nobody wrote, if so: not all is in the history."""
        of = self._of
        known = np.zeros(self._versions, np.bool_)
        for versions in (of.writer, of.failed_writer, of.initial.values()):
            known[np.fromiter(versions, np.int32)] = True
        read = np.array(of.read, np.int32)
        strange = np.unique(read[~known[read]])
        if not len(strange):
            return ""
        return (
            f"{len(strange)} values were read that no transaction of the history wrote, "
            f"{self._said(int(strange[0]))} for one"
        )

    # --- versions ---------------------------------------------------------------------------

    def _order(self, options: Mapping[Option, bool]) -> Pairs:
        """Return which version comes before which, of all sources that agree with each other."""
        of = self._of
        pairs = self._after_null()
        if options.get("wfr-keys?"):
            wfr = np.array(of.follows[0], np.int32), np.array(of.follows[1], np.int32)
            pairs = self._with("wfr-keys?", wfr, pairs)
        touches = Touches(
            np.array(of.touch_by, np.int32),
            np.array(of.touch_key, np.int32),
            np.array(of.first, np.int32),
            np.array(of.last, np.int32),
        )
        if options.get("sequential-keys?"):
            by_session = sequential(touches, self._process, self._completed)
            pairs = self._with("sequential-keys?", by_session, pairs)
        if options.get("linearizable-keys?"):
            written = (self._installer != NOBODY).tolist()
            by_time = linearizable(touches, self._invoked, self._completed, written)
            pairs = self._with("linearizable-keys?", by_time, pairs)
        return self._without_implied(pairs)

    def _after_null(self) -> Pairs:
        """Return null before every version of its key, where null was read at all."""
        null = self._null()[self._key] if self._versions else np.empty(0, np.int32)
        every = np.arange(self._versions, dtype=np.int32)
        # A failed or overwritten value need not have been a version; what was read, was one.
        installed = np.zeros(self._versions, np.bool_)
        for column in (self._of.first, self._of.last):
            installed[np.array(column, np.int32)] = True
        after = installed & (null != NOBODY) & (null != every)
        return null[after], every[after]

    def _null(self) -> Int32s:
        """Return the version that is the null of each key, or `NOBODY`."""
        null = np.full(len(self._of.labels), NOBODY, np.int32)
        for key, version in self._of.initial.items():
            null[key] = version
        return null

    def _with(self, source: Option, new: Pairs, pairs: Pairs) -> Pairs:
        """Return the pairs with new ones, or without them if any key becomes cyclic."""
        merged = np.concatenate((pairs[0], new[0])), np.concatenate((pairs[1], new[1]))
        loops = _cycles(merged, self._versions)
        for loop in loops:
            values: list[Json] = [self._of.values[version] for version in loop[:EXAMPLES]]
            label = self._of.labels[int(self._key[loop[0]])]
            why = f"with {source}, {len(loop)} versions of key {label!r} come before each other"
            self._cyclic.append({"key": label, "source": source, "values": values, "why": why})
        return pairs if loops else merged

    def _without_implied(self, pairs: Pairs) -> Pairs:
        """Return the pairs without repetitions, and without null's where they say nothing new.

        If v1 is before v2, and v1's writer is known, then whoever read null comes before it, and
        it before v2's writer: the same kinds of dependencies as null before v2 would give.
        """
        early, late = _unique(pairs, self._versions)
        initial = np.zeros(self._versions, np.bool_)
        initial[np.fromiter(self._of.initial.values(), np.int32)] = True
        followed = np.zeros(self._versions, np.bool_)
        followed[late[~initial[early] & (self._installer[early] != NOBODY)]] = True
        told = ~(initial[early] & followed[late])
        return early[told], late[told]

    # --- dependencies between transactions --------------------------------------------------

    def _write_reads(self) -> _Edges:
        reader = np.array(self._of.ext_read_by, np.int32)
        writer = self._installer[np.array(self._of.ext_read, np.int32)]
        known = (writer != NOBODY) & (writer != reader)
        return writer[known], reader[known], Kind.WR

    def _write_writes(self) -> _Edges:
        source, target = self._installer[self._before[0]], self._installer[self._before[1]]
        known = (source != NOBODY) & (target != NOBODY) & (source != target)
        return source[known], target[known], Kind.WW

    def _anti_dependencies(self) -> Iterable[_Edges]:
        """Return edges from the readers of a version to those who wrote later ones."""
        early, late = self._before
        target = self._installer[late]
        early, target = early[target != NOBODY], target[target != NOBODY]
        order = np.argsort(early, kind="stable")
        early, target = early[order], target[order]
        version = np.array(self._of.ext_read, np.int32)
        by_version = np.argsort(version, kind="stable")
        version = version[by_version]
        reader = np.array(self._of.ext_read_by, np.int32)[by_version]
        low = np.searchsorted(version, early, "left")
        count = np.searchsorted(version, early, "right") - low
        crowded = self._crowded(early, count)
        plain = ~crowded
        yield _all_pairs(reader, low[plain], count[plain], target[plain])
        yield from self._through_hubs(early[crowded], target[crowded], version, reader)

    def _crowded(self, early: Int32s, readers: NDArray[np.int64]) -> _Bools:
        """Return which pairs are of a version with so many readers that a hub is cheaper."""
        later = np.bincount(early, minlength=self._versions)[early]
        return (readers * later > _HUB) & (readers > 2) & (later > 2)

    def _through_hubs(
        self, early: Int32s, target: Int32s, version: Int32s, reader: Int32s
    ) -> Iterable[_Edges]:
        """Yield, for each version, its readers to a hub and the hub to all who wrote later ones.

        A reader that wrote a later version itself must not reach itself through the hub; its
        edges are listed one by one.
        """
        hub = len(self._process)
        for one in np.unique(early):
            low, high = (
                np.searchsorted(version, one, "left"),
                np.searchsorted(version, one, "right"),
            )
            targets, readers = np.unique(target[early == one]), np.unique(reader[low:high])
            both = np.intersect1d(readers, targets)
            pure = np.setdiff1d(readers, both)
            yield pure, np.full(len(pure), hub, np.int32), Kind.RW
            yield np.full(len(targets), hub, np.int32), targets, Kind.RW
            source = np.repeat(both, len(targets)).astype(np.int32)
            to = np.tile(targets, len(both)).astype(np.int32)
            yield source[source != to], to[source != to], Kind.RW
            hub += 1

    # --- anomalies that need no cycle -------------------------------------------------------

    def _direct(self) -> Mapping[str, Sequence[Json]]:
        found: dict[str, Sequence[Json]] = {
            "internal": [dict(one) for one in self._of.internal],
            "G1a": self._aborted_reads(),
            "G1b": self._intermediate_reads(),
            "lost-update": self._lost_updates(),
            "cyclic-versions": [dict(one) for one in self._cyclic[:EXAMPLES]],
        }
        return {name: examples for name, examples in found.items() if examples}

    def _aborted_reads(self) -> Sequence[Json]:
        """Return reads of what a failed transaction wrote, and nobody else."""
        of = self._of
        aborted = {v: who for v, who in of.failed_writer.items() if v not in of.writer}
        examples: list[Json] = []
        for reader, version in self._reads_of(aborted):
            operation, micros = of.failed[-2 - aborted[version]]
            why = f"T{reader} read {self._said(version)}, which a failed transaction wrote"
            writer: Json = {"process": operation.process, "operations": list(micros)}
            examples.append({"transaction": reader, "why": why, "writer": writer})
        return examples

    def _intermediate_reads(self) -> Sequence[Json]:
        """Return reads of what another transaction overwrote before its end."""
        of, examples = self._of, list[Json]()
        for reader, version in self._reads_of(of.intermediate):
            writer = of.intermediate[version]
            if writer == reader or len(examples) == EXAMPLES:
                continue
            who = f"T{writer}" if writer >= 0 else "a failed transaction"
            why = f"T{reader} read {self._said(version)}, which {who} then overwrote itself"
            examples.append({"transaction": reader, "why": why})
        return examples

    def _reads_of(self, versions: Mapping[int, int]) -> Sequence[tuple[int, int]]:
        """Return reader and version of the reads of some versions; a reader's own are few."""
        if not versions:
            return ()
        wanted = np.zeros(self._versions, np.bool_)
        wanted[np.fromiter(versions, np.int32)] = True
        read = np.array(self._of.read, np.int32)
        places = np.flatnonzero(wanted[read])
        reader = np.array(self._of.read_by, np.int32)[places]
        read = read[places]
        writer = np.array([versions[version] for version in read.tolist()], np.int32)
        foreign = writer != reader
        return list(
            zip(reader[foreign].tolist()[:EXAMPLES], read[foreign].tolist()[:EXAMPLES], strict=True)
        )

    def _lost_updates(self) -> Sequence[Json]:
        """Return versions that several transactions read and then overwrote."""
        version = np.array(self._of.updated, np.int32)
        count = np.bincount(version, minlength=self._versions)
        by: defaultdict[int, list[Json]] = defaultdict(list)
        for place in np.flatnonzero(count[version] > 1).tolist():
            by[self._of.updated[place]].append(self._of.updates_by[place])
        examples: list[Json] = []
        for one, who in by.items():
            if len(examples) == EXAMPLES:
                break
            names = " and ".join(f"T{number}" for number in who[:3])
            why = f"{names} all read {self._said(one)} and then wrote the key"
            examples.append({"transactions": who[:EXAMPLES], "why": why})
        return examples

    # --- words ------------------------------------------------------------------------------

    def _said(self, version: int) -> str:
        label = self._of.labels[int(self._key[version])]
        return f"key {label!r} = {self._of.values[version]!r}"

    def _describe(self, number: int) -> Mapping[str, Json]:
        return self._of.transactions.describe(number, self._of.micros[number])

    def _explain(self, source: int, target: int, kind: Kind) -> str:
        left = self._mine(self._of.writes_by, self._of.wrote, source)
        right = self._mine(self._of.writes_by, self._of.wrote, target)
        if kind is Kind.WR:
            seen = self._mine(self._of.ext_read_by, self._of.ext_read, target)
            version = next(iter(set(left) & set(seen)))
            return f"T{target} read {self._said(version)}, which T{source} wrote"
        verb = "wrote" if kind is Kind.WW else "read"
        if kind is Kind.RW:
            left = self._mine(self._of.ext_read_by, self._of.ext_read, source)
        if self._pairs is None:
            self._pairs = frozenset(zip(*(one.tolist() for one in self._before), strict=True))
        early, late = next((a, b) for a in left for b in right if (a, b) in self._pairs)
        return (
            f"T{source} {verb} {self._said(early)}, and T{target} wrote the later "
            f"{self._of.values[late]!r}"
        )

    def _mine(self, by: "array[int]", versions: "array[int]", number: int) -> Sequence[int]:
        """Return the versions of one transaction's rows; the rows are in its order."""
        rows = np.frombuffer(by, np.int32)
        low, high = np.searchsorted(rows, number, "left"), np.searchsorted(rows, number, "right")
        return list(versions[low:high])


def _largest(edges: _Edges) -> int:
    return max((int(column.max()) for column in edges[:2] if len(column)), default=-1)


def _unique(pairs: Pairs, size: int) -> Pairs:
    """Return the pairs sorted and without repetitions."""
    codes = np.unique(pairs[0].astype(np.int64) * max(size, 1) + pairs[1])
    early, late = np.divmod(codes, max(size, 1))
    return early.astype(np.int32), late.astype(np.int32)


def _cycles(pairs: Pairs, size: int) -> Sequence[Sequence[int]]:
    """Return the versions that come before each other, by groups."""
    if not len(pairs[0]):
        return ()
    from scipy.sparse import coo_array  # type: ignore[import-untyped] # as in graph
    from scipy.sparse.csgraph import connected_components  # type: ignore[import-untyped]

    ones = np.ones(len(pairs[0]), np.int8)
    graph = coo_array((ones, (pairs[0], pairs[1])), shape=(size, size)).tocsr()
    groups, group = connected_components(graph, directed=True, connection="strong")
    large = np.bincount(group, minlength=groups) > 1
    members: defaultdict[int, list[int]] = defaultdict(list)
    for version in np.flatnonzero(large[group]).tolist():
        members[int(group[version])].append(version)
    return list(members.values())


def _all_pairs(
    reader: Int32s, low: NDArray[np.int64], count: NDArray[np.int64], target: Int32s
) -> _Edges:
    """Return an edge from each of reader[low : low + count] to the target of that row."""
    total = int(count.sum())
    starts = np.repeat(low - np.cumsum(count) + count, count)
    source = reader[starts + np.arange(total)]
    to = np.repeat(target, count)
    return source[source != to], to[source != to], Kind.RW
