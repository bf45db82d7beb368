"""What one trial tells: to its history, where it is judged, and to whoever watches it."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from harness.clock import NS, Clock
from harness.errors import AbortedError
from harness.history import NEMESIS, Event, EventType, Json, Log

_SAMPLE_S = 0.05
_TELL_NS = NS


class Record:
    """The nemesis's own log, and the scenario clock that both tellings use."""

    def __init__(self, path: Path, clock: Clock, tell: Callable[[float, str], None]) -> None:
        """Open the log; `tell` gets the scenario clock's reading and a sentence."""
        self._log = Log(path)
        self._clock = clock
        self._tell = tell
        self._zero: int | None = None
        self._unheard = False

    def close(self) -> None:
        self._log.close()

    def begin(self) -> None:
        """Set the scenario clock to 0: the first step starts."""
        self._zero = self._clock.now_ns()

    @property
    def begun(self) -> bool:
        return self._zero is not None

    def now_s(self) -> float:
        """Return the reading of the scenario clock; negative before the first step."""
        return (self._clock.now_ns() - self._zero) / NS if self._zero is not None else -1.0

    def stop_minding(self) -> None:
        """From now on go on even if nobody can be told: a closed pipe must not stop the undoing."""
        self._unheard = True

    def says(self, text: str) -> None:
        """Tell whoever watches; the history does not get it."""
        try:
            self._tell(self.now_s(), text)
        except Exception:
            if not self._unheard:
                raise

    def phase(self, name: str) -> None:
        """Note that the run entered a phase, and tell."""
        self.note("phase", name)
        self.says(f"phase: {name}")

    def note(self, f: str, value: Json) -> None:
        """Write an observation."""
        self.event(f"{NEMESIS}/run", "info", f, value)

    def event(
        self, process: str, kind: EventType, f: str, value: Json, error: str | None = None
    ) -> None:
        """Write one event, stamped now."""
        self._log.append(Event(process, kind, f, self._clock.now_ns(), value, error=error))

    @contextmanager
    def sampling_delay(self, idle_s: Callable[[], float | None]) -> Iterator[None]:
        """Record how late this process wakes up, and for how long the nodes may have been late.

        Neither must read as an outage.

        Args:
            idle_s: as `Driver.idle_s` has it.
        """

        def sample() -> None:
            worst, since, idle = 0.0, self._clock.now_ns(), idle_s()
            while not over:
                asleep = self._clock.now_ns()
                self._clock.sleep(_SAMPLE_S)
                worst = max(worst, (self._clock.now_ns() - asleep) / NS - _SAMPLE_S)
                if self._clock.now_ns() - since > _TELL_NS:
                    self.event("harness", "info", "delay", round(worst, 4))
                    now, free = self._clock.now_ns(), idle_s()
                    if idle is not None and free is not None:
                        crowded = max(0.0, (now - since) / NS - (free - idle))
                        self.event("harness", "info", "crowded", round(crowded, 3))
                    worst, since, idle = 0.0, now, free

        over: list[bool] = []
        task = self._clock.spawn(sample, "delay")
        try:
            yield
        finally:
            over.append(True)
            with suppress(AbortedError):
                task.join()
