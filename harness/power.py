"""Machines that lose power: their peers see silence, not a closed connection."""

from collections.abc import Sequence
from contextlib import ExitStack
from functools import partial

from harness import conditions
from harness.errors import DriverError
from harness.protocols import Silence, Undo, World
from harness.together import together

# A closed socket reaches its peer within a round trip; five seconds leave no doubt (issue 3).
_SILENCE_S = 5.0


def undo_of(machine: str) -> Undo:
    """Return what gives a machine its power back."""
    return Undo("start", {"node": machine})


def take(world: World, verb: str, machines: Sequence[str]) -> int:
    """Take the power of all machines; return the instant (ns) just before the first lost it.

    How each gets it back is journalled before, once all of them are known to be alive.

    Raises:
        DriverError: when one lives on, or a peer of it saw anything but silence.
    """
    driver = world.driver
    nodes = {node.name for node in driver.nodes}
    with ExitStack() as held:
        silences = {name: held.enter_context(driver.is_silent(name)) for name in machines}
        for name in machines:
            world.undo_later(undo_of(name))
        at = world.clock.now_ns()
        # Side by side: what they share, an AZ, fails as one.
        together(world.clock, [partial(driver.power_off, name) for name in machines], verb)
        for name in machines:
            reply = driver.patroni(name, "/liveness", deadline_s=1) if name in nodes else None
            if reply is not None and reply.status:
                raise DriverError(f"{verb}: {name} answers {reply.status}; it did not lose power")
        left = conditions.running(driver, world.clock, machines)
        if left:
            raise DriverError(f"{verb}: {', '.join(left)} still runs; expected no process")
        together(
            world.clock,
            [partial(_expect_silence, verb, name, silences[name]) for name in machines],
            verb,
        )
    return at


def _expect_silence(verb: str, machine: str, silence: Silence) -> None:
    seen = silence.broken_within(_SILENCE_S)
    if seen:
        raise DriverError(f"{verb}: a peer of {machine} saw {seen}; expected silence")
