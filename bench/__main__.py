"""Run the benchmarks and print one row each: minimum, median, maximum, and the bound.

`python -m bench [start] [cell] [pitr] [join] [join-2gb] [checks] [again-SCENARIO]`; alone on the
machine, or the figures say little.
"""

import argparse
import resource
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

from bench import again, checks, s3
from bench.rows import CLOCK, show
from harness import conditions, drivers, loader, runner
from harness.clock import NS
from harness.plan import plan
from harness.protocols import Driver
from harness.result import CellResult
from harness.scenario import Cluster, Steady

ROOT = Path(__file__).resolve().parent.parent


def start(times: int) -> None:
    """Time a cluster from nothing until all replicas stream: images built, one cluster alone."""
    show(
        "start: all streaming, 3 nodes (min/median/max)",
        [_one_start() for _ in range(times)],
        "s",
        "median <= 15 s, max <= 25 s",
    )


def _one_start() -> float:
    with tempfile.TemporaryDirectory() as folder:
        run = f"bench{CLOCK.now_ns() % 10**8:08d}"
        driver = drivers.make("docker", run, Path(folder), CLOCK)
        cluster = Cluster(sync="async")
        with driver.room(cluster):
            begun = CLOCK.now_ns()
            try:
                driver.up(cluster)
                CLOCK.wait_for(
                    lambda: _steady(driver, cluster), timeout_s=120, what="steady", every_s=0.1
                )
                return (CLOCK.now_ns() - begun) / NS
            finally:
                driver.down()


def _steady(driver: Driver, cluster: Cluster) -> bool:
    view = conditions.look(driver, CLOCK)
    conditions.hurry(driver, view)
    return bool(conditions.steady(view, cluster, Steady()))


def cell(times: int) -> None:
    """Time whole node-kill cells beside their failovers, and the harness's own memory."""
    results = [_one_cell(seed) for seed in range(times)]
    failovers = [_figure(result, "failover_s") for result in results]
    overheads = [r.seconds - f for r, f in zip(results, failovers, strict=True)]
    show("node-kill, quorum, 3 nodes: direct failover", failovers, "s", "20 s <= p50 <= 33 s")
    show("node-kill, quorum, 3 nodes: cell - failover", overheads, "s", "<= 60 s")
    memory_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    show("harness: peak resident memory", [memory_mb], "MB", "<= 300 MB")


def _figure(result: CellResult, name: str) -> float:
    values = result.figures[name]
    assert isinstance(values, list), name
    return float(values[0])


def _one_cell(seed: int) -> CellResult:
    scenario = loader.load(ROOT / "scenarios" / "node-kill.yaml")
    planned = plan(scenario, "docker", seed=seed, cell="nodes=3-sync=quorum")
    with tempfile.TemporaryDirectory() as folder:
        result = runner.run(planned, out=Path(folder), clock=CLOCK, listener=runner.Silent())
    return result.cells[0]


BENCHMARKS: dict[str, Callable[[int], None]] = {
    "start": start,
    "cell": cell,
    "pitr": s3.pitr,
    "join": s3.join,
    "join-2gb": s3.join_2gb,
    "checks": checks.checks,
    **{f"again-{name}": partial(again.again, name) for name in again.CELLS},
}
# A median is claimed of five or more.
TIMES = {"start": 10, "cell": 5, "pitr": 5, "join": 5, "join-2gb": 1, "checks": 5}
AGAIN = 20


def main() -> int:
    """Run the benchmarks that are named, or all."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("names", nargs="*", choices=[*BENCHMARKS, []], help="all if none is named")
    parser.add_argument("--times", type=int, help="how often each is measured")
    options = parser.parse_args()
    for name in options.names or BENCHMARKS:
        BENCHMARKS[name](options.times or TIMES.get(name, AGAIN))
    return 0


if __name__ == "__main__":
    sys.exit(main())
