"""What a workload's analysis gives to the graph: transactions, dependencies, plain anomalies.

A workload (list-append, rw-register) knows how to read an order of versions out of what was read.
From there on all workloads are alike: `harness.isolation.graph` adds the orders of sessions and of
real time, `cycles` looks for cycles and `models` says what they rule out.

Source: Adya, "Weak Consistency" (PhD thesis, MIT 1999), chapter 3; Kingsbury & Alvaro, "Elle"
(PVLDB 2020), sections 4 and 5.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from harness.history import Json

Int8s: TypeAlias = NDArray[np.int8]
Int32s: TypeAlias = NDArray[np.int32]
Int64s: TypeAlias = NDArray[np.int64]

NEVER: Final = np.iinfo(np.int64).max
"""`completed` of a transaction whose outcome is unknown: nothing is certainly after it."""

EXAMPLES: Final = 10
"""How many examples of one anomaly are kept at most."""


class Kind(IntEnum):
    """Why one transaction comes before another; a lower kind is stronger evidence.

    Attributes:
        WW: the target installed the version that follows one of the source's.
        WR: the target read a version that the source installed.
        RW: the source read a version, and the target installed the one that follows it.
        PROCESS: one process did the source, and the target next.
        REALTIME: the source was acknowledged before the target was sent.
    """

    WW = 0
    WR = 1
    RW = 2
    PROCESS = 3
    REALTIME = 4


@dataclass(frozen=True)
class Inference:
    """What was inferred from the transactions of one history.

    Transactions are numbered 0..n-1: those acknowledged (`ok`) and those of unknown outcome
    (`info`), in the order in which they were read. Failed ones have no number.

    Attributes:
        process: of each transaction, a code of the client that sent it; shape (n,).
        invoked: position of its invocation in real-time order; shape (n,).
        completed: position of its acknowledgement, `NEVER` where the outcome is unknown;
            shape (n,).
        source, target: the dependencies, as numbers of transactions; shape (m,). An edge from a
            transaction to itself means nothing and is ignored; so is a repeated one. Either may
            also be the number of a hub, see `hubs`.
        kind: of each dependency, `Kind.WW`, `Kind.WR` or `Kind.RW`; shape (m,).
        explain: of (source, target, kind): words for one dependency, in which the transactions
            are called `T<number>`: "T2 appended 5 to key 3 after T1 appended 4". Only asked of
            dependencies listed above.
        describe: of a number: the transaction as JSON, with `process`, `node`, `outcome`,
            `start` and `end` (ns, null where unknown) and `operations` (the micro-operations).
        direct: the anomalies that need no cycle, by Elle's names; of each at most `EXAMPLES`
            examples, as readable JSON. A name is listed if and only if the anomaly was found.
        hubs: n..n+hubs-1 are no transactions but junctions that keep the graph linear in size:
            a path source -> hub -> target, both of kind `RW`, is one dependency `RW` of the
            target on the source. Where k transactions read one version and l installed a
            successor, k + l edges then say what k * l would. 0 when there are none.
        unsure: why a history without any anomaly shows nothing all the same; empty when it does.
        undecidable: why the history allows no statement at all; empty when it does. Then
            everything else is ignored.
    """

    process: Int32s
    invoked: Int64s
    completed: Int64s
    source: Int32s
    target: Int32s
    kind: Int8s
    explain: Callable[[int, int, Kind], str]
    describe: Callable[[int], Mapping[str, Json]]
    direct: Mapping[str, Sequence[Json]] = field(default_factory=dict)
    hubs: int = 0
    unsure: str = ""
    undecidable: str = ""

    def __len__(self) -> int:
        return len(self.process)


def undecided(why: str) -> Inference:
    """Return the inference from a history that allows no statement, and why."""
    return Inference(
        process=np.empty(0, np.int32),
        invoked=np.empty(0, np.int64),
        completed=np.empty(0, np.int64),
        source=np.empty(0, np.int32),
        target=np.empty(0, np.int32),
        kind=np.empty(0, np.int8),
        explain=lambda source, target, kind: f"T{source} is before T{target} ({kind.name})",
        describe=_nothing,
        undecidable=why,
    )


def _nothing(_: int) -> Mapping[str, Json]:
    return {}
