"""Turns: which runs have their clusters up now, agreed by all processes of a user.

Each run that wants room, or has it, is a file in one folder, locked (flock) by its process. The
kernel drops the lock when the process ends, however it ends, so nothing is ever held by the dead.
Runs are let in in the order in which they asked. Nobody waits for ever:

- clusters start one after another, for a start takes as much as three that run;
- what would not fit even alone runs alone;
- who needs the whole machine waits until nobody else does;
- a run asks once, for all of its clusters, and never again while it holds them;
- a process that made a cluster by hand, as tests do, does not wait for another one, nor does a
  process that it started: it might wait for itself.
"""

import fcntl
import json
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from uuid import uuid4

from harness import budget, reaper
from harness.budget import Cost, Room
from harness.cache import cache_folder
from harness.clock import Clock
from harness.errors import DriverError

_LOOK_S = 0.25
# Whoever has the folder is done with it within milliseconds, unless it was stopped (Ctrl-Z).
_FOLDER_S = 60.0
_FLAGS = ("by_hand", "begun", "starts", "patient")


@dataclass(frozen=True, slots=True)
class Ticket:
    """One run that wants room, or has it.

    Attributes:
        number: the order of asking.
        owner: the process, as `reaper.owner` names it.
        by_hand: made outside of a run: the process may make others beside it.
        begun: it has its room.
        starts: nobody leads it yet, so nobody else begins to start a cluster.
        patient: it lets everybody go first who waits, also those who asked later.
    """

    number: int
    cost: Cost
    owner: str
    by_hand: bool = False
    begun: bool = False
    starts: bool = False
    patient: bool = False


def may_begin(mine: Ticket, others: Sequence[Ticket], room: Room, family: frozenset[str]) -> bool:
    """Return whether a run that waits can be let in, `family` being who its process descends from.

    In the order of asking, even where a later one would fit: else a large one would starve. Who
    needs the whole machine is patient: the others would wait for it, and it for all of them.
    """
    if any(one.begun and one.by_hand and one.owner in family for one in others):
        return True
    if ahead_of(mine, others) or (mine.starts and starting(others)):
        return False
    return room.takes(mine.cost, [one.cost for one in others if one.begun])


def ahead_of(mine: Ticket, others: Sequence[Ticket]) -> Sequence[Ticket]:
    """Return those who wait, and asked before; all who are less patient did."""
    place = (mine.patient, mine.number)
    return [one for one in others if not one.begun and (one.patient, one.number) < place]


def starting(others: Sequence[Ticket]) -> bool:
    """Return whether one of those who were let in still starts its cluster."""
    return any(one.begun and one.starts for one in others)


def reason(mine: Ticket, others: Sequence[Ticket], room: Room) -> str:
    """Return what a run waits for, as a sentence."""
    running = [one for one in others if one.begun]
    if not ahead_of(mine, others) and room.takes(mine.cost, [one.cost for one in running]):
        return "waiting for another cluster to start: they start one after another"
    before = len(running) + len(ahead_of(mine, others))
    held = budget.total(one.cost for one in running)
    whom = f"{before} other {'cluster' if before == 1 else 'clusters'}"
    return f"waiting for {whom}: {held} of {room.all} are taken, and this needs {mine.cost}"


class Turn:
    """A run's place among the others; it is free again when it is released, or its process ends."""

    def __init__(self, path: Path, ticket: Ticket) -> None:
        """Take a place in the queue; the caller has the folder to itself."""
        self._path = path
        self.ticket = ticket
        self._file: int | None = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX)
            self._write()
        except OSError:
            self.release()
            raise

    def begin(self) -> None:
        """Take the room; the caller has the folder to itself."""
        self.ticket = replace(self.ticket, begun=True)
        self._write()

    def started(self) -> None:
        """Let others start: somebody leads. Safe to call twice, and after the release."""
        if self._file is not None and self.ticket.starts:
            self.ticket = replace(self.ticket, starts=False)
            self._write()

    def release(self) -> None:
        """Give the room back. Safe to call twice."""
        file, self._file = self._file, None
        if file is not None:
            with suppress(FileNotFoundError):
                self._path.unlink()
            os.close(file)

    def _write(self) -> None:
        assert self._file is not None, "not released"
        text = json.dumps(
            {
                "millicores": self.ticket.cost.millicores,
                "mib": self.ticket.cost.mib,
                "owner": self.ticket.owner,
                "by_hand": self.ticket.by_hand,
                "begun": self.ticket.begun,
                "starts": self.ticket.starts,
                "patient": self.ticket.patient,
            }
        )
        # In this order: what stands there can be written over though the disk is full by now.
        length = os.pwrite(self._file, text.encode(), 0)
        os.ftruncate(self._file, length)


@dataclass(frozen=True, slots=True)
class Turns:
    """The turns of all who use this folder.

    Attributes:
        room: what the machine has, asked whenever somebody looks.
    """

    folder: Path
    room: Callable[[], Room] = budget.machine

    def take(
        self,
        cost: Cost,
        clock: Clock,
        says: Callable[[str], None],
        *,
        by_hand: bool = False,
        starts: bool = False,
        patient: bool = False,
    ) -> Turn:
        """Wait until there is room for this much, and hold it.

        Args:
            cost: of all that is to be made.
            clock: its abort ends the waiting.
            says: is told once what is waited for.
            by_hand: the process may make more beside it, for which it does not wait.
            starts: it says when its cluster has a leader (`Turn.started`), and until then none of
                those who say so, too, begins.
            patient: whoever else waits goes first.

        Raises:
            AbortedError: when the clock was aborted.
            DriverError: when nobody can take turns in the folder.
        """
        family, turn, told = reaper.family(), None, False
        try:
            while True:
                with self._alone(clock):
                    # Asked and looked at in one: who finds room at once is waited for by nobody.
                    if turn is None:
                        turn = self._ask(cost, by_hand=by_hand, starts=starts, patient=patient)
                    mine = turn.ticket
                    others = [one for one in self._tickets() if one.number != mine.number]
                    room = self.room()
                    if may_begin(mine, others, room, family):
                        turn.begin()
                        return turn
                if not told:
                    says(reason(mine, others, room))
                    told = True
                # Who is far behind looks less often: a hundred waiting cells must cost nothing.
                clock.sleep(_LOOK_S * (1 + len(ahead_of(mine, others))))
        except BaseException:
            if turn is not None:
                turn.release()
            raise

    def _ask(self, cost: Cost, **flags: bool) -> Turn:
        """Take a place behind all others; the caller has the folder to itself."""
        number = max((number for number, _ in self._files()), default=0) + 1
        ticket = Ticket(number, cost, reaper.owner(), **flags)
        try:
            return Turn(self.folder / f"{number}-{uuid4().hex}", ticket)
        except OSError as error:
            raise self._unusable(error) from None

    def _files(self) -> Iterator[tuple[int, Path]]:
        for path in self.folder.iterdir():
            number = path.name.partition("-")[0]
            if number.isdigit():
                yield int(number), path

    def _tickets(self) -> Iterator[Ticket]:
        """Yield the tickets of the living; whoever is dead is forgotten."""
        for number, path in self._files():
            with suppress(FileNotFoundError):  # released meanwhile
                if (text := _of_the_living(path)) is None:
                    path.unlink()
                    continue
                said = json.loads(text)
                cost = Cost(int(said["millicores"]), int(said["mib"]))
                # Another checkout of the project, of another day, may have written it.
                flags = {flag: bool(said.get(flag, False)) for flag in _FLAGS}
                yield Ticket(number, cost, said["owner"], **flags)

    def _unusable(self, error: OSError) -> DriverError:
        return DriverError(f"{self.folder}: {error}; expected a folder to lock files in")

    @contextmanager
    def _alone(self, clock: Clock) -> Iterator[None]:
        """Have the folder to oneself, for a moment."""
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            lock = os.open(self.folder / "lock", os.O_RDWR | os.O_CREAT, 0o600)
        except OSError as error:
            raise self._unusable(error) from None
        try:
            clock.wait_for(
                lambda: _locked(lock),
                timeout_s=_FOLDER_S,
                what=f"the lock on {self.folder}, which another drill has,",
                every_s=0.01,
            )
            yield
        finally:
            os.close(lock)


def of_user() -> Turns:
    """Return the turns that all drills of this user take."""
    # Not XDG_RUNTIME_DIR: what cron, sudo or a container starts has none.
    return Turns(cache_folder() / "turns")


def _locked(file: int) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _of_the_living(path: Path) -> str | None:
    """Return what stands in a file that somebody has locked, None when nobody has.

    Raises:
        FileNotFoundError: when it is gone.
    """
    with path.open("r+b") as file:  # some file systems want it writable to be locked
        return None if _locked(file.fileno()) else file.read().decode()
