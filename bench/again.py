"""How often the scenarios that decide the most say the same: twenty runs each, side by side."""

import shutil
import tempfile
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

from bench.rows import show
from harness import budget, loader, runner
from harness.apart import Where, apart
from harness.clock import WallClock
from harness.plan import plan
from harness.report.summary import alone
from harness.result import CellResult
from harness.verdict import Verdict

ROOT = Path(__file__).resolve().parent.parent
# The cell of each that asks the most of the cluster.
CELLS = {
    "node-kill": "nodes=3-sync=quorum",
    "az-loss": "lost=dcs-leader-dcs=zookeeper",
    "etcd-partition": "dcs=etcd-failsafe_mode=false-direction=outgoing-drop=reject",
    "patroni-frozen": "dcs=etcd",
}
KEPT = ROOT / "runs" / "again"


def again(name: str, times: int) -> None:
    """Run one so often, as many at a time as there is room for; keep what did not pass."""
    with apart() as where, ThreadPoolExecutor(budget.workers()) as pool:
        results = [*pool.map(partial(_once, name, where), range(times))]
    _tell(f"{name}[{CELLS[name]}]", results)


def _once(name: str, where: Where, seed: int) -> CellResult:
    (path,) = (ROOT / "scenarios").rglob(f"{name}.yaml")
    planned = plan(loader.load(path), "docker", seed=seed, cell=CELLS[name])
    folder = Path(tempfile.mkdtemp(prefix="drill-again-"))
    run = partial(runner.run, planned, out=folder, clock=WallClock(), listener=runner.Silent())
    result = run(where=where).cells[0]
    if result.verdict is not Verdict.PASS:
        kept = KEPT / f"{planned.scenario.name}-{seed}"
        shutil.copytree(folder, kept, dirs_exist_ok=True)
        reasons = [f"{one.name}: {one.note}" for one in result.findings if one.verdict != "pass"]
        said = "; ".join([result.note, *reasons]).strip("; ")
        print(f"{planned.scenario.name} seed {seed}: {result.verdict}: {said} ({kept})", flush=True)  # noqa: T201
    shutil.rmtree(folder)
    return result


def _tell(cell: str, results: Sequence[CellResult]) -> None:
    """Print how many passed, what they measured, and how rare a failure may still be."""
    counted = Counter(str(result.verdict) for result in results)
    passed, total = counted["pass"], len(results)
    told = ", ".join(f"{count} {verdict}" for verdict, count in sorted(counted.items()))
    told += f"; {retried}" if (retried := alone(results)) else ""
    # Of n runs without one: at most 3/n at 95 % (A. Hanley, A. Lippman-Hand, JAMA 1983).
    claim = f"fails in at most {3 / total:.0%} of runs" if passed == total else "flaky"
    print(f"{cell:<70} {passed}/{total} passed ({told}); {claim}", flush=True)  # noqa: T201
    for name in ("failover_s", "client_outage_s"):
        values = [value for result in results if (value := _figure(result, name)) is not None]
        if values:
            show(f"  {name}", values, "s", "the scenario's own")
    show("  seconds", [result.seconds for result in results], "s", "-")


def _figure(result: CellResult, name: str) -> float | None:
    values = result.figures.get(name)
    first = values[0] if isinstance(values, list) and values else None
    return float(first) if isinstance(first, int | float) else None
