"""`sent_bytes`: how much the leader had to send while a step was made."""

from typing import ClassVar

from harness.expectation import CountExpectation
from harness.history import History
from harness.registry import register
from harness.sightings import as_witness, instant, said
from harness.verdict import Measurement, UndecidedError


@register
class SentBytes(CountExpectation):
    """Count the bytes that the leader sent while a step was made, such as a node's joining.

    Everything that leaves its network interface counts: streaming, replies to clients, health
    checks.

    A pass does not show where the new node took its data from, only that it was not the leader:
    the rest comes from S3 or from another replica. It says little unless the bound is far below
    the size of the data.

    O(n) in the steps. Source: docs/adr/0002.

    Attributes:
        of: the `as:` of a step that recorded it.

    Example:
        sent_bytes: {of: joined, max: 16777216}
    """

    name: ClassVar[str] = "sent_bytes"

    of: str

    def examine(self, history: History) -> Measurement:
        instant(history, self.of)
        step = history.moment(self.of)
        sent = None if step is None else said(step).get("leader_sent_bytes")
        if step is None or not isinstance(sent, int) or isinstance(sent, bool) or sent < 0:
            raise UndecidedError(f"{self.of!r} recorded no count of the leader's bytes: {sent!r}")
        evidence = [as_witness(history, step)]
        return Measurement(
            sent,
            f"the leader sent {sent / (1 << 20):.1f} MiB during {self.of!r}",
            evidence=evidence,
        )
