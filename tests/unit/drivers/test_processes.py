"""Tests for harness.drivers.docker.processes: the commands, run where ps tells a known table."""

import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from harness.drivers.docker import processes
from harness.drivers.docker.processes import Running
from harness.protocols import Process

POSTMASTER = "/usr/lib/postgresql/17/bin/postgres -D /home/postgres/pgdata"
RECEIVER = "postgres: demo: walreceiver streaming 0/5000148"
# On the host, the machine's own first process is 40; 9 is another machine's.
TABLE = f"""\
    9 111 Ss   postgres: stranger
   40 222 Ss   /bin/sh /usr/local/bin/supervisor
   41 222 Sl   /opt/patroni/bin/python3 /opt/patroni/bin/patroni /run/spilo/patroni.yml
   42 222 T    {POSTMASTER}
   43 222 S    {RECEIVER}
   44 222 Z    [postgres] <defunct>
   45 222 S    psql -c /bin/postgres of=postgres: x
"""
# Whoever was hit is seen stopped by the next look.
KILL = """\
kill() {
    shift
    echo "$*" >>"$HIT"
    for one; do sed -i "s/^ *$one 222 ./$one 222 T/" "$TABLE"; done
}
"""


@pytest.fixture
def bash(tmp_path: Path) -> Callable[[str], subprocess.CompletedProcess[str]]:
    """Return how to run a script whose ps is ours: of all processes, and the space of pid 40."""
    (tmp_path / "table").write_text(TABLE)
    (tmp_path / "ps").write_text(
        '#!/bin/sh\ncase "$*" in *pidns=\\ -p*) echo 222 ;; *) cat "$TABLE" ;; esac\n'
    )
    (tmp_path / "ps").chmod(0o755)

    def run(script: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["bash", "-c", KILL + script],
            env={
                "PATH": f"{tmp_path}:/usr/bin:/bin",
                "TABLE": str(tmp_path / "table"),
                "HIT": str(tmp_path / "hit"),
            },
            capture_output=True,
            text=True,
            check=False,
        )

    return run


def pids(found: Sequence[Running], process: Process) -> list[int]:
    return [one.pid for one in found if one.belongs_to(process)]


def test_a_machine_has_its_own_processes_alone(bash) -> None:
    """Neither another machine's, nor those that have ended."""
    found = processes.parse(bash(processes.table(40)).stdout)
    assert [one.pid for one in found] == [40, 41, 42, 43, 45]
    assert found[2] == Running(42, "T", POSTMASTER)


@pytest.mark.parametrize(
    ("process", "expected"),
    [
        ("patroni", [41]),
        ("postgres", [42, 43]),
        ("walreceiver", [43]),
        ("all", [40, 41, 42, 43, 45]),
    ],
)
def test_a_program_is_known_by_its_command_line(bash, process: Process, expected) -> None:
    """Of a word in the middle of another's nothing follows."""
    assert pids(processes.parse(bash(processes.table(40)).stdout), process) == expected


def test_a_look_that_failed_is_no_look_at_none(bash, tmp_path: Path) -> None:
    """Else a machine whose processes could not be listed would be one that is down."""
    assert bash(processes.table(40)).returncode == 0
    (tmp_path / "table").unlink()
    assert bash(processes.table(40)).returncode != 0
    assert bash(processes.hit_all_of_postgres(40, "STOP")).returncode == 1


def test_all_of_postgres_is_what_a_look_finds(bash, tmp_path: Path) -> None:
    """And those that the signal has reached are left alone: the postmaster is stopped already."""
    found = processes.parse(bash(processes.table(40)).stdout)
    assert bash(processes.hit_all_of_postgres(40, "STOP")).returncode == 0
    assert (tmp_path / "hit").read_text().split() == ["43"]
    reached = processes.parse(bash(processes.table(40)).stdout)
    assert [one.state[0] for one in reached if one.belongs_to("postgres")] == ["T", "T"]
    assert pids(found, "postgres") == pids(reached, "postgres")


def test_one_that_never_stops_is_named(bash, tmp_path: Path) -> None:
    """After many rounds it is an error, with who is left."""
    quick = processes.hit_all_of_postgres(40, "KILL").replace("seq 200", "seq 2")
    done = bash(quick)
    assert done.returncode == 1
    assert done.stdout == "still there after SIGKILL: 42 43\n"
    assert (tmp_path / "hit").read_text().splitlines() == ["42 43"] * 2


def test_only_postgres_spreads() -> None:
    """It forks; and going on may be told to each once."""
    assert processes.spreads("postgres", "KILL")
    assert processes.spreads("postgres", "STOP")
    assert not processes.spreads("postgres", "CONT")
    assert not processes.spreads("postgres", "TERM")
    assert not processes.spreads("patroni", "KILL")
