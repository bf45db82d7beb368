"""Histories of toy databases, with what certainly holds of them.

`history("snapshot-isolation", "list-append", seed=3)` returns the events of one run, as the lines
of a file of docs/reference/history.md. All that happens is drawn from the seed.

A new workload for transactions is one more `Workload`; another kind of database is one more class
in `tests.databases.stores`.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from random import Random

from harness.history import Json
from harness.isolation.models import MODELS
from tests.databases.stores import LOSING, STORES, Session, State, Store

Event = dict[str, Json]

_COMMITTED = frozenset(MODELS[:2])
_SERIALIZABLE = frozenset(MODELS[:5])

# What a kind promises, whatever the seed; its histories may by chance keep more.
_HOLDS: Mapping[str, frozenset[str]] = {
    "serializable": frozenset(MODELS),
    "snapshot-isolation": _COMMITTED
    | {"snapshot-isolation", "strong-session-snapshot-isolation", "strong-snapshot-isolation"},
    "read-committed": _COMMITTED,
    "read-uncommitted": frozenset(MODELS[:1]),
    "stale-reads": _SERIALIZABLE,
    "stale-sessions": _SERIALIZABLE
    | {"strong-session-snapshot-isolation", "strong-session-serializable"},
    "long-fork": _COMMITTED,
}

# Of these kinds, each key by itself respects real time, and so do sessions.
_LINEARIZABLE_KEYS = ("serializable", "snapshot-isolation", "read-committed")
_SEQUENTIAL_KEYS = (*_LINEARIZABLE_KEYS, "stale-sessions")


@dataclass(frozen=True)
class Workload:
    """What clients do, and how a state of the database looks to them.

    Attributes:
        verb: of a write.
        show: from the values that were written to a key to what a read returns.
    """

    verb: str
    show: Callable[[State], Json]


def _show_list(state: State) -> Json:
    return list(state)


def _show_last(state: State) -> Json:
    return state[-1] if state else None


WORKLOADS: Mapping[str, Workload] = {
    "list-append": Workload("append", _show_list),
    "rw-register": Workload("w", _show_last),
}


@dataclass(frozen=True)
class Load:
    """How much is done, and how much goes wrong.

    Attributes:
        transactions: how many are tried.
        processes: how many run at once.
        keys: how many are in use at once; a key is replaced after `writes_per_key` writes.
        longest: the most operations of one transaction.
        reads: the share of reads among operations.
        fail: the share of transactions that are given up for no reason.
        info: the share of commits with no answer; what happened then is drawn.
        failovers: the share of steps at which all open transactions are cut off.
        defects: how often a broken database does what is wrong with it.
        final_reads: whether every key is read once more at the end, by one transaction.
    """

    transactions: int = 100
    processes: int = 5
    keys: int = 4
    writes_per_key: int = 16
    longest: int = 4
    reads: float = 0.5
    fail: float = 0.05
    info: float = 0.03
    failovers: float = 0.0
    defects: float = 0.1
    final_reads: bool = False


def history(
    kind: str,
    workload: str,
    seed: int,
    *,
    transactions: int = 100,
    processes: int = 5,
    keys: int = 4,
    **more: float,
) -> list[Event]:
    """Return the events of one run.

    Args:
        kind: of the database, one of `STORES`.
        workload: one of `WORKLOADS`.
        seed: of all that is drawn.
        transactions, processes, keys, more: see `Load`.
    """
    load = Load(transactions, processes, keys, **more)  # type: ignore[arg-type]
    rng = Random(f"{kind} {workload} {seed}")
    run = _Run(
        STORES[kind](rng, load.defects), WORKLOADS[workload], load, rng, loses=kind in LOSING
    )
    return run.events()


def holds(kind: str, workload: str = "list-append", options: Sequence[str] = ()) -> frozenset[str]:
    """Return the models that certainly hold of every history of a kind.

    With assumptions about keys (`options` of rw-register) that the kind does not keep, nothing is
    certain.
    """
    if "linearizable-keys?" in options and kind not in _LINEARIZABLE_KEYS:
        return frozenset()
    if "sequential-keys?" in options and kind not in _SEQUENTIAL_KEYS:
        return frozenset()
    if kind == "lost-update" and workload == "rw-register" and not options:
        return _COMMITTED
    return _HOLDS.get(kind, frozenset())


@dataclass
class _Client:
    """One client, between two transactions or in one.

    Attributes:
        process: its name in the history; a new one after an unknown outcome.
        plan: what is left to do.
        asked: what it was asked at first.
        done: the results so far.
    """

    process: int
    session: Session | None = None
    asked: list[list[Json]] = field(default_factory=list)
    plan: list[list[Json]] = field(default_factory=list)
    done: list[Json] = field(default_factory=list)
    outcome: str | None = None


class _Run:
    """Interleaves the clients, one step of one of them at a time."""

    def __init__(
        self, store: Store, workload: Workload, load: Load, rng: Random, *, loses: bool
    ) -> None:
        self._store, self._workload, self._load, self._rng = store, workload, load, rng
        self._loses = loses
        self._events: list[Event] = []
        self._clients = [_Client(number) for number in range(load.processes)]
        self._names = load.processes
        self._left = load.transactions
        self._keys = list(range(load.keys))
        self._written: dict[int, int] = {}
        self._late: list[Session] = []

    def events(self) -> list[Event]:
        while self._left or any(client.session for client in self._clients):
            if self._rng.random() < self._load.failovers:
                self._fail_over()
            if self._late and self._rng.random() < 0.1:
                self._store.commit(self._late.pop())  # of unknown outcome, and it happens now
            self._step(self._rng.choice(self._clients))
        if self._load.final_reads:
            self._read_all()
        return self._events

    def _step(self, client: _Client) -> None:
        session = client.session
        if session is None:
            if self._left:
                self._left -= 1
                self._invoke(client, self._plan())
        elif client.outcome is not None:
            self._complete(client)
        elif client.plan:
            self._operate(client, session)
        else:
            client.outcome = self._commit(session)

    def _plan(self) -> list[list[Json]]:
        plan: list[list[Json]] = []
        for _ in range(self._rng.randint(1, self._load.longest)):
            place = self._rng.randrange(len(self._keys))
            key = self._keys[place]
            if self._rng.random() < self._load.reads:
                plan.append(["r", key, None])
                continue
            value = self._written[key] = self._written.get(key, 0) + 1
            plan.append([self._workload.verb, key, value])
            if value >= self._load.writes_per_key:
                self._keys[place] = max(*self._keys, *self._written) + 1
        return plan

    def _invoke(self, client: _Client, plan: list[list[Json]]) -> None:
        client.asked, client.plan, client.done, client.outcome = plan, list(plan), [], None
        self._record(client.process, "invoke", [list(one) for one in plan])
        writer = any(one[0] != "r" for one in plan)
        client.session = self._store.begin(client.process, writer=writer)

    def _operate(self, client: _Client, session: Session) -> None:
        verb, key, value = client.plan.pop(0)
        assert isinstance(key, int)
        if verb == "r":
            client.done.append([verb, key, self._workload.show(self._store.read(session, key))])
        else:
            assert isinstance(value, int)
            self._store.write(session, key, value)
            client.done.append([verb, key, value])

    def _commit(self, session: Session) -> str:
        chance = self._rng.random()
        if chance < self._load.fail:
            self._store.abort(session)
            return "fail"
        if chance < self._load.fail + self._load.info:
            return self._doubt(session)
        return "ok" if self._store.commit(session) else "fail"

    def _doubt(self, session: Session) -> str:
        """Let a commit happen now, later, or never; nobody is told."""
        fate = self._rng.randrange(3)
        if fate == 0:
            self._store.commit(session)
        elif fate == 1:
            self._late.append(session)
        else:
            self._store.abort(session)
        return "info"

    def _complete(self, client: _Client) -> None:
        outcome = client.outcome or "info"
        value: list[Json] = client.done if outcome == "ok" else [list(one) for one in client.asked]
        self._record(client.process, outcome, value)
        client.session = client.outcome = None
        if outcome == "info":
            client.process, self._names = self._names, self._names + 1

    def _fail_over(self) -> None:
        """Cut off every open transaction; some had reached their commit, nobody knows which."""
        self._events.append(self._event("nemesis", "info", "failover", None))
        for client in self._clients:
            if client.session is not None and client.outcome is None:
                if client.plan:
                    self._store.abort(client.session)
                    client.outcome = self._rng.choice(("fail", "info"))
                else:
                    client.outcome = self._doubt(client.session)
        if self._loses:
            self._late.clear()
            self._store.lose_tail(self._rng.randint(1, 5))

    def _read_all(self) -> None:
        """Read every key that was ever written, from what the database holds in the end."""
        client = _Client(self._names)
        plan: list[list[Json]] = [["r", key, None] for key in sorted(self._written)]
        self._invoke(client, plan)
        session = Session(client.process, len(self._store.log), writer=True)
        session.visible = frozenset(range(len(self._store.log)))
        client.session, client.outcome = session, "ok"
        while client.plan:
            self._operate(client, session)
        self._complete(client)

    def _record(self, process: int, kind: str, value: Json) -> None:
        self._events.append(self._event(process, kind, "txn", value))

    def _event(self, process: int | str, kind: str, f: str, value: Json) -> Event:
        index = len(self._events)
        return {
            "index": index,
            "process": process,
            "type": kind,
            "f": f,
            "value": value,
            "time": index * 1_000_000,
        }
