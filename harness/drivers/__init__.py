"""The worlds that a cluster can run in: one folder each, all behind `protocols.Driver`."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Protocol

from harness import registry
from harness.clock import Clock
from harness.drivers.docker import debian
from harness.errors import DriverError
from harness.history import Json
from harness.plan import Supported
from harness.protocols import Driver
from harness.scenario import Backend

# AZs are labels here, and a scenario that asks for more than a region has is meant for no one
# machine; the watchdog is the image's own; network delays need a kernel module (netem);
# of PostgreSQL there is what some release of Debian has.
_DOCKER_FACTS: Mapping[str, Json] = {
    "azs": 3,
    "watchdog": True,
    "netem": False,
    "postgres": debian.POSTGRES,
}


class Make(Protocol):
    """How a world is entered; tests pass one with a planted defect."""

    def __call__(
        self,
        backend: str,
        run: str,
        folder: Path,
        clock: Clock,
        *,
        keep: bool,
        says: Callable[[str], None],
    ) -> Driver: ...


def available() -> tuple[Backend, ...]:
    """Return the backends that this machine can run now."""
    # Imported when asked for: whoever only validates a scenario needs no Docker client.
    from harness.drivers.docker.engine import connect

    try:
        connect().close()
    except DriverError:
        return ()
    return ("docker",)


def supported(backend: Backend) -> Supported | None:
    """Return what a backend can do on this machine; None while it is not built, so not known.

    Asks no engine: a plan is made where none answers, too.
    """
    if backend != "docker":
        return None
    # All verbs that exist act by the core of `protocols.Driver`, which docker has in full.
    return Supported(verbs=frozenset(registry.verbs()), facts=_DOCKER_FACTS)


def make(
    backend: str,
    run: str,
    folder: Path,
    clock: Clock,
    *,
    keep: bool = False,
    says: Callable[[str], None] = lambda _: None,
) -> Driver:
    """Return a driver of this backend for one run.

    Raises:
        DriverError: when this backend is not built.
    """
    from harness.drivers.docker.driver import DockerDriver

    if backend != "docker":
        raise DriverError(f"backend {backend!r}: not built yet; expected docker")
    return DockerDriver(run, folder, clock, keep=keep, says=says)
