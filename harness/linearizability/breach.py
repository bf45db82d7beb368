"""Where exactly a history that has no order goes wrong."""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Final, Generic, TypeVar

from harness.linearizability.models import Object
from harness.linearizability.returns import Move
from harness.linearizability.search import Search

State = TypeVar("State", bound=Hashable)
Effect = TypeVar("Effect", bound=Hashable)

# Steps that explain a verdict which is known already: some 0.3 s, more for a long history.
_STEPS: Final = 100_000
_STEPS_A_MOVE: Final = 6


@dataclass(frozen=True, slots=True)
class Breach(Generic[State, Effect]):
    """An object that is not linearizable.

    Attributes:
        order: an order of the operations that are needed to explain all returns before `blocked`,
            by their indexes among the object's calls.
        blocked: the operation whose return no order explains.
        shortest: whether there really is none that explains it; else none was found.
    """

    object: Object[State, Effect]
    order: Sequence[int]
    blocked: int
    shortest: bool


def breach_of(
    object_: Object[State, Effect], search: Search[State, Effect]
) -> Breach[State, Effect]:
    """Return the first return that cannot be explained, and an order up to there.

    The search may have turned back long before it, because it looks ahead. So shorter histories
    are searched: whatever returns later may have happened by then or not, but if, then in the way
    that its answer tells.

    Args:
        search: it has ended, or has not begun.
    """
    left = max(_STEPS, _STEPS_A_MOVE * len(object_.moves))
    if search.deepest.number < 0:
        search.run(left // 2)
    returning = search.order
    explained, order = max(search.deepest.number, 0), search.explained()
    # One return more than that has no order.
    refuted = len(returning)
    if object_.doomed is not None:
        refuted = returning.index(object_.doomed) + 1
    stride = 1
    while explained + 1 < refuted and left > 0:
        probed = min(explained + stride, (explained + refuted + 1) // 2)
        kept, prefix = _prefix(object_, returning, probed)
        found = prefix.run(left)
        left -= prefix.steps + len(kept)  # to prepare a search takes time, too
        if found is None:
            break
        if found:
            explained, order = probed, [kept[index] for index in prefix.explained()]
            stride *= 2
        else:
            refuted = probed
    shortest = explained + 1 == refuted
    if not shortest and object_.doomed is not None:
        return Breach(object_, order, object_.doomed, shortest=False)
    return Breach(object_, order, returning[explained], shortest)


def _prefix(
    object_: Object[State, Effect], returning: Sequence[int], count: int
) -> tuple[Sequence[int], Search[State, Effect]]:
    """Return a search of the history up to its `count`th return, with the indexes of its moves."""
    end = object_.moves[returning[count - 1]].completed
    assert end is not None
    kept = [index for index, move in enumerate(object_.moves) if move.invoked < end]
    return kept, Search(
        [_until(object_.moves[i], end) for i in kept], object_.initial, object_.rules
    )


def _until(move: Move[Effect], end: int) -> Move[Effect]:
    late = move.completed is not None and move.completed > end
    return move._replace(completed=None) if late else move
