"""The transactions of a history on registers, as one pass over its operations leaves them.

What is inferred from that: `harness.isolation.rw_register`.
"""

from array import array
from collections.abc import Iterable, Mapping, Sequence

from harness.evidence import wrong
from harness.history import Json
from harness.isolation.inference import EXAMPLES
from harness.isolation.transactions import (
    PLAIN,
    Token,
    Transactions,
    is_transaction,
    malformed,
    token,
)
from harness.operations import Operation


class Reading:
    """What one pass over the operations leaves behind.

    A version is a number that stands for one value of one key; two keys share none. Null is a
    version too. Transactions have numbers; failed ones are `-2 - f` for the f-th.

    Attributes:
        transactions: acknowledged and of unknown outcome.
        micros: of each transaction, its micro-operations.
        failed: the failed transactions that wrote anything, and their micro-operations.
        labels: of each key, its name as in the history.
        keys: of each version, its key.
        values: of each version, its value as in the history; None of null.
        initial: of each key whose null was read, the number of that version.
        read_by, read: every read of an acknowledged transaction, in two columns.
        ext_read_by, ext_read: of these, the first of a key, unless the transaction wrote it before.
        writes_by, wrote: the last write to each key, of acknowledged transactions.
        touch_by, touch_key, first, last: see `Touches`.
        follows: pairs (read, written last) of one acknowledged transaction and key.
        writer: who wrote a version, in whatever place; of those who may have committed.
        failed_writer: the failed one who did.
        intermediate: versions that a transaction wrote and then overwrote.
        updates_by, updated: the first read of a key and the transaction that then wrote the key.
        internal: transactions that contradict themselves, with the reason.
        undecidable: why nothing can be said.
    """

    def __init__(self) -> None:
        self.transactions = Transactions()
        self.micros: list[Sequence[Json]] = []
        self.failed: list[tuple[Operation, Sequence[Json]]] = []
        self.labels: list[Json] = []
        self.keys = array("i")
        self.values: list[Json] = []
        self.initial: dict[int, int] = {}
        self.read_by, self.read = array("i"), array("i")
        self.ext_read_by, self.ext_read = array("i"), array("i")
        self.writes_by, self.wrote = array("i"), array("i")
        self.touch_by, self.touch_key = array("i"), array("i")
        self.first, self.last = array("i"), array("i")
        self.follows: tuple[array[int], array[int]] = (array("i"), array("i"))
        self.writer: dict[int, int] = {}
        self.failed_writer: dict[int, int] = {}
        self.intermediate: dict[int, int] = {}
        self.updates_by, self.updated = array("i"), array("i")
        self.internal: list[Mapping[str, Json]] = []
        self.undecidable = ""
        self._key_codes: dict[Token | tuple[Token, Token], int] = {}
        self._versions: dict[tuple[int, Token | None], int] = {}

    def take(self, operations: Iterable[Operation]) -> None:
        """Read the operations; what is no transaction is passed over."""
        for operation in operations:
            if not is_transaction(operation):
                continue
            micros = operation.value
            if not isinstance(micros, list) or not {*map(type, micros)} <= {list}:
                raise malformed(operation)
            try:
                if operation.outcome == "ok":
                    self._acknowledged(operation, micros)
                elif operation.outcome == "info":
                    self._unknown(operation, micros)
                else:
                    self._refused(operation, micros)
            except (TypeError, ValueError):
                raise malformed(operation) from None

    # --- transactions -----------------------------------------------------------------------

    def _acknowledged(self, operation: Operation, micros: Sequence[Json]) -> None:
        number = self.transactions.add(operation)
        self.micros.append(micros)
        reads: dict[int, int] = {}  # what was read first, before a write or after one
        external: dict[int, int] = {}
        writes: dict[int, int] = {}
        known: dict[int, int] = {}  # what the transaction must find now
        updated: set[int] = set()
        sound = True
        for verb, name, value in micros:  # type: ignore[misc, str-unpack]
            key = self._key(name, operation)
            if verb == "r":
                version = self._version(key, value, operation)
                self.read_by.append(number)
                self.read.append(version)
                reads.setdefault(key, version)
                if key not in known:
                    external[key] = version
                elif known[key] != version and sound:
                    sound = False
                    self._contradiction(number, key, version, known[key])
                known[key] = version
            elif verb == "w":
                version = self._written(key, value, number, operation)
                if key in writes:
                    self.intermediate[writes[key]] = number
                if key in reads and key not in updated:
                    updated.add(key)
                    self.updates_by.append(number)
                    self.updated.append(reads[key])
                writes[key] = known[key] = version
            else:
                self._wrong_verb(verb, operation)
        self._index(number, external, writes)

    def _index(self, number: int, external: Mapping[int, int], writes: Mapping[int, int]) -> None:
        """Record what an acknowledged transaction knew of each key from outside, and left there."""
        for key, version in external.items():
            self.ext_read_by.append(number)
            self.ext_read.append(version)
            last = writes.get(key, version)
            self._touch(number, key, version, last)
            if last != version and self.values[version] is not None:
                self.follows[0].append(version)
                self.follows[1].append(last)
        for key, version in writes.items():
            self.intermediate.pop(version, None)  # written twice, the last time last
            self.writes_by.append(number)
            self.wrote.append(version)
            if key not in external:
                self._touch(number, key, version, version)

    def _unknown(self, operation: Operation, micros: Sequence[Json]) -> None:
        number = self.transactions.add(operation)
        self.micros.append(micros)
        for key, version in self._last_writes(operation, micros, number).items():
            self._touch(number, key, version, version)

    def _refused(self, operation: Operation, micros: Sequence[Json]) -> None:
        number = -2 - len(self.failed)
        self.failed.append((operation, micros))
        self._last_writes(operation, micros, number)

    def _last_writes(
        self, operation: Operation, micros: Sequence[Json], number: int
    ) -> Mapping[int, int]:
        """Record the writes of a transaction that was not acknowledged; return the last ones."""
        writes: dict[int, int] = {}
        for verb, name, value in micros:  # type: ignore[misc, str-unpack]
            key = self._key(name, operation)
            if verb == "w":
                version = self._written(key, value, number, operation)
                if key in writes:
                    self.intermediate[writes[key]] = number
                writes[key] = version
            elif verb != "r":
                self._wrong_verb(verb, operation)
        for version in writes.values():
            self.intermediate.pop(version, None)
        return writes

    def _touch(self, number: int, key: int, first: int, last: int) -> None:
        self.touch_by.append(number)
        self.touch_key.append(key)
        self.first.append(first)
        self.last.append(last)

    # --- micro-operations -------------------------------------------------------------------

    def _key(self, name: Json, operation: Operation) -> int:
        """Return the number of a key; the same name in another table is another key."""
        table = operation.key
        full: Token | tuple[Token, Token]
        full = name if type(name) in PLAIN else token(name, operation)  # type: ignore[assignment]
        if table is not None:
            full = token(table, operation), full  # type: ignore[assignment]
        key = self._key_codes.get(full)
        if key is None:
            key = self._key_codes[full] = len(self.labels)
            self.labels.append(name if table is None else [table, name])
        return key

    def _version(self, key: int, value: Json, operation: Operation) -> int:
        """Return the version that a read saw; null and the empty list are the initial one."""
        if value is None or type(value) in PLAIN:
            full = key, value
        elif value == []:
            full = key, None
        elif isinstance(value, list):
            self._give_up(
                f"line {(operation.completed or 0) + 1}: a read of {value!r}, which is a list: "
                "this is no rw-register history"
            )
            full = key, None
        else:
            full = key, token(value, operation)
        version = self._versions.get(full)  # type: ignore[arg-type]
        return self._new(key, value, full) if version is None else version  # type: ignore[arg-type]

    def _new(self, key: int, value: Json, full: tuple[int, Token | None]) -> int:
        version = self._versions[full] = len(self.values)
        self.keys.append(key)
        self.values.append(None if full[1] is None else value)
        if full[1] is None:
            self.initial[key] = version
        return version

    def _written(self, key: int, value: Json, number: int, operation: Operation) -> int:
        """Return the version that a write made, after recording whose it is."""
        if value is None or isinstance(value, list):
            raise wrong(operation, f"write of {value!r}; expected a number or a text")
        version = self._version(key, value, operation)
        if number < 0:
            self.failed_writer.setdefault(version, number)
        elif self.writer.setdefault(version, number) != number:
            self._give_up(
                f"{value!r} was written to key {self.labels[key]!r} by more than one transaction, "
                "so a read does not tell whose it is"
            )
        return version

    def _contradiction(self, number: int, key: int, found: int, expected: int) -> None:
        if len(self.internal) < EXAMPLES:
            why = (
                f"T{number} read key {self.labels[key]!r} as {self.values[found]!r}, where its own "
                f"last read or write of it says {self.values[expected]!r}"
            )
            self.internal.append({"transaction": number, "why": why})

    def _wrong_verb(self, verb: Json, operation: Operation) -> None:
        if verb != "append":
            raise malformed(operation)
        self._give_up("it has appends: this is no rw-register history; expected reads and writes")

    def _give_up(self, why: str) -> None:
        self.undecidable = self.undecidable or why
