"""PID 1 of a node: starts Patroni, keeps it running, reaps orphans, and holds the watchdog's pipe.

In order: wait for START_GATE, run configure.py, open the watchdog's pipe, start Patroni and the
keeper beside it, and then wait for whatever happens first. Nothing but the standard library, for
PID 1 is in the way of every start. The decisions are in Watchdog and PatroniLife, which are told
the time and touch nothing.
"""

import os
import select
import signal
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

RUN_DIR = Path("/run/spilo")
CONFIG = RUN_DIR / "patroni.yml"
PID_FILE = RUN_DIR / "patroni.pid"
WATCHDOG_PIPE = RUN_DIR / "watchdog"

PYTHON = "/opt/patroni/bin/python"
CONFIGURE = (PYTHON, "/usr/local/lib/spilo/configure.py")
PATRONI = (PYTHON, "/opt/patroni/bin/patroni", str(CONFIG))
# Below everything else, and so are the backups that it makes.
KEEPER = ("/usr/bin/nice", "-n", "10", PYTHON, "/usr/local/lib/spilo/keeper.py")

GATE_POLL_S = 0.02
KEEPER_AFTER_S = 3.0  # a node that starts is short of time as it is
RESTART_AFTER_S = 1.0  # runit's pause before it starts a service again, as in Spilo
# Time that the machine spent suspended counts on our clock, but not on that of select().
LONGEST_SLEEP_S = 1.0
# A process inside a system call dies after it; one that a broken disk holds must not hold us, too.
KILL_ROUNDS = 200
KILL_PAUSE_S = 0.005


class Watchdog:
    r"""A Linux watchdog device as Patroni sees it: what the bytes written to it mean.

    Patroni's TestingWatchdogDevice writes `Ctimeout=25\n` when it has opened the device, `1` after
    each renewal of the leader key, and `V` before it closes. As with the kernel's device any word
    but `V` starts the time anew. The time-out command therefore arms: Patroni promotes right after
    it, and the first `1` follows only a loop_wait later.

    Source: patroni/watchdog/linux.py, patroni/ha.py (enforce_primary_role, update_lock) of 4.1.5.
    """

    def __init__(self) -> None:
        self._timeout_s = 60.0  # TestingWatchdogDevice.timeout, until it sets another
        self._fed_at_s: float | None = None
        # Between `C` and its newline. The writer's words are atomic, our reads need not be.
        self._command: bytearray | None = None

    @property
    def deadline_s(self) -> float | None:
        """When PostgreSQL must be killed; None while disarmed."""
        return None if self._fed_at_s is None else self._fed_at_s + self._timeout_s

    def silence_s(self, now_s: float) -> float:
        return 0.0 if self._fed_at_s is None else now_s - self._fed_at_s

    def is_expired(self, now_s: float) -> bool:
        """Tell whether the time is up; to be asked before `feed`.

        A keepalive that is read only after the deadline was written by a Patroni that has just been
        thawed together with us: a device of iron would have fired meanwhile.
        """
        return self.deadline_s is not None and now_s >= self.deadline_s

    def feed(self, data: bytes, now_s: float) -> None:
        for byte in data:
            if self._command is not None:
                self._extend_command(byte)
            elif byte == ord("C"):
                self._command = bytearray()
            elif byte == ord("V"):
                self.disarm()
                continue
            self._fed_at_s = now_s

    def disarm(self) -> None:
        self._fed_at_s = None

    def _extend_command(self, byte: int) -> None:
        assert self._command is not None
        if byte != ord("\n"):
            self._command.append(byte)
            return
        key, _, value = self._command.decode("ascii", "replace").partition("=")
        if key == "timeout" and value.isdigit() and int(value) > 0:
            self._timeout_s = float(value)
        self._command = None


class PatroniLife:
    """Decides when Patroni is started again, and when there is nothing left to supervise.

    With SUPERVISE=off a dead Patroni stays dead, and PID 1 stays as long as PostgreSQL runs: the
    end of PID 1 would kill PostgreSQL too, and "Patroni is gone, its primary is not" is the very
    state that a test asks for.
    """

    def __init__(self, *, supervise: bool) -> None:
        self.pid: int | None = None
        self.stopping = False
        self._supervise = supervise
        self._start_at_s: float | None = 0.0
        self._exit_code = 0

    @property
    def start_at_s(self) -> float | None:
        """When Patroni is to be started; None while it runs or is not to run."""
        return self._start_at_s

    def started(self, pid: int) -> None:
        self.pid, self._start_at_s = pid, None

    def ended(self, status: int, now_s: float) -> None:
        """Note the end of Patroni; `status` as waitpid returns it."""
        self.pid = None
        self._exit_code = exit_code(status)
        if self._supervise and not self.stopping:
            self._start_at_s = now_s + RESTART_AFTER_S

    def stop(self) -> None:
        self.stopping, self._start_at_s = True, None

    def start(self, now_s: float) -> None:
        """Start Patroni though nobody restarts it: the way back from SUPERVISE=off."""
        if self.pid is None and not self.stopping:
            self._start_at_s = now_s

    def verdict(self, *, postgres_runs: bool) -> int | None:
        """Return the exit code of PID 1 when all is over, else None."""
        if self.pid is not None or self._start_at_s is not None or postgres_runs:
            return None
        return self._exit_code


class Process(NamedTuple):
    """One line of the process table; `executable` is empty where it cannot be read (a zombie)."""

    pid: int
    parent: int
    executable: str


def postgres_tree(processes: Iterable[Process]) -> list[int]:
    """Return the pids of PostgreSQL, parents first, so that none is left to start another.

    By the executable, for backends change their title and each has a session of its own; and their
    descendants of any name, for an archive_command or a COPY PROGRAM acts for its backend.
    """
    children: dict[int, list[Process]] = {}
    for process in sorted(processes):
        children.setdefault(process.parent, []).append(process)
    known = {process.pid for siblings in children.values() for process in siblings}
    # From the top down; also from a parent that ended between our two looks at it and its child.
    todo = [(pid, False) for pid in sorted(children.keys() - known)]
    found: list[int] = []
    for parent, inside in todo:  # grows while it is walked
        for process in children.get(parent, ()):
            belongs = inside or process.executable == "postgres"
            todo.append((process.pid, belongs))
            if belongs:
                found.append(process.pid)
    return found


def exit_code(status: int) -> int:
    """Return a waitpid status as a shell would show it: 128 + n for a death by signal n."""
    code = os.waitstatus_to_exitcode(status)
    return code if code >= 0 else 128 - code


class Supervisor:
    """The loop around the decisions: signals, the pipe, the process table."""

    def __init__(self, life: PatroniLife, wake: int, pipe: int | None) -> None:
        self._life = life
        self._wake = wake
        self._pipe = pipe
        self._watchdog = Watchdog()
        self._told_to_stop: int | None = None
        self._keeper: int | None = None
        self._keeper_at_s = _now_s() + KEEPER_AFTER_S

    def run(self) -> int:
        """Supervise until nothing is left to do; return PID 1's exit code."""
        while True:
            now_s = _now_s()
            self._keep_watchdog(now_s)
            self._reap(now_s)
            if self._life.start_at_s is not None and now_s >= self._life.start_at_s:
                self._start_patroni()
            if self._keeper is None and now_s >= self._keeper_at_s and not self._life.stopping:
                self._keeper = _spawn(KEEPER)
            if self._life.pid is None:
                postgres = running_postgres()
                code = self._life.verdict(postgres_runs=bool(postgres))
                if code is not None:
                    return code  # and the keeper ends with us
                if self._life.stopping:
                    self._stop_postgres(postgres[0])
            self._sleep(_now_s())

    def _keep_watchdog(self, now_s: float) -> None:
        """Fire if the time is up, and only then listen (see Watchdog.is_expired)."""
        if self._watchdog.is_expired(now_s):
            silence_s = self._watchdog.silence_s(now_s)
            # Disarmed like a device after its reset. Patroni itself is left as it was found: frozen
            # it can do no harm, and thawed it has to find its PostgreSQL dead and its key taken.
            self._watchdog.disarm()
            pids = " ".join(map(str, kill_postgres())) or "(none ran)"
            _log(
                f"watchdog: fired after {silence_s:.1f} s without a keepalive; "
                f"killed postgres pids {pids}"
            )
        if self._pipe is not None:
            self._watchdog.feed(_read_all(self._pipe), now_s)

    def _reap(self, now_s: float) -> None:
        """Collect every dead child: Patroni, the postmaster that it orphaned, and strays."""
        for pid, status in _dead_children():
            if pid == self._life.pid:
                self._life.ended(status, now_s)
                PID_FILE.unlink(missing_ok=True)
                again = "; starting it again in 1 s" if self._life.start_at_s is not None else ""
                _log(f"patroni (pid {pid}) ended with {exit_code(status)}{again}")
            if pid == self._keeper:
                self._keeper, self._keeper_at_s = None, now_s + RESTART_AFTER_S
                _log(f"keeper (pid {pid}) ended with {exit_code(status)}")

    def _start_patroni(self) -> None:
        pid = _spawn(PATRONI)
        self._life.started(pid)
        PID_FILE.write_text(f"{pid}\n")
        _log(f"patroni started, pid {pid}")

    def _stop_postgres(self, postmaster: int) -> None:
        """Stop PostgreSQL in Patroni's place, which died without doing it."""
        if postmaster != self._told_to_stop:
            _log(f"no patroni to stop postgres: fast shutdown of pid {postmaster}")
            _signal(postmaster, signal.SIGINT)
            self._told_to_stop = postmaster

    def _sleep(self, now_s: float) -> None:
        """Wait for a signal, a word on the pipe, or the next deadline; note what was asked."""
        deadlines = [now_s + LONGEST_SLEEP_S, self._watchdog.deadline_s, self._life.start_at_s]
        until_s = min(deadline for deadline in deadlines if deadline is not None)
        listening = [self._wake] if self._pipe is None else [self._wake, self._pipe]
        ready, _, _ = select.select(listening, [], [], max(0.0, until_s - now_s))
        for number in _read_all(self._wake) if self._wake in ready else b"":
            if number in {signal.SIGTERM, signal.SIGINT}:
                _log(f"received {signal.Signals(number).name}; stopping")
                self._life.stop()
                # TERM for both: INT would surface as KeyboardInterrupt anywhere in Patroni.
                self._tell_patroni(signal.SIGTERM)
            elif number == signal.SIGHUP:
                self._tell_patroni(signal.SIGHUP)
            elif number == signal.SIGUSR1:
                self._life.start(now_s)

    def _tell_patroni(self, number: signal.Signals) -> None:
        if self._life.pid is not None:
            _signal(self._life.pid, number)


def running_postgres() -> list[int]:
    """Return the pids of PostgreSQL in this container, the postmaster first."""
    return postgres_tree(_processes())


def kill_postgres() -> list[int]:
    """SIGKILL all of PostgreSQL, also what was forked meanwhile; return the pids."""
    killed: list[int] = []
    for _ in range(KILL_ROUNDS):
        pids = running_postgres()
        if not pids:
            break
        for pid in pids:
            _signal(pid, signal.SIGKILL)
        killed.extend(pid for pid in pids if pid not in killed)
        time.sleep(KILL_PAUSE_S)
    return killed


def main() -> int:
    """Run the stages of a node's start; return the exit code of the container."""
    wake = _listen_to_signals()
    _wait_for_gate(wake, os.environ.get("START_GATE", ""))
    code = _run_to_end(wake, CONFIGURE)
    if code:
        return code
    pipe = _open_watchdog() if os.environ.get("WATCHDOG") == "required" else None
    life = PatroniLife(supervise=os.environ.get("SUPERVISE", "on") == "on")
    return Supervisor(life, wake, pipe).run()


def _now_s() -> float:
    # Counts the time that a suspended machine slept: the leader key expired meanwhile, too.
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def _listen_to_signals() -> int:
    """Turn signals into bytes on a pipe, for select(); return its reading end."""
    wake, waker = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    signal.set_wakeup_fd(waker, warn_on_full_buffer=False)
    wanted = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, signal.SIGCHLD)
    for number in wanted:
        # PID 1 is not even told of a signal that it has no handler for.
        signal.signal(number, lambda _number, _frame: None)
    return wake


def _wait_for_gate(wake: int, gate: str) -> None:
    """Hold the start until the driver has made `gate`, say after it cut the node's network.

    A relative path is not waited for: configure.py is about to refuse it.
    """
    if not gate.startswith("/"):
        return
    _log(f"waiting for {gate}")
    while not Path(gate).exists():
        time.sleep(GATE_POLL_S)
        _exit_if_told(_read_all(wake))


def _run_to_end(wake: int, command: tuple[str, ...]) -> int:
    pid = _spawn(command)
    while True:
        for dead, status in _dead_children():
            if dead == pid:
                return exit_code(status)
        select.select([wake], [], [])
        _exit_if_told(_read_all(wake))


def _exit_if_told(signals: bytes) -> None:
    """End at once on TERM or INT: before Patroni runs there is nothing to shut down."""
    for number in {signal.SIGTERM, signal.SIGINT} & set(signals):
        _log(f"received {signal.Signals(number).name} before the start; leaving")
        sys.exit(128 + number)


def _open_watchdog() -> int:
    """Make the pipe and open it both ways, or Patroni's open() would wait for a reader."""
    WATCHDOG_PIPE.unlink(missing_ok=True)
    os.mkfifo(WATCHDOG_PIPE, mode=0o600)
    return os.open(WATCHDOG_PIPE, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)


def _spawn(command: tuple[str, ...]) -> int:
    # SIGPIPE is ignored by this Python and would stay so in the child. A session of its own keeps a
    # terminal's Ctrl-C, which reaches us too, from being delivered twice.
    return os.posix_spawn(
        command[0], command, os.environ, setsid=True, setsigdef=[signal.SIGPIPE, signal.SIGXFSZ]
    )


def _dead_children() -> list[tuple[int, int]]:
    dead: list[tuple[int, int]] = []
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return dead
        if pid == 0:
            return dead
        dead.append((pid, status))


def _processes() -> list[Process]:
    found: list[Process] = []
    for entry in os.listdir("/proc"):  # noqa: PTH208 - names only, several times a second
        if entry.isdigit():
            try:
                with open(f"/proc/{entry}/stat", "rb") as stat:  # noqa: PTH123 - likewise
                    # The name in parentheses may hold anything, so count from the last one.
                    parent = int(stat.read().rpartition(b")")[2].split()[1])
            except OSError:
                continue  # it ended while we looked
            found.append(Process(int(entry), parent, _executable(entry)))
    return found


def _executable(pid: str) -> str:
    try:
        return os.path.basename(os.readlink(f"/proc/{pid}/exe"))  # noqa: PTH115, PTH119 - likewise
    except OSError:
        return ""


def _signal(pid: int, number: signal.Signals) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return


def _read_all(descriptor: int) -> bytes:
    data = b""
    while True:
        try:
            data += os.read(descriptor, 4096)
        except BlockingIOError:
            return data


def _log(line: str) -> None:
    print(f"supervisor: {line}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
