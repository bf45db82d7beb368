"""`leader_changes`: how often the leader key went to another node."""

from typing import ClassVar

from harness.expectation import CountExpectation
from harness.history import History
from harness.registry import register
from harness.sightings import leader_key
from harness.verdict import Measurement, UndecidedError


@register
class LeaderChanges(CountExpectation):
    """Count how often the leader key passed from one node to a different one during the steps.

    A key that was lost and taken again by the same node is no change. Told by the DCS's own
    record, in its order of revisions. In a run that broke off it is a lower bound.

    A pass does not show who accepted writes (`writers`); and a change that was undone while no
    watcher was connected goes unseen.

    O(n log n) in the changes. Source: docs/adr/0004.

    Example:
        leader_changes: {max: 1}
    """

    name: ClassVar[str] = "leader_changes"

    def examine(self, history: History) -> Measurement:
        changes = leader_key(history)
        if not changes:
            raise UndecidedError("the leader key was never seen in the DCS")
        start = history.phase("steps")
        if start is None:
            raise UndecidedError("the run never came to its steps")
        holders: list[str] = []
        said: list[str] = []
        for change in changes:
            if change.holder is None or change.time > history.finish:
                continue
            if change.time > start and holders and holders[-1] != change.holder:
                said.append(f"{change.holder} at {history.seconds(change.time):.2f} s")
            holders.append(change.holder)
        if not any(change.time <= start for change in changes):
            raise UndecidedError("who held the leader key before the first step was not seen")
        said_so = f"led by {', then '.join([holders[0], *said])}"
        return Measurement(len(said), said_so, at_least=history.broke_off)
