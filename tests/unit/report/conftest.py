"""A made-up run that the reports' tests share: pg-1 loses its power, pg-2 takes over."""

from collections.abc import Iterator
from random import Random

import pytest

from harness.history import Event, History
from harness.result import CellResult, ScenarioResult
from harness.verdict import Finding, Verdict

S = 1_000_000_000
ZERO = 500 * S  # CLOCK_MONOTONIC when the first step began


def _ns(second: float) -> int:
    return ZERO + int(second * S)


def _pair(process, f, start, end, outcome, value=None, **more) -> Iterator[Event]:
    yield Event(process, "invoke", f, _ns(start), value)
    if end is not None:
        yield Event(process, outcome, f, _ns(end), value, **more)


def _note(process, f, second, value) -> Event:
    return Event(process, "info", f, _ns(second), value)


def _direct_writes(random: Random) -> Iterator[Event]:
    """Probes ask every node every 100 ms: pg-1 answers until 0, pg-2 from 30.6 s on."""
    for node in ("pg-1", "pg-2", "pg-3"):
        second, number = -12.0, 0
        while second < 70:
            number += 1
            process = f"probe/{node}/held.{number}"
            took = 0.002 + random.random() * 0.004
            primary = "pg-1" if second < 0 else "pg-2" if second > 30.6 else None
            if node == "pg-1" and 0 <= second < 45:
                yield from _pair(
                    process, "write", second, second + 1.5, "info", error="timeout: 1.5 s"
                )
                second += 1.5
                continue
            if node == primary:
                tli = 1 if node == "pg-1" else 2
                yield from _pair(
                    process, "write", second, second + took, "ok", number, node=node, tli=tli
                )
            else:
                yield from _pair(
                    process, "write", second, second + took, "fail", error="25006: r/o"
                )
            second += 0.1


def _clients(random: Random) -> Iterator[Event]:
    """Eight clients behind the ELB: answered until 0, refused until 38.4 s, answered again."""
    for client in range(8):
        process = f"append/{client}.0"
        yield from _pair(process, "open", -12, -11.9, "ok", {"through": "primary-elb"})
        second = -11.0 + client * 0.05
        while second < 68:
            took = 0.004 * 2 ** (random.random() * 4)
            if 0 <= second < 38.4:
                yield from _pair(
                    process, "txn", second, second + 3, "info", [], error="timeout: 3 s"
                )
                second += 3.4
                continue
            yield from _pair(process, "txn", second, second + took, "ok", [])
            second += 0.4


def _events() -> Iterator[Event]:
    random = Random(7)
    nodes = {
        f"pg-{n}": {"az": az, "address": f"10.0.0.{n}"} for n, az in ((1, "a"), (2, "b"), (3, "c"))
    }
    yield _note(
        "nemesis", "run", -20, {"scenario": "node-kill", "cell": "", "seed": 7, "nodes": nodes}
    )
    yield _note("nemesis", "phase", -20, "steady")
    yield _note("nemesis", "phase", 0, "steps")
    yield _note("nemesis", "phase", 61, "settled")
    yield _note("nemesis", "phase", 68, "end")
    kill = {"as": "crash", "nodes": ["pg-1"], "at": _ns(0.05), "how": "power-off"}
    yield from _pair("nemesis", "kill", 0.05, 6.1, "ok", kill)
    yield from _pair("nemesis", "wait", 6.1, 29.9, "ok", {"nodes": [], "until": "new-leader"})
    yield from _pair("nemesis", "start", 45, 47.5, "ok", {"nodes": ["pg-1"], "at": _ns(45)})
    yield from _pair("nemesis", "wait", 47.5, 60.8, "ok", {"nodes": [], "until": "healthy"})
    for member in ("etcd-a", "etcd-b"):  # each change is seen twice
        late = 0.01 if member == "etcd-b" else 0.0
        for second, value, revision in ((-19.0, "pg-1", 4), (28.4, None, 60), (29.7, "pg-2", 61)):
            change = {"key": "leader", "value": value, "revision": revision}
            yield _note(f"dcs/{member}", "dcs", second + late, change)
    yield from _direct_writes(random)
    yield from _clients(random)


@pytest.fixture(scope="session")
def history() -> History:
    """The made-up run as a history, in real-time order."""
    return History(tuple(sorted(_events(), key=lambda e: (e.time, str(e.process)))))


@pytest.fixture
def finding() -> object:
    """Make a finding; every field has a harmless default."""

    def make(name="failover", verdict=Verdict.PASS, values=(30.6,), **more) -> Finding:
        given = {"bound": "max 40.00 s", "unit": "s", "note": "max 30.60 s <= 40.00 s"}
        return Finding(name=name, verdict=verdict, values=values, **{**given, **more})

    return make


@pytest.fixture
def cell(finding) -> object:
    def make(verdict=Verdict.PASS, **more) -> CellResult:
        given = {"id": "nodes=3-sync=quorum", "repeats": 1, "findings": [finding(verdict=verdict)]}
        return CellResult(verdict=verdict, **{**given, **more})

    return make


@pytest.fixture
def result(cell) -> object:
    def make(*cells: CellResult, **more) -> ScenarioResult:
        given = {
            "scenario": "node-kill",
            "title": "The primary's machine loses power",
            "file": "scenarios/node-kill.yaml",
            "backend": "docker",
            "seed": 7,
            "started": "2026-11-23T09:00:00.000+00:00",
            "versions": {"patroni": "4.1.0", "postgres": "17.6"},
            "replay": "./drill run scenarios/node-kill.yaml --seed 7",
        }
        return ScenarioResult(cells=cells or (cell(),), **{**given, **more})

    return make
