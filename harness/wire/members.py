"""Asking all members of a DCS at once."""

import queue
import threading
from collections.abc import Callable, Iterable
from typing import TypeVar

from harness.clock import NS, monotonic_ns
from harness.errors import DriverError
from harness.wire.http import FAILURES

T = TypeVar("T")

# A member that does not answer a small request for so long is lost to its watcher.
LOST_AFTER_S = 2.0
TERM_EVERY_S = 1.0


def first_answer(members: Iterable[str], ask: Callable[[str], T], *, deadline_s: float) -> T:
    """Return what the first member answers; one that is frozen would use up the deadline.

    Args:
        ask: asks one member; its failure is one of `FAILURES`.

    Raises:
        DriverError: when none answers in time; it tells what each said.
    """
    answers: queue.SimpleQueue[tuple[T] | str] = queue.SimpleQueue()

    def tell(member: str) -> None:
        try:
            answers.put((ask(member),))
        except FAILURES as error:
            answers.put(f"{member}: {type(error).__name__}: {error}")

    asked = list(members)
    for member in asked:
        threading.Thread(target=tell, args=(member,), daemon=True).start()
    refused: list[str] = []
    until_ns = monotonic_ns() + int(deadline_s * NS)
    while len(refused) < len(asked):
        try:
            answer = answers.get(timeout=max(0.001, (until_ns - monotonic_ns()) / NS))
        except queue.Empty:
            refused.append(f"silence for {deadline_s:g} s")
            break
        if isinstance(answer, tuple):
            return answer[0]
        refused.append(answer)
    raise DriverError(f"dcs: no answer from a quorum: {'; '.join(refused)}")
