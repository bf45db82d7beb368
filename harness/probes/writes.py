"""Write probes: who accepts writes is what clients of each node were told, not what it says."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import ClassVar

from harness.clock import NS
from harness.protocols import Answer, Session, Stage
from harness.registry import register
from harness.scenario import Duration, Model


@register
class Writes(Model):
    """Writes to one node, straight to its address, over a held-open and over fresh connections.

    The two run side by side, so that one that hangs does not silence the other. A COMMIT may
    wait for a synchronous standby, so `deadline` must leave it time.

    Attributes:
        every: from one write over the held-open connection to the next, if each ends in time.
        fresh_every: the same, over fresh connections.
        deadline: how long to wait for one write.
        open_deadline: how long to wait for a connection.
    """

    name: ClassVar[str] = "writes"
    table: ClassVar[str] = "probe"

    every: Duration = 0.1
    fresh_every: Duration = 1.0
    deadline: Duration = 2.0
    open_deadline: Duration = 1.0

    def run(self, stage: Stage) -> None:
        # Even and odd numbers: each row is written by one of the two alone.
        held = _Writer(self, stage, "held", number=stage.job.first_number)
        fresh = _Writer(self, stage, "fresh", number=stage.job.first_number + 1)
        tasks = [
            stage.clock.spawn(partial(_pace, stage, every_s, work), f"{stage.job.name}/{kind}")
            for kind, every_s, work in (
                ("held", self.every, held.write),
                ("fresh", self.fresh_every, fresh.write_once),
            )
        ]
        for task in tasks:
            task.join()
        held.leave()
        fresh.leave()


def _pace(stage: Stage, every_s: float, work: Callable[[], None]) -> None:
    """Work at a steady pace; what a slow call ran over is left out, not made up for."""
    every_ns = int(every_s * NS)
    due_ns = stage.clock.now_ns()
    while not stage.stopped:
        work()
        now_ns = stage.clock.now_ns()
        due_ns = max(due_ns + every_ns, now_ns - (now_ns - due_ns) % every_ns)
        stage.clock.sleep(max(0, due_ns - now_ns) / NS)


@dataclass
class _Writer:
    """One kind of connection to the node, under a new process name after each that broke."""

    probe: Writes
    stage: Stage
    kind: str
    number: int
    generation: int = 0
    session: Session | None = None

    @property
    def process(self) -> str:
        return f"probe/{self.stage.job.through}/{self.kind}.{self.generation}"

    def write(self) -> None:
        """Write over the connection, opening one where there is none."""
        if self.session is None:
            self._open()
        if self.session is None:
            return
        call = partial(self.session.probe, self.number)
        answer = self.stage.record(self.process, "write", call, argument=self.number, key="probe")
        self.number += 2
        if answer.outcome == "info" or not self.session.is_open:
            self.leave()

    def write_once(self) -> None:
        """Write over a connection of its own, and note what the node says of itself."""
        before = self.generation
        self.write()
        if self.session is not None and self.generation == before:
            self.session.close()
            self.session = None

    def _open(self) -> Answer:
        node = self.stage.job.through
        session = self.stage.connect(
            node,
            process=self.process,
            open_s=self.probe.open_deadline,
            call_s=self.probe.deadline,
        )
        answer = self.stage.record(self.process, "open", session.open, argument={"through": node})
        if answer.outcome == "ok":
            self.session = session
            if isinstance(answer.value, dict):
                role = {"in_recovery": answer.value.get("in_recovery")}
                self.stage.note(self.process, "role", role)
        else:
            session.close()
        return answer

    def leave(self) -> None:
        """Retire this process: an unknown write of it may yet take effect."""
        if self.session is not None:
            self.session.close()
            self.session = None
            self.generation += 1
