"""What the reads of a list-append history say: orders of versions, dependencies, anomalies.

The order of a key's versions is its longest read. By Adya's definitions, between transactions
that took effect for certain or perhaps:

- WW: the element before mine in that order is yours. An element that was never read came after
  all that were.
- WR: the last element of the list that I read is yours.
- RW: you read the version to which I appended next.

Anomalies that need no cycle, by Elle's names and meanings:

- `G1a`: an acknowledged read has an element of a failed transaction.
- `G1b`: it ends with an element to which the same, other transaction appended once more.
- `dirty-update`: in the order, an acknowledged append follows one of a failed transaction.
- `incompatible-order`: of two reads of one key neither begins with the other.
- `duplicate-elements`: a read has an element twice, though each was appended once.
- `lost-update`: two acknowledged transactions read the same state of a key and appended to it.
- `internal`, `future-read`: see `harness.isolation.appends`.

Source: Adya (1999), section 4.4; Kingsbury & Alvaro, "Elle" (PVLDB 2020), sections 4.2 and 6;
Berenson et al., "A Critique of ANSI SQL Isolation Levels" (1995), P4, for lost updates.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain as end_to_end
from itertools import islice
from typing import Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from harness.errors import Mistake, ScenarioError
from harness.history import Json
from harness.isolation.appends import NOT_READ, Key, Reading, Update
from harness.isolation.inference import (
    EXAMPLES,
    NEVER,
    Inference,
    Int32s,
    Int64s,
    Kind,
    undecided,
)
from harness.isolation.transactions import PLAIN, Token
from harness.operations import Operation

Flags: TypeAlias = NDArray[np.bool_]

_NOBODY: Final = -1
"""The appender of an element that was read though no transaction appended it."""

_FEW: Final = 64  # so many read-write pairs of one version are listed; more go through a hub


def infer(operations: Iterable[Operation]) -> Inference:
    """Return what a list-append history shows.

    Nothing (`undecidable`) when no transaction succeeded, when one element was appended twice to
    one key, or when the micro-operations are those of another workload. An element that nobody
    appended makes a pass unsure: the history is not all there is, or the database invents data.

    Raises:
        ScenarioError: a value is not a list of micro-operations on numbers or texts.
    """
    reading = Reading()
    reading.take(operations)
    if reading.undecidable:
        return undecided(reading.undecidable)
    if not reading.transactions.acknowledged():
        return undecided("no transaction succeeded, so nothing was observed")
    return _Orders(reading).inference()


@dataclass(frozen=True)
class _Reads:
    """The reads of acknowledged transactions: who, which chain, how much of it; shape (r,)."""

    transaction: Int32s
    chain: Int32s
    size: Int32s


class _Orders:
    """A reading, with the order of each key's versions.

    A version is the number of the append that made it, `-1 - k` the empty list of key k.

    Attributes:
        rows: of each chain, its elements as numbers of appends.
        appender, append_key: of each append, see `Reading`; shape (appends,).
        shown: which appends a read shows; shape (appends,).
        previous: the version that each append was made on; shape (appends,).
    """

    def __init__(self, reading: Reading) -> None:
        self.reading = reading
        self.rows = [self._row(chain, code) for chain, code in _chains(reading)]
        self.appender = np.array(reading.appender, np.int32)
        self.append_key = np.array(reading.append_key, np.int32)
        self.shown = np.zeros(len(self.appender), np.bool_)
        self.previous = self._previous()

    def inference(self) -> Inference:
        """Return the conclusions, in the form that is common to all workloads."""
        source, target, kind, hubs = self._dependencies()
        process, invoked, completed = self.reading.transactions.arrays()
        return Inference(
            process, invoked, completed, source, target, kind,
            self.explain, self.describe, dict(self._anomalies()), hubs, self._unwritten(),
        )  # fmt: skip

    # --- versions --------------------------------------------------------------------------

    def _row(self, chain: Sequence[Json], code: int) -> list[int]:
        """Return a list that was read as numbers of appends; of nobody's elements, new ones."""
        key = self.reading.keys[code]
        appended = key.appended
        plain = set(map(type, chain)) <= PLAIN
        tokens: Sequence[Token] = chain if plain else [_token(e, key) for e in chain]  # type: ignore[assignment]
        row = [appended.get(each, _NOBODY) for each in tokens]
        if _NOBODY in row:
            for at, each in enumerate(tokens):
                if row[at] == _NOBODY:
                    row[at] = appended.setdefault(each, len(self.reading.appender))
                    if row[at] == len(self.reading.appender):
                        self.reading.appender.append(_NOBODY)
                        self.reading.append_key.append(code)
        return row

    def order(self, key: Key) -> Sequence[int]:
        """Return the order of a key's versions: its longest read, each element once.

        Where several are longest, reads contradict each other and any of them may be true. Then
        the one is taken whose first differing element was first named last in the history: that
        is how adya numbers them, so that a second opinion is on the same order.
        """
        chains = [key.chain, *(other for other, *_ in key.others)]
        length = max(len(self.rows[chain]) for chain in chains)
        longest = [chain for chain in chains if len(self.rows[chain]) == length]
        row = self.rows[longest[0] if len(longest) == 1 else max(longest, key=self._named_first)]
        return row if len(set(row)) == len(row) else list(dict.fromkeys(row))

    def _named_first(self, chain: int) -> list[tuple[int, int]]:
        """Return where in the history each element of a list was first named."""
        key = self.reading.keys[self.reading.chain_key[chain]]
        elements = (_token(each, key) for each in self.reading.chains[chain])
        return [self._mentions.get(each, (NEVER, 0)) for each in elements]

    @cached_property
    def _mentions(self) -> Mapping[Token, tuple[int, int]]:
        """Where each number or text was first named, as an element or as a key."""
        reading = self.reading
        named: dict[Token, tuple[int, int]] = {}
        place = self._places()
        for key in reading.keys:
            invoked, at = key.mentioned
            label = _token(key.label, key) if not isinstance(key.label, list) else ""
            named[label] = min(named.get(label, (NEVER, 0)), (invoked, 2 * at))
            for element, append in key.appended.items():
                if self.appender[append] != _NOBODY:
                    named[element] = min(named.get(element, (NEVER, 0)), place(append))
        return named

    def _places(self) -> Callable[[int], tuple[int, int]]:
        """Return a function from an append to where it was asked for: invocation, place in it."""
        reading = self.reading
        what = np.array(reading.what)
        at = np.flatnonzero(what < 0)
        position = np.zeros(len(reading.appender), np.int64)
        position[-1 - what[at]] = at
        _, invoked, _ = reading.transactions.arrays()

        def place(append: int) -> tuple[int, int]:
            by = reading.appender[append]
            if by >= 0:
                return int(invoked[by]), 2 * (int(position[append]) - reading.first[by]) + 1
            failed = reading.failed[-2 - by]
            return failed.invoked, 2 * (append - failed.append) + 1

        return place

    def _previous(self) -> Int64s:
        """Return of each append the version that it was made on; shape (appends,)."""
        keys = self.reading.keys
        orders = [self.order(key) for key in keys]
        latest = [order[-1] if order else -1 - code for code, order in enumerate(orders)]
        previous = np.array(latest, np.int64)[self.append_key]
        sizes = np.array([len(order) for order in orders], np.int64)
        flat = np.fromiter(end_to_end.from_iterable(orders), np.int64, int(sizes.sum()))
        before = np.roll(flat, 1)
        used = np.flatnonzero(sizes)
        before[(np.cumsum(sizes) - sizes)[used]] = -1 - used
        previous[flat] = before
        self.shown[flat] = True
        return previous

    @cached_property
    def _reads(self) -> _Reads:
        what, size = np.array(self.reading.what), np.array(self.reading.size)
        first = np.array(self.reading.first)
        real = np.flatnonzero((what >= 0) & (size != NOT_READ))
        whose = np.searchsorted(first, real, side="right") - 1
        return _Reads(whose.astype(np.int32), what[real], size[real])

    @cached_property
    def _flat(self) -> tuple[Int64s, Int64s]:
        """All rows in one, shape (elements,), and where each one begins, shape (chains,)."""
        sizes = np.array([len(row) for row in self.rows], np.int64)
        flat = np.fromiter(end_to_end.from_iterable(self.rows), np.int64, int(sizes.sum()))
        return flat, np.cumsum(sizes) - sizes

    @cached_property
    def _read(self) -> Int64s:
        """The version that each read found; shape (r,)."""
        flat, begin = self._flat
        reads = self._reads
        found: Int64s = -1 - np.array(self.reading.chain_key, np.int64)[reads.chain]
        some = reads.size > 0
        found[some] = flat[(begin[reads.chain] + reads.size - 1)[some]]
        return found

    @cached_property
    def _aborted(self) -> Int64s:
        """Where in each chain the first element of a failed transaction is; shape (chains,)."""
        flat, begin = self._flat
        limit = np.full(len(self.rows), _ENDLESS)
        if len(self.appender):
            hits = np.flatnonzero(self.appender[flat] < _NOBODY)
            chains, first = np.unique(
                np.searchsorted(begin, hits, side="right") - 1, return_index=True
            )
            limit[chains] = hits[first] - begin[chains]
        return limit

    # --- dependencies ----------------------------------------------------------------------

    def _dependencies(self) -> tuple[Int32s, Int32s, NDArray[np.int8], int]:
        """Return source, target and kind of every dependency, and how many hubs there are."""
        mine = np.flatnonzero(self.appender >= 0)
        after = self._writer(self.previous[mine])
        wrote = self._writer(self._read)
        rw_source, rw_target, hubs = self._antidependencies(mine)
        parts = [
            (after, self.appender[mine], Kind.WW),
            (wrote, self._reads.transaction, Kind.WR),
            (rw_source, rw_target, Kind.RW),
        ]
        kept = [(source >= 0) & (source != target) for source, target, _ in parts]
        return (
            np.concatenate([s[k] for (s, _, _), k in zip(parts, kept, strict=True)]),
            np.concatenate([t[k] for (_, t, _), k in zip(parts, kept, strict=True)]),
            np.repeat(
                np.array([kind for *_, kind in parts], np.int8), [int(k.sum()) for k in kept]
            ),
            hubs,
        )

    def _writer(self, versions: Int64s) -> Int32s:
        """Return who made each version; negative: nobody, one that failed, or the empty list."""
        if not len(self.appender):
            return np.full(len(versions), _NOBODY, np.int32)
        return np.where(versions >= 0, self.appender[np.maximum(versions, 0)], np.int32(_NOBODY))

    def _antidependencies(self, mine: NDArray[np.intp]) -> tuple[Int32s, Int32s, int]:
        """Return who read what whom replaced, and the number of hubs used.

        A version that was read has one successor in the order; but all appends that were never
        read follow the last version, so there every reader precedes every one of them.
        """
        by_version = np.argsort(self._read, kind="stable")
        read, reader = self._read[by_version], self._reads.transaction[by_version]
        by_previous = np.argsort(self.previous[mine], kind="stable")
        writer = self.appender[mine][by_previous]
        versions, begin, writers = np.unique(
            self.previous[mine][by_previous], return_index=True, return_counts=True
        )
        low = np.searchsorted(read, versions, side="left")
        readers = np.searchsorted(read, versions, side="right") - low
        many = (writers > 1) & (readers > 1) & (writers * readers > _FEW)
        pairs = np.where(many, 0, writers * readers)
        at = _ranges(pairs)
        group = np.repeat(np.arange(len(versions)), pairs)
        sources = [reader[low[group] + at % np.maximum(readers, 1)[group]]]
        targets = [writer[begin[group] + at // np.maximum(readers, 1)[group]]]
        hubs = np.flatnonzero(many)
        for number, one in enumerate(hubs, len(self.reading.transactions)):
            hub = np.full(max(readers[one], writers[one]), number, np.int32)
            sources += [reader[low[one] : low[one] + readers[one]], hub[: writers[one]]]
            targets += [hub[: readers[one]], writer[begin[one] : begin[one] + writers[one]]]
        return np.concatenate(sources), np.concatenate(targets), len(hubs)

    # --- anomalies -------------------------------------------------------------------------

    def _anomalies(self) -> Iterator[tuple[str, Sequence[Json]]]:
        """Yield the name of every anomaly found and its first examples."""
        found: dict[str, Iterable[tuple[str, Sequence[int]]]] = {
            "G1a": self._aborted_reads(),
            "G1b": self._intermediate_reads(),
            "dirty-update": self._dirty_updates(),
            "duplicate-elements": self._duplicates(),
            "incompatible-order": self._incompatible(),
            "lost-update": self._lost_updates(),
        }
        for name, cases in found.items():
            if examples := [self._example(*case) for case in islice(cases, EXAMPLES)]:
                yield name, examples
        for name in ("internal", "future-read"):
            told = [one for one in self.reading.contradictions if one.name == name]
            if told:
                yield name, [self._example(one.why, [one.transaction]) for one in told]

    def _example(self, why: str, who: Sequence[int]) -> Json:
        return {"why": why, "transactions": {f"T{t}": self.describe(t) for t in who}}

    def _reads_past(self, limit: Int64s) -> Iterator[int]:
        """Yield the reads that are longer than a limit which each chain has; shape (chains,)."""
        if (limit < _ENDLESS).any():
            reads = self._reads
            yield from map(int, np.flatnonzero(reads.size > limit[reads.chain]))

    def _aborted_reads(self) -> Iterator[tuple[str, Sequence[int]]]:
        limit = self._aborted
        for at in self._reads_past(limit):
            who, chain = int(self._reads.transaction[at]), int(self._reads.chain[at])
            append = self.rows[chain][limit[chain]]
            key, element = self._named(append)
            process, line, *_ = self.reading.failed[-2 - int(self.appender[append])]
            yield (
                f"T{who} read {element!r} in key {key!r}, which a transaction of process "
                f"{process!r} appended that failed (line {line})"
            ), [who]  # fmt: skip

    def _intermediate_reads(self) -> Iterator[tuple[str, Sequence[int]]]:
        passing = np.zeros(len(self.appender) + 1, np.bool_)  # the last one: of no version
        passing[self.reading.intermediate] = True
        hits = passing[np.maximum(self._read, -1)] & (
            self._writer(self._read) != self._reads.transaction
        )
        for at in np.flatnonzero(hits):
            who, append = int(self._reads.transaction[at]), int(self._read[at])
            writer = int(self.appender[append])
            key, element = self._named(append)
            name = f"T{writer}" if writer >= 0 else "a transaction that failed"
            yield (
                f"T{who} read key {key!r} up to {element!r} of {name}, which then appended more"
            ), [who, *([writer] if writer >= 0 else [])]  # fmt: skip

    def _dirty_updates(self) -> Iterator[tuple[str, Sequence[int]]]:
        chains = np.flatnonzero(self._aborted < _ENDLESS)
        for code in dict.fromkeys(self.reading.chain_key[chain] for chain in chains):
            key = self.reading.keys[code]
            failed: int | None = None
            for append in self.order(key):
                writer = int(self.appender[append])
                if writer == _NOBODY:
                    break
                if writer < _NOBODY:
                    failed = append if failed is None else failed
                elif self._certain(writer):
                    if failed is not None:
                        yield self._dirty(key, failed, append, writer)
                    failed = None

    def _dirty(self, key: Key, failed: int, append: int, writer: int) -> tuple[str, Sequence[int]]:
        process, line, *_ = self.reading.failed[-2 - int(self.appender[failed])]
        return (
            f"T{writer} appended {self._named(append)[1]!r} to key {key.label!r} after "
            f"{self._named(failed)[1]!r} of a transaction of process {process!r} that failed "
            f"(line {line})"
        ), [writer]  # fmt: skip

    def _duplicates(self) -> Iterator[tuple[str, Sequence[int]]]:
        limit = np.full(len(self.rows), _ENDLESS)
        for chain, row in enumerate(self.rows):
            if len(set(row)) < len(row):
                limit[chain] = _first_repeated(row)
        for at in self._reads_past(limit):
            who, chain = int(self._reads.transaction[at]), int(self._reads.chain[at])
            key, element = self._named(self.rows[chain][limit[chain]])
            yield f"T{who} read {element!r} more than once in key {key!r}", [who]

    def _incompatible(self) -> Iterator[tuple[str, Sequence[int]]]:
        for key in self.reading.keys:
            if key.others:
                one, other = key.chain, key.others[0][0]
                who = [self._longest_reader(one), self._longest_reader(other)]
                lists = self.reading.chains[one], self.reading.chains[other]
                yield (
                    f"T{who[0]} read key {key.label!r} as {_shown(lists[0])} and T{who[1]} as "
                    f"{_shown(lists[1])}; neither is the beginning of the other"
                ), who  # fmt: skip

    def _longest_reader(self, chain: int) -> int:
        reads = self._reads
        of = np.flatnonzero(reads.chain == chain)
        return int(reads.transaction[of[np.argmax(reads.size[of])]])

    def _lost_updates(self) -> Iterator[tuple[str, Sequence[int]]]:
        for one, other in [*self.reading.lost, *self._lost_between_chains()]:
            label = self.reading.keys[one.key].label
            state = self.reading.chains[one.chain][: one.length]
            who = [one.transaction, other.transaction]
            yield f"T{who[0]} and T{who[1]} both read {_shown(state)} in key {label!r} and " \
                "appended to that", who  # fmt: skip

    def _lost_between_chains(self) -> Iterator[tuple[Update, Update]]:
        """Yield two updates of one state that was read as the beginnings of different chains."""
        first: dict[tuple[int, ...], Update] = {}
        for update in self.reading.updates():
            state = (update.key, *self.rows[update.chain][: update.length])
            before = first.setdefault(state, update)
            if before is not update:
                yield before, update

    def _unwritten(self) -> str:
        nobody = np.flatnonzero(self.appender == _NOBODY)
        if not len(nobody):
            return ""
        key, element = self._named(int(nobody[0]))
        return (
            f"{len(nobody)} elements were read that no transaction of the history appended, "
            f"{element!r} in key {key!r} for one"
        )

    # --- words -----------------------------------------------------------------------------

    def _certain(self, transaction: int) -> bool:
        return self.reading.transactions.certain(transaction)

    def _named(self, append: int) -> tuple[Json, Json]:
        """Return the key of an append as the history names it, and the element."""
        key = self.reading.keys[self.append_key[append]]
        exact = next(each for each, number in key.appended.items() if number == append)
        return key.label, exact if isinstance(exact, int | str) else exact[1]

    def _micros(self, transaction: int) -> Iterator[tuple[int, int]]:
        """Yield (chain, length) of a transaction's reads and (-1 - append, 0) of its appends."""
        reading = self.reading
        begin = reading.first[transaction]
        following = transaction + 1
        end = reading.first[following] if following < len(reading.first) else len(reading.what)
        yield from zip(reading.what[begin:end], reading.size[begin:end], strict=True)

    def describe(self, number: int) -> Mapping[str, Json]:
        """Return a transaction as JSON: see `Inference.describe`."""
        micros: list[Json] = []
        for what, size in self._micros(number):
            if what < 0:
                micros.append(["append", *self._named(-1 - what)])
            else:
                label = self.reading.keys[self.reading.chain_key[what]].label
                found = None if size == NOT_READ else list(self.reading.chains[what][:size])
                micros.append(["r", label, found])
        return self.reading.transactions.describe(number, micros)

    def explain(self, source: int, target: int, kind: Kind) -> str:
        """Return the words for one dependency: see `Inference.explain`."""
        reasons = {Kind.WW: self._why_ww, Kind.WR: self._why_wr, Kind.RW: self._why_rw}
        return next(reasons[kind](source, target), f"T{source} is before T{target}")

    def _appends(self, transaction: int) -> Iterator[tuple[int, int]]:
        """Yield a transaction's appends, each with the version that it was made on."""
        for what, _ in self._micros(transaction):
            if what < 0:
                yield -1 - what, int(self.previous[-1 - what])

    def _found(self, transaction: int) -> Iterator[int]:
        """Yield the versions that a transaction read."""
        for what, size in self._micros(transaction):
            if what >= 0 and size != NOT_READ:
                empty = -1 - self.reading.chain_key[what]
                yield self.rows[what][size - 1] if size else empty

    def _why_ww(self, source: int, target: int) -> Iterator[str]:
        for append, version in self._appends(target):
            if version >= 0 and self.appender[version] == source:
                key, element = self._named(append)
                yield (
                    f"T{target} appended {element!r} to key {key!r} after T{source} appended "
                    f"{self._named(version)[1]!r}{self._unseen(append)}"
                )

    def _why_wr(self, source: int, target: int) -> Iterator[str]:
        for version in self._found(target):
            if version >= 0 and self.appender[version] == source:
                key, element = self._named(version)
                yield f"T{target} read {element!r} in key {key!r}, which T{source} appended"

    def _why_rw(self, source: int, target: int) -> Iterator[str]:
        read = set(self._found(source))
        for append, version in self._appends(target):
            if version in read:
                key, element = self._named(append)
                state = f"up to {self._named(version)[1]!r}" if version >= 0 else "as empty"
                yield (
                    f"T{source} read key {key!r} {state}, without {element!r}, which T{target} "
                    f"appended next{self._unseen(append)}"
                )

    def _unseen(self, append: int) -> str:
        return "" if self.shown[append] else " (never read: after all that was)"


_ENDLESS: Final = np.iinfo(np.int64).max


def _chains(reading: Reading) -> list[tuple[Sequence[Json], int]]:
    return list(zip(reading.chains, reading.chain_key, strict=True))


def _token(element: Json, key: Key) -> Token:
    """Return an element that was read, comparable: see `harness.isolation.transactions.token`."""
    if element is None or isinstance(element, bool | float):
        return type(element).__name__, repr(element), None
    if isinstance(element, int | str):
        return element
    text = f"key {key.label!r}: element {element!r} was read; expected a number or a text"
    raise ScenarioError([Mistake("", 0, 0, text)])


def _ranges(sizes: NDArray[np.intp]) -> NDArray[np.intp]:
    """Return 0..s-1 for each size s, one after the other."""
    total = int(sizes.sum())
    return np.arange(total) - np.repeat(np.cumsum(sizes) - sizes, sizes)


def _first_repeated(row: Sequence[int]) -> int:
    """Return where an element first appears again."""
    seen: set[int] = set()
    return next(at for at, each in enumerate(row) if each in seen or seen.add(each))  # type: ignore[func-returns-value]


def _shown(elements: Sequence[Json]) -> str:
    """Return a list for people: all of a short one, the end of a long one."""
    if len(elements) <= 12:
        return repr(list(elements))
    return f"[... {', '.join(map(repr, elements[-8:]))}] ({len(elements)} elements)"
