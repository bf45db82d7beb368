"""The clients of one trial: workloads, probes and watchers; starting, following, stopping them."""

from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from itertools import accumulate
from pathlib import Path
from random import Random

from harness.clock import Clock
from harness.errors import DriverError
from harness.history import Follower
from harness.protocols import Driver, Job

REGION = "region"
# Acknowledgements before the first step: two seconds of the default rate.
_BASELINE = 40
_SETTLE_S = 30.0  # for those
# For the last one: longer than any bound on an outage, so that a longer outage is seen as such.
_RESUME_S = 90.0


class Traffic:
    """All that uses or watches the cluster while the steps run."""

    def __init__(
        self, driver: Driver, workloads: Sequence[Job], logs: Path, clock: Clock, random: Random
    ) -> None:
        """Take the workloads of a cell; `logs` is where the clients write their events."""
        self._driver = driver
        self._workloads = workloads
        self._clock = clock
        self._acks = _Acknowledgements(logs)

        def probe(name: str, plugin: str, through: str) -> Job:
            return Job(name, "probes", plugin, {}, through, random.getrandbits(32))

        # Evidence from outside all AZs; writes to each node from its own AZ.
        self._watchers = [
            *(probe(f"dcs/{m.name}", "dcs", m.name) for m in driver.dcs_members),
            *(probe(f"rest/{n.name}", "rest", n.name) for n in driver.nodes),
        ]
        self._writers = [(probe(f"probe/{n.name}", "writes", n.name), n.az) for n in driver.nodes]

    def watch(self) -> None:
        """Begin to record what the DCS and Patroni say."""
        for job in self._watchers:
            self._driver.client(REGION).start(job)

    def begin(self, primary: str) -> None:
        """Begin to write; return when each workload and the probes were acknowledged a while.

        Raises:
            DriverError: when one was not: it would prove nothing.
        """
        region = self._driver.client(REGION)
        region.prepare(primary)
        since = self._clock.now_ns()
        for job, vantage in self._writers:
            self._driver.client(vantage).start(job)
        for job in self._workloads:
            region.start(job)
        for name in (*(job.name for job in self._workloads), "probe"):
            self._clock.wait_for(
                partial(self._acks.reach, name, since, _BASELINE),
                timeout_s=_SETTLE_S,
                what=f"the first {_BASELINE} acknowledged operations of {name!r}",
            )

    def resume(self) -> None:
        """Give every workload time to be acknowledged again, and every node to be looked at.

        Whether it was, the history shows, and the checkers judge.
        """
        since = self._clock.now_ns()
        looks = [f"rest/{node.name}" for node in self._driver.nodes]
        for name in (*(job.name for job in self._workloads), *looks):
            with suppress(DriverError):
                self._clock.wait_for(
                    partial(self._acks.reach, name, since, 1),
                    timeout_s=_RESUME_S,
                    what=f"an acknowledgement of {name!r}",
                )
        self._clock.sleep(0)  # an abort meanwhile ends the run

    def end(self, survivor: str) -> None:
        """Stop all at once, each with its last operation, and read what the survivor holds."""
        jobs = [(job, REGION) for job in (*self._workloads, *self._watchers)]
        stops = [
            self._clock.spawn(
                partial(self._driver.client(vantage).stop, job.name), f"stop-{job.name}"
            )
            for job, vantage in (*jobs, *self._writers)
        ]
        for stop in stops:
            stop.join()
        probe = Job("probe", "probes", "writes", {}, survivor, 0)
        for job in (*self._workloads, probe):
            self._driver.client(REGION).final_read(replace(job, through=survivor))


class _Acknowledgements:
    """Follows the clients' logs while they are written."""

    def __init__(self, logs: Path) -> None:
        self._logs = logs
        self._followers: dict[Path, Follower] = {}
        self._times: dict[str, deque[int]] = {}

    def reach(self, name: str, since: int, count: int) -> bool:
        """Return whether this workload or probe was acknowledged that often since."""
        for path in sorted(self._logs.glob("*.jsonl")):
            for event in self._followers.setdefault(path, Follower(path)).new():
                if event.type != "ok" or event.f not in ("txn", "write", "patroni"):
                    continue
                # `probe/pg-1/held.0` counts for `probe` and for `probe/pg-1` too.
                for owner in accumulate(str(event.process).split("/"), "{}/{}".format):
                    self._times.setdefault(owner, deque(maxlen=_BASELINE)).append(event.time)
        return sum(at > since for at in self._times.get(name, ())) >= count
