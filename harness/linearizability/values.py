"""JSON values as something that can be compared and counted."""

from collections.abc import Hashable, Mapping, Sequence

from harness.history import Json


def token(value: Json) -> Hashable:
    """Return what equals only the token of the same JSON value: 1 and 1.0, but not `true`."""
    kind = type(value)
    if kind is int or kind is str or kind is float or value is None:
        return value
    if isinstance(value, Mapping):
        return ("{}", frozenset((name, token(of)) for name, of in value.items()))
    if isinstance(value, Sequence):
        return ("[]", *map(token, value))
    return ("bool", value is True)


def canonical(value: Json) -> Json:
    """Return the same value so that equal ones are written as equal texts (sort the members)."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, Mapping):
        return {name: canonical(of) for name, of in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [canonical(one) for one in value]
    return value


class Numbering:
    """Numbers the distinct values of a history from 0, so that a search compares small integers.

    Args:
        initial: it is 0, and so is `null`: a register says `null` for its initial value.
    """

    def __init__(self, initial: Json) -> None:
        self._numbers: dict[Hashable, int] = {token(initial): 0, None: 0}
        self._values: list[Json] = [initial]

    def __call__(self, value: Json) -> int:
        kind = type(value)
        # Most values are their own tokens.
        known = value if kind is int or kind is str or value is None else token(value)
        number = self._numbers.get(known)
        if number is None:
            self._numbers[known] = number = len(self._values)
            self._values.append(value)
        return number

    def value(self, number: int) -> Json:
        """Return the value with this number."""
        return self._values[number]
