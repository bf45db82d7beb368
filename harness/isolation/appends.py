"""List-append: every transaction appends unique elements to lists and reads whole lists.

A read tells the order of all appends before it, so the longest read of a key is the order of its
versions, and the dependencies follow without any guess. The history is read once. Of all the
lists that were read only the longest of each key is kept: a list that is the beginning of it is
one number, its length; a list that is not (then the order is broken) is kept beside it.

Source: Kingsbury & Alvaro, "Elle" (PVLDB 2020), section 4; what each anomaly is, beside
`harness.isolation.list_append`.
"""

from array import array
from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple, TypeAlias

import orjson

from harness.evidence import wrong
from harness.history import Json
from harness.isolation.inference import EXAMPLES, NEVER
from harness.isolation.transactions import (
    PLAIN,
    Token,
    Transactions,
    is_transaction,
    malformed,
    token,
)
from harness.operations import Operation

NOT_READ: Final = -1
"""The length of a read that carries nothing, as it was in a transaction of unknown outcome."""


class Key:
    """One list: what was appended to it and how it was read.

    Attributes:
        code: its number, in the order in which keys were met.
        label: its name in the history; with its table in front where the operations have one.
        appended: the number of the append of each element.
        chain: the number of its first chain: see `Reading.chains`.
        length, packed: of that chain: how long it is, and its elements as JSON, each followed by
            a comma, so that one list begins with another exactly if their texts do.
        mentioned: where it was first named: position of the invocation, place within it.
        others: number, length and text of each further chain; empty unless the order is broken.
        touched: the last transaction that used the key.
        tail: the last append to it; of `tail_by`.
        tail_by: the transaction of that append.
    """

    __slots__ = (
        "appended", "chain", "code", "label", "length", "mentioned", "others", "packed", "tail",
        "tail_by", "touched",
    )  # fmt: skip

    def __init__(self, code: int, label: Json, chain: int) -> None:
        self.code = code
        self.label = label
        self.chain = chain
        self.appended: dict[Token, int] = {}
        self.length = 0
        self.packed = b"["
        self.mentioned = (NEVER, 0)
        self.others: list[tuple[int, int, bytes]] = []
        self.touched = self.tail = self.tail_by = -1


class Contradiction(NamedTuple):
    """Something that one transaction shows by itself.

    Attributes:
        name: of the anomaly.
        transaction: its number.
        why: in words; the transaction is called `T<number>`.
    """

    name: str
    transaction: int
    why: str


class Failure(NamedTuple):
    """A transaction that failed.

    Attributes:
        process: who sent it.
        line: of its completion, from 1.
        invoked: position of its invocation.
        append: the number that its first append has, if it has any.
    """

    process: str | int
    line: int
    invoked: int
    append: int


class Update(NamedTuple):
    """A transaction that read a key and then appended to it: two of one state lose an update.

    Attributes:
        key: its code.
        chain, length: what it read first.
        transaction: its number.
    """

    key: int
    chain: int
    length: int
    transaction: int


# How many diverging lists of one key are searched for one that a read continues: if the database
# is as broken as that, each of its reads may as well stand alone.
_SEARCHED: Final = 8

_MANY: Final = 32  # bits for the length of a read in the key of `Reading._updates`


class Reading:
    """What one pass over the operations leaves behind: flat arrays, one list per key.

    Attributes:
        transactions: acknowledged and of unknown outcome.
        keys: by number.
        chains: lists that were read, of which none begins with another of the same key; a read is
            the number of a chain and a length.
        chain_key: the key of each chain.
        appender: of each append, the transaction that made it, or `-2 - f` of failed one f.
        append_key: of each append, its key.
        intermediate: the appends after which the same transaction appended to the same key again.
        first: of each transaction, where its micro-operations begin in the next two.
        what: of each micro-operation: the chain that was read, or `-1 - a` for append a.
        size: of each micro-operation: the length that was read, or `NOT_READ`; of appends 0.
        failed: the failed transactions.
        contradictions: what single transactions show, at most `EXAMPLES` of a name.
        lost: pairs of transactions that updated the same state of a key.
        undecidable: why this is no list-append history that anything can be said of.
    """

    def __init__(self) -> None:
        self.transactions = Transactions()
        self.keys: list[Key] = []
        self.chains: list[Sequence[Json]] = []
        self.chain_key = array("i")
        self.appender = array("i")
        self.append_key = array("i")
        self.intermediate: list[int] = []
        self.first = array("q")
        self.what = array("i")
        self.size = array("i")
        self.failed: list[Failure] = []
        self.contradictions: list[Contradiction] = []
        self.lost: list[tuple[Update, Update]] = []
        self.undecidable = ""
        self._named: dict[Token | tuple[Token, Token], Key] = {}
        self._updates: dict[int, int] = {}

    # --- operations ------------------------------------------------------------------------

    def take(self, operations: Iterable[Operation]) -> None:
        """Read the operations; what is no transaction is passed over.

        Raises:
            ScenarioError: a value is not a list of micro-operations.
        """
        for operation in operations:
            if operation[1] != "txn" and not is_transaction(operation):
                continue
            try:
                if operation[2] == "ok":
                    self._acknowledged(operation)
                else:
                    self._uncertain(operation)
            except (TypeError, ValueError):
                raise malformed(operation) from None

    def _acknowledged(self, operation: Operation) -> None:
        """Record a transaction that took effect. The hot loop: a million times in a few seconds."""
        number = self.transactions.add(operation)
        what, size, named = self.what, self.size, self._named
        table, value = operation[3], operation[5]
        begin = len(what)
        self.first.append(begin)
        again = False
        for verb, name, argument in value:  # type: ignore[union-attr, misc]
            if table is None and type(name) in PLAIN and name in named:
                key = named[name]  # type: ignore[index]
            else:
                key = self._key(name, table, operation)
            if key.touched == number:
                again = True
            else:
                key.touched = number
                if operation[6] < key.mentioned[0]:
                    key.mentioned = operation[6], len(what) - begin
            if verb == "r":
                if type(argument) is list and argument:
                    packed = orjson.dumps(argument)[:-1] + b","
                    length = len(argument)
                    if length <= key.length and key.packed.startswith(packed):
                        what.append(key.chain)
                    else:
                        what.append(self._chain(key, argument, length, packed))
                    size.append(length)
                elif argument is None or argument == []:
                    what.append(key.chain)
                    size.append(0)
                else:
                    self._no_list(operation, argument)
                    what.append(key.chain)
                    size.append(NOT_READ)
            elif verb == "append":
                what.append(-1 - self._append(key, argument, number, operation))
                size.append(0)
            else:
                self._no_append(verb, operation)
        if again and not self.undecidable:
            self._within(operation, number, begin)

    def _uncertain(self, operation: Operation) -> None:
        """Record a transaction that failed, or of unknown outcome: only its appends count."""
        refused = operation.outcome == "fail"
        if refused:
            number = -2 - len(self.failed)
            last = operation.invoked if operation.completed is None else operation.completed
            failure = Failure(operation.process, last + 1, operation.invoked, len(self.appender))
            self.failed.append(failure)
        else:
            number = self.transactions.add(operation)
            self.first.append(len(self.what))
        for at, (verb, name, argument) in enumerate(operation.value):  # type: ignore[arg-type, misc]
            key = self._key(name, operation.key, operation)
            key.mentioned = min(key.mentioned, (operation.invoked, at))
            if verb == "append":
                entry, size = -1 - self._append(key, argument, number, operation), 0
            elif verb == "r":
                entry, size = key.chain, NOT_READ
            else:
                self._no_append(verb, operation)
                continue
            if not refused:
                self.what.append(entry)
                self.size.append(size)

    # --- micro-operations ------------------------------------------------------------------

    def _key(self, name: Json, table: Json, operation: Operation) -> Key:
        """Return the key of a name; the same name in another table is another key."""
        label: Json = name if table is None else [table, name]
        exact = token(name, operation)
        full = exact if table is None else (token(table, operation), exact)
        key = self._named.get(full)
        if key is None:
            key = Key(len(self.keys), label, len(self.chains))
            self._named[full] = key
            self.keys.append(key)
            self.chains.append([])
            self.chain_key.append(key.code)
        return key

    def _append(self, key: Key, element: Json, number: int, operation: Operation) -> int:
        """Record an append; return its number."""
        entry = len(self.appender)
        exact = element if type(element) is int else token(element, operation)
        if key.appended.setdefault(exact, entry) != entry and not self.undecidable:
            self.undecidable = (
                f"element {element!r} was appended to key {key.label!r} more than once, so a read "
                "does not tell whose it is"
            )
        self.appender.append(number)
        self.append_key.append(key.code)
        if key.tail_by == number:
            self.intermediate.append(key.tail)
        key.tail, key.tail_by = entry, number
        return entry

    def _chain(self, key: Key, elements: Sequence[Json], length: int, packed: bytes) -> int:
        """Return the chain of a read that is not the beginning of the key's first one."""
        if length > key.length and packed.startswith(key.packed):
            key.length, key.packed = length, packed
            self.chains[key.chain] = elements
            return key.chain
        for at in range(len(key.others) - 1, max(-1, len(key.others) - 1 - _SEARCHED), -1):
            chain, of, text = key.others[at]
            if length <= of and text.startswith(packed):
                return chain
            if length > of and packed.startswith(text):
                key.others[at] = chain, length, packed
                self.chains[chain] = elements
                return chain
        key.others.append((len(self.chains), length, packed))
        self.chains.append(elements)
        self.chain_key.append(key.code)
        return len(self.chains) - 1

    def _no_list(self, operation: Operation, argument: Json) -> None:
        if isinstance(argument, dict):
            raise wrong(operation, f"read of {argument!r}; expected a list or null")
        self.undecidable = self.undecidable or (
            f"line {(operation.completed or 0) + 1}: a read of {argument!r}, which is no list: "
            "this is no list-append history"
        )

    def _no_append(self, verb: Json, operation: Operation) -> None:
        if verb != "w":
            raise malformed(operation)
        self.undecidable = self.undecidable or (
            'it has writes ("w"): this is no list-append history; expected appends and reads only'
        )

    # --- inside one transaction ------------------------------------------------------------

    def _within(self, operation: Operation, number: int, begin: int) -> None:
        """Compare what one transaction saw of a key that it used more than once.

        `internal`: a read differs from what its own earlier reads and appends made it; all that
        is known before the first read is how the list must end. `future-read`: it read an element
        that it appended later; both may be told of one transaction, as by Elle (adya looks no
        further after `internal`). And it may have updated what it read: see `Update`.

        Source: Cerone, Bernardi & Gotsman, "A Framework for Transactional Consistency Models with
        Atomic Visibility" (CONCUR 2015), axiom INT.
        """
        state: dict[Token, _State] = {}
        passed: dict[Token, list[Json]] = {}  # what was read and then contradicted
        first: dict[Token, int] = {}
        what, size = self.what, self.size
        for at, (verb, label, argument) in enumerate(_micros(operation), begin):
            name = label if type(label) is int else token(label, operation)
            known = state.get(name)
            if verb == "append":
                if known is None:
                    state[name] = -1, (), (argument,)
                    continue
                read, elements, appended = known
                state[name] = read, elements, (*appended, argument)
                if _among(argument, elements) or (
                    passed and _among(argument, passed.get(name, ()))
                ):
                    why = f"read {argument!r} in key {label!r} before it appended that itself"
                    self._found("future-read", number, why)
                if name in first:
                    self._update(first.pop(name), number)
                continue
            found: Sequence[Json] = argument or ()  # type: ignore[assignment]
            here = what[at] << _MANY | size[at]
            if known is None or known[0] < 0:
                first[name] = here
            if known is not None and not _holds(known, here, found):
                why = f"read key {label!r} as {[*found]!r}; its own earlier operations make it "
                self._found("internal", number, why + _words(known))
                passed.setdefault(name, []).extend(known[1])
            state[name] = here, found, ()

    def _update(self, read: int, number: int) -> None:
        """Record that a transaction appended to what it had read; pair it with the one before."""
        before = self._updates.setdefault(read, number)
        if before != number and len(self.lost) < EXAMPLES:
            self.lost.append((_update(self, read, before), _update(self, read, number)))

    def updates(self) -> Iterable[Update]:
        """Yield, of keys with several chains, the first update of each state of each chain."""
        for read, number in self._updates.items():
            update = _update(self, read, number)
            if self.keys[update.key].others:
                yield update

    def _found(self, name: str, number: int, why: str) -> None:
        if sum(one.name == name for one in self.contradictions) < EXAMPLES:
            self.contradictions.append(Contradiction(name, number, f"T{number} {why}"))


def _update(reading: Reading, read: int, number: int) -> Update:
    chain, length = read >> _MANY, read & ((1 << _MANY) - 1)
    return Update(reading.chain_key[chain], chain, length, number)


def _micros(operation: Operation) -> Sequence[tuple[str, Json, Json]]:
    return operation.value  # type: ignore[return-value]  # the caller has read it once already


def _holds(known: "_State", here: int, found: Sequence[Json]) -> bool:
    """Return whether a read is what the transaction itself says; as JSON, where 1 is not true."""
    read, elements, appended = known
    if read == here and not appended:
        return True
    length = len(appended)
    if length and orjson.dumps(found[-length:]) != orjson.dumps(appended):
        return False
    # One chain and the right length: then what is before the end is the same as well.
    if read < 0 or here == read + length:
        return True
    return orjson.dumps(found) == orjson.dumps([*elements, *appended])


def _among(element: Json, read: Sequence[Json]) -> bool:
    """Return whether an element was read, as JSON has it: 1 is not true."""
    kind = type(element)
    return element in read and any(type(one) is kind and one == element for one in read)


def _words(known: "_State") -> str:
    read, elements, appended = known
    return f"end with {[*appended]!r}" if read < 0 else f"{[*elements, *appended]!r}"


_State: TypeAlias = tuple[int, Sequence[Json], tuple[Json, ...]]
"""What a transaction knows of a key: its last read (chain and length, -1: none), the elements of
that, and what it appended since."""
