"""Work done side by side, to the end of all of it."""

from collections.abc import Callable, Iterable

from harness.clock import Clock


def together(clock: Clock, work: Iterable[Callable[[], object]], name: str) -> None:
    """Do everything at once; return when all of it has ended.

    Raises:
        Exception: the first failure, in the order of the work, once the rest has ended, too.
    """
    tasks = [clock.spawn(_silently(one), name) for one in work]
    failures: list[Exception] = []
    for task in tasks:
        try:
            task.join()
        except Exception as error:  # noqa: BLE001 - raised below, when nothing runs any more
            failures.append(error)
    if failures:
        raise failures[0]


def _silently(one: Callable[[], object]) -> Callable[[], None]:
    def work() -> None:
        one()

    return work
