"""A cycle told to people: who, when, where, and why each one came before the next."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Final

import orjson

from harness.history import Json
from harness.isolation.cycles import Cycle
from harness.isolation.inference import Inference, Kind

_NS: Final = 1_000_000_000
_END: Final = 20  # steps that are told from each end of a long cycle
_WIDE: Final = 160  # characters of one transaction's operations in a line


def story(cycle: Cycle, inference: Inference) -> Mapping[str, Json]:
    """Return one cycle as JSON.

    Returns:
        `name`; `length`, its number of steps; `steps`, of a long one the first and the last,
        each `{"from", "to", "kind", "why"}`, where the last leads to the first; and
        `transactions`, those in the steps, each as `Inference.describe` has it, with times in
        seconds.
    """
    numbers = [step.transaction for step in cycle.steps]
    walk = list(zip(cycle.steps, [*numbers[1:], numbers[0]], strict=True))
    if len(walk) > 2 * _END:
        walk = [*walk[:_END], *walk[-_END:]]
    steps: list[Json] = [
        {
            "from": f"T{step.transaction}",
            "to": f"T{then}",
            "kind": step.kind.name.lower(),
            "why": _why(step.transaction, then, step.kind, inference),
        }
        for step, then in walk
    ]
    told = dict.fromkeys(number for step, then in walk for number in (step.transaction, then))
    return {
        "name": cycle.name,
        "length": len(cycle.steps),
        "steps": steps,
        "transactions": {f"T{n}": timed(inference.describe(n)) for n in told},
    }


def timed(transaction: Mapping[str, Json]) -> Mapping[str, Json]:
    """Return a transaction with its times in seconds instead of nanoseconds."""
    return {
        name: value / _NS if name in ("start", "end") and isinstance(value, int) else value
        for name, value in transaction.items()
    }


def _why(source: int, target: int, kind: Kind, inference: Inference) -> str:
    if kind not in (Kind.PROCESS, Kind.REALTIME):
        return inference.explain(source, target, kind)
    one, other = inference.describe(source), inference.describe(target)
    if kind is Kind.PROCESS:
        return f"process {one['process']!r} did T{source} before T{target}"
    end, start = one["end"], other["start"]
    if isinstance(end, int) and isinstance(start, int):
        return f"T{source} was acknowledged {_span(start - end)} before T{target} was sent"
    return f"T{source} was acknowledged before T{target} was sent"


def _span(nanoseconds: int) -> str:
    seconds = nanoseconds / _NS
    return f"{seconds:.3f} s" if seconds >= 0.001 else f"{nanoseconds / 1000:.0f} us"


def lines(told: Mapping[str, Json]) -> Iterator[str]:
    """Yield one told cycle (`story`) as lines for a terminal."""
    transactions, steps = told["transactions"], told["steps"]
    assert isinstance(transactions, Mapping)
    assert isinstance(steps, Sequence)
    yield f"{told['name']}:"
    for name, transaction in transactions.items():
        assert isinstance(transaction, Mapping)
        yield f"  {name} = {_line(transaction)}"
    missing = int(str(told["length"])) - len(steps)
    for at, step in enumerate(steps):
        assert isinstance(step, Mapping)
        if missing and at == _END:
            yield f"  ... {missing} more ..."
        link = "then" if at + 1 < len(steps) else "but also"
        yield f"  {link} {step['from']} before {step['to']} ({step['kind']}): {step['why']}"


def _line(transaction: Mapping[str, Json]) -> str:
    """Return a transaction in one line: what it did, who sent it, where to and when."""
    operations = orjson.dumps(transaction["operations"]).decode()
    if len(operations) > _WIDE:
        operations = f"{operations[:_WIDE]}..."
    where = "" if transaction["node"] is None else f" on {transaction['node']}"
    start, end = transaction["start"], transaction["end"]
    when = f", {start:.3f}" if isinstance(start, int | float) else ""
    if when:
        when += f" to {end:.3f} s" if isinstance(end, int | float) else " s, outcome unknown"
    return f"{operations} by process {transaction['process']!r}{where}{when}"
