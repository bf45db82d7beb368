"""What every check has in common. A check is a pydantic model: its fields are a case's own keys."""

from abc import abstractmethod
from collections.abc import Iterable
from typing import ClassVar

from harness.answer import Answer
from harness.operations import Operation
from harness.scenario import Model


class Check(Model):
    """One question to a bare history. Its docstring says what a pass does not show."""

    name: ClassVar[str]

    @abstractmethod
    def judge(self, operations: Iterable[Operation]) -> Answer:
        """Return what these operations show.

        Args:
            operations: in the order of their completions, those of unknown outcome last; read
                once, so that a history need not fit into memory.
        """
        raise NotImplementedError
