"""What every driver promises of its DCS, whichever it is; one cluster on each store."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from harness.clock import NS, WallClock
from harness.errors import DriverError
from harness.history import Json, read_events
from harness.protocols import Driver, Job, Keeps
from harness.scenario import Cluster
from tests.conformance.conftest import CLUSTER, running, wait_steady

CLOCK = WallClock()
ON_ZOOKEEPER = Cluster(nodes=1, azs=("a", "b", "c"), dcs="zookeeper")


@dataclass(frozen=True)
class Stand:
    """A running cluster, and what its members tell."""

    driver: Driver
    cluster: Cluster
    log: Path

    @property
    def members(self) -> list[str]:
        return [member.name for member in self.driver.dcs_members]

    def told(self, member: str, f: str = "dcs") -> list[Mapping[str, Json]]:
        """Return the changes, or the terms, that a member told since it is watched."""
        process = f"dcs/{member}"
        found = [e for e in read_events(self.log) if e.f == f and e.process == process]
        return [e.value for e in found if isinstance(e.value, Mapping)]

    def leader_changes(self, member: str) -> list[tuple[Json, Json]]:
        changes = [change for change in self.told(member) if change["key"] == "leader"]
        return [(change["value"], change["revision"]) for change in changes]

    def term(self, member: str) -> Mapping[str, Json]:
        terms = self.told(member, "dcs-term")
        return terms[-1] if terms else {}

    def wait(self, holds: Callable[[], bool], what: str) -> None:
        CLOCK.wait_for(holds, timeout_s=60, what=what, every_s=0.2)


@pytest.fixture(scope="module", params=["etcd", "zookeeper"])
def stand(
    request: pytest.FixtureRequest,
    driver: Driver,
    folder: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Stand]:
    """Yield a cluster on this store; on etcd it is the one that all share."""
    if request.param == CLUSTER.dcs:
        yield Stand(driver, CLUSTER, folder / "clients" / "region.jsonl")
        return
    own = tmp_path_factory.mktemp(request.param)
    with running(driver.name, ON_ZOOKEEPER, own) as made:
        yield Stand(made, ON_ZOOKEEPER, own / "clients" / "region.jsonl")


@pytest.fixture(scope="module")
def watched(stand: Stand) -> Iterator[Stand]:
    """Yield the cluster with a watcher of each member: of one for all, each change is told once."""
    client = stand.driver.client("region")
    jobs = [
        Job(f"watch-{member}", "probes", "dcs", {}, through=member, seed=1)
        for member in stand.members
    ]
    for job in jobs:
        client.start(job)
    try:
        stand.wait(lambda: all(map(stand.term, stand.members)), "a term")
        yield stand
    finally:
        for job in jobs:
            client.stop(job.name)


@contextmanager
def off(stand: Stand, *members: str) -> Iterator[None]:
    """Let members be without power inside the block."""
    for member in members:
        stand.driver.power_off(member)
    try:
        yield
    finally:
        for member in members:
            stand.driver.start(member)
        stand.wait(lambda: answers(stand), "a quorum")


def answers(stand: Stand, member: str | None = None) -> bool:
    try:
        stand.driver.dcs(deadline_s=2, member=member)
    except DriverError:
        return False
    return True


def test_members_are_named_for_the_store(stand: Stand) -> None:
    """In the order of their AZs; and the store says which version it is."""
    store = stand.cluster.dcs
    assert stand.members == [f"{store}-{number}" for number in (1, 2, 3)]
    assert stand.driver.versions()["dcs"].startswith(f"{store} 3.")


def test_keys_have_the_same_names(stand: Stand) -> None:
    """One name for a key, however the store holds it; nothing but the cluster's keys."""
    nodes = [node.name for node in stand.driver.nodes]
    keys = stand.driver.dcs(deadline_s=5)
    needed = {"leader", "config", "initialize", *(f"members/{node}" for node in nodes)}
    others = {"status", "history", "failover", "sync", "failsafe"}
    assert needed <= set(keys) <= needed | others
    assert keys["leader"] in nodes


def test_each_member_reads_and_one_of_them_leads(stand: Stand) -> None:
    """Asked alone, each tells the same keys; one that is frozen tells none, and leads no more."""
    led = stand.driver.dcs_leader(deadline_s=5)
    told = [stand.driver.dcs(deadline_s=5, member=member) for member in stand.members]
    assert led in stand.members
    assert all(keys["leader"] == told[0]["leader"] for keys in told)
    stand.driver.freeze(led, "all")
    try:
        assert not answers(stand, led)

        def another_leads() -> bool:
            try:
                return stand.driver.dcs_leader(deadline_s=2) != led
            except DriverError:
                return False

        stand.wait(another_leads, "another leader of the DCS")
    finally:
        stand.driver.thaw(led, "all")
    stand.wait(lambda: answers(stand, led), "an answer of the one that was frozen")


def test_members_tell_a_change_alike(watched: Stand) -> None:
    """The leader key goes and is taken again: of each the same value and the same revision."""
    seen = {member: len(watched.leader_changes(member)) for member in watched.members}
    watched.driver.kill(watched.driver.dcs(deadline_s=5)["leader"], "patroni", "TERM")
    wait_steady(watched.driver, watched.cluster)

    def fresh(member: str) -> list[tuple[Json, Json]]:
        return watched.leader_changes(member)[seen[member] :]

    first, *others = watched.members
    watched.wait(lambda: len(fresh(first)) >= 2, "a change of the leader key")
    watched.wait(lambda: all(fresh(first) == fresh(other) for other in others), "the same of all")
    values, revisions = zip(*fresh(first), strict=True)
    assert values[0] is None
    assert values[-1] in [node.name for node in watched.driver.nodes]
    assert sorted(revisions) == list(revisions)


@pytest.mark.parametrize("how", ["power-off", "freeze"])
def test_another_member_leads_in_a_new_term(watched: Stand, how: str) -> None:
    """The others tell who, within the time that an election may take, and it when it is back."""
    before = watched.term(watched.members[0])
    led = str(before["leader"])
    others = [member for member in watched.members if member != led]

    def is_known(*members: str) -> bool:
        now = [watched.term(member) for member in members]
        return all(each == now[0] != before for each in now)

    if how == "freeze":
        watched.driver.freeze(led, "all")
        try:
            watched.wait(lambda: is_known(*others), "another term")
        finally:
            watched.driver.thaw(led, "all")
    else:
        with watched.driver.is_silent(led) as silence, off(watched, led):
            assert silence.broken_within(1) is None
            watched.wait(lambda: is_known(*others), "another term")
    assert watched.term(others[0])["leader"] in others
    watched.wait(lambda: is_known(*watched.members), "the term of all")


def test_without_a_quorum_nothing_is_read(stand: Stand) -> None:
    """The member that is left has the keys, and does not tell them."""
    with (
        off(stand, *stand.members[:2]),
        pytest.raises(DriverError, match="no answer from a quorum"),
    ):
        stand.driver.dcs(deadline_s=2)
    wait_steady(stand.driver, stand.cluster)


@pytest.mark.parametrize(("rate", "loss"), [(4096, 0.0), (None, 0.3)], ids=["rate", "loss"])
def test_a_member_is_slow_and_fast_again(stand: Stand, rate: int | None, loss: float) -> None:
    """By what it sends in a second, or by what is lost; the others serve as before."""
    member, *others = stand.members

    def read_s(of: str) -> float:
        begun = CLOCK.now_ns()
        answers(stand, of)
        return (CLOCK.now_ns() - begun) / NS

    usual_s = max(read_s(member) for _ in range(3))
    stand.driver.slow(member, rate=rate, loss=loss)
    try:
        stand.wait(lambda: read_s(member) > usual_s + 0.2, "a slow answer")
        stand.wait(lambda: answers(stand, others[0]), "an answer of another")
    finally:
        stand.driver.quicken(member)
    stand.driver.quicken(member)
    stand.wait(lambda: read_s(member) < usual_s + 0.1, "an answer as fast as before")
    wait_steady(stand.driver, stand.cluster)


def test_a_member_that_lost_its_disk_is_replaced(stand: Stand) -> None:
    """It gets the keys from the others: with it, a quorum of two is one."""
    if not isinstance(stand.driver, Keeps):
        pytest.skip(f"{stand.driver.name} makes no machine anew")
    replaced, other, _ = stand.members
    stand.driver.destroy(replaced)
    stand.wait(lambda: answers(stand), "a quorum without it")  # it may have led
    stand.driver.renew(replaced)
    assert stand.driver.pids(replaced, "all")
    stand.wait(lambda: answers(stand, replaced), "an answer of the new one itself")
    keys = stand.driver.dcs(deadline_s=5)
    with off(stand, other):
        stand.wait(lambda: answers(stand), "a quorum with the new one")
        assert set(stand.driver.dcs(deadline_s=5)) == set(keys)
    wait_steady(stand.driver, stand.cluster)
