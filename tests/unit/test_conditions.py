"""Tests for harness.conditions: what keeps a cluster from its steady state."""

import json
from collections.abc import Callable

import pytest

from harness import conditions
from harness.conditions import Wish, look, steady
from harness.protocols import Reply
from harness.scenario import Cluster, PatroniSettings, ReplicaState, Steady, Sync
from tests.unit.world import MemoryWorld


def lacks(world: MemoryWorld, wanted: Steady | None = None) -> list[str]:
    view = look(world.driver, world.clock)
    return list(steady(view, world.cluster, wanted or Steady()).lacks)


@pytest.mark.parametrize("sync", ["async", "sync", "strict", "quorum"])
def test_a_sound_cluster_is_steady(sync: Sync) -> None:
    """In each way of replicating."""
    assert lacks(MemoryWorld(Cluster(sync=sync))) == []


def _no_key(world: MemoryWorld) -> None:
    del world.driver.keys["leader"]
    world.driver.failover_s = 99


def _no_quorum(world: MemoryWorld) -> None:
    world.driver.quorum = False


def _leader_in_recovery(world: MemoryWorld) -> None:
    world.inside("pg-1").in_recovery = True


def _leader_silent(world: MemoryWorld) -> None:
    world.inside("pg-1").frozen.add("patroni")
    world.driver.failover_s = 99


def _stranger(world: MemoryWorld) -> None:
    world.inside("pg-2").in_recovery = False


def _silent(world: MemoryWorld) -> None:
    world.inside("pg-3").powered = False


def _not_streaming(world: MemoryWorld) -> None:
    del world.inside("pg-3").pids["walreceiver"]


def _starting(world: MemoryWorld) -> None:
    world.inside("pg-3").pids = {"patroni": 1}


def _streaming_early(world: MemoryWorld) -> None:
    del world.inside("pg-3").pids["postgres"]


def _other_timeline(world: MemoryWorld) -> None:
    world.inside("pg-3").timeline = 7


def _behind(world: MemoryWorld) -> None:
    world.inside("pg-3").received -= (1 << 20) + 1


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (_no_key, "no leader key in the DCS"),
        (_no_quorum, "no leader key in the DCS"),
        (_leader_in_recovery, "the leader pg-1 is replica, not primary"),
        (_leader_silent, "the leader pg-1 is unknown, not primary"),
        (_stranger, "pg-2 says that it is primary, but pg-1 leads"),
        (_silent, "pg-3 does not answer"),
        (_not_streaming, "pg-3 is replica, running"),
        (_starting, "pg-3 is replica, starting"),
        (_streaming_early, "pg-3 streams, but its state is starting: no load balancer takes it"),
        (_other_timeline, "pg-3 is on timeline 7, not 1"),
        (_behind, "pg-3 is 1048577 bytes behind"),
    ],
)
def test_each_reason_is_told(spoil: Callable[[MemoryWorld], None], words: str) -> None:
    """With the node that it is about."""
    world = MemoryWorld()
    spoil(world)
    assert words in lacks(world)


def test_a_lag_at_the_bound_is_steady() -> None:
    """The bound itself is allowed."""
    world = MemoryWorld()
    world.inside("pg-3").received -= 1 << 20
    assert lacks(world) == []


def test_fewer_replicas_may_be_enough() -> None:
    """Two of three nodes, when the scenario asks for one streaming replica; and none at all."""
    world = MemoryWorld(Cluster(sync="quorum"))
    world.inside("pg-3").powered = False
    world.driver.lead("pg-1")
    one = Steady(replicas=ReplicaState(streaming=1))
    assert lacks(world, one) == []
    assert lacks(world) == ["pg-3 does not answer", "the DCS names 1 synchronous standbys of 2"]
    world.inside("pg-2").powered = False
    assert "pg-2 does not answer" in lacks(world, one)


def test_strangers_are_told_though_enough_replicas_stream() -> None:
    """Two that say primary are never steady."""
    world = MemoryWorld()
    world.inside("pg-3").in_recovery = False
    wanted = Steady(replicas=ReplicaState(streaming=1))
    assert lacks(world, wanted) == ["pg-3 says that it is primary, but pg-1 leads"]


@pytest.mark.parametrize(("sync", "wanted"), [("sync", 1), ("strict", 1), ("quorum", 2)])
def test_sync_names_are_missing(sync: Sync, wanted: int) -> None:
    """A kill before /sync names the standbys elects nobody."""
    world = MemoryWorld(Cluster(sync=sync))
    for value in ("{}", '{"sync_standby": ""}', '{"sync_standby": null}', "no json", "[]"):
        world.driver.keys["sync"] = value
        assert lacks(world) == [f"the DCS names 0 synchronous standbys of {wanted}"], value


def test_nodes_stream_before_the_dcs_names_the_standbys() -> None:
    """That is a round of Patroni's later, for which no other cluster has to wait to start."""
    world = MemoryWorld(Cluster(sync="quorum"))
    world.driver.keys["sync"] = "{}"
    view = look(world.driver, world.clock)
    assert steady(view, world.cluster, Steady()).lacks
    assert not conditions.streaming(view, Steady()).lacks


@pytest.mark.parametrize(("sync", "kind"), [("sync", "sync"), ("quorum", "quorum")])
def test_postgres_must_agree_with_the_dcs(sync: Sync, kind: str) -> None:
    """Patroni names a standby before PostgreSQL waits for it."""
    world = MemoryWorld(Cluster(sync=sync, nodes=2))
    view = look(world.driver, world.clock)
    body = {**view.body("pg-1")}
    for rows, words in (
        ([{"application_name": "pg-2", "sync_state": "async"}], "async"),
        ([], "not connected"),
        (None, "not connected"),
    ):
        members = {**view.members, "pg-1": Reply(200, {**body, "replication": rows})}
        found = steady(conditions.View(view.keys, members), world.cluster, Steady()).lacks
        assert list(found) == [f"pg-2 is {words}, not {kind}, in pg_stat_replication"]


def test_a_single_node_has_no_standby_to_wait_for() -> None:
    """Nothing can be synchronous with nobody."""
    assert lacks(MemoryWorld(Cluster(nodes=1, sync="sync"))) == []


@pytest.mark.parametrize("node", ["pg-1", "pg-2"])
def test_an_unknown_position_is_no_small_lag(node: str) -> None:
    """What is not told cannot be near."""
    world = MemoryWorld(Cluster(nodes=2))
    view = look(world.driver, world.clock)
    for xlog in (None, {}, {"location": None}):
        members = {**view.members, node: Reply(200, {**view.body(node), "xlog": xlog})}
        found = steady(conditions.View(view.keys, members), world.cluster, Steady()).lacks
        assert list(found) == [f"{node} does not tell its position in the WAL"]


def test_a_look_asks_all_at_once() -> None:
    """Two silent nodes cost the deadline of one; order is that of the cluster."""
    world = MemoryWorld()
    world.inside("pg-1").powered = world.inside("pg-2").powered = False
    view = look(world.driver, world.clock)
    assert world.now_s == 1.5
    assert list(view.members) == ["pg-1", "pg-2", "pg-3"]
    assert [view.role(node) for node in view.members] == ["unknown", "unknown", "replica"]


def test_what_refuses_to_answer_is_seen_as_silent() -> None:
    """A broken way to a node is no bug of ours."""
    world = MemoryWorld()
    world.driver.refusing = {"patroni": "client gone", "dcs": "client gone"}
    view = look(world.driver, world.clock)
    assert view.keys == {}
    assert view.leader is None
    assert view.members["pg-1"] == Reply(0, "client gone")


@pytest.mark.parametrize(("role", "seen"), [("master", "primary"), ("demoted", "demoted")])
def test_roles_are_patronis_own_but_for_the_old_word(role: str, seen: str) -> None:
    """Patroni before version 4 says master."""
    view = conditions.View({}, {"pg-1": Reply(200, {"role": role})})
    assert view.role("pg-1") == seen
    assert view.role("pg-9") == "unknown"
    assert view.body("pg-9") == {}


def test_standbys_are_sorted() -> None:
    """Whatever order the DCS has them in."""
    assert conditions.sync_standbys({"sync": json.dumps({"sync_standby": "b,a"})}) == ("a", "b")
    assert conditions.sync_standbys({}) == ()


def test_a_wish_is_true_when_it_lacks_nothing() -> None:
    """In the sense of `if`."""
    assert Wish()
    assert not Wish(("something",))


def test_who_answers() -> None:
    """Patroni and PostgreSQL are asked apart."""
    world = MemoryWorld()
    assert conditions.answers(world.driver, "pg-1")
    assert conditions.recovering(world.driver, "pg-1") is False
    assert conditions.recovering(world.driver, "pg-2") is True
    world.inside("pg-2").frozen.add("all")
    assert not conditions.answers(world.driver, "pg-2")
    assert conditions.recovering(world.driver, "pg-2") is None
    assert not conditions.speaks(world.driver, "pg-2")


def test_which_machines_run() -> None:
    """Of all kinds; in the order in which they were asked for."""
    world = MemoryWorld()
    world.inside("pg-2").powered = False
    world.driver.gone.add("etcd-3")
    asked = ["etcd-3", "pg-3", "pg-2", "pg-1", "etcd-1", "primary-elb"]
    found = conditions.running(world.driver, world.clock, asked)
    assert found == ["pg-3", "pg-1", "etcd-1", "primary-elb"]


def test_settings_are_those_of_the_primary() -> None:
    """Without one, or while it has none, nobody says what the cluster obeys."""
    world = MemoryWorld(Cluster(patroni=PatroniSettings(retry_timeout=5)))
    view = look(world.driver, world.clock)
    found = conditions.settings(world.driver, view)
    assert found is not None
    assert found["retry_timeout"] == 5
    world.driver.settings = None
    assert conditions.settings(world.driver, view) is None
    assert conditions.settings(world.driver, conditions.View({}, view.members)) is None
    leads = conditions.View({"leader": "pg-2"}, view.members)
    assert conditions.settings(world.driver, leads) is None


@pytest.mark.parametrize("sync", ["async", "sync", "strict", "quorum"])
def test_settings_as_asked_are_no_others(sync: Sync) -> None:
    """What is missing has Patroni's default; what nobody asked for may be anything."""
    cluster = Cluster(sync=sync)
    asked = cluster.dynamic_configuration
    assert conditions.other_settings({**asked, "pause": False}, cluster) == []
    assert (conditions.other_settings({}, cluster) == []) == (sync == "async")


def test_each_other_setting_is_told() -> None:
    """With its value and what the scenario asks for."""
    cluster = Cluster(sync="quorum", patroni=PatroniSettings(retry_timeout=5))
    found = {**cluster.dynamic_configuration, "retry_timeout": 10, "ttl": "30"}
    del found["synchronous_mode"]
    assert conditions.other_settings(found, cluster) == [
        "ttl is '30' in Patroni's /config; expected 30",
        "retry_timeout is 10 in Patroni's /config; expected 5",
        "synchronous_mode is False in Patroni's /config; expected 'quorum'",
    ]


def test_hurrying_mends_nothing() -> None:
    """A setting that is wrong is still so when it is read."""
    world = MemoryWorld()
    world.driver.settings = {"ttl": 99}
    conditions.hurry(world.driver, look(world.driver, world.clock))
    assert world.driver.settings == {"ttl": 99}
