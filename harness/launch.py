"""From a plan to a run's folder: what the command line and pytest both do around `runner.run`."""

import os
import signal
import threading
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from types import FrameType

from harness import drivers, loader, seeds
from harness.apart import Where, here
from harness.clock import Task, WallClock
from harness.errors import DriverError, Mistake, ScenarioError
from harness.history import Json
from harness.plan import Plan, plan
from harness.report import html, junit, result_json
from harness.report.text import hide_deep, hider
from harness.result import CellResult, ScenarioResult
from harness.runner import Listener, run
from harness.scenario import Backend
from harness.trial import runs_alone

FIRST_SIGNAL = "healing; press again to stop at once (then: ./drill heal && ./drill reap)"
SECOND_SIGNAL = "stopped at once; faults may be left: ./drill heal && ./drill reap"


_ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Interruption:
    """What the signals of a run have asked for so far."""

    def __init__(self, clock: WallClock) -> None:
        self._clock = clock
        self.asked = False

    def handle(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002 - a handler's form
        """Abort the run on the first signal; on the second, leave the main thread at once."""
        if self.asked:
            _shout(SECOND_SIGNAL)
            raise KeyboardInterrupt
        self.asked = True
        _shout(FIRST_SIGNAL)
        self._clock.abort()


def _shout(text: str) -> None:
    # Straight to the descriptor: a signal may come while a stream's own lock is held. After a
    # SIGHUP the terminal is gone.
    with suppress(OSError):
        os.write(2, f"\ndrill: {text}\n".encode())


@contextmanager
def interruptible(clock: WallClock) -> Iterator[Interruption]:
    """Let Ctrl-C and SIGTERM abort the clock, so that the runner heals before it returns.

    Outside the main thread, where no signal can be handled, nothing is changed.
    """
    interruption = Interruption(clock)
    if threading.current_thread() is not threading.main_thread():
        yield interruption
        return
    before = {
        number: signal.signal(number, interruption.handle)
        for number in _ENDING
        # Whoever started us with `nohup` wants the end of the terminal to be no end.
        if number is not signal.SIGHUP or signal.getsignal(number) is not signal.SIG_IGN
    }
    try:
        yield interruption
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class Undisturbed:
    """A listener whose failures do not reach the run: undoing a fault must not end at a print.

    When nobody reads any more (a closed pipe, a terminal that is gone), the run is aborted.
    """

    def __init__(self, listener: Listener, clock: WallClock) -> None:
        self._listener = listener
        self._clock = clock

    def _tell(self, words: Callable[[], None]) -> None:
        try:
            words()
        except (OSError, SystemExit):  # rich makes the latter of a broken pipe
            self._clock.abort()

    def scenario_begins(self, plan: Plan) -> None:
        self._tell(partial(self._listener.scenario_begins, plan))

    def cell_begins(self, cell: str, repeat: int, of: int) -> None:
        self._tell(partial(self._listener.cell_begins, cell, repeat, of))

    def says(self, cell: str, t_s: float, text: str) -> None:
        self._tell(partial(self._listener.says, cell, t_s, text))

    def cell_ends(self, result: CellResult) -> None:
        self._tell(partial(self._listener.cell_ends, result))

    def scenario_ends(self, result: ScenarioResult) -> None:
        self._tell(partial(self._listener.scenario_ends, result))


def pick_backend(asked: Backend | None) -> Backend:
    """Return the backend to run on.

    Raises:
        DriverError: when none was asked for and this machine has none.
    """
    if asked is not None:
        return asked
    found = drivers.available()
    if not found:
        raise DriverError("no backend available: no Docker engine answers; start Docker")
    return found[0]


def plans(
    paths: Sequence[Path],
    *,
    backend: Backend | None = None,
    cell: str | None = None,
    repeat: int | None = None,
    seed: int | None = None,
) -> Sequence[Plan]:
    """Return what is to be run: every file is read and planned before anything starts.

    Raises:
        ScenarioError: with the mistakes of all files.
        DriverError: when there is no backend to run on.
    """
    scenarios = loader.load_all(paths)
    where, number = pick_backend(backend), seeds.choose(seed)
    able = drivers.supported(where)
    planned: list[Plan] = []
    mistakes: list[Mistake] = []
    for scenario in scenarios:
        try:
            planned.append(
                plan(scenario, where, seed=number, cell=cell, repeat=repeat, supported=able)
            )
        except ScenarioError as error:
            mistakes += error.mistakes
    if mistakes:
        raise ScenarioError(mistakes)
    return planned


def hide(line: str, of: Plan) -> str:
    """Return the line without the secrets of a plan."""
    return hider(of.secrets)(line)


def hide_in(value: Json, of: Plan) -> Json:
    """Return a JSON value without the secrets of a plan."""
    return hide_deep(value, hider(of.secrets))


def folder_of(planned: Plan, out: Path | None, *, among: int = 1) -> Path:
    """Return where a run's files go: each of several scenarios has a folder of its own in `out`."""
    if out is None:
        return Path("runs") / f"{planned.scenario.name}-{planned.seed}"
    return out if among == 1 else out / planned.scenario.name


def execute(
    planned: Plan,
    *,
    out: Path,
    clock: WallClock,
    listener: Listener,
    slots: threading.Semaphore | None = None,
    keep: bool = False,
    where: Where = here,
) -> ScenarioResult:
    """Run what is planned and write its reports; `slots` and `where` as `runner.run` has them."""
    out.mkdir(parents=True, exist_ok=True)
    keep_scenario(planned, out)
    shown = Undisturbed(listener, clock)
    result = run(planned, out=out, clock=clock, listener=shown, slots=slots, keep=keep, where=where)
    where(write, result, out, secrets=planned.secrets)
    return result


def queue(planned: Sequence[Plan]) -> Sequence[int]:
    """Return the order in which plans are begun, by their numbers: last who has to run alone.

    All others would wait for it, and it for all of them to end.
    """
    alone = [any(map(runs_alone, one.cells)) for one in planned]
    return sorted(range(len(planned)), key=alone.__getitem__)


def side_by_side(
    clock: WallClock, work: Iterable[Callable[[], None]], slots: threading.Semaphore | None
) -> None:
    """Do all of it, each once there is a slot that the work before it does not wait for.

    A failure ends the rest, and nothing more is begun after an abort of the clock.

    Args:
        slots: what the parts of the work take one of; None is one piece of work after another.

    Raises:
        Exception: the first failure, once everything has ended.
    """
    tasks: list[Task] = []
    failures: list[Exception] = []

    def guarded(one: Callable[[], None]) -> None:
        try:
            one()
        except Exception as failure:  # noqa: BLE001 - raised below, once the others have healed
            failures.append(failure)
            clock.abort()

    for one in work:
        if clock.is_aborted:
            break
        tasks.append(clock.spawn(partial(guarded, one), "scenario"))
        if slots is None:
            tasks[-1].join()
        else:
            with slots:  # those who wait are served in their order
                pass
    for task in tasks:
        task.join()
    if failures:
        raise failures[0]


def keep_scenario(planned: Plan, out: Path) -> Path:
    """Write the scenario as it was read: a run judged again is held against the same words."""
    document = planned.scenario.document
    assert document is not None, "only a scenario that the loader read can be planned"
    return _put(out / f"{planned.scenario.name}.yaml", document.text)


def write(result: ScenarioResult, out: Path, *, secrets: Collection[str] = ()) -> Sequence[Path]:
    """Write `result.json`, `junit.xml` and `index.html` into a run's folder; return their paths."""
    out.mkdir(parents=True, exist_ok=True)
    # The data first: should a drawing fail, the run can be drawn again from them.
    data = _put(out / result_json.NAME, result_json.to_json(result, out, secrets=secrets))
    return [data, *draw(result, out, secrets=secrets)]


def draw(result: ScenarioResult, out: Path, *, secrets: Collection[str] = ()) -> Sequence[Path]:
    """Write what is made from the data: `junit.xml` and `index.html`."""
    page = out / html.NAME
    return [
        _put(out / junit.NAME, junit.to_xml(result, report=str(page), secrets=secrets)),
        _put(page, html.to_html(result, secrets=secrets)),
    ]


def _put(path: Path, text: str) -> Path:
    """Write a file so that a reader sees all of it or none."""
    unfinished = path.with_name(f"{path.name}.part")
    # A lone surrogate in somebody's text is no reason to lose the report.
    unfinished.write_text(text, encoding="utf-8", errors="replace")
    return unfinished.replace(path)
