"""Tests for harness.clock: real time, and the end of every wait."""

import signal
import threading

import pytest

from harness.clock import NS, WallClock, monotonic_ns, wall_epoch_s, wall_label
from harness.errors import AbortedError, DriverError, OverdueError

LONG_S = 60.0


def test_time_goes_on() -> None:
    """A sleep takes at least its time."""
    clock = WallClock()
    begun = clock.now_ns()
    clock.sleep(0.01)
    assert clock.now_ns() - begun >= 0.01 * NS
    clock.sleep(-1)


def test_an_abort_ends_present_and_future_waits() -> None:
    """At once, and for ever."""
    clock = WallClock()
    task = clock.spawn(lambda: clock.sleep(LONG_S), "sleeper")
    clock.abort()
    with pytest.raises(AbortedError):
        task.join()
    with pytest.raises(AbortedError):
        clock.sleep(0)


def test_an_abort_reaches_the_children() -> None:
    """Those there are, and those to come; and theirs."""
    clock = WallClock()
    early = clock.child().child()
    clock.abort()
    for child in (early, clock.child(), clock.child().child()):
        with pytest.raises(AbortedError):
            child.sleep(LONG_S)


def test_a_child_aborts_alone() -> None:
    """The end of one run is not the end of the others."""
    clock = WallClock()
    clock.child().abort()
    clock.sleep(0)
    clock.child().sleep(0)


def test_the_shield_lets_undoing_wait() -> None:
    """Within it nothing is aborted; after it everything is; it may be held twice."""
    clock = WallClock()
    clock.abort()
    with clock.shielded():
        with clock.shielded():
            clock.sleep(0)
        clock.sleep(0.001)
        assert clock.wait_for(lambda: "yes", timeout_s=1, what="it") == "yes"
    with pytest.raises(AbortedError):
        clock.sleep(0)


def test_the_shield_covers_what_is_spawned_within() -> None:
    """A driver may undo several things at once."""
    clock = WallClock()
    clock.abort()
    with clock.shielded():
        task = clock.spawn(lambda: clock.sleep(0.001), "undo")
    task.join()


def test_the_shield_covers_no_other_thread() -> None:
    """Who still makes faults meanwhile is ended."""
    clock = WallClock()
    clock.abort()
    inside, tried = threading.Event(), threading.Event()

    def other() -> None:
        inside.wait()
        try:
            clock.sleep(0)
        finally:
            tried.set()

    task = clock.spawn(other, "other")
    with clock.shielded():
        inside.set()
        tried.wait()
    with pytest.raises(AbortedError):
        task.join()


def test_wait_for_returns_the_first_true_value() -> None:
    """A false one is asked for again."""
    values = iter([None, 0, "", "yes", "late"])
    clock = WallClock()
    assert clock.wait_for(lambda: next(values), timeout_s=1, what="it", every_s=0) == "yes"


def test_wait_for_asks_at_least_once() -> None:
    """A timeout of nothing is still one look."""
    assert WallClock().wait_for(lambda: "yes", timeout_s=0, what="it") == "yes"


def test_wait_for_says_what_did_not_happen() -> None:
    """In its own words, with the time it was given."""
    with pytest.raises(OverdueError, match=r"the end did not happen within 0.01 s"):
        WallClock().wait_for(lambda: None, timeout_s=0.01, what="the end", every_s=0.001)


def test_an_abort_ends_wait_for() -> None:
    """Even where the condition holds: after an abort nothing goes on."""
    clock = WallClock()
    asked = threading.Event()
    task = clock.spawn(
        lambda: clock.wait_for(asked.set, timeout_s=LONG_S, what="it", every_s=LONG_S), "waiter"
    )
    asked.wait()
    clock.abort()
    with pytest.raises(AbortedError):
        task.join()
    with pytest.raises(AbortedError):
        clock.wait_for(lambda: "yes", timeout_s=1, what="it")


@pytest.mark.parametrize("error", [DriverError("down"), AssertionError("a bug"), SystemExit(3)])
def test_join_raises_what_the_task_raised(error: BaseException) -> None:
    """Whatever it was, and again for who asks again."""

    def work() -> None:
        raise error

    task = WallClock().spawn(work, "failing")
    for _ in range(2):
        with pytest.raises(type(error)) as raised:
            task.join()
        assert raised.value is error


def test_labels_are_for_people_and_expiry() -> None:
    """UTC to the millisecond; seconds since 1970; the clock of all containers."""
    assert wall_label().endswith("+00:00")
    assert wall_epoch_s() > 1.6e9
    assert abs(monotonic_ns() - WallClock().now_ns()) < NS


def test_a_signal_that_the_wait_did_not_feel_is_handled_all_the_same() -> None:
    """Another thread got it, or it came just before the wait: nothing wakes the main thread."""
    clock, handled = WallClock(), threading.Event()

    def work() -> None:
        clock.sleep(0.3)  # until it waits, which nobody can see from outside
        signal.pthread_kill(threading.get_ident(), signal.SIGUSR1)
        assert handled.wait(30)

    before = signal.signal(signal.SIGUSR1, lambda *_: handled.set())
    try:
        clock.spawn(work, "work").join()
    finally:
        signal.signal(signal.SIGUSR1, before)
