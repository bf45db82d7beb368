"""Histories for tests, told in seconds: what was asked, when, and what came of it."""

from collections.abc import Mapping, Sequence
from itertools import count

from harness.history import Event, EventType, History, Json, Outcome

NODES = ("pg-1", "pg-2", "pg-3")


def ns(seconds: float) -> int:
    # Off zero, so that second 0 is no special instant.
    return round((1000 + seconds) * 1e9)


def segment_key(number: int, tli: int = 1, prefix: str = "spilo/drill/") -> str:
    """Return the object of an archived WAL segment, as pgBackRest lays it out."""
    name = f"{tli:08X}{number // 256:08X}{number % 256:08X}"
    return f"{prefix}archive/drill/17-1/{name[:16]}/{name}-{'0' * 40}.zst"


class Tape:
    """Collects events; `history()` puts them in order."""

    def __init__(self, nodes: Sequence[str] = NODES) -> None:
        self.events: list[Event] = []
        self._numbers = count(1)
        self._revisions = count(1)
        facts: Json = {"nodes": {n: {"az": n[-1], "address": n} for n in nodes}, "workloads": ["a"]}
        self.note("run", -10, facts)

    def note(self, f: str, at: float, value: Json, process: str = "nemesis/run") -> None:
        self.events.append(Event(process, "info", f, ns(at), value))

    def phases(self, **at: float) -> None:
        for name, second in at.items():
            self.note("phase", second, name)

    def op(
        self,
        process: str,
        f: str,
        start: float,
        end: float | None = None,
        outcome: Outcome = "ok",
        *,
        argument: Json = None,
        value: Json = None,
        key: Json = None,
        node: str | None = None,
        tli: int | None = None,
        xid: int | None = None,
        lsn: Json = None,
        error: str | None = None,
    ) -> None:
        """Add an invocation and, unless `end` is None, its completion."""
        self.events.append(Event(process, "invoke", f, ns(start), argument, key))
        if end is not None:
            kind: EventType = outcome
            said = argument if value is None and outcome == "ok" else value
            self.events.append(
                Event(process, kind, f, ns(end), said, key, node, tli, xid, lsn, error)
            )

    def probe(
        self,
        node: str,
        start: float,
        outcome: Outcome = "fail",
        tli: int | None = None,
        *,
        took: float = 0.01,
    ) -> int:
        """Add a write straight to a node; an acknowledged one names the node and its timeline."""
        number = next(self._numbers)
        who = node if outcome == "ok" else None
        self.op(
            f"probe/{node}/held.{number}",
            "write",
            start,
            start + took,
            outcome,
            argument=number,
            key="probe",
            node=who,
            tli=tli,
        )
        return number

    def opened(
        self,
        process: str,
        at: float,
        through: str,
        node: str,
        *,
        in_recovery: bool,
        outcome: Outcome = "ok",
    ) -> None:
        argument: Json = {"through": through}
        value: Json = {"through": through, "in_recovery": in_recovery}
        ok = outcome == "ok"
        self.op(
            process,
            "open",
            at,
            at + 0.01,
            outcome,
            argument=argument,
            value=value if ok else None,
            node=node if ok else None,
        )

    def txn(
        self,
        process: str,
        start: float,
        ops: Sequence[Sequence[Json]],
        outcome: Outcome = "ok",
        *,
        node: str = "pg-1",
        tli: int = 1,
        took: float = 0.01,
        key: Json = "append",
        xid: int | None = None,
        lsn: Json = None,
    ) -> None:
        ok = outcome == "ok"
        who = node if ok else None
        at = tli if ok else None
        value = [*ops] if ok else None
        self.op(
            process, "txn", start, start + took, outcome,
            argument=[*ops], value=value, key=key, node=who, tli=at, xid=xid, lsn=lsn,
        )  # fmt: skip

    def deed(
        self,
        f: str,
        at: float,
        nodes: Sequence[str],
        name: str | None = None,
        until: float | None = None,
        **more: Json,
    ) -> None:
        self.did(f, at, nodes, more, name, until)

    def did(
        self,
        f: str,
        at: float,
        nodes: Sequence[str],
        told: Mapping[str, Json],
        name: str | None = None,
        until: float | None = None,
    ) -> None:
        """Add a step, begun 0.2 s before it took effect."""
        value: Mapping[str, Json] = {"as": name, "nodes": list(nodes), "at": ns(at), **told}
        self.op(
            "nemesis", f, at - 0.2, at + 0.2 if until is None else until,
            argument={"as": name}, value=value,
        )  # fmt: skip

    def leader(self, at: float, holder: str | None, revision: int | None = None) -> None:
        if revision is None:
            revision = next(self._revisions)
        self.note("dcs", at, {"key": "leader", "value": holder, "revision": revision}, "dcs/etcd-1")

    def final(self, at: float, key: str, value: Json, outcome: Outcome = "ok") -> None:
        self.op("final", "read", at, at + 0.1, outcome, value=value, key=key, node="pg-2")

    # --- backups and restores ------------------------------------------------------------------

    def mark(self, at: float, **more: Json) -> None:
        """Add the mark `before` on timeline 1; it holds the load unless `held` says otherwise."""
        told: Mapping[str, Json] = {
            "mark": "before", "held": True, "tli": 1, "digest": {"append": "a"}, **more,
        }  # fmt: skip
        self.did("mark", at, ["pg-1"], told, "marked")

    def restore(self, at: float, **more: Json) -> None:
        """Add a restore of `restored` to `before`, on timeline 2, writable at this second."""
        told: Mapping[str, Json] = {
            "cluster": "restored",
            "mark": "before",
            "target": {"kind": "name", "value": "before", "inclusive": True},
            "writable": ns(at),
            "tli": 2,
            "system_identifier": "7",
            "source_system_identifier": "7",
            "digest": {"append": "a"},
            "prefix": "spilo/restored/",
            "source_prefix": "spilo/drill/",
            **more,
        }
        self.did("restore", at, ["restored-1"], told, "restored")

    def read(self, at: float, key: str, value: Json, outcome: Outcome = "ok") -> None:
        """Add a read of a whole table of the restored cluster."""
        who = "restored/restored"
        self.op(who, "read", at, at + 0.1, outcome, value=value, key=key, node="restored-1")

    def stored(self, at: float, key: str, **more: Json) -> None:
        """Add what a listing of S3 showed of one object; encrypted unless told otherwise."""
        value: Mapping[str, Json] = {
            "key": key, "size": 1, "etag": "e", "sse": "aws:kms", "kms_key": "drill", **more,
        }  # fmt: skip
        self.note("object", at, value, f"s3/{key.split('archive/')[0]}")

    def segment(
        self, at: float, number: int, *, tli: int = 1, prefix: str = "spilo/drill/"
    ) -> None:
        """Add the sighting of an archived WAL segment."""
        self.stored(at, segment_key(number, tli, prefix))

    def history(self) -> History:
        return History(tuple(sorted(self.events, key=lambda event: event.time)))


def failover(
    *,
    promoted: float | None = 5.0,
    old_until: float = 1.0,
    settled: float = 12.0,
    every: float = 0.5,
    nodes: Sequence[str] = NODES,
) -> Tape:
    """Return a tape of a failover: pg-1 is hit at second 1, pg-2 follows it on timeline 2.

    Args:
        promoted: when pg-2 acknowledges first; never, if None.
        old_until: until when pg-1 acknowledges on timeline 1.
        settled: when the watch ends.
        every: from one probe of a node to the next.
        nodes: of the cluster.
    """
    tape = Tape(nodes)
    tape.phases(steady=-3, steps=0, settled=settled)
    tape.leader(-5, "pg-1")
    tape.deed("kill", 1.0, ["pg-1"], "crash")
    for step in range(round((settled + 2) / every)):
        at = -2 + step * every
        for node in nodes:
            old = node == "pg-1" and at < old_until
            new = node == "pg-2" and promoted is not None and at >= promoted
            tape.probe(node, at, "ok" if old or new else "fail", 1 if old else 2 if new else None)
    if promoted is not None:
        tape.leader(promoted - 2, None)
        tape.leader(promoted - 1, "pg-2")
    return tape
