"""A machine without a free core is told from one that has some, by the clock of its cores."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from harness.clock import NS, WallClock
from harness.protocols import Driver

CLOCK = WallClock()


@contextmanager
def every_core_burning() -> Iterator[None]:
    """Hold a neighbour that takes what the cores have left; others are not disturbed by it."""
    program = "import os; os.nice(19)\nwhile True: pass"
    burners = [
        subprocess.Popen([sys.executable, "-S", "-c", program])
        for _ in range(2 * (os.cpu_count() or 1))
    ]
    try:
        yield
    finally:
        for burner in burners:
            burner.kill()
            burner.wait()


def spare_cores(driver: Driver, seconds: float) -> float:
    """Return how many cores were idle, on average, for a while."""
    begun, idle = CLOCK.now_ns(), driver.idle_s()
    CLOCK.sleep(seconds)
    after = driver.idle_s()
    assert idle is not None
    assert after is not None
    return (after - idle) / ((CLOCK.now_ns() - begun) / NS)


def test_a_neighbour_that_takes_all_cores_is_seen(driver: Driver) -> None:
    """Whoever it belongs to: here it is no cluster at all."""
    if driver.idle_s() is None:
        return  # each node has a machine of its own
    with every_core_burning():
        assert spare_cores(driver, 2) < 0.1
