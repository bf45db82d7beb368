"""The clusters of one run: its own, and those that are restored beside it."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from functools import partial
from random import Random

from harness import conditions, cuts, journal, targets
from harness.clock import Clock, Task
from harness.errors import DriverError
from harness.history import Json
from harness.protocols import Driver, Undo
from harness.record import Record
from harness.scenario import Cluster, Steady, Target
from harness.traffic import Traffic

# The scenario's own cluster; no `cluster:` can have this name.
OWN = ""


@dataclass
class Worlds:
    """What all clusters of a run share, and the clusters.

    Attributes:
        own: the driver of the scenario's own cluster.
        traffic: the clients of that cluster; None before it is up.
        named: the machines that earlier steps picked, by their `as:`.
        marks: what earlier marks recorded, by name.
        background: what still runs beside the steps.
        due: what is undone in the background, if no step does it before.
        undone: what was undone by now, in the background or at the end of the steps.
        all: by name, in the order in which they joined the run.
    """

    clock: Clock
    random: Random
    steady: Steady
    journal: journal.Journal
    record: Record
    own: Driver
    traffic: Traffic | None = None
    named: dict[str, Sequence[str]] = field(default_factory=dict)
    marks: dict[str, Mapping[str, Json]] = field(default_factory=dict)
    background: list[Task] = field(default_factory=list)
    due: list[Undo] = field(default_factory=list)
    undone: list[Undo] = field(default_factory=list)
    all: dict[str, "ClusterWorld"] = field(default_factory=dict)

    def join(self, name: str, driver: Driver, cluster: Cluster) -> "ClusterWorld":
        """Take a cluster into the run; one that is in it by this driver exists again."""
        for known, world in [*self.all.items()]:
            if world.driver is driver:
                world.exists = True
                self.all[known] = self.all.pop(known)  # the last one
                return world
        assert name not in self.all, f"two clusters are named {name!r}"
        self.all[name] = ClusterWorld(self, driver, cluster)
        return self.all[name]

    def of(self, name: str | None) -> "ClusterWorld":
        """Return the cluster that a step's `cluster:` names; None is the scenario's own.

        Raises:
            DriverError: when there is none of this name by now.
        """
        world = self.all.get(name or OWN)
        if world is None:
            raise DriverError(f"cluster {name!r}: not there yet; expected it to be restored")
        return world

    @property
    def last(self) -> "ClusterWorld | None":
        """Return the last cluster that exists."""
        return next((world for world in reversed([*self.all.values()]) if world.exists), None)

    @property
    def clones(self) -> Sequence[Driver]:
        """Return the drivers of all clusters but the scenario's own."""
        return [world.driver for name, world in [*self.all.items()] if name != OWN]

    def heal_after(self, undos: Sequence[Undo], seconds: float) -> None:
        """Undo these in the background, as far as no later step has done it by then."""
        self.due += undos
        self.background.append(self.clock.spawn(partial(self._heal_after, undos, seconds), "heal"))

    def _heal_after(self, undos: Sequence[Undo], seconds: float) -> None:
        self.clock.sleep(seconds)
        still = self.journal.open
        mine = [undo for undo in reversed(undos) if undo in still]
        for undo in mine:
            journal.undo(self.own, undo, self.clones)
            self.journal.strike(undo)
        self.undone += mine
        if mine:
            self.record.note("heal", healed(mine))
            self.record.says(f"healed: {mine[0].method} {', '.join(_machines(mine))}".rstrip())

    def heal(self) -> None:
        """Undo what is still open, and record it.

        Raises:
            DriverError: when something could not be undone; the rest was.
        """
        failures = journal.heal(
            self.journal,
            self.own,
            self.record.says,
            undone=self._note_undone,
            clones=self.clones,
        )
        if failures:
            raise DriverError(f"not undone: {'; '.join(failures)}")

    def _note_undone(self, undo: Undo) -> None:
        self.undone.append(undo)
        self.record.note("heal", healed([undo]))

    def expect_mended(self) -> None:
        """Show that every link that was cut is open again, where both of its ends run.

        Raises:
            DriverError: with those that are not.
        """
        for driver in [world.driver for world in self.all.values() if world.exists]:
            ours = [u for u in self.undone if journal.who_has(u, self.own, self.clones) is driver]
            links = dict.fromkeys(link for undo in ours for link in journal.links_of(undo))
            if links:
                cuts.expect_mended(driver, self.clock, list(links))


class ClusterWorld:
    """One cluster of a run, as the verbs see it. Implements `World`.

    Attributes:
        exists: not destroyed.
        before: who led when the last fault was made on it.
    """

    def __init__(self, worlds: Worlds, driver: Driver, cluster: Cluster) -> None:
        self._worlds = worlds
        self._driver = driver
        self._cluster = cluster
        self.exists = True
        self.before: str | None = None

    @property
    def driver(self) -> Driver:
        return self._driver

    @property
    def clock(self) -> Clock:
        return self._worlds.clock

    @property
    def random(self) -> Random:
        return self._worlds.random

    @property
    def cluster(self) -> Cluster:
        return self._cluster

    @property
    def steady(self) -> Steady:
        return self._worlds.steady

    def look(self) -> conditions.View:
        """Look at the whole cluster."""
        return conditions.look(self.driver, self.clock)

    def resolve(self, target: Target) -> Sequence[str]:
        named = self._worlds.named
        return targets.resolve(target, self.driver, self.look(), named, self.random)

    def undo_later(self, undo: Undo) -> None:
        self._worlds.journal.intend(undo)

    def undone(self, undo: Undo) -> None:
        self._worlds.journal.strike(undo)

    def not_undone(self) -> Sequence[Undo]:
        return self._worlds.journal.open

    def due(self) -> Sequence[Undo]:
        return [undo for undo in self._worlds.journal.open if undo in self._worlds.due]

    def heal_after(self, undos: Sequence[Undo], seconds: float) -> None:
        self._worlds.heal_after(undos, seconds)

    def leader_before(self) -> str | None:
        return self.before

    def held(self) -> AbstractContextManager[None]:
        traffic = self._worlds.traffic
        return traffic.held() if traffic is not None and self._has_clients else nullcontext()

    def unserved(self, since: int) -> Sequence[str]:
        if self._worlds.traffic is None or not self._has_clients:
            raise DriverError("no workload uses this cluster, so nobody can be served by it")
        return self._worlds.traffic.unserved(since)

    def stop_traffic(self) -> None:
        self.exists = False
        if self._worlds.traffic is not None and self._has_clients:
            self._worlds.traffic.stop()

    @property
    def _has_clients(self) -> bool:
        """Say whether clients use it: of the scenario's own cluster alone."""
        return self.driver is self._worlds.own

    def marked(self, name: str) -> Mapping[str, Json]:
        if name not in self._worlds.marks:
            known = ", ".join(self._worlds.marks) or "none"
            raise DriverError(f"mark {name!r}: not made; expected one of those made: {known}")
        return self._worlds.marks[name]

    def joined(self, name: str, driver: Driver, cluster: Cluster) -> "ClusterWorld":
        return self._worlds.join(name, driver, cluster)

    def read_back(self, node: str, *, reader: str) -> None:
        assert self._worlds.traffic is not None, "steps run when the clients do"
        for lack in self._worlds.traffic.read_back(self.driver, node, reader=reader):
            self._worlds.record.says(f"not read back: {lack}")


def healed(undos: Sequence[Undo]) -> Mapping[str, Json]:
    """Return what is recorded of faults that were undone."""
    done: dict[str, Json] = {"nodes": _machines(undos)}
    if any(undo.method == "s3" for undo in undos):
        done["s3"] = "well"
    return done


def _machines(undos: Sequence[Undo]) -> list[str]:
    return sorted({*_named(undos)})


def _named(undos: Sequence[Undo]) -> Iterator[str]:
    for undo in undos:
        yield from journal.machines_of(undo)
