"""Tests for harness.turns: between real processes, with real locks."""

import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness import budget, reaper, turns
from harness.budget import Cost, Room
from harness.clock import Clock, WallClock
from harness.errors import AbortedError, DriverError
from harness.turns import Ticket, Turn, Turns, may_begin, reason

ROOM = Room(Cost(2000, 8000), 8000)
NOBODY: frozenset[str] = frozenset()

# Asks for a turn, says what comes of it, and holds it until its standard input ends.
PROGRAM = """
import sys
from pathlib import Path
from harness.budget import Cost, Room
from harness.clock import WallClock
from harness.turns import Turns

asked = Turns(Path(sys.argv[1]), lambda: Room(Cost(2000, 8000), 8000))
asked.take(Cost(int(sys.argv[2]), 0), WallClock(), lambda text: print(text, flush=True))
print("begun", flush=True)
sys.stdin.read()
"""


class Process:
    """Another process that takes a turn."""

    def __init__(self, folder: Path, millicores: int) -> None:
        self._child = subprocess.Popen(
            [sys.executable, "-P", "-c", PROGRAM, str(folder), str(millicores)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def hear(self) -> str:
        """Return the next line that it says."""
        assert self._child.stdout is not None
        return self._child.stdout.readline().strip()

    def kill(self) -> None:
        self._child.kill()

    def end(self) -> None:
        """Let it end by itself, or at once if it still waits."""
        for stream in (self._child.stdin, self._child.stdout):
            assert stream is not None
            stream.close()
        try:
            self._child.wait(2)
        except subprocess.TimeoutExpired:
            self._child.kill()
            self._child.wait()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "turns"


@pytest.fixture
def others(folder: Path) -> Iterator[Callable[[int], Process]]:
    """Yield a way to start other processes."""
    started: list[Process] = []

    def start(millicores: int) -> Process:
        started.append(Process(folder, millicores))
        return started[-1]

    yield start
    for one in started:
        one.end()


class Waiting:
    """Somebody of this process who takes a turn, in a thread of its own."""

    def __init__(self, folder: Path, millicores: int, clock: WallClock | None = None) -> None:
        self.clock = clock or WallClock()
        self.said: list[str] = []
        self.asked = threading.Event()
        self.turn: Turn | None = None
        self._of = Turns(folder, lambda: ROOM)
        self._cost = Cost(millicores)
        self.task = self.clock.spawn(self._take, "taker")

    def _take(self) -> None:
        self.turn = self._of.take(self._cost, self.clock, self._hear)

    def _hear(self, text: str) -> None:
        self.said.append(text)
        self.asked.set()

    def begun(self) -> Turn:
        """Return its turn once it has it."""
        self.task.join()
        assert self.turn is not None
        return self.turn


def take(folder: Path, millicores: int, *, by_hand: bool = False) -> Turn:
    """Take a turn for which nobody has to be waited for."""
    return Turns(folder, lambda: ROOM).take(
        Cost(millicores), WallClock(), pytest.fail, by_hand=by_hand
    )


def files(folder: Path) -> list[str]:
    return sorted(path.name.partition("-")[0] for path in folder.iterdir())


# --- between processes -------------------------------------------------------------------------


def test_who_does_not_fit_waits_until_the_other_has_ended(folder: Path, others) -> None:
    """And says so, once, with how much there is."""
    first = others(1500)
    assert first.hear() == "begun"
    second = Waiting(folder, 1000)
    assert second.asked.wait(10)
    assert second.turn is None
    first.end()
    second.begun().release()
    assert second.said == [
        "waiting for 1 other cluster: 1.5 cores and 0.0 GiB of 2.0 cores and 7.8 GiB are taken, "
        "and this needs 1.0 cores and 0.0 GiB"
    ]
    assert files(folder) == ["lock"]


def test_who_dies_gives_its_turn_back(folder: Path, others) -> None:
    """By `kill -9`, which it cannot notice; nothing is left of it."""
    first = others(2000)
    assert first.hear() == "begun"
    second = Waiting(folder, 1000)
    assert second.asked.wait(10)
    first.kill()
    turn = second.begun()
    assert files(folder) == ["2", "lock"]
    turn.release()


def test_who_dies_while_it_waits_is_not_waited_for(folder: Path, others) -> None:
    """Else nobody behind it would ever begin."""
    first = take(folder, 1500)
    second = others(2000)
    assert second.hear().startswith("waiting for 1 other cluster:")
    third = Waiting(folder, 500)
    assert third.asked.wait(10)
    assert third.said[0].startswith("waiting for 2 other clusters:")
    second.kill()
    third.begun().release()
    first.release()


def test_side_by_side_as_far_as_there_is_room(others) -> None:
    """Two of one core on two cores."""
    first, second = others(1000), others(1000)
    assert (first.hear(), second.hear()) == ("begun", "begun")
    third = others(1)
    assert third.hear().startswith("waiting for 2 other clusters")
    first.end()
    assert third.hear() == "begun"


def test_what_fits_nowhere_runs_alone(folder: Path, others) -> None:
    """And nobody beside it."""
    first = take(folder, 9000)
    second = others(1)
    assert second.hear().startswith("waiting for 1 other cluster:")
    first.release()
    assert second.hear() == "begun"
    third = Waiting(folder, 9000)
    assert third.asked.wait(10)
    second.end()
    third.begun().release()


def test_a_child_does_not_wait_for_what_its_parent_made_by_hand(folder: Path, others) -> None:
    """The parent, a test, waits for the child: they would wait for each other."""
    turn = take(folder, 2000, by_hand=True)
    assert others(1000).hear() == "begun"
    with_turn = take(folder, 1000)
    with_turn.release()
    turn.release()


def test_a_child_waits_for_a_run_of_its_parent(folder: Path, others) -> None:
    """A run starts no process that makes clusters."""
    turn = take(folder, 2000)
    child = others(1000)
    assert child.hear().startswith("waiting for 1 other cluster:")
    turn.release()
    assert child.hear() == "begun"


def test_who_finds_room_has_it_from_the_start(folder: Path, monkeypatch) -> None:
    """In one look: whoever asked between two would be told to wait for a run with nothing yet."""
    looks: list[Path] = []
    alone = Turns._alone

    @contextmanager
    def counted(self: Turns, clock: Clock) -> Iterator[None]:
        looks.append(self.folder)
        with alone(self, clock):
            yield

    monkeypatch.setattr(Turns, "_alone", counted)
    take(folder, 1000).release()
    assert looks == [folder]


# --- within a process --------------------------------------------------------------------------


def test_cells_of_one_process_take_turns(folder: Path) -> None:
    """As with `--jobs`."""
    first = take(folder, 1500)
    second = Waiting(folder, 1500)
    assert second.asked.wait(10)
    first.release()
    first.release()  # safe to call twice
    second.begun().release()


def test_an_abort_ends_the_waiting(folder: Path) -> None:
    """Whoever came after is not kept waiting by who has gone."""
    first = take(folder, 1500)
    second = Waiting(folder, 1500)
    assert second.asked.wait(10)
    second.clock.abort()
    with pytest.raises(AbortedError):
        second.begun()
    take(folder, 500).release()
    first.release()
    assert files(folder) == ["lock"]


def test_a_failing_listener_leaves_no_ticket(folder: Path) -> None:
    """Nobody reads any more: the run ends, and so does its turn."""
    first = take(folder, 2000)

    def broken(_text: str) -> None:
        raise BrokenPipeError

    with pytest.raises(BrokenPipeError):
        Turns(folder, lambda: ROOM).take(Cost(1), WallClock(), broken)
    first.release()
    assert files(folder) == ["lock"]


def test_a_folder_that_cannot_be_made_is_an_error(tmp_path: Path) -> None:
    """It says which."""
    (tmp_path / "turns").write_text("in the way")
    with pytest.raises(
        DriverError, match=r"turns: .* exists.*; expected a folder to lock files in"
    ):
        take(tmp_path / "turns", 1)


def test_all_drills_of_a_user_share_a_folder(tmp_path: Path, monkeypatch) -> None:
    """Beside the lock on building images."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert turns.of_user().folder == tmp_path / "drill" / "turns"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path / "me"))
    assert turns.of_user().folder == tmp_path / "me" / ".cache" / "drill" / "turns"


# --- the law -----------------------------------------------------------------------------------


@given(
    st.lists(st.tuples(st.integers(1, 2500), st.integers(1, 10000), st.booleans()), max_size=8),
    st.randoms(use_true_random=False),
)
def test_all_begin_in_order_and_never_over_the_budget(asked, random) -> None:
    """Unless one is alone; and nobody waits for ever, however large."""
    waiting = [
        Ticket(number, Cost(cores, mib), "other" if strange else "own")
        for number, (cores, mib, strange) in enumerate(asked)
    ]
    order, running = list(waiting), list[Ticket]()
    while waiting:
        # Whoever looks first: any of them.
        for one in random.sample(waiting, len(waiting)):
            if may_begin(one, [*waiting, *running], ROOM, frozenset({one.owner})):
                waiting.remove(one)
                running.append(Ticket(one.number, one.cost, one.owner, begun=True))
                assert one is order.pop(0)
        whole = budget.total(one.cost for one in running)
        assert len(running) == 1 or (
            whole.millicores <= ROOM.all.millicores and whole.mib <= ROOM.all.mib
        )
        assert running, "somebody begins when nobody runs"
        running.remove(random.choice(running))


@pytest.mark.parametrize(
    ("held", "begins"),
    [
        (Ticket(1, Cost(2000), "own", by_hand=True, begun=True), True),
        (Ticket(1, Cost(2000), "own", by_hand=True), False),
        (Ticket(1, Cost(2000), "own", begun=True), False),
        (Ticket(1, Cost(2000), "other", by_hand=True, begun=True), False),
    ],
)
def test_only_what_we_made_by_hand_is_not_waited_for(held: Ticket, begins: bool) -> None:  # noqa: FBT001
    """Not what waits itself, not a run beside us, not another process's."""
    mine = Ticket(2, Cost(1000), "own")
    assert may_begin(mine, [held], ROOM, frozenset({"own"})) == begins
    assert not may_begin(mine, [held], ROOM, NOBODY)


def test_who_is_patient_lets_all_go_first_who_wait() -> None:
    """Also those who asked later, and two of them go in their order; nobody waits for them."""
    alone = Ticket(1, Cost(2000), "own", patient=True)
    other = Ticket(2, Cost(2000), "own", patient=True)
    late = Ticket(3, Cost(500), "own")
    assert not may_begin(alone, [other, late], ROOM, NOBODY)
    assert may_begin(late, [alone, other], ROOM, NOBODY)
    assert may_begin(alone, [other], ROOM, NOBODY)
    assert not may_begin(other, [alone], ROOM, NOBODY)
    begun = replace(late, begun=True)
    assert not may_begin(alone, [begun], ROOM, NOBODY), "it needs all that there is"


def test_clusters_start_one_after_another() -> None:
    """A start is waited for by those that start, and by nobody else; a steady one by nobody."""
    mine = Ticket(2, Cost(100), "own", starts=True)
    other = Ticket(1, Cost(100), "other", begun=True, starts=True)
    assert not may_begin(mine, [other], ROOM, NOBODY)
    assert "one after another" in reason(mine, [other], ROOM)
    assert may_begin(replace(mine, starts=False), [other], ROOM, NOBODY)
    assert may_begin(mine, [replace(other, starts=False)], ROOM, NOBODY)


def test_a_steady_cluster_lets_others_start(folder: Path) -> None:
    """Once it says so; to say it twice, or after its end, does no harm."""
    asked, clock = Turns(folder, lambda: ROOM), WallClock()
    first = asked.take(Cost(100), clock, print, starts=True)
    clock.spawn(first.started, "started")
    second = asked.take(Cost(100), clock, print, starts=True)
    first.started()
    first.release()
    first.started()
    second.release()
    assert files(folder) == ["lock"]


def test_memory_that_others_use_is_waited_for() -> None:
    """Whoever they are; but not by who would be alone, for it might wait for ever."""
    crowded = Room(ROOM.all, free_mib=500)
    mine, other = Ticket(2, Cost(100, 1000), "own"), Ticket(1, Cost(100, 100), "own", begun=True)
    assert not may_begin(mine, [other], crowded, NOBODY)
    assert may_begin(mine, [], crowded, NOBODY)


def test_family_is_this_process_and_all_above_it() -> None:
    """By names that no later process can have."""
    script = "from harness import reaper; print(*reaper.family(), sep='\\n')"
    child = subprocess.run(
        [sys.executable, "-P", "-c", script], capture_output=True, text=True, check=True
    )
    names = set(child.stdout.split())
    assert reaper.family() < names
    assert reaper.owner() in reaper.family()


def test_a_full_disk_is_an_error_and_leaves_nothing(folder: Path, monkeypatch) -> None:
    """A ticket that says nothing would be a riddle to all others."""

    def full(*_: object) -> int:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("os.pwrite", full)
        with pytest.raises(DriverError, match="No space left on device"):
            take(folder, 1)
    assert files(folder) == ["lock"]
    take(folder, 1).release()
