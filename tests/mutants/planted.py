"""Running a scenario in a world with a planted defect."""

from collections.abc import Callable
from pathlib import Path

from harness import drivers, loader, runner
from harness.clock import Clock, WallClock
from harness.drivers.docker.driver import DockerDriver
from harness.drivers.docker.stack import Stack
from harness.plan import plan
from harness.protocols import Driver
from harness.result import CellResult
from harness.verdict import Finding, Verdict

HERE = Path(__file__).parent
SCENARIOS = HERE.parent.parent / "scenarios"
SEED = 20261123


def defect(kind: type[DockerDriver] = DockerDriver, stack: Stack | None = None) -> drivers.Make:
    """Return a way into a world with a defect: of the driver, or of a stack that is set wrong."""

    def make(
        backend: str,  # noqa: ARG001 - the form of a Make
        run: str,
        folder: Path,
        clock: Clock,
        *,
        keep: bool,
        says: Callable[[str], None],
    ) -> Driver:
        return kind(run, folder, clock, stack=stack, keep=keep, says=says)

    return make


def run(
    path: Path, folder: Path, cell: str | None = None, make: drivers.Make = drivers.make
) -> CellResult:
    """Run one cell of a scenario, with a driver that may have a defect."""
    planned = plan(loader.load(path), "docker", seed=SEED, cell=cell)
    result = runner.run(
        planned, out=folder, clock=WallClock(), listener=runner.Silent(), make_driver=make
    )
    return result.cells[0]


def finding(result: CellResult, name: str) -> Finding:
    """Return what became of one expectation."""
    return next(one for one in result.findings if one.name == name)


def verdicts(result: CellResult) -> dict[str, Verdict]:
    """Return what became of each expectation."""
    return {one.name: one.verdict for one in result.findings}


def said(result: CellResult, machine: str) -> str:
    """Return what a machine of the run has logged."""
    (history,) = result.histories
    return (history.parent / "logs" / f"{machine}.log").read_text(encoding="utf-8")
