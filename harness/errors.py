"""The three families of errors, and the exit code that each one means."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum


class ExitCode(IntEnum):
    """What the shell learns from a command (docs/adr/0003)."""

    PASS = 0
    FAIL = 1
    USAGE = 2
    ERROR = 3
    BUG = 4


class HarnessError(Exception):
    """A condition that the harness foresaw: it is shown as a sentence, never as a traceback."""

    exit_code: ExitCode = ExitCode.ERROR


@dataclass(frozen=True, slots=True, order=True)
class Mistake:
    """One thing wrong with the user's input.

    Attributes:
        file: as the user named it.
        line, column: from 1; 0 where the mistake has no place in the file (a missing file).
        text: `<path in the file>: <what was found>; expected <what>[; did you mean ...]`.
    """

    file: str
    line: int
    column: int
    text: str

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}:{self.column}" if self.line else self.file
        return f"{place}: {self.text}"


class ScenarioError(HarnessError):
    """The user's input is wrong; carries every mistake found, in the order of the file."""

    exit_code = ExitCode.USAGE

    def __init__(self, mistakes: Sequence[Mistake]) -> None:
        self.mistakes = tuple(sorted(set(mistakes)))
        super().__init__("\n".join(map(str, self.mistakes)))

    def __reduce__(self) -> tuple[type["ScenarioError"], tuple[Sequence[Mistake]]]:
        """Return how it is made again in another process: of its mistakes, not of its text."""
        return type(self), (self.mistakes,)


class DriverError(HarnessError):
    """The world did not obey: the run proved nothing, so its verdict is `error`, never `fail`."""


class NotSteadyError(DriverError):
    """The cluster was not in its steady state when it had to be."""


class OverdueError(DriverError):
    """Something was waited for and did not come in time."""


class AbortedError(DriverError):
    """The user or a guard stopped the run; faults are undone before this reaches the top."""
