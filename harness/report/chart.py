"""The geometry of a run's chart: shapes and texts on one time axis. The template only draws them.

From top to bottom: what was done; who held the leader key; who acknowledged writes, one lane a
node; what clients behind each ELB felt. Second 0 is the beginning of the first step.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal

from harness.report.observed import Call, Deed, Observed, Span
from harness.report.text import joined, plural, show
from harness.units import format_duration

WIDE, NARROW = 1040, 400
_TICKS_S = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 43200, 86400)
_LATENCIES_S = (0.0001, 0.001, 0.01, 0.1, 1.0, 10.0, 100.0, 1000.0)
_CHAR = 6.1  # width of a character at the chart's 11 px: an upper estimate for mixed text
_ROW, _LANE, _PANEL = 18, 22, 92  # heights: a row of deeds, a lane, a panel of clients
_COLOURS = 7  # nodes beyond these share colours; their lanes still differ


@dataclass(frozen=True, slots=True)
class Rect:
    """A bar. `tip` is what a pointer over it says."""

    x: float
    y: float
    width: float
    height: float
    css: str
    tip: str = ""


@dataclass(frozen=True, slots=True)
class Path:
    """Many like marks in one path: thousands of them stay small on the page."""

    d: str
    css: str
    tip: str = ""


@dataclass(frozen=True, slots=True)
class Text:
    """A label; `x` is its start, its middle or its end, by the anchor."""

    x: float
    y: float
    text: str
    css: str = ""
    anchor: Literal["start", "middle", "end"] = "start"


@dataclass
class Chart:
    """A drawing of one run.

    Attributes:
        width, height: of the viewBox; the page scales it.
        description: the drawing in words.
        bands, grid: what lies behind everything else, in this order.
    """

    width: float
    height: float = 0.0
    title: str = ""
    description: str = ""
    bands: list[Rect] = field(default_factory=list)
    grid: list[Path] = field(default_factory=list)
    rects: list[Rect] = field(default_factory=list)
    paths: list[Path] = field(default_factory=list)
    texts: list[Text] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _Axis:
    """The time axis: where on the page a second is."""

    left: float
    right: float
    start_s: float
    end_s: float

    def __call__(self, second: float) -> float:
        share = (second - self.start_s) / (self.end_s - self.start_s)
        return round(self.left + min(max(share, 0.0), 1.0) * (self.right - self.left), 1)

    def shows(self, span: Span) -> bool:
        return span.end_s >= self.start_s and span.start_s <= self.end_s


def draw(seen: Observed, *, width: int = WIDE, marks: int = 1200) -> Chart:
    """Return the chart.

    Args:
        seen: what is drawn.
        width: of the drawing; a narrow one has fewer ticks and is for phones.
        marks: most dots of latency in one panel; close ones are drawn as one.
    """
    axis = _axis(seen, width)
    chart = Chart(width=width)
    y = _draw_phases(chart, seen, axis, 2.0)
    y = lanes_top = _draw_deeds(chart, seen, axis, y)
    y = _draw_leader(chart, seen, axis, y)
    y = _draw_writes(chart, seen, axis, y)
    for elb, calls in seen.calls.items():
        y = _draw_clients(chart, elb, calls, seen.outages.get(elb), axis, y, marks)
    _draw_axis(chart, axis, width, lanes_top, y)
    _draw_moments(chart, seen.deeds, axis, lanes_top, y)
    chart.height = y + 22
    chart.title = "Who led, who acknowledged writes, and what clients felt"
    chart.description = describe(seen)
    return chart


def describe(seen: Observed) -> str:
    """Return what the chart shows, for those who do not see it."""
    led = [f"{s.who} from {s.start_s:.1f} to {s.end_s:.1f} s" for s in seen.leader]
    wrote = [
        f"{node} from {spans[0].start_s:.1f} to {spans[-1].end_s:.1f} s"
        for node, spans in sorted(seen.acknowledged.items())
        if spans
    ]
    felt = [
        f"clients of {elb} waited {show(gap.seconds, 's')} from {gap.start_s:.1f} s on"
        for elb, gap in seen.outages.items()
    ]
    sentences = [
        f"The leader key was held by {joined(led[:8])}" if led else "Nobody held the leader key",
        f"Writes were acknowledged by {joined(wrote[:8])}"
        if wrote
        else "No write was acknowledged",
        *felt,
    ]
    return ". ".join(sentences) + "."


def _axis(seen: Observed, width: int) -> _Axis:
    before = max(5.0, 0.12 * seen.end_s)  # of the time before the first step, only its end
    start = max(seen.start_s, -before)
    end = max(seen.end_s, start + 1.0)
    left, right = (84.0, 20.0) if width >= WIDE else (48.0, 8.0)
    return _Axis(left, width - right, start, end)


def _draw_phases(chart: Chart, seen: Observed, axis: _Axis, y: float) -> float:
    """Draw the run's own phases as brackets with their names."""
    for span in seen.phases:
        left, right = axis(span.start_s), axis(span.end_s)
        if not axis.shows(span) or right - left < 4:
            continue
        chart.paths.append(Path(f"M{left + 1:g} {y + 16:g}v-3H{right - 1:g}v3", "phase"))
        if right - left > len(span.who) * _CHAR:
            middle = round((left + right) / 2, 1)
            chart.texts.append(Text(middle, y + 9, span.who, "tick", "middle"))
    return y + 22 if seen.phases else y + 4


def _draw_deeds(chart: Chart, seen: Observed, axis: _Axis, top: float) -> float:
    """Draw what was done as bars with labels, each in the first row where it has room."""
    row_ends: list[float] = []
    for deed in sorted(seen.deeds, key=lambda d: d.start_s):
        if deed.end_s < axis.start_s:
            continue
        end_s = max(deed.end_s, deed.until_s or deed.end_s)
        left = axis(deed.start_s)
        right = max(axis(end_s), left + 3)
        room = axis.right - axis.left - 10
        label = _shortened(deed.label, room)
        wide = len(label) * _CHAR + 8
        inside = right - left >= wide
        leftmost, rightmost = left, right if inside else right + wide
        before = not inside and rightmost > axis.right
        if before:
            leftmost, rightmost = left - wide, right
        if leftmost < axis.left:  # no room on either side: over the bar, from the left edge
            leftmost, rightmost, inside = axis.left, max(right, axis.left + wide), True
        row = next((i for i, end in enumerate(row_ends) if end <= leftmost), len(row_ends))
        row_ends[row : row + 1] = [rightmost + 6]
        y = top + row * _ROW
        css = f"deed {deed.kind}" + ("" if deed.ok else " undone")
        chart.rects.append(
            Rect(left, y, round(right - left, 1), _ROW - 4, css, _deed_tip(deed, end_s))
        )
        x = (max(left, leftmost) + 4) if inside else (left - 4 if before else right + 4)
        chart.texts.append(
            Text(
                x,
                y + 11,
                label,
                f"deed-label {deed.kind}",
                "end" if before and not inside else "start",
            )
        )
    return top + len(row_ends) * _ROW + 6


def _deed_tip(deed: Deed, end_s: float) -> str:
    lasted = end_s - deed.start_s
    return f"{deed.label}: from {deed.start_s:.1f} s, for {format_duration(lasted)}"


def _shortened(label: str, room: float) -> str:
    most = max(8, int(room / _CHAR))
    return label if len(label) <= most else label[: most - 1] + "…"


def _caption(chart: Chart, axis: _Axis, y: float, words: str) -> float:
    chart.texts.append(Text(axis.left, y + 10, words, "caption"))
    return y + 16


def _band(chart: Chart, axis: _Axis, y: float, height: float) -> None:
    chart.bands.append(Rect(axis.left, y, axis.right - axis.left, height, "band"))


def _draw_leader(chart: Chart, seen: Observed, axis: _Axis, y: float) -> float:
    y = _caption(chart, axis, y, "holds the leader key")
    _band(chart, axis, y, _LANE - 4)
    for span in seen.leader:
        if not axis.shows(span):
            continue
        left, right = axis(span.start_s), axis(span.end_s)
        width = max(round(right - left, 1), 1.0)
        css = f"leader {_colour(seen, span.who)}"
        tip = f"{span.who} led from {span.start_s:.1f} s to {span.end_s:.1f} s"
        chart.rects.append(Rect(left, y, width, _LANE - 4, css, tip))
        if width > len(span.who) * _CHAR + 10:
            chart.texts.append(Text(left + 6, y + 13, span.who, "leader-label"))
    return y + _LANE + 6


def _colour(seen: Observed, node: str) -> str:
    return f"n{seen.nodes.index(node) % _COLOURS}" if node in seen.nodes else "n0"


def _draw_writes(chart: Chart, seen: Observed, axis: _Axis, y: float) -> float:
    if not seen.nodes:
        return y
    y = _caption(chart, axis, y, "acknowledges writes, asked directly")
    for node in seen.nodes:
        _band(chart, axis, y, _LANE - 4)
        chart.texts.append(Text(axis.left - 8, y + 13, node, "node", "end"))
        colour, middle = _colour(seen, node), y + (_LANE - 4) / 2
        for deed in seen.deeds:
            if deed.until_s is not None and node in deed.nodes:
                left, right = axis(deed.start_s), axis(deed.until_s)
                tip = f"{node}: {deed.label}, for {format_duration(deed.until_s - deed.start_s)}"
                chart.rects.append(Rect(left, y, round(right - left, 1), _LANE - 4, "struck", tip))
        refused = _bars(seen.refused.get(node, ()), axis, middle)
        if refused:
            chart.paths.append(Path(refused, f"refused {colour}", f"{node} refused, or was silent"))
        for span in seen.acknowledged.get(node, ()):
            if axis.shows(span):
                tip = f"{node} acknowledged writes from {span.start_s:.1f} s to {span.end_s:.1f} s"
                bar = _bars([span], axis, middle)
                chart.paths.append(Path(bar, f"acknowledged {colour}", tip))
        y += _LANE
    return y + 6


def _bars(spans: Iterable[Span], axis: _Axis, y: float) -> str:
    """Return horizontal strokes, at least one unit long so that a single write is seen."""
    return "".join(
        f"M{axis(span.start_s):g} {y:g}H{max(axis(span.end_s), axis(span.start_s) + 1):g}"
        for span in spans
        if axis.shows(span)
    )


def _draw_clients(
    chart: Chart,
    elb: str,
    calls: Sequence[Call],
    outage: Span | None,
    axis: _Axis,
    y: float,
    marks: int,
) -> float:
    """Draw each call's latency on a logarithmic scale, and the failed ones in a strip above."""
    calls = [call for call in calls if call.end_s >= axis.start_s]
    failed = [call for call in calls if not call.ok]
    words = f"clients through {elb}: {plural(len(calls), 'call')}, {len(failed)} failed or unknown"
    y = _caption(chart, axis, y, words)
    _band(chart, axis, y, _PANEL)
    strip, top, bottom = y + 7, y + 18, y + _PANEL - 6
    if outage:
        _draw_outage(chart, elb, outage, axis, y)
    answered = [call for call in calls if call.ok]
    if answered:
        low, high = _latency_range(answered)
        scale = (bottom - top) / math.log10(high / low)

        def height(seconds: float) -> float:
            return round(bottom - math.log10(min(max(seconds, low), high) / low) * scale, 1)

        _draw_latency_grid(chart, axis, low, high, height)
        points = [(axis(call.end_s), height(call.seconds)) for call in answered]
        chart.paths.append(Path(_dots(points, marks), "latency"))
    ticks = sorted({axis(call.end_s) for call in failed})
    if ticks:
        d = "".join(f"M{x:g} {strip - 4:g}v8" for x in _thinned(ticks, 1.0))
        chart.paths.append(Path(d, "error", f"{len(failed)} calls failed or stayed unknown"))
    return y + _PANEL + 10


def _draw_outage(chart: Chart, elb: str, outage: Span, axis: _Axis, y: float) -> None:
    left, right = axis(outage.start_s), axis(outage.end_s)
    took = f"{show(outage.seconds, 's')} without an answer"
    tip = f"{elb}: no acknowledgement from {outage.start_s:.1f} s to {outage.end_s:.1f} s"
    chart.rects.append(Rect(left, y, max(round(right - left, 1), 1), _PANEL, "outage", tip))
    wide = len(took) * _CHAR
    middle = min(max((left + right) / 2, axis.left + wide / 2 + 4), axis.right - wide / 2 - 4)
    chart.texts.append(Text(round(middle, 1), y + _PANEL / 2 + 8, took, "outage-label", "middle"))


def _latency_range(calls: Sequence[Call]) -> tuple[float, float]:
    shortest = max(min(call.seconds for call in calls), _LATENCIES_S[0])
    longest = max(call.seconds for call in calls)
    low = max(bound for bound in _LATENCIES_S if bound <= shortest)
    high = next((b for b in _LATENCIES_S if b > max(longest, low)), _LATENCIES_S[-1])
    return low, high


def _draw_latency_grid(
    chart: Chart, axis: _Axis, low: float, high: float, height: Callable[[float], float]
) -> None:
    for bound in _LATENCIES_S:
        if low <= bound <= high:
            y = height(bound)
            chart.grid.append(Path(f"M{axis.left:g} {y:g}H{axis.right:g}", "grid"))
            words = f"{bound:g} s" if bound >= 1 else f"{bound * 1000:g} ms"
            chart.texts.append(Text(axis.left - 8, y + 3.5, words, "tick", "end"))


def _dots(points: Sequence[tuple[float, float]], most: int) -> str:
    """Return the points as dots of one path, close ones as one, coarser until there are few."""
    cell = 1.5
    while True:
        kept = {(int(x / cell), int(y / cell)): (x, y) for x, y in points}
        if len(kept) <= most:
            return "".join(f"M{x:g} {y:g}h0" for x, y in kept.values())
        cell *= 1.3


def _thinned(ordered: Iterable[float], apart: float) -> Iterator[float]:
    last = -math.inf
    for x in ordered:
        if x - last >= apart:
            yield x
            last = x


def _draw_axis(chart: Chart, axis: _Axis, width: int, top: float, bottom: float) -> None:
    most = 10 if width >= WIDE else 5
    span = axis.end_s - axis.start_s
    step = next((tick for tick in _TICKS_S if span / tick <= most), _TICKS_S[-1])
    for number in range(math.ceil(axis.start_s / step), math.floor(axis.end_s / step) + 1):
        second = number * step
        x = axis(second)
        chart.grid.append(Path(f"M{x:g} {top:g}V{bottom:g}", "zero" if second == 0 else "grid"))
        anchor: Literal["middle", "end"] = "end" if x > axis.right - 16 else "middle"
        chart.texts.append(Text(x, bottom + 14, _tick(second), "tick", anchor))


def _tick(second: int) -> str:
    if second == 0:
        return "0"
    return ("\N{MINUS SIGN}" if second < 0 else "") + format_duration(abs(float(second)))


def _draw_moments(
    chart: Chart, deeds: Sequence[Deed], axis: _Axis, top: float, bottom: float
) -> None:
    """Draw a line through all lanes where something was broken or mended."""
    for deed in deeds:
        if deed.kind != "step" and axis.start_s <= deed.start_s <= axis.end_s:
            x = axis(deed.start_s)
            chart.paths.append(Path(f"M{x:g} {top - 6:g}V{bottom:g}", f"moment {deed.kind}"))
