"""The parts of `drill up|down|ps` that need no engine."""

import json
import shlex
import socket
import stat
from pathlib import Path

import pytest
from psycopg2.extensions import parse_dsn

from harness.drivers.docker import leftovers, play
from harness.drivers.docker.engine import Thing
from harness.errors import ScenarioError
from harness.history import Json
from harness.protocols import Node
from harness.reaper import LABEL_JOURNAL, LABEL_OWNER, labels

NODES = (Node("pg-1", "a", "198.18.7.11"), Node("pg-2", "b", "198.18.7.12"))
ADDRESSES = {"primary-elb": "198.18.7.5", "replica-elb": "198.18.7.6"}
DEAD = "host:1:boot:1:1"


@pytest.fixture
def dead(monkeypatch) -> str:
    """The name of an owner that is seen to be dead."""
    monkeypatch.setattr("harness.reaper._horizon", lambda: "host:1")
    return DEAD


def test_the_edge_binds_the_loopback_only() -> None:
    """Each door is one listener on 127.0.0.1, and forwards to one address."""
    doors = list(play._wanted(NODES, ADDRESSES))
    text = play._configuration(doors)
    binds = [line.split()[1] for line in text.splitlines() if line.strip().startswith("bind")]
    assert len(binds) == len(doors) == 6
    assert all(bind.startswith("127.0.0.1:") for bind in binds)
    assert "server primary-elb 198.18.7.5:5432" in text
    assert "server pg-2 198.18.7.12:8008" in text
    assert text.endswith("\n")


def test_one_node_has_no_door_for_replicas() -> None:
    """Nobody would be behind it."""
    assert [d.name for d in play._wanted(NODES[:1], ADDRESSES)] == ["primary", "pg-1", "pg-1-rest"]


def test_free_ports_are_different_and_free() -> None:
    """All are held until the last is found."""
    ports = play._free_ports(6)
    assert len(set(ports)) == 6
    for port in ports:
        with socket.socket() as one:
            one.bind(("127.0.0.1", port))


def test_files_lie_where_the_standard_says(monkeypatch) -> None:
    """XDG_STATE_HOME when it is absolute, else below the home."""
    monkeypatch.setenv("XDG_STATE_HOME", "/srv/state")
    assert leftovers.folder_of("main") == Path("/srv/state/drill/main")
    monkeypatch.setenv("HOME", "/home/u")
    for value in ("", "relative"):
        monkeypatch.setenv("XDG_STATE_HOME", value)
        assert leftovers.folder_of("main") == Path("/home/u/.local/state/drill/main")


@pytest.mark.parametrize("name", ["", "Main", "a_b", "-a", "a-", "a--b", "a/b", "..", "x" * 41])
def test_a_name_must_fit_everywhere(name) -> None:
    """It becomes part of containers' names and of a path."""
    with pytest.raises(ScenarioError, match="expected lower-case words"):
        play._check_name(name)
    play._check_name("main-2")


def test_a_half_made_cluster_is_needless(tmp_path, dead) -> None:
    """Kept, but its maker died before it was finished."""
    marks = {**labels("main", tmp_path / "journal.jsonl", kept=True), LABEL_OWNER: dead}
    assert not leftovers.is_needless(marks)
    (tmp_path / leftovers.UNFINISHED).touch()
    assert leftovers.is_needless(marks)
    living = labels("main", tmp_path / "journal.jsonl", kept=True)
    assert not leftovers.is_needless(living)


def test_owners_in_words(tmp_path, dead) -> None:
    """`kept`, `running` or `abandoned`."""
    journal = tmp_path / "journal.jsonl"
    kept = Thing("network", "1", labels("r", journal, kept=True))
    living = Thing("network", "1", labels("r", journal))
    gone = Thing("network", "1", {**labels("r", journal), LABEL_OWNER: dead})
    assert [play._owner([one]) for one in (kept, living, gone)] == ["kept", "running", "abandoned"]


def test_a_table_of_clusters() -> None:
    """A line a cluster, in columns; what to do with the abandoned."""
    states = {"pg-1": "running", "pg-2": "exited", "pg-3": "running"}
    one = play.Seen("main", "kept", states, "pg-1", 61.0, 3600.0, {"primary": 1, "pg-1-rest": 2})
    two = play.Seen("0a1b2c3d", "abandoned", {}, None, 5.0, 60.0, {})
    head, first, second, advice = play.table([one, two])
    assert " ".join(head.split()) == "NAME OWNER MACHINES LEADER AGE EXPIRES IN PORTS"
    assert first == (
        "main      kept       2/3 running, 1 exited  pg-1    1m1s  1h          primary=1"
    )
    assert second.split() == ["0a1b2c3d", "abandoned", "0/0", "running", "none", "5s", "1m"]
    assert "./drill heal && ./drill reap" in advice


def test_marks_name_a_journal(tmp_path) -> None:
    """What is healed after a death is found by the label alone."""
    marks = labels("r", tmp_path / "journal.jsonl")
    assert marks[LABEL_JOURNAL] == str(tmp_path / "journal.jsonl")


def test_a_user_is_given_files_for_their_eyes_only(tmp_path) -> None:
    """Two passwords, one of them also as libpq reads it, and whom to trust."""
    files = play._files(tmp_path, superuser="s-word", rest="r-word", ca="-----BEGIN\nx")
    assert {name: Path(path).read_text() for name, path in files.items()} == {
        "password_file": "s-word",
        "pgpass_file": "localhost:*:*:postgres:s-word\n127.0.0.1:*:*:postgres:s-word\n",
        "rest_password_file": "r-word",
        "ca_file": "-----BEGIN\nx\n",
    }
    assert {stat.S_IMODE(Path(path).stat().st_mode) for path in files.values()} == {0o600}


def facts(folder: Path) -> dict[str, Json]:
    files = play._files(folder, superuser="s-word", rest="r-word", ca="ca")
    ports: Json = {"primary": 1001, "replica": 1002, "pg-1": 1003, "pg-1-rest": 1004}
    return {
        "name": "main",
        "host": "127.0.0.1",
        "user": "postgres",
        "rest_user": "patroni",
        "sslmode": "verify-full",
        "leader": "pg-1",
        "ports": ports,
        **files,
    }


def test_what_is_told_is_what_to_type(tmp_path) -> None:
    """The line for the shell holds, when a folder's name has a space in it too."""
    folder = tmp_path / "my state"
    folder.mkdir()
    told = "\n".join(play.lines(facts(folder)))
    (command,) = [line for line in told.splitlines() if " psql " in line]
    passfile, program, words = shlex.split(command)
    assert (passfile, program) == (f"PGPASSFILE={folder / 'pgpass'}", "psql")
    assert parse_dsn(words) == {
        "host": "127.0.0.1",
        "port": "1001",
        "user": "postgres",
        "sslmode": "verify-full",
        "sslrootcert": str(folder / "ca.pem"),
    }
    assert "https://127.0.0.1:1004/cluster" in told
    assert "http://" not in told
    assert f"user patroni, password in {folder / 'rest-password'}" in told


def test_no_secret_is_told(tmp_path) -> None:
    """A terminal's scroll-back and a CI's log are read by others."""
    known = facts(tmp_path)
    told = "\n".join(play.lines(known)) + json.dumps(known)
    assert "s-word" not in told
    assert "r-word" not in told
