"""The worlds that a cluster can run in: one folder each, all behind `protocols.Driver`."""

from collections.abc import Callable
from pathlib import Path

from harness.clock import Clock
from harness.errors import DriverError
from harness.protocols import Driver
from harness.scenario import Backend


def available() -> tuple[Backend, ...]:
    """Return the backends that this machine can run now."""
    # Imported when asked for: whoever only validates a scenario needs no Docker client.
    from harness.drivers.docker.driver import connect

    try:
        connect().close()
    except DriverError:
        return ()
    return ("docker",)


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
