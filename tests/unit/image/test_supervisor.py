"""image/spilo/supervisor.py: what the watchdog's bytes mean, and when Patroni is started again."""

import signal
from pathlib import Path

import pytest
import supervisor

ACTIVATE = b"Ctimeout=25\n"
EXITED_3 = 3 << 8  # as waitpid tells it
KILLED = int(signal.SIGKILL)


def test_a_new_watchdog_is_disarmed():
    """A replica never opens the device, and its PostgreSQL must be left alone."""
    assert supervisor.Watchdog().deadline_s is None
    assert not supervisor.Watchdog().is_expired(1e9)


@pytest.mark.parametrize(
    ("words", "deadline_s"),
    [
        ([(0.0, b"1")], 60.0),  # TestingWatchdogDevice's own time-out until it says another
        ([(0.0, ACTIVATE)], 25.0),  # Patroni promotes right after this word
        ([(0.0, ACTIVATE), (10.0, b"1")], 35.0),
        ([(0.0, ACTIVATE), (10.0, b"1"), (20.0, b"1")], 45.0),
        ([(0.0, ACTIVATE + b"1")], 25.0),
        ([(0.0, b"Ctime"), (1.0, b"out=2"), (2.0, b"5\n1")], 27.0),  # torn by our reads
        ([(0.0, ACTIVATE), (5.0, b"Ctimeout=40\n")], 45.0),  # the ttl was raised
        ([(0.0, ACTIVATE), (10.0, b"V")], None),
        ([(0.0, ACTIVATE), (10.0, b"1V")], None),
        ([(0.0, ACTIVATE), (10.0, b"V"), (20.0, ACTIVATE)], 45.0),  # leader once more
        ([(0.0, ACTIVATE), (10.0, b"V" + ACTIVATE)], 35.0),  # closed and opened in one read
        ([(0.0, b"Ctimeout=\n1")], 60.0),
        ([(0.0, b"Ctimeout=0\n1")], 60.0),
        ([(0.0, b"Ctimeout=-5\n1")], 60.0),
        ([(0.0, b"Cnonsense\n1")], 60.0),
        ([(0.0, b"C\xff\n1")], 60.0),
        ([(0.0, b"")], None),
    ],
)
def test_bytes_move_the_deadline(words, deadline_s):
    """Every word but V starts the time anew; only a good time-out command changes its length."""
    watchdog = supervisor.Watchdog()
    for now_s, data in words:
        watchdog.feed(data, now_s)
    assert watchdog.deadline_s == deadline_s


def test_it_expires_at_the_deadline_and_not_before():
    """At ttl - safety margin after the last keepalive the leader key has 5 s to live."""
    watchdog = supervisor.Watchdog()
    watchdog.feed(ACTIVATE, 100.0)
    watchdog.feed(b"1", 110.0)
    assert not watchdog.is_expired(134.9)
    assert watchdog.is_expired(135.0)
    assert watchdog.silence_s(135.0) == 25.0


def test_it_fires_once_and_is_armed_again_by_the_next_leader():
    """Like a device after its reset."""
    watchdog = supervisor.Watchdog()
    watchdog.feed(ACTIVATE, 0.0)
    watchdog.disarm()
    assert not watchdog.is_expired(100.0)
    watchdog.feed(b"1", 100.0)
    assert watchdog.deadline_s == 125.0  # the time-out outlives the firing


def test_patroni_is_due_at_the_beginning():
    life = supervisor.PatroniLife(supervise=True)
    assert life.start_at_s == 0.0
    assert life.verdict(postgres_runs=False) is None


def test_a_dead_patroni_is_started_again_after_a_second():
    """Whatever its exit code, and however often."""
    life = supervisor.PatroniLife(supervise=True)
    for now_s, status in ((10.0, KILLED), (20.0, EXITED_3), (30.0, 0)):
        life.started(7)
        life.ended(status, now_s)
        assert life.start_at_s == now_s + 1.0
        assert life.verdict(postgres_runs=False) is None


@pytest.mark.parametrize(("status", "code"), [(0, 0), (EXITED_3, 3), (KILLED, 137)])
def test_after_term_the_container_ends_with_patronis_code(status, code):
    life = supervisor.PatroniLife(supervise=True)
    life.started(7)
    life.stop()
    assert life.verdict(postgres_runs=False) is None  # Patroni is still stopping PostgreSQL
    life.ended(status, 10.0)
    assert life.start_at_s is None
    assert life.verdict(postgres_runs=True) is None  # it left PostgreSQL behind
    assert life.verdict(postgres_runs=False) == code


def test_term_between_death_and_restart_ends_the_restart():
    life = supervisor.PatroniLife(supervise=True)
    life.started(7)
    life.ended(KILLED, 10.0)
    life.stop()
    assert life.start_at_s is None
    assert life.verdict(postgres_runs=False) == 137


def test_unsupervised_a_dead_patroni_stays_dead_beside_a_living_postgres():
    """The end of PID 1 would kill PostgreSQL, and the state under test with it."""
    life = supervisor.PatroniLife(supervise=False)
    life.started(7)
    life.ended(KILLED, 10.0)
    assert life.start_at_s is None
    assert life.verdict(postgres_runs=True) is None
    assert life.verdict(postgres_runs=False) == 137


def test_unsupervised_patroni_can_be_started_by_hand():
    life = supervisor.PatroniLife(supervise=False)
    life.started(7)
    life.start(5.0)
    assert life.start_at_s is None  # it runs already
    life.ended(KILLED, 10.0)
    life.start(20.0)
    assert life.start_at_s == 20.0


def test_a_stopping_container_starts_nothing():
    life = supervisor.PatroniLife(supervise=False)
    life.started(7)
    life.stop()
    life.ended(0, 10.0)
    life.start(20.0)
    assert life.start_at_s is None


def test_postgres_is_found_with_all_it_started_parents_first():
    """The postmaster is an orphan of Patroni's, and each backend has a session of its own."""
    table = [
        (1, 0, "python3.13"),
        (7, 1, "python3.13"),  # Patroni
        (30, 7, "pg_basebackup"),  # works for Patroni, accepts no writes
        (41, 1, "postgres"),
        (42, 41, "postgres"),
        (43, 41, "postgres"),
        (50, 43, "dash"),  # an archive_command
        (51, 50, "pgbackrest"),
        (60, 41, ""),  # a zombie still to be reaped
        (70, 0, "bash"),  # docker exec
        (71, 70, "psql"),
    ]
    tree = supervisor.postgres_tree(supervisor.Process(*row) for row in table)
    assert tree[0] == 41
    assert sorted(tree) == [41, 42, 43, 50, 51, 60]


@pytest.mark.parametrize(
    ("table", "pids"),
    [
        ([], []),
        ([(1, 0, "python3.13"), (7, 1, "python3.13")], []),
        ([(7, 1, "python3.13"), (9, 7, "postgres")], [9]),  # Patroni's single-user recovery
        ([(42, 1, "postgres"), (43, 1, "postgres")], [42, 43]),  # their postmaster was killed
        ([(41, 1, "postgres"), (50, 41, "dash"), (51, 50, "postgres")], [41, 50, 51]),
        ([(1, 0, "python3.13"), (43, 41, "postgres")], [43]),  # its parent ended as we looked
        ([(41, 1, "postgres"), (9, 41, "postgres")], [41, 9]),  # pids had wrapped around
    ],
)
def test_postgres_is_found_in_odd_trees(table, pids):
    assert supervisor.postgres_tree(supervisor.Process(*row) for row in table) == pids


def test_it_imports_nothing_slow():
    """PID 1 stands in the way of every start: the standard library, and not the heavy parts."""
    source = Path(supervisor.__file__).read_text()
    assert not {"yaml", "jinja2", "psycopg2", "subprocess"} & {
        line.split()[1] for line in source.splitlines() if line.startswith(("import ", "from "))
    }
