"""A cluster to play with: reached by 127.0.0.1 alone, listed, kept, and removed with all of it."""

import json
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path

import psycopg2
import pytest

from harness import cli, drivers
from harness.clock import WallClock
from harness.drivers.docker import leftovers, play
from harness.drivers.docker.engine import connect, remove_run, things
from harness.errors import ScenarioError
from harness.history import Json
from harness.scenario import Cluster

pytestmark = pytest.mark.docker

CLUSTER = Cluster(nodes=2, azs=("a", "b"))


@pytest.fixture(scope="module")
def name(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A name that no other session on this engine uses."""
    return f"play-{tmp_path_factory.getbasetemp().name.rpartition('-')[2]}-{_owner_pid()}"


def _owner_pid() -> str:
    return Path("/proc/self").resolve().name


@pytest.fixture(scope="module")
def facts(name: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mapping[str, Json]]:
    """Yield how to use a cluster that is up."""
    if "docker" not in drivers.available():
        pytest.skip("no Docker engine answers")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_STATE_HOME", str(tmp_path_factory.mktemp("state")))
        try:
            yield play.up(name, CLUSTER, WallClock(), lambda _: None)
        finally:
            engine = connect()
            remove_run(engine, name)
            engine.close()


def ask(facts: Mapping[str, Json], door: str, sql: str) -> object:
    """Return the one value that PostgreSQL answers behind a door."""
    ports = facts["ports"]
    assert isinstance(ports, Mapping)
    connection = psycopg2.connect(
        host=facts["host"],
        port=ports[door],
        user=facts["user"],
        dbname="postgres",
        passfile=facts["pgpass_file"],
        connect_timeout=5,
    )
    try:
        with connection, connection.cursor() as cursor:
            cursor.execute(sql)
            (row,) = cursor.fetchall()
            return row[0]
    finally:
        connection.close()


def test_doors_lead_where_they_say(facts: Mapping[str, Json]) -> None:
    """The primary's ELB takes writes, the replicas' leads to a replica, nodes are themselves."""
    assert ask(facts, "primary", "CREATE TABLE t AS SELECT 7 AS n; SELECT n FROM t") == 7
    assert ask(facts, "replica", "SELECT pg_is_in_recovery()") is True
    leads = ask(facts, str(facts["leader"]), "SELECT pg_is_in_recovery()")
    assert leads is False


def test_doors_are_on_the_loopback_alone(facts: Mapping[str, Json], name: str) -> None:
    """Nothing listens on another address, and the cluster's network has no way out."""
    ports = facts["ports"]
    assert isinstance(ports, Mapping)
    wanted = {f"{port:04X}" for port in ports.values() if isinstance(port, int)}
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    rows += [line.split() for line in Path("/proc/net/tcp6").read_text().splitlines()[1:]]
    listening = {row[1] for row in rows if row[3] == "0A"}
    assert {one for one in listening if one[-4:] in wanted} == {f"0100007F:{p}" for p in wanted}
    engine = connect()
    (network,) = engine.networks.list(filters={"label": f"drill.run={name}"})
    assert network.attrs["Internal"]
    published = [c.ports for c in engine.containers.list(filters={"label": f"drill.run={name}"})]
    engine.close()
    assert not any(host for ports in published for host in ports.values())


def test_passwords_are_for_their_owner_only(facts: Mapping[str, Json], name: str) -> None:
    """0600 files in a 0700 folder, and no password in what Docker shows."""
    paths = [Path(str(facts[key])) for key in ("password_file", "pgpass_file")]
    assert {stat.S_IMODE(path.stat().st_mode) for path in paths} == {0o600}
    assert stat.S_IMODE(paths[0].parent.stat().st_mode) == 0o700
    word = paths[0].read_text()
    engine = connect()
    shown = [c.attrs for c in engine.containers.list(filters={"label": f"drill.run={name}"})]
    engine.close()
    assert len(word) >= 24
    assert word not in json.dumps(shown)


def test_a_name_is_taken_once(facts: Mapping[str, Json], name: str) -> None:
    """The one that is there is left alone."""
    with pytest.raises(ScenarioError, match=f"found '{name}', which is there already"):
        play.up(name, CLUSTER, WallClock(), lambda _: None)
    assert ask(facts, "primary", "SELECT 1") == 1


def test_ps_shows_it(facts: Mapping[str, Json], name: str) -> None:
    """Its machines, its leader, its time, its doors."""
    (one,) = play.seen(name)
    assert one.owner == "kept"
    assert set(one.machines.values()) == {"running"}
    assert {"pg-1", "pg-2", "etcd-3", "edge", "nemesis"} <= set(one.machines)
    assert one.leader == facts["leader"]
    assert one.ports == facts["ports"]
    assert 0 < one.age_s < 600
    assert 5 * 3600 < one.expires_in_s <= 6 * 3600
    assert any(line.startswith(f"{name}  kept") for line in play.table([one]))


def test_reap_spares_what_is_kept(facts: Mapping[str, Json], name: str) -> None:
    """Until it expires, only `down` removes it."""
    assert facts["name"] == name
    assert leftovers.heal(pytest.fail, only=[name]) == 0
    assert leftovers.reap(pytest.fail, only=[name]) == 0


def test_a_near_name_is_asked_back(facts: Mapping[str, Json], name: str, capsys) -> None:
    """A typing mistake removes nothing: exit 2 and the nearest name."""
    assert facts["name"] == name
    assert cli.main(["down", "--name", name[:-1] + "x"]) == 2
    assert f"did you mean '{name}'?" in capsys.readouterr().err


def test_down_removes_all_of_it(facts: Mapping[str, Json], name: str, capsys) -> None:
    """Containers, networks, volumes, passwords; comes last, for the others need it."""
    folder = Path(str(facts["password_file"])).parent
    assert cli.main(["down", "--name", name, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["removed"] >= 13
    engine = connect()
    assert things(engine, name) == []
    engine.close()
    assert not folder.exists()
    assert cli.main(["down", "--name", name]) == 2


@pytest.mark.parametrize("name", ["Main", "a--b", "", "../x", "x" * 41])
def test_a_name_that_cannot_be_one(name: str, capsys) -> None:
    """Exit 2, before anything is asked or made."""
    assert cli.main(["up", "--name", name]) == 2
    assert "expected lower-case words joined by '-'" in capsys.readouterr().err
