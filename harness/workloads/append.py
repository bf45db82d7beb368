"""List-append: transactions that append unique elements to lists and read them back.

The order of the elements in a list is the order of the writes, so a checker can tell what each
transaction saw. Source: Kingsbury and Alvaro, "Elle", VLDB 2020; the shape is Jepsen's.
"""

from dataclasses import dataclass, field
from functools import partial
from math import ceil
from random import Random
from typing import Annotated, ClassVar, Literal, TypeAlias

from pydantic import BeforeValidator, Field, WithJsonSchema

from harness.clock import NS
from harness.history import Json
from harness.protocols import EVERY_NODE, Answer, Session, Stage
from harness.registry import register
from harness.scenario import Duration, Model, Rate

ELBS = ("primary-elb", "replica-elb")
PLACES = (*ELBS, EVERY_NODE)

ACTIVE_KEYS = 10
OPS_MAX = 4
# A key is worked on for ACTIVE_KEYS x 16 transactions: 20 appends on average, and rarely more
# than 32, so that what a read returns stays short.
TXNS_PER_KEY = 16
# A client that was away does not make up for more than this: the load after an outage would
# else be another experiment than the one asked for.
MAKES_UP_S = 1.0
# Eight clients without a primary then ask some 20 times a second, as often as the load would.
BACKOFF_S = (0.25, 0.5)
LONGEST_SLEEP_S = 0.5

Isolation: TypeAlias = Literal["read-committed", "repeatable-read", "serializable"]


def _place(value: object) -> object:
    """Return where to send the load: a word, or the node that `{node: pg-1}` names."""
    if isinstance(value, dict) and set(value) == {"node"} and isinstance(value["node"], str):
        return value["node"]
    if value not in PLACES:
        raise ValueError(f"{value!r}; expected {', '.join(PLACES)} or {{node: <name>}}")
    return value


_NODE_SCHEMA = {
    "type": "object",
    "properties": {"node": {"type": "string"}},
    "required": ["node"],
    "additionalProperties": False,
}
Place: TypeAlias = Annotated[
    str,
    BeforeValidator(_place),
    WithJsonSchema({"anyOf": [{"enum": list(PLACES)}, _NODE_SCHEMA]}),
]


@register
class Append(Model):
    """Appends to lists and reads them, 1 to 4 operations a transaction, at a fixed rate.

    The rate is the total over all clients, whatever the answers take (an open loop).

    Attributes:
        clients: how many work side by side, each with a session of its own.
        rate: transactions, all clients together.
        through: where the clients connect; `every-node` spreads them over the nodes. Clients of
            an ELB stand outside of all AZs, those of a node in the node's own.
        isolation: `serializable`, or with `reads_only` `repeatable-read`, the highest level that
            a replica offers.
        reads_only: read what another `append` writes. Without it, appends are sent wherever
            `through` leads, and a node that takes no writes refuses them.
        deadline: how long a client waits for one call.
        open_deadline: how long it waits for a connection.
        session: how long a client keeps a session, as the pools of applications do. New sessions
            show where the ELBs send clients now.
    """

    name: ClassVar[str] = "append"
    table: ClassVar[str] = "append"

    clients: int = Field(8, ge=1, le=64)
    rate: Rate = 20.0
    through: Place = "primary-elb"
    isolation: Isolation | None = None
    reads_only: bool = False
    deadline: Duration = 5.0
    open_deadline: Duration = 2.0
    session: Duration = 5.0

    @property
    def level(self) -> Isolation:
        """Return the isolation level that the transactions ask for."""
        return self.isolation or ("repeatable-read" if self.reads_only else "serializable")

    def run(self, stage: Stage) -> None:
        begin_ns = stage.clock.now_ns()
        frontier = Frontier()
        clients = [
            _Client(self, stage, index, Random(stage.random.getrandbits(64)), begin_ns, frontier)
            for index in range(self.clients)
        ]
        # All are drawn, so that each draws the same wherever the others run.
        ours = [its for its in clients if not stage.job.beside or its.through in stage.job.beside]
        tasks = [stage.clock.spawn(its.run, f"{stage.job.name}/{its.index}") for its in ours]
        for task in tasks:
            task.join()


@dataclass
class Frontier:
    """The newest key that readers know of: keys are opened in order, one after another."""

    key: int = 0

    def saw(self, answer: Answer) -> None:
        """Move on when the newest key was seen to hold something."""
        for op in answer.value if isinstance(answer.value, list) else []:
            if op[1] == self.key and op[2]:
                self.key += 1


def write_ops(turn: int, first_element: int, random: Random) -> list[list[Json]]:
    """Return the operations of the `turn`-th transaction of the job.

    The active keys slide with the turn, so that all clients, and one that was away, work on the
    same ones without telling each other.
    """
    oldest = turn // TXNS_PER_KEY
    ops: list[list[Json]] = []
    for place in range(random.randint(1, OPS_MAX)):
        key = oldest + random.randrange(ACTIVE_KEYS)
        if random.getrandbits(1):
            ops.append(["append", key, first_element + turn * OPS_MAX + place])
        else:
            ops.append(["r", key, None])
    return ops


def read_ops(newest: int, random: Random) -> list[list[Json]]:
    """Return reads of the newest key and of some that are active behind it."""
    oldest = max(0, newest - ACTIVE_KEYS)
    others = [random.randint(oldest, newest) for _ in range(random.randrange(OPS_MAX))]
    return [["r", key, None] for key in (newest, *others)]


@dataclass
class _Client:
    """One client: one session at a time, under a new process name for each."""

    load: Append
    stage: Stage
    index: int
    random: Random
    begin_ns: int
    frontier: Frontier
    generation: int = 0
    session: Session | None = field(default=None)
    expires_ns: int = 0

    @property
    def process(self) -> str:
        return f"{self.stage.job.name}/{self.index}.{self.generation}"

    @property
    def through(self) -> str:
        """Return where this client connects."""
        job, nodes = self.stage.job, self.stage.nodes
        return nodes[self.index % len(nodes)] if job.through == EVERY_NODE else job.through

    def run(self) -> None:
        turn = self.index
        while not self.stage.stopped:
            turn = max(turn, self._oldest_turn())
            early_ns = self._due_ns(turn) - self._now_ns()
            if early_ns > 0:
                self.stage.clock.sleep(min(early_ns / NS, LONGEST_SLEEP_S))
            elif self.session is None:
                self._connect()
            elif self._now_ns() >= self.expires_ns:
                self._leave()
            else:
                self._transact(self.session, turn)
                turn += self.load.clients
        self._leave()

    def _now_ns(self) -> int:
        return self.stage.clock.now_ns() - self.begin_ns

    def _due_ns(self, turn: int) -> int:
        return round(turn * NS / self.load.rate)

    def _oldest_turn(self) -> int:
        """Return the first turn of this client that it may still make up for."""
        behind = (self._now_ns() / NS - MAKES_UP_S) * self.load.rate
        rounds = max(0, ceil((behind - self.index) / self.load.clients))
        return self.index + rounds * self.load.clients

    def _connect(self) -> None:
        """Try once; a refusal is recorded, and waited after so as not to hammer."""
        session = self.stage.connect(
            self.through,
            process=self.process,
            open_s=self.load.open_deadline,
            call_s=self.load.deadline,
        )
        answer = self.stage.record(
            self.process, "open", session.open, argument={"through": self.through}
        )
        if answer.outcome == "ok":
            self.session = session
            # Drawn, so that the clients do not all reconnect at once.
            life_s = self.random.uniform(0.5, 1.5) * self.load.session
            self.expires_ns = self._now_ns() + round(life_s * NS)
        else:
            session.close()
            self.stage.clock.sleep(self.random.uniform(*BACKOFF_S))

    def _transact(self, session: Session, turn: int) -> None:
        if self.load.reads_only:
            ops = read_ops(self.frontier.key, self.random)
        else:
            ops = write_ops(turn, self.stage.job.first_number, self.random)
        call = partial(session.txn, self.load.table, ops, self.load.level)
        answer = self.stage.record(self.process, "txn", call, argument=ops, key=self.load.table)
        if self.load.reads_only:
            self.frontier.saw(answer)
        # Another session with the same node would be refused too; an ELB may choose another node.
        misled = self.stage.job.through in ELBS and _wrong_role(answer)
        if answer.outcome == "info" or not session.is_open or misled:
            self._leave()

    def _leave(self) -> None:
        """Retire this process: an unknown operation of it may yet take effect."""
        if self.session is not None:
            self.session.close()
            self.session = None
            self.generation += 1


def _wrong_role(answer: Answer) -> bool:
    """Return whether a standby refused: a client looks for the primary again then.

    A hot standby refuses a serializable transaction (0A000) before it comes to any write (25006).
    """
    return (answer.error or "").startswith(("25006", "0A000"))
