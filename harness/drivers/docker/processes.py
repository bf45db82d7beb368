"""The processes of one machine, as commands for the container that sees all of them."""

from collections.abc import Sequence
from dataclasses import dataclass

from harness.protocols import Process

# The states, as ps tells them, of what a signal has reached.
_HIT = {"KILL": "Z", "STOP": "ZTt"}
# PostgreSQL's children are named after what they do; only the first of all has its path.
_POSTGRES = "postgres:"
_POSTMASTER = "/bin/postgres"


@dataclass(frozen=True, slots=True)
class Running:
    """A process that was there when somebody looked.

    Attributes:
        pid: its id, as the host counts.
        state: as ps tells it; `T` first where it is stopped.
        words: its command line.
    """

    pid: int
    state: str
    words: str

    def belongs_to(self, process: Process) -> bool:
        """Return whether it is part of this program (image/spilo)."""
        name, _, _ = self.words.partition(" ")
        if process == "patroni":
            return "/opt/patroni/bin/patroni" in self.words
        if process == "walreceiver":
            return name == _POSTGRES and "walreceiver" in self.words
        if process == "postgres":
            return name == _POSTGRES or name.endswith(_POSTMASTER)
        return True


def table(first: int) -> str:
    """Return a command that lists (pid, pidns, stat, args) of what runs beside a first process.

    The host's other processes stay out of what is read: theirs may be any words. It fails where ps
    does: a look that failed must not read as a machine without processes.
    """
    return (
        "set -o pipefail; ps -eo pid=,pidns=,stat=,args= |"
        f" awk -v space=$(ps -o pidns= -p {first}) '$2 == space'"
    )


def parse(printed: str) -> Sequence[Running]:
    """Return what `table` printed; what has ended and was not yet waited for runs no more."""
    rows = [line.split(None, 3) for line in printed.splitlines()]
    return [Running(int(pid), state, words) for pid, _, state, words in rows if state[0] != "Z"]


def spreads(process: Process, signal: str) -> bool:
    """Return whether a signal has to be sent until no process is left that it did not reach."""
    return process == "postgres" and signal in _HIT


def hit_all_of_postgres(first: int, signal: str) -> str:
    """Return a script that signals all of PostgreSQL, also what it forked after the first look.

    A child that outlives the others may wait for ever for a lock that a killed one held; as long
    as it does, its node cannot start again: `pre-existing shared memory block`.
    """
    path = _POSTMASTER.replace("/", "\\/")
    chosen = f'$3 !~ /^[{_HIT[signal]}]/ && ($4 == "{_POSTGRES}" || $4 ~ /{path}$/)'
    return (
        "for round in $(seq 200); do\n"
        f"    pids=$({table(first)} | awk '{chosen} {{print $1}}') || exit 1\n"
        '    [ -n "$pids" ] || exit 0\n'
        f"    kill -{signal} $pids 2>/dev/null\n"
        "    sleep 0.005\n"
        "done\n"
        f"echo still there after SIG{signal}: $pids; exit 1"
    )
