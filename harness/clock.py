"""The run's clock: wall time today, virtual time in the simulator. Only this file imports `time`.

All waiting goes through a clock, so that the same engine, workload and probe code runs in real
and in virtual time, and so that an abort ends every wait at once.
"""

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, wait
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Protocol, TypeVar

from harness.errors import AbortedError, OverdueError

T = TypeVar("T")
NS = 1_000_000_000
_LOOK_FOR_SIGNALS_S = 1.0


class Task(Protocol):
    """Something that `Clock.spawn` started."""

    def join(self) -> None:
        """Wait for the end; raise what the task raised."""
        ...


class Clock(Protocol):
    """Tells the time and waits. Instants are nanoseconds of a clock that never goes back."""

    def now_ns(self) -> int: ...

    def sleep(self, seconds: float) -> None:
        """Let time pass; raise AbortedError as soon as the run is aborted."""
        ...

    def spawn(self, work: Callable[[], None], name: str) -> Task:
        """Run `work` beside the caller."""
        ...

    def wait_for(
        self,
        condition: Callable[[], T | None],
        *,
        timeout_s: float,
        what: str,
        every_s: float = 0.1,
    ) -> T:
        """Return the first true value of `condition`.

        Raises:
            OverdueError: `<what> did not happen within <timeout>`.
            AbortedError: when the run is aborted meanwhile.
        """
        ...


class _ThreadTask:
    def __init__(self, work: Callable[[], None], name: str) -> None:
        self._done: Future[None] = Future()
        # Daemon: a task stuck in a system call must not keep an aborted run from ending.
        threading.Thread(target=self._run, args=(work,), name=name, daemon=True).start()

    def _run(self, work: Callable[[], None]) -> None:
        try:
            work()
        except BaseException as error:  # noqa: BLE001 - handed to whoever joins
            self._done.set_exception(error)
        else:
            self._done.set_result(None)

    def join(self) -> None:
        # A signal that comes between the last look for one and the wait itself does not end the
        # wait; only the main thread handles signals, so it looks again.
        ours = threading.current_thread() is threading.main_thread()
        while not wait([self._done], _LOOK_FOR_SIGNALS_S if ours else None).done:
            pass
        self._done.result()


class WallClock:
    """Real time: CLOCK_MONOTONIC, which all containers of one machine share."""

    def __init__(self) -> None:
        self._aborted = threading.Event()
        self._children: list[WallClock] = []
        self._shield = threading.local()

    def now_ns(self) -> int:
        return time.monotonic_ns()

    def child(self) -> "WallClock":
        """Return a clock of its own that an abort of this one ends too."""
        clock = type(self)()
        self._children.append(clock)
        if self._aborted.is_set():
            clock.abort()
        return clock

    def abort(self) -> None:
        """End every present and future wait on this clock and its children with AbortedError."""
        self._aborted.set()
        for clock in self._children:
            clock.abort()

    @property
    def is_aborted(self) -> bool:
        return self._aborted.is_set()

    @contextmanager
    def shielded(self) -> Iterator[None]:
        """Let this thread, and what it spawns, wait as if nothing had been aborted: for undoing."""
        before, self._shield.on = self._is_shielded, True
        try:
            yield
        finally:
            self._shield.on = before

    @property
    def _is_shielded(self) -> bool:
        return getattr(self._shield, "on", False)

    def sleep(self, seconds: float) -> None:
        if self._is_shielded:
            time.sleep(max(0.0, seconds))
        elif self._aborted.wait(max(0.0, seconds)):
            raise AbortedError("aborted")

    def spawn(self, work: Callable[[], None], name: str) -> Task:
        # What is begun under the shield belongs to the undoing too.
        return _ThreadTask(self._shielding(work) if self._is_shielded else work, name)

    def _shielding(self, work: Callable[[], None]) -> Callable[[], None]:
        def shielded() -> None:
            with self.shielded():
                work()

        return shielded

    def wait_for(
        self,
        condition: Callable[[], T | None],
        *,
        timeout_s: float,
        what: str,
        every_s: float = 0.1,
    ) -> T:
        deadline = time.monotonic() + timeout_s
        while True:
            self.sleep(0)  # after an abort nothing goes on, even where nothing had to be awaited
            if value := condition():
                return value
            if time.monotonic() >= deadline:
                raise OverdueError(f"{what} did not happen within {timeout_s:g} s")
            self.sleep(every_s)


def wall_label() -> str:
    """Return the date and time of day in UTC: a label for people, never used to order events."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def monotonic_ns() -> int:
    """Return CLOCK_MONOTONIC; for stamps taken where no run, and so no clock, exists."""
    return time.monotonic_ns()


def wall_epoch_s() -> float:
    """Return seconds since 1970 in UTC: for expiry labels, which outlive this boot."""
    return time.time()
