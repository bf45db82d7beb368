"""The operations on single objects, taken from a history and sorted by object."""

from collections.abc import Sequence
from typing import Generic, NamedTuple, TypeVar

from harness.history import Json

Effect_co = TypeVar("Effect_co", covariant=True)


class Call(NamedTuple, Generic[Effect_co]):
    """One operation that took effect, or that may have.

    Attributes:
        process, f, argument, value, invoked, completed: those of the operation.
        effect: what it does to its object, as the model puts it.
    """

    process: str | int
    f: str
    argument: Json
    value: Json
    invoked: int
    completed: int | None
    effect: Effect_co


class Calls(NamedTuple, Generic[Effect_co]):
    """The operations on one object.

    Attributes:
        key: the object; None for that of the operations without a key.
        calls: in the order of their completions, those of unknown outcome last.
    """

    key: Json
    calls: Sequence[Call[Effect_co]]


class Gathered(NamedTuple, Generic[Effect_co]):
    """The operations of a history, by object.

    Attributes:
        acknowledged: how many of them are `ok`, those that say nothing counted too.
    """

    objects: Sequence[Calls[Effect_co]]
    acknowledged: int
