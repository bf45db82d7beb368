"""What surrounds a run: nothing that happens to its audience may keep a fault from being undone."""

import os
import signal
from pathlib import Path

import pytest

from harness import drivers, launch, registry, trial
from harness.clock import WallClock
from harness.errors import AbortedError


class Gone:
    """A listener whose stream is closed."""

    def __init__(self, error: BaseException) -> None:
        self.error = error
        self.asked = 0

    def says(self, cell: str, t_s: float, text: str) -> None:  # noqa: ARG002 - a listener's form
        self.asked += 1
        raise self.error


@pytest.mark.parametrize("error", [BrokenPipeError(), OSError(5, "I/O error"), SystemExit(1)])
def test_an_audience_that_left_aborts_and_disturbs_nothing(error) -> None:
    """The one who speaks goes on (it may be undoing faults); the run is aborted."""
    clock, listener = WallClock(), Gone(error)
    shown = launch.Undisturbed(listener, clock)  # type: ignore[arg-type]
    shown.says("", 0.0, "undone: thaw pg-1 patroni")
    shown.says("", 0.0, "undone: mend pg-1 pg-2")
    assert listener.asked == 2
    with pytest.raises(AbortedError):
        clock.sleep(5)


def test_a_listeners_bug_is_not_hidden() -> None:
    """Only what a stream does is forgiven."""
    shown = launch.Undisturbed(Gone(KeyError("x")), WallClock())  # type: ignore[arg-type]
    with pytest.raises(KeyError):
        shown.says("", 0.0, "phase: steady")


def test_a_terminal_that_closes_aborts() -> None:
    """SIGHUP heals as Ctrl-C does."""
    clock = WallClock()
    with launch.interruptible(clock) as interruption:
        os.kill(os.getpid(), signal.SIGHUP)
        with pytest.raises(AbortedError):
            clock.sleep(5)
    assert interruption.asked


def test_nohup_is_respected() -> None:
    """Whoever has SIGHUP ignored wants to go on without a terminal."""
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with launch.interruptible(WallClock()) as interruption:
            os.kill(os.getpid(), signal.SIGHUP)
        assert not interruption.asked
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


def test_who_runs_alone_is_begun_last() -> None:
    """Whoever measures fractions of a second; all others keep their order."""
    root = Path(__file__).resolve().parents[2] / "scenarios"
    names = ("process/node-frozen", "node-kill", "process/patroni-frozen")
    planned = launch.plans([root / f"{name}.yaml" for name in names], backend="docker", seed=1)
    assert launch.queue(planned) == [1, 2, 0]
    assert [trial.runs_alone(cell) for cell in planned[0].cells] == [True, False]


def test_docker_says_what_it_can_do() -> None:
    """All verbs, without an engine; of a backend that is not built nothing is known."""
    able = drivers.supported("docker")
    assert able is not None
    assert set(able.verbs or ()) == set(registry.verbs())
    assert able.facts == {"azs": 3, "watchdog": True, "netem": False, "postgres": (15, 17)}
    assert drivers.supported("aws") is None
