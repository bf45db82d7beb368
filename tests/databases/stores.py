"""Toy databases: versions of keys in memory, and a rule of who sees what and may commit.

A store knows nothing of clients, histories or workloads. A state is the tuple of all values that
were written to a key, in their order: a list shows all of them, a register the last one.
"""

from abc import ABC, abstractmethod
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from random import Random

State = tuple[int, ...]


@dataclass
class Session:
    """One transaction as its store sees it.

    Attributes:
        process: who runs it.
        start: how many commits there were when it began.
        base: what it saw of each key that it read, without its own writes.
        writes: what it wrote so far, key by key.
        writer: whether it is going to write anything.
        doomed: it lost a lock and can only abort.
        site: where it runs, in a store of several sites.
        visible: the commits that it sees, in a store of several sites.
    """

    process: int
    start: int
    writer: bool
    base: dict[int, State] = field(default_factory=dict)
    writes: dict[int, list[int]] = field(default_factory=lambda: defaultdict(list))
    doomed: bool = False
    site: int = 0
    visible: frozenset[int] = frozenset()


@dataclass(frozen=True)
class Commit:
    """What one transaction installed, and what it had seen."""

    states: Mapping[int, State]
    visible: frozenset[int] = frozenset()


class Store(ABC):
    """Versions of each key; a subclass decides what is seen and what may be committed."""

    def __init__(self, rng: Random, defects: float = 0.1) -> None:
        """Make an empty store.

        Args:
            rng: draws what is left to chance.
            defects: how often a broken store does what is wrong with it.
        """
        self.rng = rng
        self.defects = defects
        self.log: list[Commit] = []
        self.versions: dict[int, list[tuple[int, State]]] = defaultdict(list)

    def begin(self, process: int, *, writer: bool) -> Session:
        return Session(process, len(self.log), writer)

    @abstractmethod
    def read(self, session: Session, key: int) -> State:
        """Return what the transaction sees of the key, its own writes included."""

    def write(self, session: Session, key: int, value: int) -> None:
        session.writes[key].append(value)

    @abstractmethod
    def commit(self, session: Session) -> bool:
        """Install the writes, or return False and leave no trace."""

    def abort(self, session: Session) -> None:  # noqa: B027
        """Forget the transaction; for most there is nothing to undo."""

    def lose_tail(self, count: int) -> None:
        """Lose the last commits, acknowledged or not."""
        kept = max(0, len(self.log) - count)
        del self.log[kept:]
        for versions in self.versions.values():
            while versions and versions[-1][0] > kept:
                versions.pop()

    def latest(self, key: int) -> State:
        return self.versions[key][-1][1] if self.versions[key] else ()

    def at(self, key: int, moment: int) -> State:
        """Return the state of a key after so many commits."""
        return next((s for when, s in reversed(self.versions[key]) if when <= moment), ())

    def changed(self, keys: Mapping[int, object], since: int) -> bool:
        return any(self.versions[key] and self.versions[key][-1][0] > since for key in keys)

    def install(self, states: Mapping[int, State], visible: frozenset[int] = frozenset()) -> None:
        self.log.append(Commit(states, visible))
        for key, state in states.items():
            self.versions[key].append((len(self.log), state))

    def apply(self, session: Session) -> None:
        """Install the writes on top of what is there now."""
        states = {k: (*self.latest(k), *values) for k, values in session.writes.items() if values}
        if states:
            self.install(states)

    def _seen(self, session: Session, key: int, state: State) -> State:
        session.base.setdefault(key, state)
        return (*state, *session.writes.get(key, ()))


class Serializable(Store):
    """Reads from a snapshot, and commits only if nothing that was read has changed: strict."""

    def read(self, session: Session, key: int) -> State:
        return self._seen(session, key, self.at(key, session.start))

    def commit(self, session: Session) -> bool:
        if self.changed(session.base, session.start):
            return False
        self.apply(session)
        return True


class SnapshotIsolation(Serializable):
    """Reads from a snapshot; of two that write one key at once, the first to commit wins."""

    def commit(self, session: Session) -> bool:
        if self.changed(session.writes, session.start):
            return False
        self.apply(session)
        return True


class ReadCommitted(Store):
    """Each read sees what is committed by then; a key is locked from a write to the end."""

    def __init__(self, rng: Random, defects: float = 0.1) -> None:
        super().__init__(rng, defects)
        self.locks: dict[int, Session] = {}

    def read(self, session: Session, key: int) -> State:
        return self._seen(session, key, self.latest(key))

    def write(self, session: Session, key: int, value: int) -> None:
        if self.locks.setdefault(key, session) is not session:
            session.doomed = True
        super().write(session, key, value)

    def commit(self, session: Session) -> bool:
        if session.doomed:
            self.abort(session)
            return False
        self.apply(session)
        self._unlock(session)
        return True

    def abort(self, session: Session) -> None:
        self._unlock(session)

    def _unlock(self, session: Session) -> None:
        self.locks = {key: holder for key, holder in self.locks.items() if holder is not session}


class ReadUncommitted(ReadCommitted):
    """Writes are seen at once by everybody; an abort takes them back."""

    def read(self, session: Session, key: int) -> State:  # noqa: ARG002
        holder = self.locks.get(key)
        return (*self.latest(key), *(holder.writes.get(key, ()) if holder else ()))


class LostUpdate(SnapshotIsolation):
    """Reads from a snapshot and writes it back with its own writes, whoever wrote meanwhile."""

    def commit(self, session: Session) -> bool:
        base = {key: self.at(key, session.start) for key in session.writes}
        states = {k: (*base[k], *values) for k, values in session.writes.items() if values}
        if states:
            self.install(states)
        return True


class AbortedRead(Serializable):
    """Now and then an aborted transaction leaves its writes behind."""

    def commit(self, session: Session) -> bool:
        return super().commit(session) or self._leak(session)

    def abort(self, session: Session) -> None:
        self._leak(session)

    def _leak(self, session: Session) -> bool:
        if self.rng.random() < self.defects * 5:
            self.apply(session)
        return False


class StaleReads(Serializable):
    """A transaction that writes nothing is answered by a replica that lags behind."""

    lag = 6

    def begin(self, process: int, *, writer: bool) -> Session:
        start = len(self.log)
        if not writer:
            start = self.rng.randint(max(self.floor(process), start - self.lag), start)
        self.saw(process, start)
        return Session(process, start, writer)

    def commit(self, session: Session) -> bool:
        if not session.writer:
            return True
        done = super().commit(session)
        if done:
            self.saw(session.process, len(self.log))
        return done

    def floor(self, process: int) -> int:  # noqa: ARG002
        """Return before which moment this client is not taken."""
        return 0

    def saw(self, process: int, moment: int) -> None:
        """Learn that this client knows of that moment."""


class StaleSessions(StaleReads):
    """The replicas lag behind, but no client is taken back to before what it has seen or done."""

    def __init__(self, rng: Random, defects: float = 0.1) -> None:
        super().__init__(rng, defects)
        self._floor: dict[int, int] = {}

    def floor(self, process: int) -> int:
        return self._floor.get(process, 0)

    def saw(self, process: int, moment: int) -> None:
        self._floor[process] = max(moment, self.floor(process))


class LongFork(Store):
    """Parallel snapshot isolation: two sites that learn of each other's commits later.

    A commit reaches the other site some time after all that it saw. No two transactions write one
    key unless one of them saw the other.
    """

    def __init__(self, rng: Random, defects: float = 0.1) -> None:
        super().__init__(rng, defects)
        self._sites: list[set[int]] = [set(), set()]

    def begin(self, process: int, *, writer: bool) -> Session:
        self._replicate()
        session = super().begin(process, writer=writer)
        session.site = process % len(self._sites)
        session.visible = frozenset(self._sites[session.site])
        return session

    def read(self, session: Session, key: int) -> State:
        return self._seen(session, key, self._state(key, session.visible))

    def commit(self, session: Session) -> bool:
        for number, commit in enumerate(self.log):
            if number not in session.visible and not commit.states.keys().isdisjoint(
                session.writes
            ):
                return False
        states = {
            key: (*self._state(key, session.visible), *values)
            for key, values in session.writes.items()
            if values
        }
        if states:
            self.install(states, session.visible)
            self._sites[session.site].add(len(self.log) - 1)
        return True

    def _state(self, key: int, visible: frozenset[int]) -> State:
        seen = (self.log[n].states[key] for n in sorted(visible) if key in self.log[n].states)
        return max(seen, key=len, default=())

    def _replicate(self) -> None:
        for site in self._sites:
            for number, commit in enumerate(self.log):
                if number not in site and commit.visible <= site and self.rng.random() > 1 - 0.15:
                    site.add(number)


class Duplicated(Serializable):
    """Now and then a commit is done again some time later, as by a retry that nobody asked for."""

    def commit(self, session: Session) -> bool:
        if not super().commit(session):
            return False
        if self.log and self.rng.random() < self.defects * 2:
            again = self.rng.choice(self.log[-4:]).states
            self.install({key: (*self.latest(key), state[-1]) for key, state in again.items()})
        return True


class Reordered(Serializable):
    """Now and then the last two writes to a key change places after both were there."""

    def commit(self, session: Session) -> bool:
        if not super().commit(session):
            return False
        for key, versions in self.versions.items():
            state = versions[-1][1] if versions else ()
            if len(state) > 1 and self.rng.random() < self.defects:
                self.install({key: (*state[:-2], state[-1], state[-2])})
        return True


STORES: Mapping[str, type[Store]] = {
    "serializable": Serializable,
    "snapshot-isolation": SnapshotIsolation,
    "read-committed": ReadCommitted,
    "read-uncommitted": ReadUncommitted,
    "lost-update": LostUpdate,
    "aborted-read": AbortedRead,
    "stale-reads": StaleReads,
    "stale-sessions": StaleSessions,
    "long-fork": LongFork,
    "duplicated": Duplicated,
    "reordered": Reordered,
    "lost-tail": Serializable,
}

LOSING: Sequence[str] = ("lost-tail",)
"""Kinds that lose acknowledged commits at a failover; all others only leave doubts."""
