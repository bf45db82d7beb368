"""What happened, in words."""

from harness.history import Event, History
from harness.report.observed import observe
from harness.report.story import Moment, tell


def test_story_of_a_failover(history) -> None:
    """Each turn of the run is one moment, in order."""
    told = [str(moment) for moment in tell(observe(history))]
    assert told == [
        "T+0.0 last write acknowledged by pg-1",
        "T+0.1 kill pg-1 power-off",
        "T+28.4 the leader key of pg-1 is gone",
        "T+29.7 pg-2 takes the leader key",
        "T+29.9 new-leader holds (waited 23.8s)",
        "T+30.6 first write acknowledged by pg-2 on timeline 2",
        "T+40.8 clients of primary-elb are answered again, after 40.9s",
        "T+45.0 start pg-1",
        "T+60.8 healthy holds (waited 13.3s)",
        "T+61.0 steady again",
    ]


def test_a_flapping_run_is_cut_short() -> None:
    """Two primaries that alternate a thousand times tell sixty moments and a count."""
    events = []
    for n in range(1000):
        process, node = f"probe/pg-{n % 2}/held.{n}", f"pg-{n % 2}"
        events.append(Event(process, "invoke", "write", 2 * n, n))
        events.append(Event(process, "ok", "write", 2 * n + 1, n, node=node, tli=1 + n % 2))
    told = tell(observe(History(tuple(events))))
    assert len(told) == 61
    assert told[-1].text.startswith("… and ")


def test_zero_has_no_minus() -> None:
    """A rounded -0.0 reads as 0."""
    assert str(Moment(-0.01, "x")) == "T+0.0 x"
