"""An operation of a bare history, told to people, and the error for one that cannot be taken."""

from collections.abc import Mapping

from harness.errors import Mistake, ScenarioError
from harness.history import Json
from harness.operations import Operation

NAMED = 10  # operations that a check shows of each kind; it counts the others


def told(op: Operation) -> Mapping[str, Json]:
    """Return what a person needs to find an operation again and to see what it did.

    `invoked` and `completed` are lines of the file from 0, `start` and `end` nanoseconds.
    """
    said: dict[str, Json] = {
        "process": op.process,
        "f": op.f,
        "key": op.key,
        "value": op.value,
        "node": op.node,
        "tli": op.tli,
        "lsn": op.lsn,
        "invoked": op.invoked,
        "completed": op.completed,
        "start": op.start,
        "end": op.end,
    }
    return {name: value for name, value in said.items() if value is not None}


def wrong(op: Operation, found: str) -> ScenarioError:
    """Return the error for what an operation holds, at its last line; the file is not known here.

    Args:
        op: whose value cannot be taken.
        found: `<field>: <what was found>; expected <what>`.
    """
    line = op.invoked if op.completed is None else op.completed
    return ScenarioError([Mistake("", line + 1, 1, f"{op.f} of {op.process!r}: {found}")])
