"""The chart's geometry: everything inside the drawing, nothing over anything else."""

import re

import pytest

from harness.history import History
from harness.report import chart
from harness.report.observed import Call, Deed, Observed, Span, observe


def _seen(**more) -> Observed:
    nothing: dict[str, object] = {
        name: {} for name in ("azs", "acknowledged", "refused", "calls", "outages")
    }
    nothing |= dict.fromkeys(("phases", "deeds", "leader", "writers", "elections"), ())
    given = {"start_s": -10.0, "end_s": 60.0, "nodes": ["pg-1", "pg-2"], **nothing}
    return Observed(**{**given, **more})


@pytest.mark.parametrize("width", [chart.WIDE, chart.NARROW])
def test_all_marks_lie_inside(history, width) -> None:
    """Bars and labels end where the drawing ends."""
    drawn = chart.draw(observe(history), width=width)
    for rect in (*drawn.rects, *drawn.bands):
        assert rect.x >= 0
        assert rect.x + rect.width <= width
        assert rect.y + rect.height <= drawn.height
    for text in drawn.texts:
        assert 0 <= text.x <= width
        assert 0 <= text.y <= drawn.height


def test_lanes_share_one_axis(history) -> None:
    """The old leader's bar ends where its key went, and the new writer's begins after it."""
    drawn = chart.draw(observe(history))
    old, new = (r for r in drawn.rects if r.css.startswith("leader"))
    kill = next(r for r in drawn.rects if r.css.startswith("deed fault"))
    per_second = (new.x - (old.x + old.width)) / (29.7 - 28.4)
    assert kill.x == pytest.approx(old.x + old.width - 28.35 * per_second, abs=3)
    wrote = next(p for p in drawn.paths if p.css == "acknowledged n1")
    begins = float(re.match(r"M([\d.]+)", wrote.d)[1])  # type: ignore[index]
    assert begins == pytest.approx(new.x + 0.9 * per_second, abs=2)


def test_labels_of_crowded_deeds_do_not_touch() -> None:
    """Twelve steps within two seconds, at both ends of the axis, each keep their own room."""
    deeds = [
        Deed(at + n / 5, at + n / 5 + 0.1, "partition", "fault", ["pg-1"], "from etcd-a, etcd-b")
        for at in (0.0, 58.0)
        for n in range(6)
    ]
    for width in (chart.WIDE, chart.NARROW):
        drawn = chart.draw(_seen(deeds=deeds), width=width)
        boxes = []
        for text in drawn.texts:
            if text.css.startswith("deed-label"):
                wide = len(text.text) * 6.1
                left = text.x - wide if text.anchor == "end" else text.x
                boxes.append((left, left + wide, text.y))
        assert len(boxes) == 12
        for number, (left, right, y) in enumerate(boxes):
            for other in boxes[number + 1 :]:
                assert y != other[2] or right <= other[0] or other[1] <= left


def test_a_long_label_is_shortened() -> None:
    """One that no drawing could hold ends with an ellipsis."""
    deed = Deed(0, 1, "sql", "fault", [f"node-{n}" for n in range(40)])
    label = next(t for t in chart.draw(_seen(deeds=[deed])).texts if t.css.startswith("deed-label"))
    assert label.text.endswith("…")


def test_many_calls_become_few_marks() -> None:
    """A million-call run has no more dots than asked for, and its extremes survive."""
    calls = [Call(n / 1000, 0.002 + (n % 997) / 5000, ok=n % 50 != 0) for n in range(60_000)]
    drawn = chart.draw(_seen(calls={"primary-elb": calls}), marks=500)
    latency = next(p for p in drawn.paths if p.css == "latency")
    errors = next(p for p in drawn.paths if p.css == "error")
    assert latency.d.count("M") <= 500
    assert errors.d.count("M") <= chart.WIDE
    heights = [float(y) for y in re.findall(r" ([\d.]+)h0", latency.d)]
    assert max(heights) - min(heights) > 40


def test_a_single_write_is_visible() -> None:
    """One acknowledgement has no length, and is a mark all the same."""
    seen = _seen(acknowledged={"pg-1": [Span(5.0, 5.0, "pg-1")]})
    bar = next(p for p in chart.draw(seen).paths if p.css.startswith("acknowledged"))
    left, right = map(float, re.match(r"M([\d.]+) [\d.]+H([\d.]+)", bar.d).groups())  # type: ignore[union-attr]
    assert right - left >= 1


def test_two_leaders_and_writers_have_their_own_colours(history) -> None:
    """A node has one colour, in all lanes."""
    drawn = chart.draw(observe(history))
    assert [r.css for r in drawn.rects if r.css.startswith("leader")] == ["leader n0", "leader n1"]


def test_empty_and_instant_runs_are_drawn() -> None:
    """No history is too short for a drawing."""
    chart.draw(observe(History(())))
    chart.draw(_seen(start_s=0.0, end_s=0.0, calls={"primary-elb": [Call(0, 0, ok=True)]}))


def test_description_says_what_is_seen(history) -> None:
    """Whoever does not see the drawing learns the same."""
    words = chart.describe(observe(history))
    assert "The leader key was held by pg-1 from -19.0 to 28.4 s and pg-2 from 29.7" in words
    assert "clients of primary-elb waited 40.9 s" in words
    assert chart.describe(observe(History(()))).startswith("Nobody held the leader key. No write")


@pytest.mark.parametrize("end_s", [3.0, 70.0, 900.0, 90_000.0])
def test_ticks_are_few_and_round(end_s) -> None:
    """An axis of seconds, minutes or a day has some ticks, never dozens."""
    drawn = chart.draw(_seen(end_s=end_s, start_s=0.0))
    ticks = [t for t in drawn.texts if t.css == "tick" and t.y > drawn.height - 12]
    assert 2 <= len(ticks) <= 12
