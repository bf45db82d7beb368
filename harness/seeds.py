"""The seed of a run: every random choice comes from it, and it is printed first and last."""

from random import SystemRandom

_SEEDS = 1_000_000  # few enough digits to be typed again


def choose(asked: int | None) -> int:
    """Return the seed that was asked for, or one that nobody could foresee."""
    return SystemRandom().randrange(_SEEDS) if asked is None else asked
