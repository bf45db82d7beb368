"""Work in a process apart, while other clusters of this one still run.

A verdict and its report take seconds of Python. In the harness's own process they keep whoever
stamps a fault, or samples the run's delay, from the interpreter: seen, for 1.07 s with four
clusters up.
"""

import os
import signal
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing import get_context
from typing import ParamSpec, Protocol, TypeVar

P = ParamSpec("P")
T = TypeVar("T")

# It may wait; the clusters, the DCS and the clients that are measured may not.
_NICER = 10


class Where(Protocol):
    """Where a piece of work is done; it returns, or raises, what the work does."""

    def __call__(self, work: Callable[P, T], *args: P.args, **named: P.kwargs) -> T:
        """Do it, and return when it is done."""
        ...


def here(work: Callable[P, T], *args: P.args, **named: P.kwargs) -> T:
    """Do the work at once, in this process."""
    return work(*args, **named)


@contextmanager
def apart() -> Iterator[Where]:
    """Hold a process that does one piece of work after another.

    The work is a function of a module, and all that it is given and returns can be pickled. Should
    the process be killed, the work is done here.
    """
    # Spawned, for a fork would inherit the locks of threads that it does not have.
    with ProcessPoolExecutor(1, get_context("spawn"), initializer=_settle) as pool:

        def there(work: Callable[P, T], *args: P.args, **named: P.kwargs) -> T:
            try:
                return pool.submit(work, *args, **named).result()
            except BrokenProcessPool:
                return work(*args, **named)

        yield there


def _settle() -> None:
    # Ctrl-C and the end of a terminal reach the whole group; the harness decides what they mean.
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    os.nice(_NICER)
