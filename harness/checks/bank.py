"""`bank`: every read shows all accounts as they stood at one moment."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Annotated, ClassVar, TypeAlias

from pydantic import Field, StrictBool, field_validator

from harness.answer import UNKNOWN, Answer
from harness.check import Check
from harness.evidence import NAMED, told, wrong
from harness.history import Json
from harness.operations import Operation
from harness.registry import register

Account: TypeAlias = Annotated[int, Field(strict=True)] | Annotated[str, Field(strict=True)]
Balance: TypeAlias = int | float | None


@register
class Bank(Check):
    """Hold every `ok` read of all accounts against what transfers between them leave unchanged.

    A read shows a map from account to balance, or pairs of both; an account 0 is the "0" of JSON.
    `wrong-total`: they do not add up. `negative-value`: an account is below zero. `nil-balance`:
    an account has no balance. `missing-account`, `unexpected-key`, `duplicate-account`: they are
    not exactly the accounts. Each breaks it.

    A pass does not show that transfers took effect, that their money went to the right account,
    nor that a read was fresh: a stale but consistent snapshot adds up. Without an `ok` read it is
    unknown.

    O(n) in the balances read; keeps the first bad reads. Source: Jepsen 0.3, `jepsen.tests.bank`.

    Attributes:
        accounts: their names, numbers or texts.
        total: what all balances add up to.
        negative_allowed: an account may be below zero.

    Example:
        {"file": "history.jsonl", "check": "bank", "accounts": [0, 1, 2], "total": 100}
    """

    name: ClassVar[str] = "bank"

    accounts: tuple[Account, ...] = Field(min_length=1)
    total: int
    negative_allowed: StrictBool = False

    @field_validator("accounts")
    @classmethod
    def _differ(cls, accounts: tuple[Account, ...]) -> tuple[Account, ...]:
        twice = [name for name, n in Counter(map(str, accounts)).items() if n > 1]
        if twice:
            raise ValueError(f"found {', '.join(twice)} twice; expected each account once")
        return accounts

    def judge(self, operations: Iterable[Operation]) -> Answer:
        accounts = frozenset(map(str, self.accounts))
        reads, bad = 0, 0
        kinds: Counter[str] = Counter()
        first: list[Json] = []
        for op in operations:
            if op.f != "read" or op.outcome != "ok":
                continue
            reads += 1
            if self._is_whole(op.value, accounts):
                continue
            if not (found := [*dict.fromkeys(self._faults(op, accounts))]):
                continue
            bad += 1
            kinds.update(found)
            if len(first) < NAMED:
                first.append({**told(op), "faults": found})
        detail: dict[str, Json] = {"reads": reads, "bad_reads": bad, "first": first, **kinds}
        if bad:
            said = ", ".join(f"{n} {kind}" for kind, n in sorted(kinds.items()))
            reason = f"{bad} of {reads} reads: {said}"
            return Answer(valid=False, reason=reason, anomalies=sorted(kinds), detail=detail)
        if not reads:
            return Answer(UNKNOWN, "the accounts were never read", detail=detail)
        return Answer(valid=True, detail=detail)

    def _is_whole(self, value: Json, accounts: frozenset[str]) -> bool:
        """Return whether a map is fine at first sight, as most are: ten times as fast."""
        if type(value) is not dict or value.keys() != accounts:
            return False
        balances = value.values()
        if {*map(type, balances)} != {int} or sum(balances) != self.total:
            return False
        return self.negative_allowed or min(balances) >= 0

    def _faults(self, op: Operation, accounts: frozenset[str]) -> Iterator[str]:
        """Yield what is wrong with one read."""
        pairs = [*_balances(op)]
        names = [name for name, _ in pairs]
        if len(names) != len(accounts) or not accounts.issuperset(names):
            if not accounts.issuperset(names):
                yield "unexpected-key"
            if not accounts.issubset(names):
                yield "missing-account"
            if len(set(names)) < len(names):
                yield "duplicate-account"
        known = [balance for _, balance in pairs if balance is not None]
        if len(known) < len(pairs):
            yield "nil-balance"
        elif sum(known) != self.total:
            yield "wrong-total"
        if not self.negative_allowed and any(balance < 0 for balance in known):
            yield "negative-value"


def _balances(op: Operation) -> Iterator[tuple[str, Balance]]:
    """Yield the account and the balance of each that the read shows.

    Raises:
        ScenarioError: when it shows something else.
    """
    for row in _rows(op):
        match row:
            case [int() | str() as name, int() | float() | None as balance]:
                if type(name) is not bool and type(balance) is not bool:
                    yield str(name), balance
                    continue
        raise wrong(op, f"value {row!r}; {_EXPECTED}")


def _rows(op: Operation) -> Iterable[Json]:
    match op.value:
        case None:
            return []
        case Mapping() as balances:
            return ([name, balance] for name, balance in balances.items())
        case [*rows]:
            return rows
    raise wrong(op, f"value {op.value!r}; {_EXPECTED}")


_EXPECTED = "expected balances by account, as a map or as pairs"
