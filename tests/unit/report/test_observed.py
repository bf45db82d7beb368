"""What a history shows: each lane of the chart against a run whose truth is known."""

import pytest

from harness.history import Event, History
from harness.report.observed import merged, observe


def test_nothing_shows_nothing() -> None:
    """An empty history is no error: there is just nothing to see."""
    seen = observe(History(()))
    assert (seen.leader, seen.deeds, seen.calls) == ([], [], {})


def test_zero_is_the_first_step(history) -> None:
    """What lies before the first step is negative."""
    seen = observe(history)
    assert seen.start_s == pytest.approx(-20)
    assert [(round(s.start_s), s.who) for s in seen.phases] == [
        (-20, "steady"),
        (0, "steps"),
        (61, "settled"),
    ]


def test_leader_is_told_once_however_many_watch(history) -> None:
    """Two members tell of each change; the gap between two leaders is kept."""
    spans = observe(history).leader
    assert [s.who for s in spans] == ["pg-1", "pg-2"]
    assert spans[0].end_s == pytest.approx(28.4)
    assert spans[1].start_s == pytest.approx(29.7)


def test_writers_are_those_who_acknowledged(history) -> None:
    """A refusal is no acknowledgement, and a frozen or dead node has none."""
    seen = observe(history)
    assert set(seen.acknowledged) == {"pg-1", "pg-2"}
    (old,), (new,) = seen.acknowledged["pg-1"], seen.acknowledged["pg-2"]
    assert old.end_s < 0.1
    assert new.start_s == pytest.approx(30.6, abs=0.2)
    assert [(node, tli) for _, node, tli in seen.writers] == [("pg-1", 1), ("pg-2", 2)]
    assert set(seen.refused) == {"pg-1", "pg-2", "pg-3"}


def test_clients_outage_is_between_two_acknowledgements(history) -> None:
    """Refused and hanging calls in between are no answer."""
    gap = observe(history).outages["primary-elb"]
    assert gap.start_s == pytest.approx(0, abs=0.2)
    assert gap.end_s == pytest.approx(40.8, abs=0.2)


def test_clients_that_ignore_the_elb_share_a_panel() -> None:
    """Sessions straight to the nodes are clients too, unless they are the run's own."""
    nodes = {"nodes": {"pg-1": {"az": "a"}}}
    events = [Event("nemesis/run", "info", "run", 0, nodes)]
    for process in ("append/0.0", "final/0", "probe/pg-1/fresh.1"):
        events.append(Event(process, "invoke", "open", 1, {"through": "pg-1"}))
        events.append(Event(process, "ok", "open", 2, {"in_recovery": False}))
        events.append(Event(process, "invoke", "txn", 3, []))
        events.append(Event(process, "ok", "txn", 4, []))
    calls = observe(History(tuple(events))).calls
    assert {name: len(of) for name, of in calls.items()} == {"every node": 1}


def test_a_fault_lasts_until_it_is_undone(history) -> None:
    """And begins when it was made, not when the verb was called or returned."""
    kill, wait, start, _ = observe(history).deeds
    assert (kill.kind, kill.nodes) == ("fault", ["pg-1"])
    assert kill.until_s == pytest.approx(45)
    assert kill.start_s == pytest.approx(0.05)
    assert (wait.kind, wait.until_s, wait.label) == ("step", None, "wait new-leader")
    assert start.kind == "heal"


def test_a_heal_that_nobody_asked_for_is_a_deed() -> None:
    """`for:` undoes a fault with one bare event."""
    freeze = {"as": None, "nodes": ["pg-2"], "at": 5}
    events = (
        Event("nemesis/run", "info", "phase", 0, "steps"),
        Event("nemesis", "invoke", "freeze", 4, {"as": None}),
        Event("nemesis", "ok", "freeze", 6, freeze),
        Event("nemesis/heal-1", "info", "heal", 2_000_000_000, {"nodes": ["pg-2"]}),
    )
    fault, heal = observe(History(events)).deeds
    assert heal.label == "heal pg-2"
    assert fault.until_s == pytest.approx(2.0)


def test_an_unanswered_call_lasts_to_the_end() -> None:
    """An invoke without completion is unknown, and it is drawn as refused."""
    events = (
        Event("probe/pg-1/held.1", "invoke", "write", 0, 1),
        Event("nemesis/run", "info", "phase", 5_000_000_000, "steps"),
    )
    (span,) = observe(History(events)).refused["pg-1"]
    assert (span.start_s, span.end_s) == (-5, 0)


def test_merging_keeps_real_gaps() -> None:
    """Four of the usual intervals are a gap, one missed answer is none."""
    moments = [(t / 10, t / 10) for t in [*range(10), 11, *range(30, 40)]]
    spans = merged(moments, "pg-1")
    assert [(s.start_s, s.end_s) for s in spans] == [(0.0, 1.1), (3.0, 3.9)]


@pytest.mark.parametrize("value", [None, 3, "x", {}, {"nodes": None}, {"key": "leader"}])
@pytest.mark.parametrize("f", ["run", "dcs", "dcs-term", "phase", "heal", "kill", "open"])
def test_malformed_values_are_left_out(f, value) -> None:
    """A page is drawn from any history that can be read at all."""
    events = (
        Event("nemesis", "invoke", f, 1, value),
        Event("nemesis", "ok", f, 2, value),
        Event("probe/x", "info", f, 3, value),
    )
    observe(History(events))
