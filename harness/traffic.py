"""The clients of one trial: workloads, probes and watchers; starting, following, stopping them."""

import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import partial
from itertools import accumulate
from pathlib import Path
from random import Random

from harness import registry
from harness.clock import Clock
from harness.errors import AbortedError, DriverError
from harness.history import Follower
from harness.protocols import EVERY_NODE, Client, Driver, Job, Keeps, Node
from harness.sightings import appends
from harness.together import together

REGION = "region"
# What the watcher of the objects is sent to; it stands for a name of the cluster's own.
S3 = "s3"
# Acknowledgements before the first step: two seconds of the default rate.
_BASELINE = 40
_SETTLE_S = 30.0  # for those
# For the last one: longer than any bound on an outage, so that a longer outage is seen as such.
_RESUME_S = 90.0


class Traffic:
    """All that uses or watches the scenario's own cluster while the steps run.

    Attributes:
        stopped: all that uses it has ended, and with it those who watch its machines.
    """

    def __init__(
        self, driver: Driver, workloads: Sequence[Job], logs: Path, clock: Clock, random: Random
    ) -> None:
        """Take the workloads of a cell; `logs` is where the clients write their events."""
        self._driver = driver
        self._workloads = workloads
        self._loads = [placed for job in workloads for placed in places(job, driver.nodes)]
        self._clock = clock
        self._acks = _Acknowledgements(logs)
        self._changing = threading.Lock()  # nobody is stopped while all are held
        self.stopped = False

        def probe(name: str, plugin: str, through: str) -> Job:
            return Job(name, "probes", plugin, {}, through, random.getrandbits(32))

        # Evidence from outside all AZs; writes to each node from its own AZ.
        self._watchers = [
            *(probe(f"dcs/{m.name}", "dcs", m.name) for m in driver.dcs_members),
            *(probe(f"rest/{n.name}", "rest", n.name) for n in driver.nodes),
        ]
        self._writers = [(probe(f"probe/{n.name}", "writes", n.name), n.az) for n in driver.nodes]
        # S3 outlives the cluster, and so does who watches it.
        self._lasting = [probe(S3, "objects", S3)] if isinstance(driver, Keeps) else []

    def watch(self) -> None:
        """Begin to record what the DCS and Patroni say, and what S3 holds.

        Those who are to write take their places meanwhile: the nodes start for longer than that.
        """
        for job in (*self._watchers, *self._lasting):
            self._driver.client(REGION).start(job)
        users = dict.fromkeys(vantage for _, vantage in self._users())
        together(self._clock, [partial(self._driver.client, one) for one in users], "client")

    def begin(self, primary: str) -> None:
        """Begin to write; return when each workload and the probes were acknowledged a while.

        Raises:
            DriverError: when one was not: it would prove nothing.
        """
        self._driver.client(REGION).prepare(primary)
        since = self._clock.now_ns()
        for job, vantage in (*self._writers, *self._loads):
            self._driver.client(vantage).start(job)
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
                    partial(self._acks.resumed, name, since),
                    timeout_s=_RESUME_S,
                    what=f"an acknowledgement of {name!r}",
                )
        self._clock.sleep(0)  # an abort meanwhile ends the run

    def unserved(self, since: int) -> Sequence[str]:
        """Return the workloads that were not yet acknowledged again since then."""
        names = [job.name for job in self._workloads]
        return [name for name in names if not self._acks.resumed(name, since)]

    @contextmanager
    def held(self) -> Iterator[None]:
        """Let no workload and no probe write inside the block; what they had begun has ended."""
        with self._changing:
            users = [] if self.stopped else [*self._users()]
            try:
                self._tell(users, lambda client, job: client.hold(job.name), "hold")
                yield
            finally:
                # Also those that were not held: some may be, when another could not.
                self._tell(users, lambda client, job: client.release(job.name), "release")

    def stop(self) -> None:
        """Stop all at once, each with its last operation, but for who watches S3. Once."""
        with self._changing:
            if self.stopped:
                return
            self.stopped = True
            watchers = [(job, REGION) for job in self._watchers]
            self._tell([*self._users(), *watchers], _stop, "stop")

    def end(self, survivor: str | None) -> None:
        """Stop what still runs, and read what the survivor holds, where there is one."""
        together(
            self._clock,
            [self.stop, partial(self._tell, [(job, REGION) for job in self._lasting], _stop, S3)],
            "end",
        )
        if survivor is not None:
            for job in self._tables(survivor):
                self._driver.client(REGION).final_read(job)

    def read_back(self, driver: Driver, node: str, *, reader: str) -> Iterator[str]:
        """Record what each table of a workload or a probe holds on a restored node, as `reader`.

        Yields:
            Why one could not be read. What was restored may lack a table, and that is no error of
            the run: the failed read is recorded, and whoever needs it is undecided.
        """
        for job in self._tables(node):
            try:
                driver.client(REGION).final_read(job, reader=reader)
            except AbortedError:
                raise
            except DriverError as error:
                yield str(error)

    def _tables(self, node: str) -> Iterator[Job]:
        """Yield the jobs whose tables are read in the end, each table once, sent to this node."""
        by_table = {registry.workloads()[job.plugin].table: job for job in self._workloads}
        for job in (*by_table.values(), Job("probe", "probes", "writes", {}, node, 0)):
            yield replace(job, through=node)

    def _users(self) -> Iterable[tuple[Job, str]]:
        """Return all who write, and where each stands."""
        return (*self._loads, *self._writers)

    def _tell(
        self,
        jobs: Iterable[tuple[Job, str]],
        what: Callable[[Client, Job], None],
        name: str,
    ) -> None:
        """Tell the clients of all these jobs at once."""
        work = [partial(what, self._driver.client(vantage), job) for job, vantage in jobs]
        together(self._clock, work, name)


def places(job: Job, nodes: Sequence[Node]) -> Sequence[tuple[Job, str]]:
    """Return the parts of a workload, and where the clients of each stand.

    Whoever goes through an ELB comes from outside of all AZs. Whoever uses a node stands in its
    AZ: when that is cut off, its clients are cut off with it, and go on trying.
    """
    if job.through != EVERY_NODE:
        home = next((node.az for node in nodes if node.name == job.through), REGION)
        return [(job, home)]
    beside: dict[str, list[str]] = {}
    for node in nodes:
        beside.setdefault(node.az, []).append(node.name)
    return [(replace(job, beside=tuple(names)), az) for az, names in beside.items()]


def _stop(client: Client, job: Job) -> None:
    client.stop(job.name)


class _Acknowledgements:
    """Follows the clients' logs while they are written."""

    def __init__(self, logs: Path) -> None:
        self._logs = logs
        self._followers: dict[Path, Follower] = {}
        self._times: dict[str, deque[int]] = {}
        self._last_write: dict[str, int] = {}

    def resumed(self, name: str, since: int) -> bool:
        """Return whether this workload works again since then: writes, if it ever wrote.

        An ELB that still leads to what has become a replica lets its reads through.
        """
        answered = self.reach(name, since, 1)
        return answered and self._last_write.get(name, since + 1) > since

    def reach(self, name: str, since: int, count: int) -> bool:
        """Return whether this workload or probe was acknowledged that often since."""
        for path in sorted(self._logs.glob("*.jsonl")):
            for event in self._followers.setdefault(path, Follower(path)).new():
                if event.type != "ok" or event.f not in ("txn", "write", "patroni"):
                    continue
                wrote = event.f == "write" or any(appends(event.value))
                # `probe/pg-1/held.0` counts for `probe` and for `probe/pg-1` too.
                for owner in accumulate(str(event.process).split("/"), "{}/{}".format):
                    self._times.setdefault(owner, deque(maxlen=_BASELINE)).append(event.time)
                    if wrote:
                        self._last_write[owner] = event.time
        return sum(at > since for at in self._times.get(name, ())) >= count
