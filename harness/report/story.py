"""What happened in a run, told in order: the chart in words, for terminals and screen readers."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from harness.report.observed import Deed, Observed
from harness.units import format_duration

_LONGEST = 60  # moments; a run that flaps is no story any more


@dataclass(frozen=True, slots=True)
class Moment:
    """One sentence, and its second after the first step began."""

    at_s: float
    text: str

    def __str__(self) -> str:
        # Adding zero makes a rounded -0.0 a plain one.
        return f"T{round(self.at_s, 1) + 0.0:+.1f} {self.text}"


def tell(seen: Observed) -> Sequence[Moment]:
    """Return the moments of a run in their order: at most sixty, the first ones."""
    moments = [*_deeds(seen.deeds), *_leaders(seen), *_writers(seen), *_clients(seen)]
    moments += [Moment(at, f"{who} now leads the DCS itself") for at, who in seen.elections]
    moments += [
        Moment(span.start_s, "steady again") for span in seen.phases if span.who == "settled"
    ]
    told = sorted(moments, key=lambda moment: moment.at_s)
    left = len(told) - _LONGEST
    if left > 0:
        told = [*told[:_LONGEST], Moment(told[_LONGEST].at_s, f"… and {left} more changes")]
    return told


def _deeds(deeds: Sequence[Deed]) -> Iterator[Moment]:
    for deed in deeds:
        if deed.verb == "wait":
            took = format_duration(deed.end_s - deed.start_s)
            words = f"{deed.detail} holds" if deed.ok else f"{deed.detail} never held"
            yield Moment(deed.end_s, f"{words} (waited {took})")
        else:
            yield Moment(deed.start_s, deed.label + ("" if deed.ok else " (did not hold)"))


def _leaders(seen: Observed) -> Iterator[Moment]:
    for before, after in pairwise([None, *seen.leader]):
        if after is None:
            continue
        if before is None:
            # Who led at the beginning is no event, unless it was seen to begin.
            if after.start_s > 0:
                yield Moment(after.start_s, f"{after.who} takes the leader key")
            continue
        if after.start_s > before.end_s:
            yield Moment(before.end_s, f"the leader key of {before.who} is gone")
        yield Moment(after.start_s, f"{after.who} takes the leader key")
    if seen.leader and seen.leader[-1].end_s < seen.end_s:
        yield Moment(seen.leader[-1].end_s, f"the leader key of {seen.leader[-1].who} is gone")


def _writers(seen: Observed) -> Iterator[Moment]:
    for (_, before, _), (at, node, tli) in pairwise(seen.writers):
        ends = [span.end_s for span in seen.acknowledged.get(before, ()) if span.end_s <= at]
        if before != node and ends:
            yield Moment(max(ends), f"last write acknowledged by {before}")
        on = f" on timeline {tli}" if tli is not None else ""
        yield Moment(at, f"first write acknowledged by {node}{on}")


def _clients(seen: Observed) -> Iterator[Moment]:
    for elb, gap in seen.outages.items():
        took = format_duration(gap.seconds)
        yield Moment(gap.end_s, f"clients of {elb} are answered again, after {took}")
