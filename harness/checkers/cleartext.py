"""`cleartext`: nobody talks to a database without TLS."""

from collections.abc import Sequence
from typing import ClassVar

from pydantic import Field

from harness.expectation import CountExpectation
from harness.history import History, Json, Op
from harness.registry import register
from harness.sightings import as_witness, said
from harness.verdict import Measurement, UndecidedError


@register
class Cleartext(CountExpectation):
    """Count the sessions without TLS that a node would have taken when `knock` asked for one.

    A node that asks for a password has taken it: whoever has one would send all else in the clear.

    A pass does not show what nodes answer between the knocks, to standbys (replication has lines of
    its own in pg_hba.conf), or to clients elsewhere; nor that clients check whom they talk to.
    Undecided when nobody was asked.

    O(n) in the steps. Source: PostgreSQL documentation, "Secure TCP/IP Connections with SSL".

    Example:
        cleartext: {max: 0}
    """

    name: ClassVar[str] = "cleartext"

    max: int | None = Field(0, ge=0, strict=True)

    def examine(self, history: History) -> Measurement:
        knocks = [deed for deed in history.deeds if deed.f == "knock" and deed.outcome == "ok"]
        refused = sum(len(_names(knock, "refused")) for knock in knocks)
        welcomed = [(name, knock) for knock in knocks for name in _names(knock, "welcomed")]
        if not refused and not welcomed:
            raise UndecidedError("no node was asked for a session without TLS")
        words = [
            f"{name} would have talked without TLS at {history.seconds(knock.start):.2f} s"
            for name, knock in welcomed[:1]
        ]
        note = "; ".join([*words, f"{refused} of {refused + len(welcomed)} knocks were refused"])
        evidence = [as_witness(history, knock) for _, knock in welcomed[:1]]
        return Measurement(len(welcomed), note, evidence=evidence)


def _names(knock: Op, which: str) -> Sequence[Json]:
    names = said(knock).get(which)
    return names if isinstance(names, Sequence) and not isinstance(names, str) else ()
